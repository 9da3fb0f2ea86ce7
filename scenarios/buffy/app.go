package buffy

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// app is what a stream processor computes, in two stages.
type app struct {
	// first gives what is passed on for one message; ok is false where the
	// payload is none that it understands.
	first func(payload []byte, pass func([]byte) error) (ok bool, err error)
	// second gives what is delivered for what was passed on.
	second func(payload []byte, deliver func([]byte) error) (ok bool, err error)
	// last gives what is delivered when nothing more will come, or is nil.
	last func(deliver func([]byte) error) error
}

// runDoubleDivide doubles a whole number in the first stage and halves it in
// the second.
func runDoubleDivide(p *process) error {
	number := func(f func(int64) (int64, bool)) func([]byte, func([]byte) error) (bool, error) {
		return func(payload []byte, to func([]byte) error) (bool, error) {
			n, err := strconv.ParseInt(string(payload), 10, 64)
			if err != nil {
				return false, nil
			}
			n, ok := f(n)
			if !ok {
				return false, nil
			}
			var buf [20]byte
			return true, to(strconv.AppendInt(buf[:0], n, 10))
		}
	}
	return p.runApp(app{
		first:  number(func(n int64) (int64, bool) { return 2 * n, 2*n/2 == n }),
		second: number(func(n int64) (int64, bool) { return n / 2, n%2 == 0 }),
	})
}

// runWordCount makes words of a line in the first stage, in small letters and
// without what is not a letter, digit or apostrophe around them, and counts them
// in the second. When all lines have come, each worker delivers "WORD COUNT" for
// every word that it has counted, in the order of the words; a word's count is
// the sum over the workers.
func runWordCount(p *process) error {
	var mu sync.Mutex
	counts := map[string]int64{}
	return p.runApp(app{
		first: func(line []byte, pass func([]byte) error) (bool, error) {
			for word := range strings.FieldsSeq(strings.ToLower(string(line))) {
				word = strings.TrimFunc(word, func(c rune) bool {
					return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '\'' || c > 127)
				})
				if word == "" {
					continue
				}
				if err := pass([]byte(word)); err != nil {
					return true, err
				}
			}
			return true, nil
		},
		second: func(word []byte, _ func([]byte) error) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			counts[string(word)]++
			return true, nil
		},
		last: func(deliver func([]byte) error) error {
			mu.Lock()
			defer mu.Unlock()
			for _, word := range slices.Sorted(maps.Keys(counts)) {
				if err := deliver(fmt.Appendf(nil, "%s %d", word, counts[word])); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

func (p *process) runApp(a app) error {
	if p.o.metrics != "" {
		p.say("--metrics is not used")
	}
	if p.o.leader {
		return p.runLeader(a)
	}
	return p.runWorker(a)
}

// stages is the work of a process that has stages to do.
type stages struct {
	p    *process
	app  app
	sink *outlet
	next *outlet // nil: it does the second stage itself
}

// take does the first stage of a message.
func (s *stages) take(payload []byte, id int64) error {
	pass := func(result []byte) error { return s.next.send(result, id) }
	if s.next == nil {
		pass = func(result []byte) error { return s.finish(result, id) }
	}
	return s.understood(s.app.first(payload, pass))
}

// finish does the second stage.
func (s *stages) finish(payload []byte, id int64) error {
	return s.understood(s.app.second(payload, func(result []byte) error { return s.sink.send(result, id) }))
}

func (s *stages) understood(ok bool, err error) error {
	if err == nil && !ok {
		s.p.say("UNEXPECTED DATA")
	}
	return err
}

func (s *stages) flush() error {
	if s.next != nil {
		if err := s.next.flush(); err != nil {
			return err
		}
	}
	return s.sink.flush()
}

// end delivers what is left and says the end to the sink.
func (s *stages) end() error {
	if s.app.last != nil {
		if err := s.app.last(func(result []byte) error { return s.sink.send(result, 0) }); err != nil {
			return err
		}
	}
	return s.sink.end()
}

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
