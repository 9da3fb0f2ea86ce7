package buffy

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// worker does one stage of each message that comes to it. One that is led signs
// in with the leader, again where it has lost it, and does both stages as long
// as it has nobody to pass its results to.
type worker struct {
	*stages
	own     string // where it receives from the worker before it
	peers   *inlet // …unless it is not led and has no such address
	session atomic.Pointer[session]
	next    atomic.Pointer[outlet] // nil: it does the second stage itself
	linked  chan struct{}          // it is known who is next, where there is no leader

	mu       sync.Mutex
	firstEnd bool // nothing more comes for the first stage
	peersEnd bool // nothing more comes for the second, where there is no leader
}

func (p *process) runWorker(a app) error {
	w := &worker{linked: make(chan struct{}), own: p.o.ownData}
	led := p.o.controlAddress != "" || p.o.dataAddress != ""
	w.stages = p.newStages(a, led, w.signInAgain)
	if !led {
		return w.runUnled()
	}
	w.ack = func(_ bool, acks []osc.Item) {
		if s := w.session.Load(); s != nil {
			s.leader.ack(acks)
		}
	}
	w.sendAcks = func() error {
		if s := w.session.Load(); s != nil {
			s.leader.Flush() // a lost leader deals again
		}
		return nil
	}
	if err := w.sink.open(); err != nil {
		return err
	}
	control := caller{p: p, what: "leader-control-address", address: p.o.controlAddress}
	data := caller{p: p, what: "leader-data-address", address: p.o.dataAddress}
	next := caller{p: p, what: "next", patient: true}
	s, err := w.newSession(&control, &data)
	if err != nil {
		return err
	}
	if w.own == "" { // on the address that it reaches the leader from
		host, _, err := net.SplitHostPort(s.control.LocalAddr().String())
		if err != nil {
			return err
		}
		w.own = net.JoinHostPort(host, "0")
	}
	if err := w.servePeers(); err != nil {
		return err
	}
	w.peers.gone = func(*upstream, error) error { return w.settle() }
	w.peers.done = w.settle
	w.peers.serve()
	if err := p.home.Ready(); err != nil {
		return err
	}
	for {
		if err := s.run(&next); err != nil {
			return err
		}
		if s, err = w.newSession(&control, &data); err != nil {
			return err
		}
	}
}

// servePeers takes results of the first stage.
func (w *worker) servePeers() (err error) {
	if w.peers, err = w.p.listen("data-address", w.own); err != nil {
		return err
	}
	w.own = w.peers.listener.Addr().String()
	w.peers.data = w.finish
	w.peers.pause = func(*upstream) error { return w.stages.flush() }
	return nil
}

// runUnled is a worker without a leader: it takes messages from the senders, and
// a connection that is lost is a failure.
func (w *worker) runUnled() error {
	p := w.p
	if w.own != "" {
		if err := w.servePeers(); err != nil {
			return err
		}
		w.peers.done = func() error { return w.ended(false) }
	}
	if len(p.o.source) != 1 {
		return fmt.Errorf("--source is %q: without --leader-control-address one HOST:PORT was expected", p.o.source)
	}
	in, err := p.listen("source", p.o.source[0])
	if err != nil {
		return err
	}
	once := func(f func() error) error {
		if !p.until(w.linked) {
			return errStopped
		}
		return f()
	}
	in.data = func(u *upstream, r run) error { return once(func() error { return w.take(u, r) }) }
	in.pause = func(*upstream) error { return once(w.flush) }
	in.done = func() error { return once(func() error { return w.ended(true) }) }
	w.ack = func(first bool, acks []osc.Item) { // by the way that the message came
		from := in
		if !first && w.next.Load() != nil {
			from = w.peers
		}
		for _, u := range from.askers() {
			u.ack(acks)
		}
	}
	w.sendAcks = func() error {
		for _, from := range []*inlet{in, w.peers} {
			if from == nil {
				continue
			}
			for _, u := range from.askers() {
				u.Flush() // who is gone sends its messages again
			}
		}
		return nil
	}
	if err := w.sink.open(); err != nil {
		return err
	}
	if w.peers != nil {
		w.peers.serve()
	}
	in.serve()
	if err := p.home.Ready(); err != nil {
		return err
	}
	if p.o.next != "" {
		next := &outlet{caller: caller{p: p, what: "next", address: p.o.next}, asks: true,
			acked: func(acks []osc.Item) error { w.ack(true, acks); return nil }, pause: w.sendAcks}
		if err := next.open(); err != nil {
			return err
		}
		w.next.Store(next)
	}
	close(w.linked)
	p.stop()
	return nil
}

// take does the first stage of messages, and passes the results on.
func (w *worker) take(u *upstream, r run) error {
	r = w.stages.take(u, r)
	for len(r.items) > 0 {
		next := w.next.Load()
		if next == nil {
			return w.finish(u, r)
		}
		n, _, err := next.send(r, w.refused(true, r.numbered))
		if err == nil {
			return nil
		}
		r.items = r.items[n:]
		if s := w.session.Load(); s == nil {
			return err
		} else {
			s.lostNext(next, err)
		}
	}
	return nil
}

// flush sends what is queued.
func (w *worker) flush() error {
	if next := w.next.Load(); next != nil {
		if err := next.flush(); err != nil {
			s := w.session.Load()
			if s == nil {
				return err
			}
			s.lostNext(next, err)
		}
	}
	return w.stages.flush()
}

// ended handles the end of what comes to a worker without a leader: for the
// first stage, or from the worker before it.
func (w *worker) ended(first bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first {
		w.firstEnd = true
		if next := w.next.Load(); next != nil {
			if err := next.end(); err != nil {
				return err
			}
		} else {
			w.peersEnd = true
		}
	} else {
		w.peersEnd = true
	}
	if w.firstEnd && w.peersEnd {
		return w.sink.end()
	}
	return nil
}

// settle handles the end of what comes to a worker that is led: the leader has
// said it since the ring was formed, and no worker before it is left that has
// not.
func (w *worker) settle() error {
	w.mu.Lock()
	ended := w.firstEnd
	w.mu.Unlock()
	if !ended || !w.peers.quiet() {
		return nil
	}
	return w.sink.end()
}

func (w *worker) setFirstEnd(ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.firstEnd = ended
}

// signInAgain has the leader form the ring anew, and deal again what was lost.
func (w *worker) signInAgain() {
	if s := w.session.Load(); s != nil {
		s.hello(s.control)
	}
}
