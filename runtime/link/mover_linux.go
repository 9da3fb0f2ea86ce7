package link

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// mover moves bytes from one connection to another: within the kernel, through a
// pipe (splice(2)), while there are many; but a few are read and written sooner.
type mover struct {
	from, to syscall.RawConn
	pipes    *pipes
	isMany   bool
	pipe     *pipe // while there are bytes in it,
	held     int   // so many
	buf      *[few]byte
	read     []byte // bytes in buf

	// What the calls below take and return. They are made once: a message is sooner
	// where it is forwarded than a closure is allocated.
	most      int
	took      attempt
	fromFD    int
	taken     int
	takeErr   error
	try       attempt
	fd        int
	out       []byte // nil is what is in the pipe
	given     int
	giveErr   error
	take, put func(fd uintptr) bool
	takeOnce  func() (int, error)
	putOnce   func() (int, error)
}

const (
	// pipeSize is how much a mover's pipe is to hold; an ordinary user may not have
	// many of that size, and then they hold less.
	pipeSize = 256 << 10
	// few bytes go through a buffer.
	few = 16 << 10
)

func newMover(p *pump) *mover {
	m := &mover{pipes: p.stream.relay.network.pipes, took: p.take}
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
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	uninterrupted(func() (int, error) { return unix.Poll(poll, 0) })
	return int(bytes), poll[0].Revents != 0
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
	case m.pipe != nil:
		m.held = m.taken
	default:
		m.read = m.buf[:m.taken]
	}
	if err != nil {
		m.release()
		return err
	}
	m.isMany = m.taken >= few
	return nil
}

func (m *mover) tryTake(fd uintptr) bool {
	if m.isMany {
		m.pipe = m.pipes.get()
	}
	if m.pipe == nil { // also where none is to be had
		m.buf = m.pipes.buffer()
	}
	m.fromFD = int(fd)
	m.taken, m.takeErr = m.took(m.takeOnce)
	if m.takeErr != unix.EAGAIN {
		return true
	}
	m.release() // who waits for bytes needs neither
	m.isMany = false
	return false
}

func (m *mover) takeNow() (int, error) {
	if m.pipe != nil {
		return splice(m.fromFD, m.pipe[1], m.most)
	}
	return uninterrupted(func() (int, error) { return unix.Read(m.fromFD, m.buf[:min(m.most, few)]) })
}

// drain gives on what it has.
func (m *mover) drain(try attempt) (n int, err error) {
	for m.held > 0 && err == nil {
		n, err = m.give(try, nil)
		m.held -= n
	}
	for len(m.read) > 0 && err == nil {
		n, err = m.write(try, m.read)
		m.read = m.read[n:]
	}
	return n, err
}

// write writes some bytes or all.
func (m *mover) write(try attempt, b []byte) (int, error) { return m.give(try, b) }

// give gives bytes to the connection once it has room; nil is what is in the pipe.
func (m *mover) give(try attempt, b []byte) (int, error) {
	m.try, m.out = try, b
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
	if m.out == nil {
		return splice(m.pipe[0], m.fd, m.held)
	}
	return uninterrupted(func() (int, error) { return unix.Write(m.fd, m.out) })
}

// rest is what it has taken and not given on.
func (m *mover) rest() []byte {
	b := append([]byte(nil), m.read...)
	if m.held > 0 {
		b = make([]byte, m.held)
		for at := 0; at < len(b); {
			n, err := uninterrupted(func() (int, error) { return unix.Read(m.pipe[0], b[at:]) })
			if n <= 0 { // the pipe has them, so that cannot be
				panic(err)
			}
			at += n
		}
		m.held = 0
	}
	m.release()
	return b
}

// release gives the pipe and the buffer back.
func (m *mover) release() {
	if m.buf != nil {
		m.pipes.buffers.Put(m.buf)
		m.buf, m.read = nil, nil
	}
	if m.pipe != nil {
		m.pipes.put(m.pipe)
		m.pipe = nil
	}
}

// close drops what it has.
func (m *mover) close() { m.rest() }

// uninterrupted does something again until no signal comes between.
func uninterrupted(do func() (int, error)) (int, error) {
	for {
		if n, err := do(); err != unix.EINTR {
			return n, err
		}
	}
}

func splice(from, to, most int) (int, error) {
	return uninterrupted(func() (int, error) {
		n, err := unix.Splice(from, nil, to, nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		return int(n), err
	})
}

// pipe is its reading and its writing end.
type pipe [2]int

// pipes are empty pipes and buffers for movers that have bytes to move.
type pipes struct {
	mu      sync.Mutex
	free    []*pipe
	buffers sync.Pool
}

func (p *pipes) buffer() *[few]byte {
	if b, ok := p.buffers.Get().(*[few]byte); ok {
		return b
	}
	return new([few]byte)
}

// maxFree is how many pipes are kept for use.
const maxFree = 64

// get returns nil where there are no files left.
func (p *pipes) get() *pipe {
	p.mu.Lock()
	if last := len(p.free) - 1; last >= 0 {
		defer p.mu.Unlock()
		free := p.free[last]
		p.free = p.free[:last]
		return free
	}
	p.mu.Unlock()
	made := new(pipe)
	if unix.Pipe2(made[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	unix.FcntlInt(uintptr(made[1]), unix.F_SETPIPE_SZ, pipeSize)
	return made
}

func (p *pipes) put(empty *pipe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == maxFree {
		empty.close()
		return
	}
	p.free = append(p.free, empty)
}

func (p *pipe) close() {
	unix.Close(p[0])
	unix.Close(p[1])
}

// close closes the free ones, once nothing moves any more.
func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, free := range p.free {
		free.close()
	}
	p.free = nil
}
