package buffy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// member is a worker as the leader knows it.
type member struct {
	name    string
	session int64     // of its present pair of connections
	address string    // where it receives from the worker before it
	control *upstream // it signed in on
	data    *upstream // it is dealt to on
	linked  bool
}

// live reports whether the worker is there to be dealt to.
func (m *member) live() bool { return m.control != nil && m.data != nil }

// leave ends what is left of a worker's connections.
func (m *member) leave() {
	for _, u := range []*upstream{m.control, m.data} {
		if u != nil {
			u.Close()
		}
	}
	m.control, m.data = nil, nil
}

// maxUnheard is how many messages the workers may be behind of a leader that keeps
// nothing: more are shed, as waiting for the slow would be keeping.
const maxUnheard = 1024

// leader deals messages to the live workers in turn: to the ring that they form.
// Whenever a worker comes or goes, dealing is held until the live ones have
// formed the ring anew; then all that is not acknowledged is dealt again. A
// leader without workers does both stages itself.
type leader struct {
	p       *process
	sources []*inlet
	nextID  atomic.Int64 // of a message that has none
	report  func(now bool) error

	*window // and its lock
	members []*member
	ring    []*upstream // they are dealt to on
	rings   int64       // how many have been formed
	turn    int
	unheard int           // messages that were dealt to the ring, and not acknowledged
	shed    bool          // a message has been left out, as the workers were behind
	formed  chan struct{} // closed when the first ring is
}

func (p *process) runLeader(a app) error {
	if p.o.workers < 0 {
		return fmt.Errorf("--worker-count is %d", p.o.workers)
	}
	l := &leader{p: p, formed: make(chan struct{})}
	l.nextID.Store(rand.Int64()) // it may be a second incarnation
	for _, address := range p.o.source {
		in, err := p.listen("source", address)
		if err != nil {
			return err
		}
		l.sources = append(l.sources, in)
	}
	if len(l.sources) == 0 {
		return fmt.Errorf("--source is missing: HOST:PORT was expected")
	}
	l.window = p.newWindow(!p.o.atMostOnce)
	l.report = p.progress(l.count.Load)
	var to target = &ring{l: l}
	if p.o.workers == 0 {
		s := p.newStages(a, true, l.rewind)
		s.ack = func(_ bool, acks []osc.Item) { l.through(&upstream{}, acks) }
		s.sendAcks = func() error { return l.settled(nil) }
		if err := s.sink.open(); err != nil {
			return err
		}
		to = &alone{stages: s}
		close(l.formed)
	} else {
		l.held = true
		for what, address := range map[string]string{"leader-control-address": p.o.controlAddress, "leader-data-address": p.o.dataAddress} {
			in, err := p.listen(what, address)
			if err != nil {
				return err
			}
			in.other = l.heard(what == "leader-data-address")
			in.acked = func(u *upstream, acks []osc.Item) error { l.through(u, acks); return nil }
			in.pause, in.gone = l.settled, l.lost
			in.serve()
		}
	}
	if err := p.home.Ready(); err != nil {
		return err
	}
	if !p.until(l.formed) {
		return nil
	}
	if p.o.workers > 0 {
		p.say("%d workers have signed in", p.o.workers)
	}
	if err := p.home.TopologyReady(); err != nil {
		return err
	}
	l.serveSources()
	return l.deal(to)
}

// first is the first of a list, or "".
func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// serveSources takes messages over, until all sources have ended.
func (l *leader) serveSources() {
	var mu sync.Mutex
	ended := map[*inlet]bool{}
	for _, in := range l.sources {
		in.data = func(u *upstream, r run) error {
			if !r.numbered {
				r.items[0].Int64 = l.nextID.Add(1)
			}
			return l.add(r.items, u)
		}
		in.pause = func(*upstream) error { l.wake(); return nil }
		in.done = func() error {
			mu.Lock()
			defer mu.Unlock()
			if ended[in] = true; len(ended) == len(l.sources) {
				l.window.end()
			}
			return nil
		}
		in.serve()
	}
}

// through lets go of messages that u has acknowledged, and tells those whom they
// came from.
func (l *leader) through(u *upstream, acks []osc.Item) {
	if !l.keeps {
		l.mu.Lock()
		l.unheard = max(l.unheard-len(acks), 0) // those of an older ring are not counted any more
		l.mu.Unlock()
		return
	}
	u.tell = l.window.ack(acks, u.tell[:0])
	ackEach(u.tell, acks)
}

// settled sends what acknowledgements are queued.
func (l *leader) settled(*upstream) error {
	l.settle()
	for _, in := range l.sources {
		for _, u := range in.askers() {
			u.Flush() // who is gone sends its messages again
		}
	}
	return l.report(false)
}

// deal deals what is taken over, until the component is to stop.
func (l *leader) deal(to target) error {
	return l.window.deal(to, func(b *batch) error {
		if l.keeps {
			return nil
		}
		if err := to.flush(); err != nil {
			return err
		}
		ackEach(b.from, b.items)
		l.window.count.Add(int64(len(b.items)))
		return l.settled(nil)
	})
}

// alone is a leader without workers as its own target.
type alone struct {
	*stages
	scratch upstream
}

func (a *alone) chosen() {}

func (a *alone) give(b *batch) error {
	return a.finish(&a.scratch, a.take(&a.scratch, run{b.items, true}))
}

func (a *alone) end() error { return a.sink.end() }

// ring is the workers as a leader's target.
type ring struct {
	l     *leader
	to    []*upstream
	dealt [][]osc.Item // to each, of the present batch
}

// heard handles what workers say on their control and data connections.
func (l *leader) heard(data bool) func(*upstream, *osc.Message) error {
	return func(u *upstream, m *osc.Message) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch m.Address {
		case addressHello:
			if name, address, session, ok := helloOf(m); ok {
				u.name = name
				l.signIn(u, data, name, address, session)
				return nil
			}
		case addressLinked:
			if len(m.Arguments) == 2 {
				l.linked(u, m.Arguments[1])
				return nil
			}
		}
		l.p.say("UNEXPECTED DATA")
		return nil
	}
}

func helloOf(m *osc.Message) (name, address string, session int64, ok bool) {
	if len(m.Arguments) != 3 {
		return "", "", 0, false
	}
	name, isName := m.Arguments[0].(string)
	address, isAddress := m.Arguments[1].(string)
	session, isSession := m.Arguments[2].(int64)
	return name, address, session, name != "" && isName && isAddress && isSession
}

// signIn notes a connection of a worker. One that is known replaces what was
// before. The lock is held.
func (l *leader) signIn(u *upstream, data bool, name, address string, session int64) {
	i := slices.IndexFunc(l.members, func(m *member) bool { return m.name == name })
	if i < 0 {
		i = len(l.members)
		l.members = append(l.members, &member{name: name})
	}
	m := l.members[i]
	wasLive := m.live()
	if m.session != session {
		m.leave()
		m.session, m.address = session, address
	}
	if data {
		m.data = u
		u.Send(osc.NewMessage(addressAcks, l.p.config.Name)) // who is gone signs in again
	} else {
		m.control = u
	}
	if wasLive || m.live() {
		l.form()
	}
}

// lost handles the end of a worker's connection.
func (l *leader) lost(u *upstream, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if m.control == u || m.data == u {
			wasLive := m.live()
			if m.leave(); wasLive {
				l.form()
			}
		}
	}
	return nil
}

// form holds the dealing, and has the live workers form a ring. The first waits
// until all have signed in. The lock is held.
func (l *leader) form() {
	if l.closed {
		return
	}
	var live []*member
	for _, m := range l.members {
		if m.live() {
			live = append(live, m)
		}
	}
	whole := len(live) == len(l.members)
	if l.rings == 0 && (len(live) < l.p.o.workers || !whole) {
		return
	}
	l.rings++
	l.held, l.ring, l.unheard = true, nil, 0
	for i, m := range live {
		m.linked = false
		l.ring = append(l.ring, m.data)
		next := live[(i+1)%len(live)]
		m.control.Send(osc.NewMessage(addressNext, next.address, l.rings, whole)) // who is gone is lost, and there will be another ring
	}
}

// linked notes that a worker has connected to the next. When all have, dealing
// begins, or goes on. The lock is held.
func (l *leader) linked(u *upstream, ring any) {
	for _, m := range l.members {
		if m.control == u && ring == l.rings {
			m.linked = true
		}
	}
	if ring != l.rings || slices.ContainsFunc(l.members, func(m *member) bool { return m.live() && !m.linked }) {
		return
	}
	l.rewindLocked()
	select {
	case <-l.formed:
	default:
		close(l.formed)
	}
}

// chosen is the ring that a batch is dealt to.
func (r *ring) chosen() { r.to = r.l.ring }

// give gives messages to the workers in turn. Where one is lost, what it was
// given waits for the next ring.
func (r *ring) give(b *batch) error {
	items := b.items
	for len(items) > 0 {
		n := len(items)
		if !r.l.keeps {
			if n = r.l.takes(min(n, maxUnheard/16)); n == 0 {
				return nil // the rest is left out
			}
		}
		r.deal(items[:n])
		items = items[n:]
	}
	return nil
}

func (r *ring) deal(items []osc.Item) {
	for len(r.dealt) < len(r.to) {
		r.dealt = append(r.dealt, nil)
	}
	for i := range items {
		if r.l.turn++; r.l.turn >= len(r.to) {
			r.l.turn = 0
		}
		r.dealt[r.l.turn] = append(r.dealt[r.l.turn], items[i])
	}
	for i, u := range r.to {
		// Who is gone is lost, and there will be another ring.
		queueRun(u.Conn, run{r.dealt[i], true}, func(item *osc.Item) error {
			r.l.p.say("UNEXPECTED DATA")
			r.l.through(&upstream{}, []osc.Item{*item})
			return nil
		})
		r.dealt[i] = r.dealt[i][:0]
	}
}

// takes is how many of so many messages a leader that keeps nothing may deal now.
func (l *leader) takes(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n = min(n, maxUnheard-l.unheard); n > 0 {
		l.unheard += n
		return n
	}
	if !l.shed {
		l.shed = true
		l.p.say("SHEDDING MESSAGES: the workers are behind")
	}
	return 0
}

func (r *ring) flush() error {
	for _, u := range r.to {
		u.Flush() // who is gone is lost, and there will be another ring
	}
	return nil
}

func (r *ring) end() error {
	for _, u := range r.to {
		u.Send(osc.NewMessage(control.AddressEnd, r.l.p.config.Name))
	}
	return nil
}
