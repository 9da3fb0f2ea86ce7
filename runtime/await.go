package runtime

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Condition is something to wait for: see Reached, MessageFrom, OutputFrom,
// Elapsed and Change.
type Condition = journal.Condition

// Watch is a wait under way.
type Watch = journal.Watch

// Reached waits until every named node has come as far as the state. A node
// that has exited has reached StateExited; one that exited as it was allowed
// to has reached StateDoneShutdown too. It becomes impossible when a node
// exits before the state, or closes its control connection and lives on.
func (r *Run) Reached(names []string, s State) Condition {
	names = slices.Clone(names)
	left := map[string]bool{} // those that have not come, true where they cannot
	impossible := 0           // how many cannot
	settle := func(name string) error {
		n, err := r.node(name)
		if err != nil {
			return err
		}
		if left[name] {
			impossible--
		}
		switch {
		case n.Has(s):
			delete(left, name)
		case n.State == "":
			return &StateError{Node: name, Text: fmt.Sprintf("cannot await %s: it has not been forked", s)}
		default:
			left[name] = n.State == StateExited || n.Lost && s != StateExited
		}
		if left[name] {
			impossible++
		}
		return nil
	}
	those := func(impossible bool) (out []string) {
		for _, name := range names {
			if cannot, is := left[name]; is && cannot == impossible {
				out = append(out, name)
			}
		}
		return out
	}
	return Condition{What: string(s), Nodes: names, Missing: func() []string { return those(false) }, Check: func(news string) journal.Answer {
		look := names
		if news != "" {
			look = []string{news}
		}
		for _, name := range look {
			if err := settle(name); err != nil {
				return journal.Answer{Err: err}
			}
		}
		if impossible > 0 {
			return journal.Answer{Impossible: those(true)}
		}
		return journal.Answer{Met: len(left) == 0}
	}}
}

// MessageFrom waits for a message that the node sends to an address: the first
// of its present incarnation that no such wait has returned yet, or with
// sinceNow the first that is still to come. The function returns it, once the
// condition is met. A wait that was met and is stopped before anybody has taken its
// result by Watch.Err leaves the message to the next one.
func (r *Run) MessageFrom(name, address string, sinceNow bool) (Condition, func() Message) {
	var found Message
	var of *roster.Messages // that it is one of
	from := int64(-1)       // what is before it is not awaited
	return Condition{What: "message " + address, Nodes: []string{name}, GiveBack: func() {
		if of != nil {
			of.GiveBack(address, found.Seq)
			of = nil
		}
	},
		Check: func(string) journal.Answer {
			n, err := r.node(name)
			if err != nil {
				return journal.Answer{Err: err}
			}
			if from < 0 {
				if from = 0; sinceNow {
					from = r.j.Next()
				}
			}
			_, ok, err := n.Messages.Give(address, from, r.j.Next(), func(a, b int64) (int64, bool, error) {
				e, ok, err := r.j.Find(a, b, func(e event.Event) bool { return isMessage(e, name, address) })
				if ok {
					found, err = messageOf(e)
				}
				return e.Seq, ok, err
			})
			if err != nil {
				return journal.Answer{Err: err}
			}
			if ok {
				of = n.Messages
				return journal.Answer{Met: true}
			}
			return n.awaited()
		}}, func() Message { return found }
}

// isMessage reports whether an event is a message of a node to an address, or to any
// where that is "".
func isMessage(e event.Event, node, address string) bool {
	d, ok := e.Detail.(event.Received)
	return ok && e.Node == node && (address == "" || d.Address == address)
}

// messageOf is the message that an event tells of. The error is that a log on the
// disk is another.
func messageOf(e event.Event) (Message, error) {
	d := e.Detail.(event.Received)
	m := Message{T: e.T, Address: d.Address, Args: d.Args, Seq: e.Seq}
	if len(d.Packet) > 0 {
		packet, err := osc.Parse(d.Packet)
		if err != nil {
			return Message{}, fmt.Errorf("event log: the packet of event %d: %w", e.Seq, err)
		}
		m.Args = packet.Message().Arguments
	}
	return m, nil
}

// Counted waits until a node's present incarnation has reported at least n
// messages by /count. It is impossible once the node is done with fewer. The
// function returns how many it has, once the condition is met.
func (r *Run) Counted(name string, n int64) (Condition, func() int64) {
	var reported int64
	return Condition{What: fmt.Sprintf("count of %d", n), Nodes: []string{name}, Check: func(string) journal.Answer {
		counter, err := r.node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		switch reported = counter.Count; {
		case counter.State != "" && reported >= n:
			return journal.Answer{Met: true}
		case counter.State != "" && counter.WasDone: // it counts no further
			return journal.Answer{Impossible: []string{counter.Name}}
		}
		return counter.awaited()
	}}, func() int64 { return reported }
}

// Line is a line that a node has written.
type Line = output.Line

// OutputQuery says which lines of a node's output are wanted.
type OutputQuery = output.Query

// OutputSince says where a wait for output begins: with what no wait has returned
// yet, with the lines that end from now on, or with those of a time of the run.
type OutputSince = output.From

// OutputFrom waits for a line of the node's output, of a stream, output.Stdout or
// Stderr, or of either for "", that the pattern matches: the first of its present
// incarnation that no such wait has returned yet. A line that has not ended is
// looked at once it has stood for 100 ms, and at the deadline: see output.Search.
// The function returns the line, once the condition is met; it is taken by that.
func (r *Run) OutputFrom(name string, pattern *regexp.Regexp, stream string, since OutputSince) (Condition, func() Line) {
	c := Condition{What: "output " + pattern.String(), Nodes: []string{name}}
	r.j.Lock()
	n, err := r.node(name)
	r.j.Unlock()
	if err != nil {
		c.Check = func(string) journal.Answer { return journal.Answer{Err: err} }
		return c, func() Line { return Line{} }
	}
	var lost error
	s := n.log.Search(pattern, stream, since)
	c.Begin, c.GiveBack = s.Follow, s.Stop
	c.Late = func() {
		r.j.Lock()
		p := n.process
		r.j.Unlock()
		if p, ok := p.(process.Reader); ok {
			p.ReadNow()
		}
		s.Finish()
		err := n.log.Err()
		r.j.Lock()
		defer r.j.Unlock()
		if err != nil { // it may be why the line has not come
			lost = fmt.Errorf("%s: what it wrote is lost: %w", c.What, &LogError{Err: fmt.Errorf("log of %s: cannot write: %w", name, err)})
		}
	}
	c.Check = func(string) journal.Answer {
		if n.State == "" {
			return n.awaited()
		}
		if s.Met() {
			return journal.Answer{Met: true}
		}
		if err := s.Err(); err != nil {
			return journal.Answer{Err: fmt.Errorf("%s: %w", name, err)}
		}
		if lost != nil {
			return journal.Answer{Err: lost}
		}
		if over, restarted := s.Over(); over && (restarted || n.State == StateExited) {
			return journal.Answer{Impossible: []string{name}}
		}
		return journal.Answer{}
	}
	return c, s.Take
}

// awaited is the answer for a node that has not sent what is awaited.
func (n *node) awaited() journal.Answer {
	switch {
	case n.State == "":
		return journal.Answer{Err: &StateError{Node: n.Name, Text: "cannot await anything of it: it has not been forked"}}
	case n.State == StateExited, n.Lost:
		return journal.Answer{Impossible: []string{n.Name}}
	}
	return journal.Answer{}
}

// Elapsed waits for time to pass.
func Elapsed(d time.Duration) Condition {
	return Condition{What: "sleep", Timeout: max(d, 1), Quiet: true, Expiry: true,
		Check: func(string) journal.Answer { return journal.Answer{} }}
}

// Change waits for the next event, at most for a while; that no event came is
// no error.
func (r *Run) Change(within time.Duration) Condition {
	seen := int64(-1)
	return Condition{What: "change", Timeout: max(within, 1), Quiet: true, Expiry: true, Always: true, Check: func(string) journal.Answer {
		if seen < 0 {
			seen = r.j.Next()
		}
		return journal.Answer{Met: r.j.Next() > seen}
	}}
}

// Watch begins to wait for a condition: see journal.Journal.Watch. It ends with
// the cause once the run's work is aborted.
func (r *Run) Watch(c Condition, notify func()) *Watch { return r.j.Watch(c, notify) }

// Wait waits for a condition and returns how the wait ended.
func (r *Run) Wait(c Condition) error {
	ended := make(chan struct{})
	w := r.Watch(c, func() { close(ended) })
	<-ended
	return w.Err()
}

// tailLines is how many of a node's last lines an error quotes.
const tailLines = 10

// tail returns the last lines that a node has written.
func (r *Run) tail(name string) []string { return r.nodes[name].log.Tail(tailLines) }

// Output returns the lines that the node's present incarnation has written so far
// and that are wanted: see output.Log.Text.
func (r *Run) Output(name string, q OutputQuery) (string, error) {
	r.j.Lock()
	n, err := r.node(name)
	r.j.Unlock()
	if err != nil {
		return "", err
	}
	text, err := n.log.Text(q)
	if err != nil {
		return "", fmt.Errorf("%s: cannot read its output back: %w", name, err)
	}
	return text, nil
}
