package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Conn is one connection.
type Conn struct {
	s      *Server
	port   *Port
	osc    *osc.Conn
	peer   string
	hello  Hello   // once it is identified
	speaks Dialect // "
	since  time.Time
	known  chan struct{} // closed when it is, or is not to be
	closed chan struct{}

	mu     sync.Mutex
	reason string // why this side ended it, or ""
}

// Name is the node's name.
func (c *Conn) Name() string { return c.hello.Name }

// Peer is the other end's address.
func (c *Conn) Peer() string { return c.peer }

// Dialect is what the node speaks, and is answered in.
func (c *Conn) Dialect() Dialect { return c.speaks }

// Closed is closed when the last of the connection has been handled.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Close ends the connection.
func (c *Conn) Close() error { return c.end("closed by dagon") }

// Send sends a message with a canonical address.
func (c *Conn) Send(m *osc.Message) error {
	return c.osc.Send(&osc.Message{Address: c.speaks.Address(m.Address), Arguments: m.Arguments})
}

// end closes the connection for a reason; the first one stays.
func (c *Conn) end(reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == "" {
		c.reason = reason
	}
	return c.osc.Close()
}

func (c *Conn) run() {
	identified, reason := c.identify()
	close(c.known)
	if identified {
		<-c.s.places
		c.osc.SetMaxFrame(c.s.o.MaxFrame)
		reason = c.listen()
	}
	c.osc.Close()
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	if identified {
		c.s.handler.Disconnected(c, reason)
	} else {
		c.s.refused(c, "", reason)
		<-c.s.places
	}
	close(c.closed)
}

// identify waits for the first message, which must be a /ready that the Handler
// believes; it returns why not.
func (c *Conn) identify() (bool, string) {
	m, err := c.receive()
	inTime := c.s.heard(c)
	if errors.Is(err, io.EOF) {
		return false, "it closed without saying who it is"
	}
	if err != nil || !inTime {
		return false, c.why(err, fmt.Sprintf("it did not say who it is within %s", c.s.o.IdentifyTimeout))
	}
	address, dialect := Canonical(m.Address)
	if address != AddressReady {
		return false, fmt.Sprintf("it began with %s, and %s was expected", m.Address, AddressReady)
	}
	hello, wrong := parseHello(m.Arguments)
	if wrong != "" {
		return false, wrong
	}
	hello.ForNode, hello.ForIncarnation = c.port.node, c.port.incarnation
	c.hello, c.speaks = hello, dialect
	c.osc.SetReadDeadline(time.Time{})
	if err := c.s.handler.Ready(c, hello); err != nil {
		return false, err.Error()
	}
	return true, ""
}

func parseHello(args []any) (h Hello, wrong string) {
	const expected = "s name, then optionally s run, i incarnation and s token, were expected"
	fields := []any{&h.Name, &h.Run, &h.Incarnation, &h.Token}
	if len(args) == 0 || len(args) > len(fields) {
		return h, fmt.Sprintf("%s had %d arguments: %s", AddressReady, len(args), expected)
	}
	for i, arg := range args {
		ok := false
		switch to := fields[i].(type) {
		case *string:
			*to, ok = arg.(string)
		case *int:
			switch n := arg.(type) {
			case int32:
				*to, ok = int(n), true
			case int64:
				*to, ok = int(n), true
			}
		}
		if !ok {
			return h, fmt.Sprintf("argument %d of %s was a %T: %s", i+1, AddressReady, arg, expected)
		}
	}
	return h, ""
}

// listen passes messages on until the connection ends, and returns why it did.
func (c *Conn) listen() string {
	for {
		m, err := c.receive()
		var broken *osc.ProtocolError
		switch {
		case errors.As(err, &broken) && broken.UnknownTag: // OSC asks to pass over it
			continue
		case err != nil:
			return c.why(err, "a frame did not end in time")
		}
		address, _ := Canonical(m.Address)
		if address == AddressReady {
			c.s.refused(c, c.hello.Name, "it is ready already: a second "+AddressReady+" changes nothing")
			continue
		}
		m.Address = address
		c.s.handler.Received(c, m)
	}
}

// receive returns the next message.
func (c *Conn) receive() (*osc.Message, error) {
	packet, err := c.osc.Receive()
	if err != nil {
		return nil, err
	}
	v, err := osc.Parse(packet)
	if err != nil {
		return nil, err
	}
	return v.Message(), nil
}

// why says why a connection ended.
func (c *Conn) why(err error, late string) string {
	c.mu.Lock()
	ours := c.reason
	c.mu.Unlock()
	var broken *osc.ProtocolError
	switch {
	case ours != "":
		return ours
	case errors.As(err, &broken):
		return "malformed: " + broken.Reason
	case errors.Is(err, os.ErrDeadlineExceeded) && c.osc.Partial():
		return fmt.Sprintf("half a frame, and no more within %s", c.s.o.FrameTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return late
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "closed inside a frame"
	}
	return err.Error()
}
