package link

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mover moves bytes from one connection to another, through a buffer that it has
// while there are bytes in it. An urgent byte (MSG_OOB of send(2)) is read by itself,
// and is as urgent when it is given on.
type mover struct {
	from, to syscall.RawConn
	buffers  *buffers
	isMany   bool // the last bytes filled the smaller buffer
	buf      []byte
	read     []byte // bytes in buf
	isUrgent bool   // read is an urgent byte

	// What the calls below take and return. They are made once: a message is sooner
	// where it is forwarded than a closure is allocated.
	most      int
	took      attempt
	fromFD    int
	taken     int
	takeErr   error
	try       attempt
	fd        int
	out       []byte
	flags     int
	given     int
	giveErr   error
	take, put func(fd uintptr) bool
	takeOnce  func() (int, error)
	putOnce   func() (int, error)
}

func newMover(p *pump) *mover {
	m := &mover{buffers: p.stream.relay.network.buffers, took: p.take}
	m.from, _ = p.from.SyscallConn() // never fails
	m.to, _ = p.to.SyscallConn()
	m.take, m.takeOnce, m.put, m.putOnce = m.tryTake, m.takeNow, m.tryPut, m.putNow
	return m
}

// await waits until there are bytes, or the end, and takes nothing.
func (m *mover) await() error {
	return m.from.Read(func(fd uintptr) bool {
		n, isEnd := unread(fd)
		return n > 0 || isEnd
	})
}

// arrived is how many bytes wait in a connection to be taken, and whether its end has
// come behind them. A connection that is closed has neither.
func arrived(c *net.TCPConn) (n int, isEnd bool) {
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { n, isEnd = unread(fd) })
	}
	return n, isEnd
}

func unread(fd uintptr) (n int, isEnd bool) {
	bytes, _ := unix.IoctlGetUint32(int(fd), unix.TIOCINQ) // where it fails there is nothing
	events, _ := polled(int(fd), unix.POLLRDHUP)
	return int(bytes), events != 0
}

// polled is which of some events a connection has; an error and a hang-up always count.
// It is an error where the process may have no file at all.
func polled(fd int, events int16) (int16, error) {
	poll := unix.PollFd{Fd: int32(fd), Events: events}
	var atOnce unix.Timespec
	_, _, err := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&atOnce)), 0, 0, 0)
	if err != 0 {
		return 0, err
	}
	return poll.Revents, nil
}

// fill waits for bytes and takes some; io.EOF is the end.
func (m *mover) fill(most int) error {
	m.most = most
	err := m.from.Read(m.take)
	switch {
	case err != nil:
	case m.takeErr == errChanged:
		err = errChanged
	case m.takeErr != nil:
		err = os.NewSyscallError("read", m.takeErr)
	case m.taken == 0:
		err = io.EOF
	}
	if err != nil {
		m.release()
		return err
	}
	m.read = m.buf[:m.taken]
	m.isMany = m.taken >= few
	return nil
}

func (m *mover) tryTake(fd uintptr) bool {
	m.fromFD = int(fd)
	m.taken, m.takeErr = m.took(m.takeOnce)
	if m.takeErr != unix.EAGAIN {
		return true
	}
	m.release() // who waits for bytes needs no buffer
	m.isMany = false
	return false
}

// takeNow takes bytes that are there. Of an urgent byte the kernel tells as long as it
// has not been read, and it ends a read that has come up to it (SO_OOBINLINE is set).
// So the next byte is known to be urgent or not if it is there before that is asked,
// which is why nothing is read on the chance that something has come.
func (m *mover) takeNow() (int, error) {
	events, err := polled(m.fromFD, unix.POLLIN|unix.POLLPRI|unix.POLLRDHUP)
	switch {
	case err != nil:
		events = unix.POLLPRI // it may be, and nothing is lost by a try
	case events == 0:
		return 0, unix.EAGAIN
	}
	if m.buf == nil {
		m.buf = m.buffers.get(m.isMany)
	}
	most := min(m.most, len(m.buf))
	m.isUrgent = events&unix.POLLPRI != 0 && atMark(m.fromFD)
	if m.isUrgent {
		most = 1
	}
	return transfer(unix.SYS_RECVFROM, m.fromFD, m.buf[:most], unix.MSG_DONTWAIT)
}

// atMark reports whether the next byte of a connection is an urgent one.
func atMark(fd int) bool {
	is, err := unix.IoctlGetInt(fd, unix.SIOCATMARK)
	return err == nil && is != 0
}

// drain gives on what it has.
func (m *mover) drain(try attempt) (n int, err error) {
	for len(m.read) > 0 && err == nil {
		n, err = m.write(try, m.read, m.isUrgent)
		m.read = m.read[n:]
	}
	return n, err
}

// write writes some bytes or all, once the connection has room.
func (m *mover) write(try attempt, b []byte, isUrgent bool) (int, error) {
	m.try, m.out, m.flags = try, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL
	if isUrgent {
		m.flags |= unix.MSG_OOB
	}
	if err := m.to.Write(m.put); err != nil {
		return 0, err
	}
	return max(m.given, 0), m.giveErr
}

func (m *mover) tryPut(fd uintptr) bool {
	m.fd = int(fd)
	m.given, m.giveErr = m.try(m.putOnce)
	return m.giveErr != unix.EAGAIN
}

func (m *mover) putNow() (int, error) {
	return transfer(unix.SYS_SENDTO, m.fd, m.out, m.flags)
}

// rest is what it has taken and not given on, and whether that is an urgent byte.
func (m *mover) rest() (b []byte, isUrgent bool) {
	b = append(b, m.read...)
	m.release()
	return b, m.isUrgent
}

// release gives the buffer back.
func (m *mover) release() {
	m.buffers.put(m.buf)
	m.buf, m.read = nil, nil
}

// close drops what it has.
func (m *mover) close() { m.release() }

// transfer receives or sends and does not wait. So the scheduler need not be told of
// the call, and for messages that is what makes a relay fast: a processor that it
// takes away meanwhile has to be won back before the next call.
func transfer(call uintptr, fd int, b []byte, flags int) (int, error) {
	at, size := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))
	var n uintptr
	var err unix.Errno
	if len(b) <= few {
		n, _, err = unix.RawSyscall6(call, uintptr(fd), at, size, uintptr(flags), 0, 0)
	} else {
		n, _, err = unix.Syscall6(call, uintptr(fd), at, size, uintptr(flags), 0, 0)
	}
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

const (
	// few bytes go through a small buffer; a connection that has had as many at a time
	// gets a large one.
	few       = 16 << 10
	largeSize = 512 << 10
	// maxLarge is how many large buffers are in use at a time; the other connections
	// make do with small ones.
	maxLarge = 64
)

// buffers are for movers that have bytes to move.
type buffers struct {
	small, large sync.Pool
	inUse        atomic.Int64 // large ones
}

func (b *buffers) get(large bool) []byte {
	pool, size := &b.small, few
	if large {
		if b.inUse.Add(1) <= maxLarge {
			pool, size = &b.large, largeSize
		} else {
			b.inUse.Add(-1)
		}
	}
	if at, ok := pool.Get().(*byte); ok {
		return unsafe.Slice(at, size)
	}
	return make([]byte, size)
}

func (b *buffers) put(buf []byte) {
	switch len(buf) {
	case few:
		b.small.Put(unsafe.SliceData(buf))
	case largeSize:
		b.inUse.Add(-1)
		b.large.Put(unsafe.SliceData(buf))
	}
}
