package fault

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// mover moves bytes from one connection to another within the kernel, through a
// pipe (splice(2)).
type mover struct {
	from, to syscall.RawConn // nil where the connection is closed
	pipes    *pipes
	pipe     *pipe  // while there are bytes in it
	held     int    // bytes in the pipe
	read     []byte // bytes that were taken without a pipe, since there was none to be had
}

// pipeSize is how much a mover's pipe is to hold; an ordinary user may not have
// many of that size, and then they hold less.
const pipeSize = 256 << 10

func newMover(pipes *pipes, from, to *net.TCPConn) *mover {
	m := &mover{pipes: pipes}
	m.from, _ = from.SyscallConn() // never fails
	m.to, _ = to.SyscallConn()
	return m
}

// fill waits for bytes and takes some; io.EOF is the end.
func (m *mover) fill(most int) error {
	var n int
	var failure error
	err := m.from.Read(func(fd uintptr) bool {
		if m.pipe == nil {
			m.pipe = m.pipes.get()
		}
		if m.pipe != nil {
			n, failure = splice(int(fd), m.pipe[1], most)
		} else {
			m.read = make([]byte, min(most, chunk))
			n, failure = uninterrupted(func() (int, error) { return unix.Read(int(fd), m.read) })
			m.read = m.read[:max(n, 0)]
		}
		if failure != unix.EAGAIN {
			return true
		}
		m.release() // who waits for bytes needs no pipe
		return false
	})
	switch {
	case err != nil:
	case failure != nil:
		err = os.NewSyscallError("splice", failure)
	case n == 0:
		err = io.EOF
	case m.pipe != nil:
		m.held = n
	}
	if err != nil {
		m.release()
	}
	return err
}

// drain gives on what it has in its pipe.
func (m *mover) drain(try attempt) (n int, err error) {
	for m.held > 0 && err == nil {
		n, err = m.give(try, func(fd int) (int, error) { return splice(m.pipe[0], fd, m.held) })
		m.held -= n
	}
	if m.held == 0 && m.pipe != nil {
		m.release()
	}
	return n, err
}

// write writes some bytes or all.
func (m *mover) write(try attempt, b []byte) (int, error) {
	return m.give(try, func(fd int) (int, error) {
		return uninterrupted(func() (int, error) { return unix.Write(fd, b) })
	})
}

// give has an operation give bytes to the connection once it has room.
func (m *mover) give(try attempt, operation func(fd int) (int, error)) (n int, err error) {
	failure := m.to.Write(func(fd uintptr) bool {
		n, err = try(func() (int, error) { return operation(int(fd)) })
		return err != unix.EAGAIN
	})
	if failure != nil {
		return 0, failure
	}
	return max(n, 0), err
}

// rest is what it has taken and not given on.
func (m *mover) rest() []byte {
	b := m.read
	m.read = nil
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

// release gives the pipe back.
func (m *mover) release() {
	m.read = nil
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

// pipes are empty pipes for movers that have bytes to move.
type pipes struct {
	mu   sync.Mutex
	free []*pipe
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
