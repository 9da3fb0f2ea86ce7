package fault

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mover moves bytes from one connection to another within the kernel, through a
// pipe (splice(2)).
type mover struct {
	from, to syscall.RawConn
	pipe     [2]int
	held     int // bytes in the pipe
}

// pipeSize is how much a mover's pipe is to hold; an ordinary user may not have
// many of that size, and then they hold less.
const pipeSize = 256 << 10

func newMover(from, to *net.TCPConn) (*mover, error) {
	m := &mover{}
	var err error
	if m.from, err = from.SyscallConn(); err != nil {
		return nil, err
	}
	if m.to, err = to.SyscallConn(); err != nil {
		return nil, err
	}
	if err := unix.Pipe2(m.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	unix.FcntlInt(uintptr(m.pipe[1]), unix.F_SETPIPE_SZ, pipeSize)
	return m, nil
}

// fill waits for bytes and takes them; io.EOF is the end.
func (m *mover) fill() error {
	var n int64
	var failure error
	err := m.from.Read(func(fd uintptr) bool {
		n, failure = splice(int(fd), m.pipe[1], pipeSize)
		return failure != unix.EAGAIN
	})
	switch {
	case err != nil:
		return err
	case failure != nil:
		return os.NewSyscallError("splice", failure)
	case n == 0:
		return io.EOF
	}
	m.held += int(n)
	return nil
}

// drain gives on what it has.
func (m *mover) drain() error {
	for m.held > 0 {
		var n int64
		var failure error
		err := m.to.Write(func(fd uintptr) bool {
			n, failure = splice(m.pipe[0], int(fd), m.held)
			return failure != unix.EAGAIN
		})
		if err == nil && failure != nil {
			err = os.NewSyscallError("splice", failure)
		}
		if err != nil {
			return err
		}
		m.held -= int(n)
	}
	return nil
}

// rest is what it has taken and could not give on.
func (m *mover) rest() []byte {
	b := make([]byte, m.held)
	at := 0
	for at < len(b) {
		n, err := unix.Read(m.pipe[0], b[at:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		at += n
	}
	m.held = 0
	return b[:at]
}

func (m *mover) close() {
	unix.Close(m.pipe[0])
	unix.Close(m.pipe[1])
}

func splice(from, to, most int) (int64, error) {
	for {
		n, err := unix.Splice(from, nil, to, nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return n, err
		}
	}
}
