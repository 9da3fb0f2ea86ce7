package buffy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// run is messages of data that came together, in their order: payloads and ids,
// or one payload that has no id. They are good until whoever is given them
// returns.
type run struct {
	items    []osc.Item
	numbered bool // they have ids
}

// runMessages is how many messages a run has at most.
const runMessages = 512

var (
	dataTemplate = template(control.AddressData, "sh")
	ackTemplate  = template(control.AddressAck, "h")
)

func template(address, tags string) *osc.Template {
	t, err := osc.NewTemplate(address, tags)
	if err != nil {
		panic(err) // the constants are right
	}
	return &t
}

// queueRun queues messages on a connection, each as a string where it can be one.
// What cannot be sent at all is given to refused, whose error ends it. It returns
// how many of them are done with.
func queueRun(c *osc.Conn, r run, refused func(*osc.Item) error) (n int, err error) {
	for n < len(r.items) {
		if r.numbered {
			some, err := c.QueueItems(dataTemplate, r.items[n:])
			if n += some; err == nil {
				return n, nil
			}
			if !unsendable(err) {
				return n, err
			}
		}
		err := queueAny(c, &r.items[n], r.numbered)
		if unsendable(err) {
			err = refused(&r.items[n])
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// queueAny queues a message that may have any bytes.
func queueAny(c *osc.Conn, item *osc.Item, numbered bool) error {
	var text any = string(item.String)
	for range 2 {
		args := []any{text, item.Int64}
		if !numbered {
			args = args[:1]
		}
		packet, err := osc.Append(nil, osc.NewMessage(control.AddressData, args...))
		if err == nil {
			return c.Queue(packet)
		}
		text = item.String // it has a NUL
	}
	panic("unreachable: a blob may have any bytes")
}

// unsendable reports whether an error is the message's, and not the connection's.
func unsendable(err error) bool {
	if err == nil {
		return false
	}
	var broken *osc.ProtocolError
	return errors.As(err, &broken)
}

// leaveFor is how long one that leaves waits for others to take what it sends.
const leaveFor = time.Second

// connection is a connection to another component.
type connection struct {
	*osc.Conn
	raw net.Conn
	p   *process
}

func (p *process) connection(raw net.Conn, o osc.ConnOptions) connection {
	o.MaxFrame = osc.MaxFrame
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connections[raw] = true
	if p.leaving {
		raw.SetWriteDeadline(time.Now().Add(leaveFor))
	}
	return connection{osc.NewConn(raw, o), raw, p}
}

// unblock bounds what is written from now on, so that others who do not take it
// keep nobody from stopping.
func (p *process) unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	for raw := range p.connections {
		raw.SetWriteDeadline(time.Now().Add(leaveFor))
	}
}

// Close closes the connection; what is queued is lost.
func (c connection) Close() error {
	c.p.mu.Lock()
	delete(c.p.connections, c.raw)
	c.p.mu.Unlock()
	return c.Conn.Close()
}

// leave closes a connection deliberately, and says so unless the end was said.
func (c connection) leave(ended bool) {
	if !ended {
		c.raw.SetWriteDeadline(time.Now().Add(leaveFor))
		c.Send(osc.NewMessage(addressLeaving, c.p.config.Name)) // who is gone need not know
	}
	c.Close()
}

// How others are called.
const (
	dialFor  = 10 * time.Second       // those that are not listening yet, the first time
	dialSlow = 100 * time.Millisecond // at most between two tries
)

// caller makes connections to another component.
type caller struct {
	p       *process
	what    string // the flag that gave the address
	address string
	patient bool          // it does not give up the first time either
	wait    time.Duration // before the next try
	made    time.Time     // the last connection
	calls   int           // that have succeeded
}

// call connects. The first time it gives up after ten seconds; later it goes on
// until it has succeeded, the component is to stop, or ctx is over. A connection
// that is lost as soon as it is made, as by a relay to somebody who is not there,
// is not made again at once.
func (c *caller) call(ctx context.Context) (connection, error) {
	if c.address == "" {
		return connection{}, fmt.Errorf("--%s is missing: HOST:PORT was expected", c.what)
	}
	patient := c.patient || !c.made.IsZero()
	if time.Since(c.made) > time.Second {
		c.wait = 0
	}
	began := time.Now()
	var d net.Dialer
	for {
		if c.wait > 0 {
			timer := time.NewTimer(c.wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
		if c.p.stopped() || ctx.Err() != nil {
			return connection{}, errStopped
		}
		c.wait = min(max(2*c.wait, time.Millisecond), dialSlow)
		raw, err := d.DialContext(ctx, "tcp", c.address)
		if err == nil {
			c.made = time.Now()
			c.calls++
			return c.p.connection(raw, osc.ConnOptions{Framing: osc.SizePrefix}), nil
		}
		if !patient && time.Since(began) > dialFor {
			return connection{}, fmt.Errorf("cannot connect to --%s: %w", c.what, err)
		}
	}
}

// lived reports whether the last connection was more than another try.
func (c *caller) lived() bool { return c.calls == 1 || time.Since(c.made) > dialSlow }

// outlet is where messages are sent to.
type outlet struct {
	caller
	// lasting tells that a lost connection is no failure, and made anew.
	lasting bool
	// asks tells that acknowledgements are asked for.
	asks bool
	// acked is called with all acknowledgements, whose ids the items have, and
	// pause when none follows at the moment.
	acked func(acks []osc.Item) error
	pause func() error
	// again is called when the connection has been made anew. What was sent and
	// not acknowledged may have been lost.
	again func()

	calling sync.Mutex
	closed  bool
	conn    atomic.Pointer[connection]
	ended   atomic.Bool
}

// open connects for the first time.
func (o *outlet) open() error {
	o.p.closers = append(o.p.closers, o.close)
	return o.connect()
}

func (o *outlet) connect() error {
	c, err := o.call(o.p.ctx)
	if err != nil {
		return err
	}
	if o.asks {
		if err := c.Send(osc.NewMessage(addressAcks, o.p.config.Name)); err != nil && !o.lasting {
			return err
		}
	}
	o.conn.Store(&c)
	if o.asks {
		in := &inlet{p: o.p, acked: func(_ *upstream, acks []osc.Item) error { return o.acked(acks) }}
		in.pause = func(*upstream) error { return o.pause() }
		o.p.goes(func() error { return o.renew(&c, in.follow(&upstream{connection: c})) })
	}
	return nil
}

// renew makes a lost connection anew. err is how it was lost, nil if the other
// side left.
func (o *outlet) renew(lost *connection, err error) error {
	if o.p.stopped() { // what is lost then is no failure
		return errStopped
	}
	if !o.lasting {
		if err == nil {
			return nil
		}
		return fmt.Errorf("cannot send to --%s: %w", o.what, err)
	}
	o.calling.Lock()
	defer o.calling.Unlock()
	if o.closed {
		return errStopped
	}
	if o.conn.Load() != lost {
		return nil
	}
	if err != nil && o.lived() {
		o.p.say("LOST --%s: %v", o.what, err)
	}
	lost.Close()
	if err := o.connect(); err != nil {
		return err
	}
	o.again()
	return nil
}

// send queues messages of data. What cannot be sent at all is given to refused,
// whose error ends it. It returns how many are done with, and how many of those
// were queued on a connection that has been made anew since.
func (o *outlet) send(r run, refused func(*osc.Item) error) (n, lost int, err error) {
	if o.ended.Load() {
		o.ended.Store(false)
	}
	for {
		c := o.conn.Load()
		broke := false
		some, err := queueRun(c.Conn, run{r.items[n:], r.numbered}, func(item *osc.Item) error {
			err := refused(item)
			broke = err != nil
			return err
		})
		if n += some; err == nil || broke {
			return n, lost, err
		}
		if err := o.renew(c, err); err != nil {
			return n, lost, err
		}
		lost = n
	}
}

func (o *outlet) flush() error { return o.do((*osc.Conn).Flush) }

// end says that nothing follows.
func (o *outlet) end() error {
	o.ended.Store(true)
	return o.do(func(c *osc.Conn) error { return c.Send(osc.NewMessage(control.AddressEnd, o.p.config.Name)) })
}

// do does something with the connection, again where it is lost and made anew.
func (o *outlet) do(f func(*osc.Conn) error) error {
	for {
		c := o.conn.Load()
		err := f(c.Conn)
		if err == nil {
			return nil
		}
		if err := o.renew(c, err); err != nil {
			return err
		}
	}
}

func (o *outlet) close() error {
	o.calling.Lock()
	defer o.calling.Unlock()
	o.closed = true
	if c := o.conn.Load(); c != nil {
		c.leave(o.ended.Load())
	}
	return nil
}
