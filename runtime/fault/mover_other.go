//go:build !linux

package fault

import "net"

// mover moves bytes from one connection to another.
type mover struct {
	from, to *net.TCPConn
	buf      [chunk]byte
	held     []byte
}

func newMover(from, to *net.TCPConn) (*mover, error) { return &mover{from: from, to: to}, nil }

// fill waits for bytes and takes them; io.EOF is the end.
func (m *mover) fill() error {
	n, err := m.from.Read(m.buf[:])
	m.held = m.buf[:n]
	if n > 0 {
		return nil
	}
	return err
}

// drain gives on what it has.
func (m *mover) drain() error {
	n, err := m.to.Write(m.held)
	m.held = m.held[n:]
	return err
}

// rest is what it has taken and could not give on.
func (m *mover) rest() []byte {
	rest := append([]byte(nil), m.held...)
	m.held = nil
	return rest
}

func (m *mover) close() {}
