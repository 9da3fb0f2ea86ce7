package runtime

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// Condition is something to wait for: see Reached, MessageFrom, OutputFrom,
// Elapsed and Change.
type Condition struct {
	// What is awaited and of whom, for the log and for errors.
	What  string
	Nodes []string
	// Timeout is how long to wait; 0 is Settings.Timeout.
	Timeout time.Duration

	quiet   bool // not worth an event: sleeps
	expiry  bool // the deadline is what is waited for
	looking bool // it looks at output
	check   func() answer
}

// answer is what a condition finds in the roster.
type answer struct {
	met        bool
	missing    []*node // who has not come yet
	impossible []*node // who cannot come any more
	err        error   // why it can never be met, where that is no node's doing
}

// Reached waits until every named node has come as far as the state. A node
// that has exited has reached StateExited; one that exited as it was allowed
// to has reached StateDoneShutdown too. It becomes impossible when a node
// exits before the state, or closes its control connection and lives on.
func (r *Run) Reached(names []string, s State) Condition {
	names = slices.Clone(names)
	return Condition{What: string(s), Nodes: names, check: func() answer {
		var a answer
		for _, name := range names {
			n, err := r.node(name)
			switch {
			case err != nil:
				return answer{err: err}
			case n.has(s):
			case n.state == "":
				return answer{err: &StateError{Node: name, Text: fmt.Sprintf("cannot await %s: it has not been forked", s)}}
			case n.state == StateExited, n.lost && s != StateExited:
				a.impossible = append(a.impossible, n)
			default:
				a.missing = append(a.missing, n)
			}
		}
		a.met = len(a.missing)+len(a.impossible) == 0
		return a
	}}
}

// has tells whether a node has come as far as a state.
func (n *node) has(s State) bool {
	switch s {
	case StateReady:
		return n.wasReady
	case StateDone:
		return n.wasDone
	case StateDoneShutdown:
		return n.finished() || n.reached == StateDoneShutdown
	case StateExited:
		return n.state == StateExited
	}
	return n.state != "" && !n.reached.before(s)
}

// MessageFrom waits for a message that the node sends to an address: the first
// of its present incarnation that no such wait has returned yet, or with
// sinceNow the first that is still to come. The function returns it, once the
// condition is met.
func (r *Run) MessageFrom(name, address string, sinceNow bool) (Condition, func() Message) {
	var found Message
	from := -1
	return Condition{What: "message " + address, Nodes: []string{name}, check: func() answer {
		n, err := r.node(name)
		if err != nil {
			return answer{err: err}
		}
		if from < 0 {
			if from = 0; sinceNow {
				from = len(n.messages)
			}
		}
		for _, m := range n.messages[min(max(from, n.returned[address]), len(n.messages)):] {
			if m.Address == address {
				n.returned[address] = m.index + 1
				found = m
				return answer{met: true}
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
	return Condition{What: fmt.Sprintf("count of %d", n), Nodes: []string{name}, check: func() answer {
		counter, err := r.node(name)
		if err != nil {
			return answer{err: err}
		}
		switch reported = counter.count; {
		case counter.state != "" && reported >= n:
			return answer{met: true}
		case counter.state != "" && counter.wasDone: // it counts no further
			return answer{impossible: []*node{counter}}
		}
		return counter.awaited()
	}}, func() int64 { return reported }
}

// OutputFrom waits for a line of the node's output, of either stream, that the
// pattern matches: the first of its present incarnation that no such wait has
// returned yet, or with sinceNow the first that is still to come. The function
// returns it, once the condition is met. A line of over 64 KiB is matched in
// pieces.
func (r *Run) OutputFrom(name string, pattern *regexp.Regexp, sinceNow bool) (Condition, func() process.Line) {
	var found process.Line
	began := false
	var from int64
	return Condition{What: "output " + pattern.String(), Nodes: []string{name}, looking: true, check: func() answer {
		n, err := r.node(name)
		if err != nil {
			return answer{err: err}
		}
		if !began {
			began = true
			if from = n.log.Start(); sinceNow {
				from = n.log.Size()
			}
			from = max(from, n.outputRead[pattern.String()])
		}
		exited := n.state == StateExited
		for {
			lines, next, err := n.log.Lines(from)
			if err != nil {
				return answer{err: fmt.Errorf("%s: cannot read its output back: %w", name, err)}
			}
			for i, line := range lines {
				if pattern.MatchString(line.Text) {
					end := next
					if i+1 < len(lines) {
						end = lines[i+1].Offset
					}
					n.outputRead[pattern.String()] = end
					found = line
					return answer{met: true}
				}
			}
			if next == from {
				break
			}
			from = next
		}
		if n.state == "" {
			return n.awaited()
		}
		if exited {
			return answer{impossible: []*node{n}}
		}
		return answer{missing: []*node{n}}
	}}, func() process.Line { return found }
}

// awaited is the answer for a node that has not sent what is awaited.
func (n *node) awaited() answer {
	switch {
	case n.state == "":
		return answer{err: &StateError{Node: n.spec.Name, Text: "cannot await anything of it: it has not been forked"}}
	case n.state == StateExited, n.lost:
		return answer{impossible: []*node{n}}
	}
	return answer{missing: []*node{n}}
}

// Elapsed waits for time to pass.
func Elapsed(d time.Duration) Condition {
	return Condition{What: "sleep", Timeout: max(d, 1), quiet: true, expiry: true,
		check: func() answer { return answer{} }}
}

// Change waits for the next event, at most for a while; that no event came is
// no error.
func (r *Run) Change(within time.Duration) Condition {
	seen := -1
	return Condition{What: "change", Timeout: max(within, 1), quiet: true, expiry: true, check: func() answer {
		if seen < 0 {
			seen = len(r.events)
		}
		return answer{met: len(r.events) > seen}
	}}
}

// Watch is a wait under way.
type Watch struct {
	run    *Run
	c      Condition
	notify func()
	id     int64 // in the log; 0 for a quiet one
	began  time.Duration
	timer  *time.Timer
	ended  bool
	err    error
	last   answer
}

// Watch begins to wait and returns at once. When the wait ends - the condition
// is met, its deadline passes, it becomes impossible, the run's work is
// aborted - notify is called, once, with the engine's lock held: it must not
// block and must not call the run. Waits end in the order of the events that
// end them, and those that one event ends in the order in which they began. A
// wait that has nothing to wait for ends before Watch returns.
func (r *Run) Watch(c Condition, notify func()) *Watch {
	if c.Timeout <= 0 {
		c.Timeout = r.cfg.Settings.Timeout
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &Watch{run: r, c: c, notify: notify, began: r.Elapsed()}
	if !c.quiet {
		r.lastID++
		w.id = r.lastID
		r.record("", event.Await{ID: w.id, What: c.What, Nodes: c.Nodes, TimeoutS: c.Timeout.Seconds()})
	}
	r.watches = append(r.watches, w)
	if c.looking {
		r.looking++
	}
	switch {
	case r.closed:
		r.finish(w, "cancelled", ErrEnded)
	case r.cause != nil && !r.ending:
		r.finish(w, "cancelled", r.cause)
	case !r.answered(w):
		w.timer = time.AfterFunc(c.Timeout, func() { r.expire(w) })
	}
	return w
}

// Err tells how the wait ended: nil where the condition was met. It is only to
// be called after notify was.
func (w *Watch) Err() error {
	w.run.mu.Lock()
	err := w.err
	w.run.mu.Unlock()
	// The last lines are read outside the lock, for they are in a file.
	var timeout *TimeoutError
	var impossible *ImpossibleError
	switch {
	case errors.As(err, &timeout) && timeout.Output == nil:
		timeout.Output = w.run.tails(timeout.Missing)
	case errors.As(err, &impossible) && impossible.Output == nil:
		impossible.Output = w.run.tails(impossible.Missing)
	}
	return err
}

// Stop gives the wait up; notify is not called if it has not been.
func (w *Watch) Stop() {
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	w.notify = nil
	w.run.finish(w, "cancelled", context.Canceled)
}

// Wait waits for a condition and returns how the wait ended.
func (r *Run) Wait(c Condition) error {
	ended := make(chan struct{})
	w := r.Watch(c, func() { close(ended) })
	<-ended
	return w.Err()
}

// ask asks the conditions again; only those that look at output, if told so.
func (r *Run) ask(onlyLooking bool) {
	for _, w := range slices.Clone(r.watches) {
		if !w.ended && (w.c.looking || !onlyLooking) {
			r.answered(w)
		}
	}
}

// answered asks one condition and tells whether that ended the wait.
func (r *Run) answered(w *Watch) bool {
	w.last = w.c.check()
	switch a := w.last; {
	case a.err != nil:
		r.finish(w, "impossible", a.err)
	case a.met:
		r.finish(w, "met", nil)
	case len(a.impossible) > 0:
		r.finish(w, "impossible", &ImpossibleError{What: w.c.What, Missing: r.missing(a.impossible)})
	}
	return w.ended
}

func (r *Run) expire(w *Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case w.ended || r.answered(w):
	case w.c.expiry:
		r.finish(w, "met", nil)
	default:
		r.finish(w, "timeout", &TimeoutError{What: w.c.What, Timeout: w.c.Timeout, Missing: r.missing(w.last.missing)})
	}
}

func (r *Run) finish(w *Watch, outcome string, err error) {
	if w.ended {
		return
	}
	w.ended, w.err = true, err
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.c.looking {
		r.looking--
	}
	r.watches = slices.DeleteFunc(r.watches, func(x *Watch) bool { return x == w })
	if w.notify != nil {
		w.notify()
	}
	if w.id != 0 {
		ended := event.AwaitEnded{ID: w.id, Outcome: outcome, WaitedS: (r.Elapsed() - w.began).Truncate(time.Microsecond).Seconds()}
		if err != nil {
			for _, n := range append(w.last.impossible, w.last.missing...) {
				ended.Missing = append(ended.Missing, n.spec.Name)
			}
		}
		r.record("", ended)
	}
}

func (r *Run) missing(nodes []*node) []Missing {
	out := make([]Missing, len(nodes))
	for i, n := range nodes {
		out[i] = Missing{Node: n.spec.Name, State: n.state, Note: n.note()}
		if r.pausing(n) != nil {
			out[i].Note = strings.TrimSuffix("it is paused; "+out[i].Note, "; ")
		}
	}
	return out
}

// tailLines is how many of a node's last lines an error quotes.
const tailLines = 10

func (r *Run) tails(missing []Missing) map[string][]string {
	output := map[string][]string{}
	for _, m := range missing {
		r.mu.Lock()
		n := r.nodes[m.Node]
		r.mu.Unlock()
		if n != nil {
			output[m.Node] = n.log.Tail(tailLines)
		}
	}
	return output
}

// outputChanged is told by the nodes' logs that there are new lines.
func (r *Run) outputChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.looking > 0 {
		r.ask(true)
	}
}

// Output returns what the node's present incarnation has written so far, one
// line a line, both streams as they came.
func (r *Run) Output(name string) (string, error) {
	r.mu.Lock()
	n, err := r.node(name)
	r.mu.Unlock()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for from := n.log.Start(); ; {
		lines, next, err := n.log.Lines(from)
		if err != nil {
			return "", fmt.Errorf("%s: cannot read its output back: %w", name, err)
		}
		if next == from {
			return b.String(), nil
		}
		for _, line := range lines {
			b.WriteString(line.Text + "\n")
		}
		from = next
	}
}
