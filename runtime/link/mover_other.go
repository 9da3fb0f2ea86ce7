//go:build !linux

package link

import (
	"errors"
	"net"
	"os"
)

// mover moves bytes from one connection to another.
type mover struct {
	from, to *net.TCPConn
	took     func(int, error) // what the pump is told, since nothing here is an attempt
	gave     func(int)
	buf      []byte
	held     []byte
}

const largeSize = chunk

// buffers are nothing here.
type buffers struct{}

func newMover(p *pump) *mover {
	return &mover{from: p.from, to: p.to, took: p.took, gave: p.gave}
}

// await waits until there are bytes, or the end, and takes nothing.
func (m *mover) await() error {
	raw, err := m.from.SyscallConn()
	if err != nil {
		return err
	}
	asked := false
	return raw.Read(func(fd uintptr) bool {
		n, isEnd := unread(fd)
		// The second call comes when the connection can be read: then it is the end.
		defer func() { asked = true }()
		return n > 0 || isEnd || asked
	})
}

// arrived is how many bytes wait in a connection to be taken, and whether its end has
// come and none wait. A connection that is closed has neither.
func arrived(c *net.TCPConn) (n int, isEnd bool) {
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { n, isEnd = unread(fd) })
	}
	return n, isEnd
}

// fill waits for bytes and takes some; io.EOF is the end.
func (m *mover) fill(most int) error {
	if m.buf == nil {
		m.buf = make([]byte, chunk)
	}
	n, err := m.from.Read(m.buf[:min(most, chunk)])
	m.held = m.buf[:n]
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		m.took(n, err)
	}
	if n > 0 {
		return nil
	}
	return err
}

// drain gives on what it has.
func (m *mover) drain(try attempt) (int, error) {
	n, err := m.write(try, m.held, false)
	m.held = m.held[n:]
	return n, err
}

// write writes some bytes or all. It waits, so it cannot be an attempt: what it has
// begun it may end when the lane has changed.
func (m *mover) write(_ attempt, b []byte, _ bool) (int, error) {
	n, err := m.to.Write(b)
	m.gave(n)
	return n, err
}

// gave counts what was given on without an attempt.
func (p *pump) gave(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given += int64(n)
}

// rest is what it has taken and not given on. Of an urgent byte nobody tells here.
func (m *mover) rest() (b []byte, isUrgent bool) {
	b = append(b, m.held...)
	m.held = nil
	return b, false
}

func (m *mover) close() {}
