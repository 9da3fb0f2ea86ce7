//go:build !linux

package link

import "net"

// mover moves bytes from one connection to another.
type mover struct {
	from, to *net.TCPConn
	buf      []byte
	held     []byte
}

const pipeSize = chunk

// pipes are nothing here.
type pipes struct{}

func (*pipes) close() {}

func newMover(_ *pipes, from, to *net.TCPConn) *mover { return &mover{from: from, to: to} }

// fill waits for bytes and takes some; io.EOF is the end.
func (m *mover) fill(most int) error {
	if m.buf == nil {
		m.buf = make([]byte, chunk)
	}
	n, err := m.from.Read(m.buf[:min(most, chunk)])
	m.held = m.buf[:n]
	if n > 0 {
		return nil
	}
	return err
}

// drain gives on what it has.
func (m *mover) drain(try attempt) (int, error) {
	n, err := m.write(try, m.held)
	m.held = m.held[n:]
	return n, err
}

// write writes some bytes or all. It waits, so it cannot be an attempt: what it has
// begun it may end when the lane has changed.
func (m *mover) write(_ attempt, b []byte) (int, error) { return m.to.Write(b) }

// rest is what it has taken and not given on.
func (m *mover) rest() []byte {
	rest := append([]byte(nil), m.held...)
	m.held = nil
	return rest
}

func (m *mover) close() {}
