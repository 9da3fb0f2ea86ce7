// Package journal is the event log of a run while it grows: it has the one lock
// of the run, the events, the roster that is folded from them, and the watches
// that wait for what they tell. It knows no process and no socket.
package journal

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// LogError is the event log failing, as on a full disk, which ends the run; or
// the log of a node, which fails it when it ends.
type LogError struct{ Err error }

func (e *LogError) Error() string { return e.Err.Error() }
func (e *LogError) Unwrap() error { return e.Err }

// Options say what a journal is made of.
type Options struct {
	Roster  *roster.Roster
	Elapsed func() time.Duration // the run's clock
	Timeout time.Duration        // of a watch that has none
	// Ended returns the error that watches end with at once when they begin, or
	// nil. It is called with the lock held.
	Ended func() error
	// Failed is called with the lock held each time the log cannot be written.
	Failed func(error)
	// Tail returns the last lines of a node's output, for the errors of watches.
	Tail func(node string) []string
}

// Journal is the log of a run. Its lock guards all that the run's drivers share;
// methods that need it held say so.
type Journal struct {
	o       Options
	mu      sync.Mutex
	news    sync.Cond // there are new events, or no more will come
	writer  *event.Writer
	events  []event.Event
	closed  bool  // no more events
	lost    error // why the log is not whole, or nil
	lastID  int64 // of watches and faults
	watches []*Watch
	held    bool // Append checks no conditions
}

// New makes a journal. Write must be called before the first event.
func New(o Options) *Journal {
	j := &Journal{o: o}
	j.news.L = &j.mu
	return j
}

// Write has the log written by w from now on.
func (j *Journal) Write(w *event.Writer) { j.writer = w }

// Lock takes the run's lock, and Unlock gives it back.
func (j *Journal) Lock() { j.mu.Lock() }

// Unlock gives the run's lock back.
func (j *Journal) Unlock() { j.mu.Unlock() }

// Roster is what is known of the nodes. The lock is held while it is read.
func (j *Journal) Roster() *roster.Roster { return j.o.Roster }

// NewID returns an id that no fault and no watch has had. The lock is held.
func (j *Journal) NewID() int64 {
	j.lastID++
	return j.lastID
}

// Append appends an event to the log, folds it into the roster with the change
// of state that follows from it, and checks the conditions of the watches. After
// Close it does nothing. The lock is held.
func (j *Journal) Append(node string, d event.Detail) {
	if j.closed {
		return
	}
	e := event.Event{Seq: int64(len(j.events)), T: j.o.Elapsed().Truncate(time.Microsecond), Node: node, Detail: d}
	if last := len(j.events) - 1; last >= 0 {
		e.T = max(e.T, j.events[last].T)
	}
	j.events = append(j.events, e)
	j.lost = nil
	if err := j.writer.Write(e); err != nil {
		j.lost = &LogError{err}
		j.o.Failed(j.lost)
	}
	if changed := j.o.Roster.Apply(e); changed != nil {
		j.Append(node, *changed)
	}
	j.news.Broadcast()
	if _, state := d.(event.State); !state && !j.held { // what led to it checks once for both
		j.check()
	}
}

// AppendFirst appends an event, and calls then before the conditions of the
// watches are checked. The lock is held.
func (j *Journal) AppendFirst(node string, d event.Detail, then func()) {
	j.held = true
	j.Append(node, d)
	j.held = false
	then()
	j.check()
}

// Events returns the events so far. The lock is held.
func (j *Journal) Events() []event.Event { return slices.Clip(j.events) }

// Lost returns why the log is not whole on its disk, or nil. The lock is held.
func (j *Journal) Lost() error { return j.lost }

// Correct puts another detail in the place of that of an event that has not been
// written; at counts from the end, 1 for the last. The lock is held.
func (j *Journal) Correct(at int, d event.Detail) { j.events[len(j.events)-at].Detail = d }

// Closed reports whether no more events come. The lock is held.
func (j *Journal) Closed() bool { return j.closed }

// Close says that no more events come. The lock is held.
func (j *Journal) Close() {
	j.closed = true
	j.news.Broadcast()
}

// Observe calls see with every event, in order, until the journal is closed.
// The lock is not held meanwhile.
func (j *Journal) Observe(see func(event.Event)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for next := 0; ; next++ {
		for next == len(j.events) && !j.closed {
			j.news.Wait()
		}
		if next == len(j.events) {
			return
		}
		e := j.events[next]
		j.mu.Unlock()
		see(e)
		j.mu.Lock()
	}
}

// Node finds a node; a *StateError if there is none of that name. The lock is held.
func (j *Journal) Node(name string) (*roster.Node, error) {
	if n := j.o.Roster.Node(name); n != nil {
		return n, nil
	}
	var names []string
	for _, n := range j.o.Roster.Nodes() {
		names = append(names, n.Name)
	}
	return nil, &StateError{Node: name, Text: fmt.Sprintf("no such node in the topology, which has %s", strings.Join(names, ", "))}
}
