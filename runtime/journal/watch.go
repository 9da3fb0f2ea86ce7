package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Condition is something to wait for.
type Condition struct {
	// What is awaited and of whom, for the log and for errors. Events of the Nodes
	// are what the condition is checked at.
	What  string
	Nodes []string
	// Timeout is how long to wait; 0 is Options.Timeout.
	Timeout time.Duration
	Where   string // who waits, for the log: file:line:col of a script

	Quiet  bool // not worth an event: sleeps
	Expiry bool // the deadline is what is waited for
	Always bool // it is checked at every event
	// Check reports whether the condition holds now. node is the one of which there
	// is news since the last call; "" is none in particular, and all are to be looked
	// at. It is called with the journal's lock held, as all functions here but Late.
	Check func(node string) Answer
	// Missing returns the nodes that have not come yet, as the last Check found. Where
	// it is nil they are Nodes, until the condition is met.
	Missing func() []string

	// Begin, if there is one, is called once before the first Check. What it is given
	// has the condition checked for another reason than an event; it is called from
	// any goroutine, without the lock.
	Begin func(recheck func())
	// Late, if there is one, is called when the deadline has come, without the lock
	// and before the last Check: what had come before the deadline counts.
	Late func()
	// GiveBack, if there is one, is called where nobody takes what the condition was
	// met by, or is to be met by: the wait has ended otherwise, or Stop came before
	// Err. It may be called more than once.
	GiveBack func()
}

// Answer is what a condition finds.
type Answer struct {
	Met        bool
	Impossible []string // nodes that cannot come any more
	Err        error    // why it can never be met, where that is no node's doing
}

// Watch is a wait for a condition. Its methods may be called from any goroutine.
type Watch struct {
	j       *Journal
	c       Condition
	id      int64
	number  int64 // of its beginning
	began   time.Duration
	notify  func()
	timer   Timer
	last    Answer
	checked bool
	ended   bool
	settled bool // what it found is taken or given back
	err     error
}

// list is watches, in the order in which they began; those that have ended are taken
// out of it now and then.
type list struct {
	all   []*Watch
	ended int
}

func (l *list) add(w *Watch) { l.all = append(l.all, w) }

// leave counts a watch of the list that has ended. Whoever goes through the list
// meanwhile has it as it was.
func (l *list) leave() {
	if l.ended++; 2*l.ended > len(l.all) {
		var live []*Watch
		for _, w := range l.all {
			if !w.ended {
				live = append(live, w)
			}
		}
		l.all, l.ended = live, 0
	}
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
	j.Lock()
	defer j.Unlock()
	j.began++
	w := &Watch{j: j, c: c, notify: notify, number: j.began, began: j.o.Elapsed()}
	if !c.Quiet {
		w.id = j.NewID()
		j.Append("", event.Await{ID: w.id, What: c.What, Nodes: c.Nodes, TimeoutS: c.Timeout.Seconds(), Where: c.Where})
	}
	for l := range j.lists(w) {
		l.add(w)
	}
	if err := j.o.Ended(); err != nil {
		j.finish(w, "cancelled", err)
		return w
	}
	if c.Begin != nil {
		c.Begin(func() { j.recheck(w) })
	}
	if !j.decided(w, "") {
		w.timer = j.o.AfterFunc(c.Timeout, func() { j.expire(w) })
	}
	return w
}

// Await waits for a condition and returns how the wait ended: see Watch.Err.
func (j *Journal) Await(c Condition) error {
	ended := make(chan struct{})
	w := j.Watch(c, func() { close(ended) })
	<-ended
	return w.Err()
}

// lists are those that a watch is in.
func (j *Journal) lists(w *Watch) iter.Seq[*list] {
	return func(yield func(*list) bool) {
		if !yield(&j.watches) || w.c.Always && !yield(&j.always) {
			return
		}
		for i, name := range w.c.Nodes {
			if w.c.Always || len(w.c.Nodes) < 8 && slices.Contains(w.c.Nodes[:i], name) {
				continue
			}
			l := j.byNode[name]
			if l == nil {
				l = &list{}
				j.byNode[name] = l
			}
			if !yield(l) {
				return
			}
		}
	}
}

// Err returns how the wait ended: nil where the condition was met, and what it found
// is taken. It is only to be called after notify was.
func (w *Watch) Err() error {
	w.j.Lock()
	err := w.err
	w.settled = true
	w.j.Unlock()
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
		output[m.Node] = j.o.Tail(m.Node, m.Incarnation)
	}
	return output
}

// Stop gives the wait up; notify is not called if it has not been. What it has found,
// and nobody has taken by Err, is given back.
func (w *Watch) Stop() {
	j := w.j
	j.Lock()
	defer j.Unlock()
	w.notify = nil
	if w.ended && w.err == nil && !w.settled && w.c.GiveBack != nil {
		w.settled = true
		w.c.GiveBack()
		for _, name := range w.c.Nodes { // others may wait for it
			j.check(name)
		}
	}
	j.finish(w, "cancelled", context.Canceled)
}

// CancelWatches ends all waits with an error. The lock is held.
func (j *Journal) CancelWatches(err error) {
	for _, w := range j.watches.all {
		j.finish(w, "cancelled", err)
	}
}

// recheck checks one condition, which something else than an event has changed.
func (j *Journal) recheck(w *Watch) {
	j.Lock()
	defer j.Unlock()
	j.checkOne(w, "")
}

// check checks the conditions that an event of a node, or of none, is for.
func (j *Journal) check(node string) {
	always := j.always.all
	if l := j.byNode[node]; l != nil {
		for _, w := range l.all {
			for len(always) > 0 && always[0].number < w.number {
				j.checkOne(always[0], node)
				always = always[1:]
			}
			j.checkOne(w, node)
		}
	}
	for _, w := range always {
		j.checkOne(w, node)
	}
}

func (j *Journal) checkOne(w *Watch, node string) {
	if !w.ended {
		j.decided(w, node)
	}
}

// decided checks one condition, and reports whether that ended the wait.
func (j *Journal) decided(w *Watch, node string) bool {
	w.last, w.checked = w.c.Check(node), true
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

// expire ends a wait whose deadline has passed: once what had come by then has been
// looked at.
func (j *Journal) expire(w *Watch) {
	j.Lock()
	defer j.Unlock()
	if w.ended || j.closed {
		return
	}
	settles := !w.c.Expiry && len(w.c.Nodes) > 0 && j.o.Settle != nil
	if !settles && w.c.Late == nil {
		j.giveUp(w)
		return
	}
	missing := w.missing()
	j.settling.Go(func() {
		if settles {
			j.o.Settle(missing)
		}
		if w.c.Late != nil {
			w.c.Late()
		}
		j.Lock()
		defer j.Unlock()
		j.giveUp(w)
	})
}

func (j *Journal) giveUp(w *Watch) {
	switch {
	case w.ended || j.decided(w, ""):
	case w.c.Expiry:
		j.finish(w, "met", nil)
	default:
		j.finish(w, "timeout", &TimeoutError{What: w.c.What, Timeout: w.c.Timeout, Waited: j.o.Elapsed() - w.began,
			Missing: j.missing(w.missing())})
	}
}

// missing are the nodes that the wait still waits for, and that may still come.
func (w *Watch) missing() []string {
	switch {
	case !w.checked || w.last.Err != nil:
		return nil
	case w.c.Missing != nil:
		return w.c.Missing()
	case len(w.last.Impossible) > 0:
		return slices.DeleteFunc(slices.Clone(w.c.Nodes), func(name string) bool { return slices.Contains(w.last.Impossible, name) })
	}
	return w.c.Nodes
}

func (j *Journal) finish(w *Watch, outcome string, err error) {
	if w.ended {
		return
	}
	w.ended, w.err = true, err
	if w.timer != nil {
		w.timer.Stop()
	}
	for l := range j.lists(w) {
		l.leave()
	}
	if err != nil && w.c.GiveBack != nil {
		w.c.GiveBack()
	}
	if w.notify != nil {
		j.tell = append(j.tell, w.notify)
	}
	if w.id != 0 {
		ended := event.AwaitEnded{ID: w.id, Outcome: outcome, WaitedS: (j.o.Elapsed() - w.began).Truncate(time.Microsecond).Seconds()}
		if err != nil {
			ended.Missing = slices.Concat(w.last.Impossible, w.missing())
		}
		j.Append("", ended)
	}
}

func (j *Journal) missing(names []string) []Missing {
	out := make([]Missing, len(names))
	for i, name := range names {
		if n := j.o.Roster.Node(name); n != nil {
			out[i] = Missing{Node: name, State: n.State, Note: n.Note(), Incarnation: n.Incarnation}
			if j.o.Note != nil {
				if more := j.o.Note(name); more != "" {
					out[i].Note = strings.TrimPrefix(out[i].Note+"; "+more, "; ")
				}
			}
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

	Incarnation int // that it had when the wait ended, 0 before the first
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
	Waited  time.Duration // until what had come by then had been looked at
	Missing []Missing
	Output  map[string][]string // last lines of the missing nodes
}

// worthTelling is how much longer than its timeout a wait lasts where the error says so.
const worthTelling = 100 * time.Millisecond

func (e *TimeoutError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: not within %s", e.What, Short(e.Timeout))
	if e.Waited-e.Timeout >= worthTelling {
		fmt.Fprintf(&b, ", nor in what had come by then, which took until %s to be heard", Short(e.Waited))
	}
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
