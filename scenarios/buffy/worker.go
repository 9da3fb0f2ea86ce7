package buffy

import (
	"fmt"
	"net"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// worker does one stage of each message that comes to it.
type worker struct {
	stages
	linked chan struct{} // it is known who is next

	mu       sync.Mutex
	firstEnd bool // nothing more comes for the first stage
	peersEnd bool // nothing more comes for the second
}

func (p *process) runWorker(a app) error {
	w := &worker{stages: stages{p: p, app: a}, linked: make(chan struct{})}
	var err error
	if w.sink, err = p.dial("sink", first(p.o.sink)); err != nil {
		return err
	}
	led := p.o.controlAddress != "" || p.o.dataAddress != ""
	own := p.o.ownData
	var toLeader, fromLeader *outlet
	if led {
		if toLeader, err = p.dial("leader-control-address", p.o.controlAddress); err != nil {
			return err
		}
		if fromLeader, err = p.dial("leader-data-address", p.o.dataAddress); err != nil {
			return err
		}
		if own == "" { // on the address that it reaches the leader from
			host, _, err := net.SplitHostPort(toLeader.conn.LocalAddr().String())
			if err != nil {
				return err
			}
			own = net.JoinHostPort(host, "0")
		}
	}
	if own != "" {
		peers, err := p.listen("data-address", own)
		if err != nil {
			return err
		}
		own = peers.listener.Addr().String()
		peers.data, peers.pause = w.finish, w.sinkFlush
		peers.done = func() error { return w.ended(false) }
		peers.serve()
	}
	if !led {
		if err := w.serveSources(); err != nil {
			return err
		}
	}
	if err := p.home.Ready(); err != nil {
		return err
	}
	if led {
		err = w.follow(toLeader, fromLeader, own)
	} else {
		if p.o.next != "" {
			w.next, err = p.dial("next", p.o.next)
		}
		close(w.linked)
	}
	if err != nil {
		return err
	}
	p.stop()
	return nil
}

func (w *worker) sinkFlush() error { return w.sink.flush() }

// serveSources takes messages from the senders, where there is no leader.
func (w *worker) serveSources() error {
	if len(w.p.o.source) != 1 {
		return fmt.Errorf("--source is %q: without --leader-control-address one HOST:PORT was expected", w.p.o.source)
	}
	in, err := w.p.listen("source", w.p.o.source[0])
	if err != nil {
		return err
	}
	in.data = func(payload []byte, id int64) error {
		if !w.p.until(w.linked) {
			return nil
		}
		return w.take(payload, id)
	}
	in.pause = func() error {
		if !w.p.until(w.linked) {
			return nil
		}
		return w.flush()
	}
	in.done = func() error {
		if !w.p.until(w.linked) {
			return nil
		}
		return w.ended(true)
	}
	in.serve()
	return nil
}

// follow signs in with the leader and does what it deals.
func (w *worker) follow(toLeader, fromLeader *outlet, own string) error {
	p := w.p
	deals := &inlet{p: p, open: map[*upstream]bool{}, data: w.take, pause: w.flush}
	says := &inlet{p: p, open: map[*upstream]bool{}, data: w.take}
	told := make(chan string, 1)
	says.other = func(_ *upstream, m *osc.Message) error {
		if m.Address == addressNext && len(m.Arguments) == 1 {
			if address, ok := m.Arguments[0].(string); ok {
				select {
				case told <- address:
					return nil
				default:
				}
			}
		}
		p.say("UNEXPECTED DATA")
		return nil
	}
	for _, o := range []*outlet{toLeader, fromLeader} {
		if err := o.message(osc.NewMessage(addressHello, p.config.Name, own)); err != nil {
			return err
		}
	}
	p.goes(func() error { return says.follow(toLeader.conn) })
	linked := make(chan struct{})
	var address string
	p.goes(func() error {
		select {
		case address = <-told:
			close(linked)
		case <-p.ctx.Done():
		}
		return nil
	})
	if !p.until(linked) {
		return nil
	}
	if address != own {
		if p.o.next != "" {
			address = p.o.next
		}
		var err error
		if w.next, err = p.dial("next", address); err != nil {
			return err
		}
	}
	close(w.linked)
	deals.done = func() error { return w.ended(true) }
	p.goes(func() error { return deals.follow(fromLeader.conn) })
	return toLeader.message(osc.NewMessage(addressLinked, p.config.Name))
}

// follow reads a connection that this side made.
func (in *inlet) follow(c *osc.Conn) error {
	u := &upstream{conn: c, name: "the leader"}
	in.open[u] = true
	return in.read(u)
}

// ended handles the end of what comes to the worker: for the first stage, or
// from the worker before it.
func (w *worker) ended(first bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first {
		w.firstEnd = true
		if w.next != nil {
			if err := w.next.end(); err != nil {
				return fmt.Errorf("cannot send to --next: %w", err)
			}
		} else {
			w.peersEnd = true
		}
	} else {
		w.peersEnd = true
	}
	if w.firstEnd && w.peersEnd {
		return w.stages.end()
	}
	return nil
}
