package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Condition is something to wait for.
type Condition struct {
	// What is awaited and of whom, for the log and for errors.
	What  string
	Nodes []string
	// Timeout is how long to wait; 0 is Options.Timeout.
	Timeout time.Duration

	Quiet  bool // not worth an event: sleeps
	Expiry bool // the deadline is what is waited for
	// Check reports whether the condition holds now. It is called with the
	// journal's lock held, at every event.
	Check func() Answer

	// Begin, if there is one, is called once before the first Check, with the lock
	// held. What it is given has the condition checked for another reason than an
	// event; it is called from any goroutine, without the lock.
	Begin func(recheck func())
	// Late, if there is one, is called when the deadline has come, without the lock
	// and before the last Check: what had come before the deadline counts.
	Late func()
	// Stopped, if there is one, is called with the lock held when the wait ends
	// without being met, and by Watch.Stop also where it was met: nobody gets what
	// it was met by. It may be called more than once.
	Stopped func()
}

// Answer is what a condition finds.
type Answer struct {
	Met        bool
	Missing    []string // nodes that have not come yet
	Impossible []string // nodes that cannot come any more
	Err        error    // why it can never be met, where that is no node's doing
}

// Watch is a wait for a condition. Its methods may be called from any goroutine.
type Watch struct {
	j      *Journal
	c      Condition
	id     int64
	began  time.Duration
	notify func()
	timer  *time.Timer
	last   Answer
	ended  bool
	err    error
}

// Watch begins to wait and returns at once. When the wait ends - the condition
// is met, its deadline passes, it becomes impossible, it is cancelled - notify is
// called, once, with the journal's lock held: it must not block and must not call
// the journal. Waits end in the order of the events that end them, and those that
// one event ends in the order in which they began. A wait that has nothing to
// wait for ends before Watch returns.
func (j *Journal) Watch(c Condition, notify func()) *Watch {
	if c.Timeout <= 0 {
		c.Timeout = j.o.Timeout
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	w := &Watch{j: j, c: c, notify: notify, began: j.o.Elapsed()}
	if !c.Quiet {
		w.id = j.NewID()
		j.Append("", event.Await{ID: w.id, What: c.What, Nodes: c.Nodes, TimeoutS: c.Timeout.Seconds()})
	}
	j.watches = append(j.watches, w)
	if err := j.o.Ended(); err != nil {
		j.finish(w, "cancelled", err)
		return w
	}
	if c.Begin != nil {
		c.Begin(func() { j.recheck(w) })
	}
	if !j.decided(w) {
		w.timer = time.AfterFunc(c.Timeout, func() { j.expire(w) })
	}
	return w
}

// Err returns how the wait ended: nil where the condition was met. It is only to
// be called after notify was.
func (w *Watch) Err() error {
	w.j.mu.Lock()
	err := w.err
	w.j.mu.Unlock()
	// The last lines are read outside the lock, for they are in a file.
	var timeout *TimeoutError
	var impossible *ImpossibleError
	switch {
	case errors.As(err, &timeout) && timeout.Output == nil:
		timeout.Output = w.j.tails(timeout.Missing)
	case errors.As(err, &impossible) && impossible.Output == nil:
		impossible.Output = w.j.tails(impossible.Missing)
	}
	return err
}

func (j *Journal) tails(missing []Missing) map[string][]string {
	output := map[string][]string{}
	for _, m := range missing {
		output[m.Node] = j.o.Tail(m.Node)
	}
	return output
}

// Stop gives the wait up; notify is not called if it has not been.
func (w *Watch) Stop() {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	w.notify = nil
	w.j.finish(w, "cancelled", context.Canceled)
	if w.c.Stopped != nil {
		w.c.Stopped()
	}
}

// CancelWatches ends all waits with an error. The lock is held.
func (j *Journal) CancelWatches(err error) {
	for _, w := range slices.Clone(j.watches) {
		j.finish(w, "cancelled", err)
	}
}

// recheck checks one condition, which something else than an event has changed.
func (j *Journal) recheck(w *Watch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !w.ended {
		j.decided(w)
	}
}

// check checks the conditions.
func (j *Journal) check() {
	for _, w := range slices.Clone(j.watches) {
		if !w.ended {
			j.decided(w)
		}
	}
}

// decided checks one condition, and reports whether that ended the wait.
func (j *Journal) decided(w *Watch) bool {
	w.last = w.c.Check()
	switch a := w.last; {
	case a.Err != nil:
		j.finish(w, "impossible", a.Err)
	case a.Met:
		j.finish(w, "met", nil)
	case len(a.Impossible) > 0:
		j.finish(w, "impossible", &ImpossibleError{What: w.c.What, Missing: j.missing(a.Impossible)})
	}
	return w.ended
}

func (j *Journal) expire(w *Watch) {
	if w.c.Late != nil {
		w.c.Late()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case w.ended || j.decided(w):
	case w.c.Expiry:
		j.finish(w, "met", nil)
	default:
		j.finish(w, "timeout", &TimeoutError{What: w.c.What, Timeout: w.c.Timeout, Missing: j.missing(w.last.Missing)})
	}
}

func (j *Journal) finish(w *Watch, outcome string, err error) {
	if w.ended {
		return
	}
	w.ended, w.err = true, err
	if w.timer != nil {
		w.timer.Stop()
	}
	if err != nil && w.c.Stopped != nil {
		w.c.Stopped()
	}
	j.watches = slices.DeleteFunc(j.watches, func(x *Watch) bool { return x == w })
	if w.notify != nil {
		w.notify()
	}
	if w.id != 0 {
		ended := event.AwaitEnded{ID: w.id, Outcome: outcome, WaitedS: (j.o.Elapsed() - w.began).Truncate(time.Microsecond).Seconds()}
		if err != nil {
			ended.Missing = slices.Concat(w.last.Impossible, w.last.Missing)
		}
		j.Append("", ended)
	}
}

func (j *Journal) missing(names []string) []Missing {
	out := make([]Missing, len(names))
	for i, name := range names {
		if n := j.o.Roster.Node(name); n != nil {
			out[i] = Missing{Node: name, State: n.State, Note: n.Note()}
		}
	}
	return out
}

// StateError is a call that a node's state does not allow: forking one that
// runs, sending to one that is not connected.
type StateError struct {
	Node  string
	State roster.State // "" where it was never forked
	Text  string       // what cannot be done, and what to do
}

func (e *StateError) Error() string { return e.Node + ": " + e.Text }

// Missing is a node that an await still waited for.
type Missing struct {
	Node  string
	State roster.State // "" where it was never forked
	Note  string       // what is known of it: a refused connection, a lost one
}

func (m Missing) String() string {
	state := string(m.State)
	if state == "" {
		state = "not forked"
	}
	if m.Note != "" {
		state += "; " + m.Note
	}
	return m.Node + " (" + state + ")"
}

// TimeoutError is an await whose deadline passed.
type TimeoutError struct {
	What    string // what was awaited: "ready", "message /x", …
	Timeout time.Duration
	Missing []Missing
	Output  map[string][]string // last lines of the missing nodes
}

func (e *TimeoutError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: not within %s", e.What, Short(e.Timeout))
	writeMissing(&b, e.Missing, e.Output)
	return b.String()
}

// ImpossibleError is an await that ended at once because what it waited for
// can no longer come.
type ImpossibleError struct {
	What    string
	Missing []Missing // those that cannot come; the first is the culprit
	Output  map[string][]string
}

func (e *ImpossibleError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: can no longer come", e.What)
	writeMissing(&b, e.Missing, e.Output)
	return b.String()
}

func writeMissing(b *strings.Builder, missing []Missing, output map[string][]string) {
	for i, m := range missing {
		if i == 0 {
			b.WriteString(": missing ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(m.String())
	}
	for _, m := range missing {
		WriteOutput(b, m.Node, output[m.Node])
	}
}

// WriteOutput writes the last lines of a node's output, where there are any, for
// an error that quotes them.
func WriteOutput(b *strings.Builder, node string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n  last output of %s:", node)
	for _, line := range lines {
		b.WriteString("\n    " + line)
	}
}

// Short rounds a duration to what a person reads.
func Short(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
