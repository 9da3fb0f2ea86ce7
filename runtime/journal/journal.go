// Package journal is the event log of a run while it grows: it has the one lock
// of the run, the events, the roster that is folded from them, and the watches
// that wait for what they tell. It knows no process and no socket.
//
// The log is on the disk, and only its end in memory. What is appended under the
// lock is written at once before the lock is given back, and before anybody is told:
// whoever can know of an event finds it on the disk, unless that is full.
package journal

import (
	"fmt"
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
	// AfterFunc is that of the run's clock; nil is time.AfterFunc.
	AfterFunc func(time.Duration, func()) Timer
	// Fold is called with every event, in order and with the lock held, after the
	// roster; it may be nil.
	Fold func(event.Event)
	// Ended returns the error that watches end with at once when they begin, or
	// nil. It is called with the lock held.
	Ended func() error
	// Failed is called with the lock held each time the log cannot be written.
	Failed func(error)
	// Settle returns when what nodes had said before the call has been appended, or
	// cannot be any more. It is called without the lock, before a watch that waits
	// for them is given up; it may be nil.
	Settle func(nodes []string)
	// Note returns what is known of a node that is awaited in vain, beside what the roster
	// knows, or "". It is called with the lock held; it may be nil.
	Note func(node string) string
	// Tail returns the last lines of what an incarnation of a node has written, for the
	// errors of watches.
	Tail func(node string, incarnation int) []string
}

// Timer is a call that is to be made.
type Timer interface{ Stop() bool }

// Journal is the log of a run. Its lock guards all that the run's drivers share;
// methods that need it held say so.
type Journal struct {
	o        Options
	mu       sync.Mutex
	news     sync.Cond // there are new events, or no more will come
	log      log
	dirty    bool     // there is something that Flush has not tried to write
	closed   bool     // no more events
	deeds    int64    // what nodes have done so far: events of which no caller is the cause
	lost     error    // why the log is not whole, or nil
	unheard  int      // messages that were not taken as the log could not be written
	lastID   int64    // of watches and faults
	held     bool     // Append checks no conditions
	tell     []func() // of watches that have ended, once that is written
	settling sync.WaitGroup

	watches list // all, in the order in which they began
	byNode  map[string]*list
	always  list // those that every event is for
	began   int64
}

// New makes a journal. Write must be called before the first event.
func New(o Options) *Journal {
	if o.AfterFunc == nil {
		o.AfterFunc = func(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
	}
	j := &Journal{o: o, byNode: map[string]*list{}}
	j.news.L = &j.mu
	return j
}

// Write has the log written by w from now on, and read back by what open opens; nil
// where it cannot be.
func (j *Journal) Write(w *event.Writer, open func() (File, error)) {
	if open == nil {
		open = func() (File, error) { return nil, errNowhere }
	}
	j.log.writer, j.log.open = w, open
}

// Lock takes the run's lock.
func (j *Journal) Lock() { j.mu.Lock() }

// Unlock writes what was appended, tells the watches that have ended, and gives the
// run's lock back.
func (j *Journal) Unlock() {
	j.Flush()
	for len(j.tell) > 0 {
		tell := j.tell
		j.tell = nil
		for _, notify := range tell {
			notify()
		}
	}
	j.mu.Unlock()
}

// Flush writes what was appended, before others get to know of it otherwise than by
// the lock. The lock is held.
func (j *Journal) Flush() {
	for j.dirty {
		j.dirty = false
		j.lost = nil
		if err := j.log.writer.Flush(); err != nil {
			j.lost = &LogError{err}
			j.o.Failed(j.lost) // which may append
		}
	}
}

// Elapsed is the time on the run's clock.
func (j *Journal) Elapsed() time.Duration { return j.o.Elapsed() }

// Roster is what is known of the nodes. The lock is held while it is read.
func (j *Journal) Roster() *roster.Roster { return j.o.Roster }

// NewID returns an id that no fault and no watch has had. The lock is held.
func (j *Journal) NewID() int64 {
	j.lastID++
	return j.lastID
}

// Append appends an event to the log, folds it into the roster with the change
// of state that follows from it, and checks the conditions of the watches that wait
// for its node. After Close it does nothing. The lock is held.
func (j *Journal) Append(node string, d event.Detail) {
	if j.closed {
		return
	}
	e, err := j.log.add(event.Event{T: j.o.Elapsed().Truncate(time.Microsecond), Node: node, Detail: d})
	if err != nil { // it cannot be encoded
		j.lost = &LogError{err}
		j.o.Failed(j.lost)
	}
	j.dirty = true
	switch d.(type) {
	case event.Connected, event.Disconnected, event.Lost, event.Received, event.Refused, event.Exited:
		j.deeds++
	}
	changed := j.o.Roster.Apply(e)
	if j.o.Fold != nil {
		j.o.Fold(e)
	}
	if changed != nil {
		j.Append(node, *changed)
	}
	j.news.Broadcast()
	switch d.(type) {
	case event.State: // what led to it checks once for both
	case event.Usage: // nobody waits for it
	default:
		if !j.held {
			j.check(node)
		}
	}
}

// Deeds is how many events there are so far that nodes have caused, and not who drives
// the run. The lock is held.
func (j *Journal) Deeds() int64 { return j.deeds }

// Hears reports whether a message may be appended: not where so much could not be
// written that the memory must not grow by what nodes say. The run has failed then.
// The lock is held.
func (j *Journal) Hears() bool {
	if j.lost == nil || j.log.writer.Unwritten() < maxUnwritten {
		return true
	}
	j.unheard++
	return false
}

// AppendFirst appends an event, and calls then before the conditions of the
// watches are checked. The lock is held.
func (j *Journal) AppendFirst(node string, d event.Detail, then func()) {
	j.held = true
	j.Append(node, d)
	j.held = false
	j.Flush()
	then()
	j.check(node)
}

// Lost returns why the log is not whole on its disk, or nil. The lock is held.
func (j *Journal) Lost() error {
	if j.lost != nil && j.unheard > 0 {
		return fmt.Errorf("%w; %d messages that came then were not heard", j.lost, j.unheard)
	}
	return j.lost
}

// Correct puts another detail in the place of that of an event that has not been
// written; at counts from the end, 1 for the last. Nobody has been told of it. The
// lock is held.
func (j *Journal) Correct(at int, d event.Detail) {
	l := &j.log
	seq := l.next - int64(at)
	b := l.blocks[l.find(seq)]
	b.events[seq-b.first].Detail = d
}

// Written is how many bytes of the log have been written. The lock is held.
func (j *Journal) Written() int64 { return j.log.size - int64(j.log.writer.Unwritten()) }

// Closed reports whether no more events come. The lock is held.
func (j *Journal) Closed() bool { return j.closed }

// Close says that no more events come: the waits that are left end with why. The lock
// is held.
func (j *Journal) Close(why error) {
	j.closed = true
	j.CancelWatches(why)
	if j.log.file != nil {
		j.log.file.Close()
		j.log.file = nil
	}
	j.news.Broadcast()
}

// Wait returns when no goroutine of the journal is left. It has been closed, and the
// lock is not held.
func (j *Journal) Wait() { j.settling.Wait() }

// Observe calls see with every event, in order, until the journal is closed. The
// lock is not held meanwhile. What has left the memory by the time at which see comes
// to it is read from the disk. What cannot be is passed over, and missed is called, with
// the lock not held either: why, and how many events it is.
func (j *Journal) Observe(see func(event.Event), missed func(why error, events int64)) {
	r := j.reader()
	defer r.close()
	for next := int64(0); ; {
		j.mu.Lock()
		for next == j.log.next && !j.closed {
			j.news.Wait()
		}
		over := next == j.log.next
		j.mu.Unlock()
		if over {
			return
		}
		events, err := r.read(next)
		if err != nil {
			after := r.after(next)
			missed(err, after-next)
			next = after
			continue
		}
		for _, e := range events {
			see(e)
		}
		next += int64(len(events))
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
