package runtime

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/process"
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
	return Condition{What: string(s), Nodes: names, Check: func() journal.Answer {
		var a journal.Answer
		for _, name := range names {
			n, err := r.node(name)
			switch {
			case err != nil:
				return journal.Answer{Err: err}
			case n.Has(s):
			case n.State == "":
				return journal.Answer{Err: &StateError{Node: name, Text: fmt.Sprintf("cannot await %s: it has not been forked", s)}}
			case n.State == StateExited, n.Lost && s != StateExited:
				a.Impossible = append(a.Impossible, name)
			default:
				a.Missing = append(a.Missing, name)
			}
		}
		a.Met = len(a.Missing)+len(a.Impossible) == 0
		return a
	}}
}

// MessageFrom waits for a message that the node sends to an address: the first
// of its present incarnation that no such wait has returned yet, or with
// sinceNow the first that is still to come. The function returns it, once the
// condition is met.
func (r *Run) MessageFrom(name, address string, sinceNow bool) (Condition, func() Message) {
	var found Message
	from := -1
	return Condition{What: "message " + address, Nodes: []string{name}, Check: func() journal.Answer {
		n, err := r.node(name)
		if err != nil {
			return journal.Answer{Err: err}
		}
		if from < 0 {
			if from = 0; sinceNow {
				from = len(n.Messages)
			}
		}
		for _, m := range n.Messages[min(max(from, n.returned[address]), len(n.Messages)):] {
			if m.Address == address {
				n.returned[address] = m.Index + 1
				found = m
				return journal.Answer{Met: true}
			}
		}
		return n.awaited()
	}}, func() Message { return found }
}

// Counted waits until a node's present incarnation has reported at least n
// messages by /count. It is impossible once the node is done with fewer. The
// function returns how many it has, once the condition is met.
func (r *Run) Counted(name string, n int64) (Condition, func() int64) {
	var reported int64
	return Condition{What: fmt.Sprintf("count of %d", n), Nodes: []string{name}, Check: func() journal.Answer {
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
		c.Check = func() journal.Answer { return journal.Answer{Err: err} }
		return c, func() Line { return Line{} }
	}
	s := n.log.Search(pattern, stream, since)
	c.Begin, c.Stopped = s.Follow, s.Stop
	c.Late = func() {
		r.j.Lock()
		p := n.process
		r.j.Unlock()
		if p, ok := p.(process.Reader); ok {
			p.ReadNow()
		}
		s.Finish()
	}
	c.Check = func() journal.Answer {
		if n.State == "" {
			return n.awaited()
		}
		if s.Met() {
			return journal.Answer{Met: true}
		}
		if err := s.Err(); err != nil {
			return journal.Answer{Err: fmt.Errorf("%s: %w", name, err)}
		}
		if over, restarted := s.Over(); over && (restarted || n.State == StateExited) {
			return journal.Answer{Impossible: []string{name}}
		}
		return journal.Answer{Missing: []string{name}}
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
	return journal.Answer{Missing: []string{n.Name}}
}

// Elapsed waits for time to pass.
func Elapsed(d time.Duration) Condition {
	return Condition{What: "sleep", Timeout: max(d, 1), Quiet: true, Expiry: true,
		Check: func() journal.Answer { return journal.Answer{} }}
}

// Change waits for the next event, at most for a while; that no event came is
// no error.
func (r *Run) Change(within time.Duration) Condition {
	seen := -1
	return Condition{What: "change", Timeout: max(within, 1), Quiet: true, Expiry: true, Check: func() journal.Answer {
		if seen < 0 {
			seen = len(r.j.Events())
		}
		return journal.Answer{Met: len(r.j.Events()) > seen}
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
