package buffy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

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
	w.ack = func(_ bool, id int64) {
		if s := w.session.Load(); s != nil {
			s.leader.ack(id)
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
	in.data = func(u *upstream, m message) error { return once(func() error { return w.take(u, m) }) }
	in.pause = func(*upstream) error { return once(w.flush) }
	in.done = func() error { return once(func() error { return w.ended(true) }) }
	w.ack = func(first bool, id int64) { // by the way that the message came
		from := in
		if !first && w.next.Load() != nil {
			from = w.peers
		}
		for _, u := range from.askers() {
			u.ack(id)
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
			acked: func(id int64) error { w.ack(true, id); return nil }, pause: w.sendAcks}
		if err := next.open(); err != nil {
			return err
		}
		w.next.Store(next)
	}
	close(w.linked)
	p.stop()
	return nil
}

// take does the first stage of a message, and passes the result on.
func (w *worker) take(u *upstream, m message) error {
	result, more := w.stages.take(u, m)
	if !more {
		return nil
	}
	for {
		next := w.next.Load()
		if next == nil {
			return w.finish(u, result)
		}
		err := next.send(result)
		if err == nil {
			return nil
		}
		if unsendable(err) {
			w.p.say("UNEXPECTED DATA")
			w.through(true, m)
			return nil
		}
		if s := w.session.Load(); s == nil {
			return err
		} else {
			s.lostNext(next, err)
		}
	}
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

// session is a worker's time with one pair of connections to the leader.
type session struct {
	w       *worker
	id      int64
	control connection
	data    connection
	leader  *upstream // the data connection, as acknowledgements are sent on it
	made    *caller   // of the data connection
	over    context.Context
	end     context.CancelFunc
	places  chan place // the latest
	outdate func()     // makes the latest invalid
	running sync.WaitGroup
}

// newSession connects to the leader.
func (w *worker) newSession(control, data *caller) (s *session, err error) {
	s = &session{w: w, made: data, id: time.Now().UnixNano(), places: make(chan place, 1), outdate: func() {}}
	if s.control, err = control.call(w.p.ctx); err != nil {
		return nil, err
	}
	if s.data, err = data.call(w.p.ctx); err != nil {
		s.control.Close()
		return nil, err
	}
	s.leader = &upstream{connection: s.data}
	s.over, s.end = context.WithCancel(w.p.ctx)
	return s, nil
}

func (s *session) hello(c connection) {
	c.Send(osc.NewMessage(addressHello, s.w.p.config.Name, s.w.own, s.id)) // what is lost is read as lost
}

// run signs in, and does what the leader says until it is lost.
func (s *session) run(next *caller) error {
	w, p := s.w, s.w.p
	w.session.Store(s)
	defer func() {
		w.session.Store(nil)
		s.end()
		s.data.leave(false)
		s.control.leave(false)
		if o := w.next.Swap(nil); o != nil {
			o.close()
		}
		s.running.Wait()
	}()
	control := &inlet{p: p, other: s.placed}
	data := &inlet{p: p, data: w.take, pause: func(*upstream) error { return w.flush() }}
	data.done = func() error {
		w.setFirstEnd(true)
		if o := w.next.Load(); o != nil {
			if err := o.end(); err != nil {
				s.lostNext(o, err)
			}
		}
		return w.settle()
	}
	s.running.Go(func() { s.lost(control.follow(&upstream{connection: s.control})) })
	s.running.Go(func() { s.lost(data.follow(s.leader)) })
	s.hello(s.data)
	s.hello(s.control)
	for {
		select {
		case pl := <-s.places:
			s.link(pl, next)
		case <-s.over.Done():
			if p.stopped() {
				return errStopped
			}
			return nil
		case <-p.home.Stop():
			return errStopped
		case <-p.failed:
			return errStopped
		}
	}
}

// lost ends the session. err is nil where the leader has left.
func (s *session) lost(err error) {
	if err != nil && s.over.Err() == nil && !s.w.p.stopped() && s.made.lived() {
		s.w.p.say("LOST the leader: %v", err)
	}
	s.end()
}

// place is a worker's place in a ring, as the leader gives it.
type place struct {
	next  string // the address of the next; its own where it is alone
	ring  int64
	whole bool            // all that the leader knows are in the ring
	valid context.Context // until the session is over, or the ring is another
}

func placeOf(m *osc.Message) (pl place, ok bool) {
	if m.Address != addressNext || len(m.Arguments) != 3 {
		return pl, false
	}
	var isNext, isRing, isWhole bool
	pl.next, isNext = m.Arguments[0].(string)
	pl.ring, isRing = m.Arguments[1].(int64)
	pl.whole, isWhole = m.Arguments[2].(bool)
	return pl, isNext && isRing && isWhole
}

// placed handles what the leader says on the control connection.
func (s *session) placed(_ *upstream, m *osc.Message) error {
	pl, ok := placeOf(m)
	if !ok {
		s.w.p.say("UNEXPECTED DATA")
		return nil
	}
	s.outdate()
	pl.valid, s.outdate = context.WithCancel(s.over)
	select {
	case <-s.places:
	default:
	}
	s.places <- pl
	return nil
}

// link connects to the next worker, and tells the leader. --next is how the next
// of a whole ring is reached; another one is where the leader says.
func (s *session) link(pl place, next *caller) {
	w, p := s.w, s.w.p
	w.setFirstEnd(false)
	var to *outlet
	if pl.next != w.own {
		if next.address = pl.next; pl.whole && p.o.next != "" {
			next.address = p.o.next
		}
		c, err := next.call(pl.valid)
		if err != nil {
			return
		}
		to = &outlet{caller: *next}
		to.conn.Store(&c)
		s.running.Go(func() { s.lostNext(to, (&inlet{p: p}).follow(&upstream{connection: c})) })
	}
	if before := w.next.Swap(to); before != nil {
		before.close()
	}
	s.control.Send(osc.NewMessage(addressLinked, p.config.Name, pl.ring)) // what is lost is read as lost
}

// lostNext has the worker do both stages until the leader has formed the ring
// anew. err is nil where the next has left.
func (s *session) lostNext(lost *outlet, err error) {
	if !s.w.next.CompareAndSwap(lost, nil) {
		return
	}
	if err != nil && !s.w.p.stopped() {
		s.w.p.say("LOST the next worker: %v", err)
	}
	lost.close()
	s.hello(s.control)
}
