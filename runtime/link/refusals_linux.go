package link

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
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
	lost    atomic.Bool // some were not heard of

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
	if marker != nil {
		close(marker)
	} else {
		w.refused(call)
	}
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
			if err := errors.Join(unix.SchedSetaffinity(0, &one), w.call(address, marker)); err != nil {
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
		uninterrupted(func() (int, error) { return unix.Poll(poll, int(settleWithin/time.Millisecond)) })
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
// sent that one again before it was answered.
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
			return call, sent <= 1 || sent-1 <= repeated
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return call, false
}
