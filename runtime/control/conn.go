package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Conn is one connection.
type Conn struct {
	s      *Server
	port   *Port
	line   *line
	osc    *osc.Conn
	peer   string
	hello  Hello   // once it is identified
	speaks Dialect // "
	since  time.Duration
	number int64          // in the order in which they were accepted
	first  []element      // what came in one packet with what identified it, that first
	batch  []*osc.Message // heard and not passed on
	bytes  int            // of their packets
	spoken chan struct{}  // closed when what came first has been looked at, or nothing has come
	closed chan struct{}

	mu     sync.Mutex
	reason string // why this side ended it, or ""
	claims string // whose it says it is, "" while it has not
}

// element is a message of a packet, or why it is none.
type element struct {
	message *osc.Message
	wrong   string
}

// Name is the node's name.
func (c *Conn) Name() string { return c.hello.Name }

// Peer is the other end's address.
func (c *Conn) Peer() string { return c.peer }

// Dialect is what the node speaks, and is answered in.
func (c *Conn) Dialect() Dialect { return c.speaks }

// Closed is closed when the last of the connection has been handled.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Stopping is closed when the Server closes.
func (c *Conn) Stopping() <-chan struct{} { return c.s.stop.Done() }

// HearBefore returns when what had been said by the time of the call on the node's older
// connections has been handled: those that were accepted before this one and say that they
// are the same node's. Of those at its port, and at those that nodes share, that have not
// said whose they are, it waits first for that which has come to be looked at. It returns
// as well when ctx is done or the Server closes.
func (c *Conn) HearBefore(ctx context.Context) {
	name := c.hello.Name
	unsaid := c.before(func(o *Conn) bool {
		return o.claims == "" && (o.port == c.port || o.port.node == name || o.port.node == "")
	})
	looked := make([]<-chan struct{}, len(unsaid))
	for i, o := range unsaid {
		looked[i] = o.line.look()
	}
	for i, o := range unsaid {
		select {
		case <-looked[i]:
		case <-o.spoken: // what comes of it may take longer, and is another's
		case <-c.Stopping():
			return
		case <-ctx.Done():
			return
		}
	}
	if same := c.before(func(o *Conn) bool { return o.claims == name }); len(same) > 0 {
		c.s.Settle(ctx, same, nil, false)
	}
}

// before returns the connections that were accepted before this one, have not ended, and
// are wanted.
func (c *Conn) before(wanted func(*Conn) bool) (before []*Conn) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for o := range c.s.conns {
		if o.number >= c.number {
			continue
		}
		o.mu.Lock()
		if wanted(o) {
			before = append(before, o)
		}
		o.mu.Unlock()
	}
	return before
}

// Close ends the connection, for a reason that Handler.Disconnected is told; the first
// one stays.
func (c *Conn) Close(reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == "" {
		c.reason = reason
	}
	return c.osc.Close()
}

// Send sends a message with a canonical address.
// One that the node does not take in time ends the connection: half of it may have come, and
// nothing can follow that.
func (c *Conn) Send(m *osc.Message) error {
	err := c.osc.Send(&osc.Message{Address: c.speaks.Address(m.Address), Arguments: m.Arguments})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		late := fmt.Sprintf("it did not take what it was sent, %s, within %s", m.Address, c.s.o.WriteTimeout)
		c.Close(late)
		return fmt.Errorf("%s: %w", late, err)
	}
	return err
}

func (c *Conn) paused(from, to time.Duration) time.Duration {
	return c.s.handler.Paused(c.whose(), from, to)
}

func (c *Conn) stopped() bool {
	node := c.whose()
	return node != "" && c.s.handler.Stopped(node)
}

// whose is the node that the connection has said it is, or its port is for; "" where
// neither is known.
func (c *Conn) whose() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.claims, c.port.node)
}

func (c *Conn) run() {
	cut, reason := c.introduce()
	close(c.spoken)
	identified := reason == ""
	if identified {
		if err := c.s.handler.Ready(c, c.hello); err != nil {
			identified, cut, reason = false, true, err.Error()
		}
	}
	if identified {
		<-c.s.places
		c.osc.SetMaxFrame(c.s.o.MaxFrame)
		reason, cut = c.listen()
	}
	c.osc.Close()
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	if identified {
		c.s.handler.Disconnected(c, reason, cut)
	} else {
		c.s.refused(c, "", reason)
		<-c.s.places
	}
	close(c.closed)
}

// introduce waits for the first message, which must be a /ready, and returns why it is
// none, or "".
func (c *Conn) introduce() (cut bool, wrong string) {
	packet, err := c.osc.Receive()
	inTime := c.s.heard(c)
	if errors.Is(err, io.EOF) {
		return false, "it closed without saying who it is"
	}
	if err == nil && inTime {
		c.first, err = elements(packet)
	}
	if len(c.first) == 0 && err == nil && inTime {
		return true, "it began with an empty bundle, and " + AddressReady + " was expected"
	}
	if err != nil || !inTime {
		wrong, cut = c.why(err, fmt.Sprintf("it did not say who it is within %s", c.s.o.IdentifyTimeout))
		return cut, wrong
	}
	m := c.first[0].message
	c.first = c.first[1:]
	address, dialect := Canonical(m.Address)
	if address != AddressReady {
		return true, fmt.Sprintf("it began with %s, and %s was expected", m.Address, AddressReady)
	}
	hello, wrong := parseHello(m.Arguments)
	if wrong != "" {
		return true, wrong
	}
	hello.ForNode, hello.ForIncarnation = c.port.node, c.port.incarnation
	c.hello, c.speaks = hello, dialect
	c.mu.Lock()
	c.claims = hello.Name
	c.mu.Unlock()
	c.osc.SetReadDeadline(time.Time{})
	return false, ""
}

// elements are those of a first packet. The error is that of the first of them, without
// which it is not known whose they are.
func elements(packet []byte) (all []element, err error) {
	for v, err := range osc.Messages(packet) {
		switch {
		case err == nil:
			all = append(all, element{message: v.Message()})
		case len(all) == 0:
			return nil, err
		default:
			all = append(all, element{wrong: wrongOf(err)})
		}
	}
	return all, nil
}

// wrongOf is the reason for which a message is refused.
func wrongOf(err error) string {
	var broken *osc.ProtocolError
	if errors.As(err, &broken) {
		return broken.Reason
	}
	return err.Error()
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

// What is heard is passed on when there is no more to be had without waiting, or when
// it is so much.
const (
	batchMessages = 256
	batchBytes    = 64 << 10
)

// listen passes messages on until the connection ends, and returns why it did, and
// whether this side ended it. What holds no message that can be read is refused by
// itself.
func (c *Conn) listen() (reason string, cut bool) {
	for _, e := range c.first {
		if e.message == nil {
			c.refuse(e.wrong)
		} else {
			c.take(e.message)
		}
	}
	c.first = nil
	for {
		if len(c.batch) >= batchMessages || c.bytes >= batchBytes || !c.osc.More() {
			c.passOn()
		}
		packet, err := c.osc.Receive()
		if err != nil {
			var broken *osc.ProtocolError
			if errors.As(err, &broken) && !broken.EndsStream {
				c.refuse(broken.Reason)
				continue
			}
			c.passOn()
			return c.why(err, "a frame did not end in time")
		}
		c.bytes += len(packet)
		for v, err := range osc.Messages(packet) {
			if err != nil {
				c.refuse(wrongOf(err))
			} else {
				c.take(v.Message())
			}
		}
	}
}

// take takes a message of a node that is known.
func (c *Conn) take(m *osc.Message) {
	m.Address, _ = Canonical(m.Address)
	if m.Address == AddressReady {
		c.refuse("it is ready already: a second " + AddressReady + " changes nothing")
		return
	}
	c.batch = append(c.batch, m)
}

// refuse refuses a message by itself.
func (c *Conn) refuse(reason string) {
	c.passOn()
	c.s.refused(c, c.hello.Name, reason)
}

func (c *Conn) passOn() {
	if len(c.batch) > 0 {
		c.s.handler.Received(c, c.batch)
		clear(c.batch)
		c.batch, c.bytes = c.batch[:0], 0
	}
}

// Reset is the reason of a connection that the other side has reset, as the kernel does
// for a process that exits without having read all that it was sent. What it had said, and
// had not come by then, is lost.
const Reset = "reset by the other side"

// windowsReset is what Windows calls it: WSAECONNRESET.
const windowsReset = syscall.Errno(10054)

// why says why a connection ended, and whether this side has ended it.
func (c *Conn) why(err error, late string) (reason string, cut bool) {
	c.mu.Lock()
	ours := c.reason
	c.mu.Unlock()
	var broken *osc.ProtocolError
	switch {
	case ours != "":
		return ours, true
	case errors.As(err, &broken):
		return "malformed: " + broken.Reason, true
	case errors.Is(err, os.ErrDeadlineExceeded) && c.osc.Partial():
		return fmt.Sprintf("half a frame, and no more within %s", c.s.o.FrameTimeout), true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return late, true
	case errors.Is(err, io.EOF):
		return "closed", false
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "closed inside a frame", false
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, windowsReset):
		return Reset, false
	}
	return err.Error(), false
}
