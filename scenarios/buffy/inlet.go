package buffy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// The sample system's own addresses, beside those of the protocol.
const (
	addressHello   = "/hello"   // s name, s data address, h session: a worker signs in, or again where something may be lost
	addressNext    = "/next"    // s data address, h ring, T or F: the leader says who is next, and whether all that it knows are in the ring
	addressLinked  = "/linked"  // s name, h ring: the worker has connected to the next
	addressLeaving = "/leaving" // s name: closed deliberately before /end
	addressAcks    = "/acks"    // s name: acknowledge what follows by /ack on this connection, of which it is the first message
)

// inlet receives from others: it listens, and reads every connection.
type inlet struct {
	p        *process
	listener *osc.Listener
	// data is called with all messages of data, from one goroutine a connection.
	// nil says UNEXPECTED DATA.
	data func(*upstream, run) error
	// acked is called with all acknowledgements, whose ids the items have.
	acked func(u *upstream, acks []osc.Item) error
	// other is called with a message that is none of these and no end; nil says
	// UNEXPECTED DATA.
	other func(*upstream, *osc.Message) error
	// pause is called when there is nothing more to read from the upstream at
	// the moment.
	pause func(*upstream) error
	// done is called when at least one upstream has ended and none is left that
	// has not; again when that is so again.
	done func() error
	// gone is called when a connection is over. err is nil where that was
	// deliberate. Where gone is nil, a lost upstream is a failure, unless it has
	// asked for acknowledgements: then it is waited for.
	gone func(u *upstream, err error) error

	mu      sync.Mutex
	open    map[*upstream]bool // the connections; true for those that have not ended
	away    map[string]bool    // those that are waited for
	ends    int
	closing bool
}

// upstream is one connection to an inlet.
type upstream struct {
	connection
	name    string
	sent    bool        // something
	numbers bool        // it speaks the addresses of 2016
	over    bool        // it has said /end or /leaving
	acks    atomic.Bool // it has asked for acknowledgements
	items   []osc.Item  // of the present run
	owed    []osc.Item  // acknowledgements that are sent at the next pause
	tell    []*upstream // whom the present run of acknowledgements is of
	results [2]results  // of the stages, whose memory is used again
}

// ack queues acknowledgements, if they were asked for.
func (u *upstream) ack(acks []osc.Item) {
	if u != nil && u.acks.Load() {
		u.QueueItems(ackTemplate, acks) // who is gone sends it again
	}
}

// ackEach queues acknowledgements to those that each is to be told.
func ackEach(to []*upstream, acks []osc.Item) {
	for i := 0; i < len(to); {
		end := i + 1
		for end < len(to) && to[end] == to[i] {
			end++
		}
		to[i].ack(acks[i:end])
		i = end
	}
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
	in := &inlet{p: p, listener: l, open: map[*upstream]bool{}, away: map[string]bool{}}
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
		u.leave(!open && !u.acks.Load())
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
		u := &upstream{connection: in.p.connection(c, osc.ConnOptions{})}
		in.mu.Lock()
		if in.closing {
			in.mu.Unlock()
			u.Close()
			return nil
		}
		in.open[u] = true
		in.mu.Unlock()
		in.p.goes(func() error { return in.closed(u, in.read(u)) })
	}
}

// follow reads a connection that this side made until it is over. It returns
// nil where the other side left.
func (in *inlet) follow(u *upstream) error {
	err := in.read(u)
	if u.over {
		return nil
	}
	return err
}

// handled is an error of what was done with a message, and not the connection's.
type handled struct{ error }

func (h handled) Unwrap() error { return h.error }

// read reads a connection until it is over, and returns why.
func (in *inlet) read(u *upstream) error {
	defer u.Close()
	for {
		packet, err := u.Receive()
		var broken *osc.ProtocolError
		if err != nil && errors.As(err, &broken) && !broken.EndsStream {
			in.p.say("UNABLE TO DECODE MESSAGE")
			continue
		}
		if err != nil {
			if err := in.pauses(u); err != nil {
				return handled{err}
			}
			return err
		}
		if item, ok := dataTemplate.Item(packet); ok && in.data != nil {
			in.speaks(u)
			err = in.data(u, run{u.follow(dataTemplate, item), true})
		} else if item, ok := ackTemplate.Item(packet); ok && in.acked != nil {
			err = in.acked(u, u.follow(ackTemplate, item))
		} else {
			err = in.packet(u, packet)
		}
		if err == nil && !u.More() {
			err = in.pauses(u)
		}
		if err != nil {
			return handled{err}
		}
	}
}

// follow is a message and those of the same template that follow it in what has
// been read.
func (u *upstream) follow(t *osc.Template, first osc.Item) []osc.Item {
	if u.items == nil {
		u.items = make([]osc.Item, 0, runMessages)
	}
	u.items = u.Items(t, append(u.items[:0], first))
	return u.items
}

// speaks notes that an upstream sends. One that has ended has not, then.
func (in *inlet) speaks(u *upstream) {
	u.sent = true
	if u.over {
		u.over = false
		in.mu.Lock()
		defer in.mu.Unlock()
		if _, connected := in.open[u]; connected {
			in.open[u] = true
		}
	}
}

func (in *inlet) pauses(u *upstream) error {
	if in.pause == nil {
		return nil
	}
	return in.pause(u)
}

// packet handles the messages of a packet.
func (in *inlet) packet(u *upstream, packet []byte) error {
	for v, err := range osc.Messages(packet) {
		if err != nil {
			in.p.say("UNABLE TO DECODE MESSAGE")
		} else if err := in.message(u, v.Message()); err != nil {
			return err
		}
	}
	return nil
}

func (in *inlet) message(u *upstream, m *osc.Message) error {
	address, dialect := control.Canonical(m.Address)
	if dialect == control.Numbers {
		u.numbers = true
	}
	switch {
	case address == addressLeaving:
		u.over = true
		return nil
	case address == addressAcks && len(m.Arguments) == 1:
		if name, ok := m.Arguments[0].(string); ok {
			in.asked(u, name)
			return nil
		}
	case address == control.AddressData && in.data != nil:
		if r, ok := dataOf(m); ok {
			in.speaks(u)
			return in.data(u, r)
		}
	case address == control.AddressAck && in.acked != nil && len(m.Arguments) == 1:
		if id, ok := m.Arguments[0].(int64); ok {
			return in.acked(u, []osc.Item{{Int64: id}})
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

// asked handles an upstream that asks for acknowledgements. It may be one that
// was lost: then it takes the place of what is left of it.
func (in *inlet) asked(u *upstream, name string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	u.name = name
	u.acks.Store(true)
	delete(in.away, name)
	for other := range in.open {
		if other != u && other.acks.Load() && other.name == name {
			in.open[other] = false
			other.acks.Store(false)
			other.Close()
		}
	}
}

// askers are the upstreams that have asked for acknowledgements.
func (in *inlet) askers() (all []*upstream) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for u := range in.open {
		if u.acks.Load() {
			all = append(all, u)
		}
	}
	return all
}

// dataOf is the message of data that a /data message is: s or b, then
// optionally h.
func dataOf(m *osc.Message) (r run, ok bool) {
	args := m.Arguments
	var item osc.Item
	if r.numbered = len(args) == 2; r.numbered {
		if item.Int64, ok = args[1].(int64); !ok {
			return r, false
		}
	} else if len(args) != 1 {
		return r, false
	}
	switch v := args[0].(type) {
	case string:
		item.String = []byte(v)
	case []byte:
		item.String = v
	default:
		return r, false
	}
	r.items = []osc.Item{item}
	return r, true
}

// closed handles the end of a connection.
func (in *inlet) closed(u *upstream, err error) error {
	var failure handled
	if errors.As(err, &failure) {
		return failure.error
	}
	var broken *osc.ProtocolError
	isBroken := errors.As(err, &broken)
	if isBroken {
		in.p.say("UNABLE TO DECODE MESSAGE")
	}
	ending := in.p.isEnding()
	in.mu.Lock()
	open := in.open[u]
	delete(in.open, u)
	lost := open && !u.over && (u.sent || u.name != "") && !ending && (!isBroken || u.acks.Load())
	ends := lost && u.numbers && u.sent && errors.Is(err, io.EOF) // how an upstream of 2016 says its end
	if ends {
		in.ends++
		lost = false
	}
	waits := lost && in.gone == nil && u.acks.Load()
	if waits {
		in.away[u.name] = true
	}
	in.mu.Unlock()
	if lost {
		name := u.name
		if name == "" {
			name = "the upstream at " + u.RemoteAddr().String()
		}
		err = fmt.Errorf("lost %s before its end: %w", name, err)
		if in.gone == nil && !waits {
			return err
		}
		in.p.say("LOST UPSTREAM: %v", err)
	} else {
		err = nil
	}
	if in.gone != nil {
		if err := in.gone(u, err); err != nil {
			return err
		}
	}
	return in.check()
}

func (p *process) isEnding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

// end handles the end of an upstream.
func (in *inlet) end(u *upstream) error {
	in.mu.Lock()
	if _, connected := in.open[u]; connected {
		in.open[u] = false
	}
	in.ends++
	in.mu.Unlock()
	return in.check()
}

// check has all done when the last upstream has ended.
func (in *inlet) check() error {
	in.mu.Lock()
	ended := in.ends > 0
	in.mu.Unlock()
	if !ended || in.done == nil || !in.quiet() {
		return nil
	}
	return in.done()
}

// quiet reports whether no upstream is left that has not ended. One that has
// connected and not been accepted yet counts too.
func (in *inlet) quiet() bool {
	return in.allEnded() && (in.listener == nil || in.listener.Settle() == nil && in.allEnded())
}

func (in *inlet) allEnded() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, open := range in.open {
		if open {
			return false
		}
	}
	return len(in.away) == 0
}
