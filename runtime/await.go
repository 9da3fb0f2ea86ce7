package runtime

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dagon-star/dagon-star/runtime/await"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Condition is something to wait for: see Reached, MessageFrom, OutputFrom,
// Elapsed and Change.
type Condition = journal.Condition

// Watch is a wait under way.
type Watch = journal.Watch

// Message is a message that a node sent.
type Message = roster.Message

// Reached waits until every named node has come as far as the state. A node
// that has exited has reached StateExited; one that exited as it was allowed
// to has reached StateDoneShutdown too. It becomes impossible when a node
// exits before the state, or closes its control connection and lives on.
//
// It is a *StateError at once for StateReady of a node of which nothing says when it is
// ready, and for StateDone of one with command = that has no control connection by which it
// could say so.
func (r *Run) Reached(names []string, s State) Condition {
	c := await.Reached(r.j, names, s)
	check := c.Check
	c.Check = func(news string) journal.Answer {
		if news == "" {
			for _, name := range names {
				if n := r.nodes[name]; n != nil {
					if err := n.CanReach(s); err != nil {
						return journal.Answer{Err: err}
					}
				}
			}
		}
		return check(news)
	}
	return c
}

// CanReach returns why a node cannot come to a state at all, whatever it does: a
// *StateError, or nil.
func (r *Run) CanReach(name string, s State) error {
	r.j.Lock()
	defer r.j.Unlock()
	n, err := r.node(name)
	if err != nil {
		return err
	}
	return n.CanReach(s)
}

// MessageFrom waits for a message that the node sends to an address: the first
// of its present incarnation that no such wait has returned yet, or with
// sinceNow the first that is still to come. The function returns it, once the
// condition is met. A wait that was met and is stopped before anybody has taken its
// result by Watch.Err leaves the message to the next one.
func (r *Run) MessageFrom(name, address string, sinceNow bool) (Condition, func() Message) {
	return await.MessageFrom(r.j, name, address, sinceNow)
}

// Messages returns what the node's present incarnation has sent so far, all of
// it or only one address. What has left the memory is read back from the log.
func (r *Run) Messages(name, address string) ([]Message, error) {
	return await.Messages(r.j, name, address)
}

// Counted waits until a node's present incarnation has reported at least n
// messages by /count. It is impossible once the node is done with fewer. The
// function returns how many it has, once the condition is met.
func (r *Run) Counted(name string, n int64) (Condition, func() int64) {
	return await.Counted(r.j, name, n)
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
	what := "output " + pattern.String()
	n, err := r.unlocked(name)
	if err != nil {
		return Condition{What: what, Nodes: []string{name}, Check: func(string) journal.Answer { return journal.Answer{Err: err} }},
			func() Line { return Line{} }
	}
	s := n.Log.Search(pattern, stream, since)
	return await.OutputFrom(r.j, name, await.Output{What: what, Search: s, ReadNow: n.ReadNow}), s.Take
}

// Elapsed waits for time to pass.
func Elapsed(d time.Duration) Condition { return await.Elapsed(d) }

// Change waits for the next event, at most for a while; that no event came is
// no error.
func (r *Run) Change(within time.Duration) Condition {
	r.j.Lock()
	defer r.j.Unlock()
	return await.Change(r.j, within)
}

// Watch begins to wait for a condition: see journal.Journal.Watch. It ends with
// the cause once the run's work is aborted.
func (r *Run) Watch(c Condition, notify func()) *Watch { return r.j.Watch(c, notify) }

// Wait waits for a condition and returns how the wait ended.
func (r *Run) Wait(c Condition) error { return r.j.Await(c) }

// Output returns the lines that the node's present incarnation has written so far
// and that are wanted: see output.Log.Text.
func (r *Run) Output(name string, q OutputQuery) (string, error) {
	n, err := r.unlocked(name)
	if err != nil {
		return "", err
	}
	text, err := n.Log.Text(q)
	if err != nil {
		return "", &LogError{Err: fmt.Errorf("%s: cannot read its output back: %w", name, err)}
	}
	return text, nil
}
