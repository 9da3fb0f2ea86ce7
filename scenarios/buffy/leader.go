package buffy

import (
	"fmt"
	"slices"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// member is a worker as the leader knows it.
type member struct {
	name    string
	address string    // where it receives from the worker before it
	control *osc.Conn // it signed in on
	data    *osc.Conn // it is dealt to on
	linked  bool
}

// leader deals messages to the workers in turn.
type leader struct {
	p *process

	mu       sync.Mutex
	members  []*member
	complete bool
	turn     int
	ready    chan struct{} // all are linked
}

func (p *process) runLeader(a app) error {
	if p.o.workers < 0 {
		return fmt.Errorf("--worker-count is %d", p.o.workers)
	}
	l := &leader{p: p, ready: make(chan struct{})}
	var sources []*inlet
	for _, address := range p.o.source {
		in, err := p.listen("source", address)
		if err != nil {
			return err
		}
		sources = append(sources, in)
	}
	if len(sources) == 0 {
		return fmt.Errorf("--source is missing: HOST:PORT was expected")
	}
	take, pause, end := l.deal, l.flush, l.end
	if p.o.workers == 0 {
		sink, err := p.dial("sink", first(p.o.sink))
		if err != nil {
			return err
		}
		s := &stages{p: p, app: a, sink: sink}
		take, pause, end = s.take, s.flush, s.end
		close(l.ready)
	} else {
		for what, address := range map[string]string{"leader-control-address": p.o.controlAddress, "leader-data-address": p.o.dataAddress} {
			in, err := p.listen(what, address)
			if err != nil {
				return err
			}
			in.data = func([]byte, int64) error { p.say("UNEXPECTED DATA"); return nil }
			in.other = l.signIn(what == "leader-data-address")
			in.serve()
		}
	}
	if err := p.home.Ready(); err != nil {
		return err
	}
	if !p.until(l.ready) {
		return nil
	}
	if p.o.workers > 0 {
		p.say("%d workers have signed in", p.o.workers)
	}
	if err := p.home.TopologyReady(); err != nil {
		return err
	}
	left := len(sources)
	var mu sync.Mutex
	for _, in := range sources {
		in.data, in.pause = take, pause
		in.done = func() error {
			mu.Lock()
			left--
			last := left == 0
			mu.Unlock()
			if !last {
				return nil
			}
			return end()
		}
		in.serve()
	}
	p.stop()
	return nil
}

// first is the first of a list, or "".
func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// signIn handles what workers say on their control and data connections.
func (l *leader) signIn(data bool) func(*upstream, *osc.Message) error {
	return func(u *upstream, m *osc.Message) error {
		text := func(i int) string {
			if i >= len(m.Arguments) {
				return ""
			}
			s, _ := m.Arguments[i].(string)
			return s
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.IndexFunc(l.members, func(w *member) bool { return w.name == text(0) })
		switch {
		case m.Address == addressHello && text(0) != "" && !l.complete:
			if i < 0 {
				i = len(l.members)
				l.members = append(l.members, &member{name: text(0)})
			}
			u.name = text(0)
			if w := l.members[i]; data {
				w.data = u.conn
			} else {
				w.control, w.address = u.conn, text(1)
			}
			return l.link()
		case m.Address == addressLinked && i >= 0 && !data:
			l.members[i].linked = true
			if l.complete && !slices.ContainsFunc(l.members, func(w *member) bool { return !w.linked }) {
				close(l.ready)
			}
			return nil
		}
		l.p.say("UNEXPECTED DATA")
		return nil
	}
}

// link tells every worker who is next, once all have signed in.
func (l *leader) link() error {
	signedIn := 0
	for _, w := range l.members {
		if w.control != nil && w.data != nil {
			signedIn++
		}
	}
	if signedIn < l.p.o.workers || len(l.members) > signedIn {
		return nil
	}
	l.complete = true
	for i, w := range l.members {
		next := l.members[(i+1)%len(l.members)]
		if err := w.control.Send(osc.NewMessage(addressNext, next.address)); err != nil {
			return fmt.Errorf("lost %s: %w", w.name, err)
		}
	}
	return nil
}

// deal gives a message to the worker on turn.
func (l *leader) deal(payload []byte, id int64) error {
	l.mu.Lock()
	w := l.members[l.turn]
	l.turn = (l.turn + 1) % len(l.members)
	l.mu.Unlock()
	if err := w.data.QueueStringInt64(dataTemplate, payload, id); err != nil {
		return fmt.Errorf("cannot send to %s: %w", w.name, err)
	}
	return nil
}

func (l *leader) flush() error {
	for _, w := range l.members {
		if err := w.data.Flush(); err != nil {
			return fmt.Errorf("cannot send to %s: %w", w.name, err)
		}
	}
	return nil
}

func (l *leader) end() error {
	for _, w := range l.members {
		if err := w.data.Send(osc.NewMessage(control.AddressEnd, l.p.config.Name)); err != nil {
			return fmt.Errorf("cannot send to %s: %w", w.name, err)
		}
	}
	return nil
}
