package buffy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// The sample system's own addresses, beside those of the protocol.
const (
	addressHello   = "/hello"   // s name, s data address: a worker signs in
	addressNext    = "/next"    // s data address: the leader says who is next
	addressLinked  = "/linked"  // s name: the worker has connected to the next
	addressLeaving = "/leaving" // s name: closed deliberately before /end
)

// inlet receives from others: it listens, and reads every connection.
type inlet struct {
	p        *process
	listener *osc.Listener
	// data is called with every payload, from one goroutine a connection; the
	// payload is good until it returns.
	data func(payload []byte, id int64) error
	// other is called with a message that is neither data nor an end; nil says
	// UNEXPECTED DATA.
	other func(*upstream, *osc.Message) error
	// pause is called when there is nothing more to read at the moment.
	pause func() error
	// done is called once, when at least one upstream has ended and none is
	// left that has not.
	done func() error
	// keeps tells that a lost upstream is said, and no failure.
	keeps bool

	mu       sync.Mutex
	open     map[*upstream]bool // the connections; true for those that have not ended
	closing  bool
	finished bool
}

// upstream is one connection to an inlet.
type upstream struct {
	conn    *osc.Conn
	name    string
	sent    bool // something
	numbers bool // it speaks the addresses of 2016
	over    bool // it has said /end or /leaving
}

// listen opens an inlet; serve then lets it run.
func (p *process) listen(what, address string) (*inlet, error) {
	if address == "" {
		return nil, fmt.Errorf("--%s is missing: HOST:PORT was expected", what)
	}
	l, err := osc.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on --%s: %w", what, err)
	}
	in := &inlet{p: p, listener: l, open: map[*upstream]bool{}}
	p.closers = append(p.closers, in.close)
	return in, nil
}

func (in *inlet) serve() { in.p.goes(in.accept) }

func (in *inlet) close() error {
	in.listener.Close()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closing = true
	for u, open := range in.open {
		if open {
			u.conn.Send(osc.NewMessage(addressLeaving, in.p.config.Name)) // who is gone need not know
		}
		u.conn.Close()
	}
	return nil
}

func (in *inlet) accept() error {
	for {
		c, err := in.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		u := &upstream{conn: osc.NewConn(c, osc.ConnOptions{MaxFrame: osc.MaxFrame})}
		in.mu.Lock()
		if in.closing {
			in.mu.Unlock()
			c.Close()
			return nil
		}
		in.open[u] = true
		in.mu.Unlock()
		in.p.goes(func() error { return in.read(u) })
	}
}

func (in *inlet) read(u *upstream) error {
	defer u.conn.Close()
	for {
		packet, err := u.conn.Receive()
		if err != nil {
			return in.closed(u, err)
		}
		if payload, id, ok := dataTemplate.StringInt64(packet); ok && !u.over {
			u.sent = true
			err = in.data(payload, id)
		} else {
			err = in.message(u, packet)
		}
		if err == nil && !u.conn.More() {
			err = in.pauses()
		}
		if err != nil {
			return err
		}
	}
}

func (in *inlet) pauses() error {
	if in.pause == nil {
		return nil
	}
	return in.pause()
}

func (in *inlet) message(u *upstream, packet []byte) error {
	v, err := osc.Parse(packet)
	if err != nil {
		in.p.say("UNABLE TO DECODE MESSAGE")
		return nil
	}
	m := v.Message()
	address, dialect := control.Canonical(m.Address)
	if dialect == control.Numbers {
		u.numbers = true
	}
	switch {
	case address == addressLeaving, u.over && address == control.AddressEnd:
		u.over = true
		return nil
	case u.over:
	case address == control.AddressData:
		if payload, id, ok := dataOf(m); ok {
			u.sent = true
			return in.data(payload, id)
		}
	case address == control.AddressEnd:
		u.over = true
		return in.end(u)
	case in.other != nil:
		return in.other(u, m)
	}
	in.p.say("UNEXPECTED DATA")
	return nil
}

// dataOf are the payload and id of a /data message: s or b, then optionally h.
func dataOf(m *osc.Message) (payload []byte, id int64, ok bool) {
	args := m.Arguments
	if len(args) == 2 {
		if id, ok = args[1].(int64); !ok {
			return nil, 0, false
		}
	} else if len(args) != 1 {
		return nil, 0, false
	}
	switch v := args[0].(type) {
	case string:
		return []byte(v), id, true
	case []byte:
		return v, id, true
	}
	return nil, 0, false
}

// closed handles the end of a connection.
func (in *inlet) closed(u *upstream, err error) error {
	in.mu.Lock()
	open := in.open[u]
	delete(in.open, u)
	in.mu.Unlock()
	if err := in.pauses(); err != nil {
		return err
	}
	var broken *osc.ProtocolError
	switch {
	case errors.As(err, &broken):
		in.p.say("UNABLE TO DECODE MESSAGE")
	case !open || u.over:
	case u.numbers && u.sent && errors.Is(err, io.EOF): // how an upstream of 2016 says its end
		return in.end(u)
	case u.sent || u.name != "":
		name := u.name
		if name == "" {
			name = "the upstream at " + u.conn.RemoteAddr().String()
		}
		if err := fmt.Errorf("lost %s before its end: %w", name, err); !in.keeps {
			return err
		} else if !in.p.isEnding() {
			in.p.say("LOST UPSTREAM: %v", err)
		}
	}
	return nil
}

func (p *process) isEnding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

// end handles the end of an upstream: when it was the last, all is done. One
// that has connected and not been accepted yet counts too.
func (in *inlet) end(u *upstream) error {
	in.mu.Lock()
	if _, connected := in.open[u]; connected {
		in.open[u] = false
	}
	last := in.allEnded()
	in.mu.Unlock()
	if !last {
		return nil
	}
	if in.listener != nil {
		if err := in.listener.Settle(); errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
	}
	in.mu.Lock()
	first := in.allEnded() && !in.finished
	in.finished = in.finished || first
	in.mu.Unlock()
	if !first || in.done == nil {
		return nil
	}
	return in.done()
}

// allEnded tells whether no connection is left that has not ended. The lock is
// held.
func (in *inlet) allEnded() bool {
	for _, open := range in.open {
		if open {
			return false
		}
	}
	return true
}
