package link

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watch hears of calls that the kernel refuses. No socket of ours sees them, since
// there is none; but the kernel tells everybody who asks, without any privilege, of
// each TCP socket of the network namespace that is destroyed, and the caller's socket
// is once it is closed.
type watch struct {
	socket  *os.File
	refused func(refusal)
	reading sync.WaitGroup
	lost    atomic.Bool  // some were not heard of
	heard   atomic.Int64 // calls that were refused, whoever's

	mu      sync.Mutex
	markers map[uint64]chan struct{} // our own calls, by the cookie of their socket
}

func newWatch(refused func(refusal)) (*watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	const destroyed = 1 << (unix.SKNLGRP_INET_TCP_DESTROY - 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: destroyed}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, maxWaiting) // what the kernel allows of it
	w := &watch{socket: os.NewFile(uintptr(fd), "sock_diag"), refused: refused, markers: map[uint64]chan struct{}{}}
	w.reading.Go(w.read)
	return w, nil
}

func (w *watch) close() {
	w.socket.Close()
	w.reading.Wait()
}

func (w *watch) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.socket.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.lost.Store(true)
		case err != nil:
			if !errors.Is(err, os.ErrClosed) {
				w.lost.Store(true)
			}
			return
		default:
			refusalsIn(buf[:n], w.hear)
		}
	}
}

func (w *watch) hear(cookie uint64, call refusal) {
	w.mu.Lock()
	marker := w.markers[cookie]
	delete(w.markers, cookie)
	w.mu.Unlock()
	if marker == nil {
		w.refused(call)
	}
	if !call.to.Addr().IsUnspecified() { // it was no listener, and did call
		w.heard.Add(1)
	}
	if marker != nil {
		close(marker)
	}
}

// silence is how many calls have failed in the network namespace that the watch has
// not heard of: their callers keep their sockets, or have used them again, or it was
// not there yet. It is false where the kernel does not tell.
func (w *watch) silence() (calls int64, known bool) {
	heard := w.heard.Load() // before: what fails meanwhile is unheard, and not the other way round
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0, false
	}
	failed, known := failedCalls(string(text))
	return failed - heard, known
}

// leastSilence is the silence that lasts: without calls that others have just made,
// and that are heard of in a moment.
func (w *watch) leastSilence() (least int64) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0 // so that all calls that have failed are unheard
	}
	defer unix.Close(fd)
	if unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) != nil {
		return 0
	}
	at, err := unix.Getsockname(fd)
	bound, ok := at.(*unix.SockaddrInet4)
	if err != nil || !ok {
		return 0
	}
	for i := range quietLooks { // at a port that is taken, and where nobody listens
		w.settle(netip.AddrPortFrom(netip.AddrFrom4(bound.Addr), uint16(bound.Port)))
		calls, known := w.silence()
		if !known {
			return 0
		}
		if i == 0 || calls < least {
			least = calls
		}
	}
	return least
}

// failedCalls is how many calls by TCP have failed, in the text of /proc/net/snmp: a line of
// names, and one of what they are.
func failedCalls(text string) (count int64, known bool) {
	var names []string
	for line := range strings.Lines(text) {
		values := strings.Fields(line)
		if len(values) == 0 || values[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = values
			continue
		}
		at := slices.Index(names, "AttemptFails")
		if at < 0 || at >= len(values) {
			return 0, false
		}
		count, err := strconv.ParseInt(values[at], 10, 64)
		return count, err == nil
	}
	return 0, false
}

// settle returns when the refusals at an address have been heard of: it makes some of
// its own, which come after them. The kernel keeps those in order that one processor
// has ended, so there is one call on each.
func (w *watch) settle(address netip.AddrPort) {
	var heard []chan struct{}
	var calling sync.WaitGroup
	calling.Go(func() {
		runtime.LockOSThread() // and the thread, which is bound to a processor, ends with the goroutine
		var all unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			w.lost.Store(true)
			return
		}
		for cpu, left := 0, all.Count(); left > 0; cpu++ {
			if !all.IsSet(cpu) {
				continue
			}
			left--
			var one unix.CPUSet
			one.Set(cpu)
			marker := make(chan struct{})
			if err := errors.Join(moveTo(&one), w.call(address, marker)); err != nil {
				w.lost.Store(true)
				return
			}
			heard = append(heard, marker)
		}
	})
	calling.Wait()
	timer := time.NewTimer(settleWithin)
	defer timer.Stop()
	for _, marker := range heard {
		select {
		case <-marker:
		case <-timer.C:
			w.lost.Store(true)
			return
		}
	}
}

// moveTo has the thread run on some processors alone. Where they are busy it waits to
// be run there, for as long as a second: unix.SchedSetaffinity would keep a processor of
// Go's from the goroutines that carry bytes meanwhile, and all of them from running if
// garbage is to be collected.
func moveTo(processors *unix.CPUSet) error {
	if _, _, failure := unix.Syscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(*processors),
		uintptr(unsafe.Pointer(processors))); failure != 0 {
		return os.NewSyscallError("sched_setaffinity", failure)
	}
	return nil
}

// call calls an address where nobody listens.
func (w *watch) call(address netip.AddrPort, heard chan struct{}) error {
	family, to := unix.AF_INET, unix.Sockaddr(nil)
	if address.Addr().Is4() {
		to = &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())}
	} else {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: address.Addr().As16(), Port: int(address.Port())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.markers[cookie] = heard
	w.mu.Unlock()
	if err := unix.Connect(fd, to); err == unix.EINPROGRESS {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.Poll(poll, int(settleWithin/time.Millisecond))
		}
	}
	return nil
}

// Where what is in a message stands: struct inet_diag_msg of linux/inet_diag.h.
const (
	diagState   = 1
	diagFrom    = 4  // big-endian
	diagPort    = 6  // of the other end, big-endian
	diagAddress = 24 // of the other end
	diagCookie  = 44 // of the socket
	diagSize    = 72 // attributes follow
	diagInfo    = 2  // the attribute that is a struct tcp_info
	tcpClose    = 7
)

// refusalsIn calls each with the refusals that a message tells of.
func refusalsIn(b []byte, each func(cookie uint64, call refusal)) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return
		}
		if binary.NativeEndian.Uint16(b[4:]) == unix.SOCK_DIAG_BY_FAMILY {
			socket := b[unix.SizeofNlMsghdr:size]
			if call, ok := refusalOf(socket); ok {
				low, high := binary.NativeEndian.Uint32(socket[diagCookie:]), binary.NativeEndian.Uint32(socket[diagCookie+4:])
				each(uint64(high)<<32|uint64(low), call)
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
}

// refusalOf is the refusal that a destroyed socket has met: it was never connected,
// so it has sent one segment, or none that is still known. On a busy machine it may have
// sent that one again before it was answered. The end that was called may have sent as
// little; it has agreed on options of TCP with the caller.
func refusalOf(b []byte) (call refusal, ok bool) {
	if len(b) < diagSize || b[diagState] != tcpClose {
		return call, false
	}
	var to netip.Addr
	switch b[0] {
	case unix.AF_INET:
		to = netip.AddrFrom4([4]byte(b[diagAddress:]))
	case unix.AF_INET6:
		to = netip.AddrFrom16([16]byte(b[diagAddress:])).Unmap()
	default:
		return call, false
	}
	call.from = binary.BigEndian.Uint16(b[diagFrom:])
	call.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[diagPort:]))
	for b = b[diagSize:]; len(b) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < 4 || size > len(b) {
			break
		}
		const segments, again = unsafe.Offsetof(unix.TCPInfo{}.Segs_out), unsafe.Offsetof(unix.TCPInfo{}.Total_retrans)
		if info := b[4:size]; kind == diagInfo && len(info) >= int(segments)+4 {
			sent, repeated := binary.NativeEndian.Uint32(info[segments:]), binary.NativeEndian.Uint32(info[again:])
			const agreed = 1 | 2 | 4 // TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE of linux/tcp.h
			return call, info[unsafe.Offsetof(unix.TCPInfo{}.Options)]&agreed == 0 && (sent <= 1 || sent-1 <= repeated)
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return call, false
}
