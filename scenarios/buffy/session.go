package buffy

import (
	"context"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

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
