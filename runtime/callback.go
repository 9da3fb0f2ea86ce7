package runtime

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"reflect"
	goruntime "runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// CallbackError is a function of the program that embeds the run which panicked, ended
// its goroutine, or did not return when the run was over. It fails the run. The panic goes
// no further: the program may have other runs, whose nodes it would leave behind.
type CallbackError struct {
	Callback string // which it is, such as "Config.Observer (main.watch)"
	Text     string // what it did
	Panic    any    // what it panicked with, or nil
	Stack    []byte // of the panic, or nil
}

func (e *CallbackError) Error() string { return e.Callback + " " + e.Text }

// callbackName is how an error has a function that is given to the run as what.
func callbackName(what string, f any) string {
	return fmt.Sprintf("%s (%s)", what, goruntime.FuncForPC(reflect.ValueOf(f).Pointer()).Name())
}

// guarded calls a function of the caller's, and then ended, with nil where it returned. It
// is to be all that a goroutine does, as the function may end that.
func guarded(name string, call func(), ended func(*CallbackError)) {
	err := &CallbackError{Callback: name, Text: "ended its goroutine by runtime.Goexit, as a failing test does"}
	defer func() {
		if p := recover(); p != nil {
			err = &CallbackError{Callback: name, Text: fmt.Sprintf("panicked: %v", p), Panic: p, Stack: debug.Stack()}
		}
		ended(err)
	}()
	call()
	err = nil
}

const (
	observerPatience = 10 * time.Second // with an observer, unless Config.ObserverPatience says another
	hurriedPatience  = time.Second      // with any function in a hurry
)

// comesBack waits for a function of the caller's that is to return, and reports whether it
// has: for as long as patience, or less in a hurry, since it last did anything that
// progress counts. Of the time that the program was stopped, little counts.
func (r *Run) comesBack(returned <-chan struct{}, patience time.Duration, progress func() int64) bool {
	const steps = 10
	hurry := r.cfg.Hurry
	ticker := time.NewTicker(max(patience/steps, 1)) // a patience may be any
	defer ticker.Stop()
	for left, last := steps, progress(); left > 0; {
		select {
		case <-returned:
			return true
		case <-hurry:
			hurry, left = nil, steps
			ticker.Reset(max(min(patience, hurriedPatience)/steps, 1))
		case <-ticker.C:
			left--
			if now := progress(); now != last {
				left, last = steps, now
			}
		}
	}
	return false
}

// grace is what a call at the end of the run may take: a grace of 0 is for nodes.
func (r *Run) grace() time.Duration {
	return cmp.Or(r.cfg.Settings.Grace, topology.DefaultSettings().Grace)
}

// callLast makes a call at the end of the run. Its context is done when inTime is, or when
// it has taken the grace. If it does not return soon after that, it is left behind.
func (r *Run) callLast(inTime context.Context, call func(context.Context)) {
	ctx, abort := context.WithCancelCause(inTime)
	defer abort(nil)
	grace := r.grace()
	late := r.clock.AfterFunc(grace, func() { abort(fmt.Errorf("the call did not end within %s", grace)) })
	defer late.Stop()

	r.callback(ctx, callbackName("a function that End was given", call), verdict.AtEnd, call)
}

// callback calls a function of the caller's. If it does not return soon after its context
// is done, it is left behind. That, and a panic, are findings.
func (r *Run) callback(ctx context.Context, name, during string, call func(context.Context)) {
	returned := make(chan struct{})
	var failed *CallbackError
	go guarded(name, func() { call(ctx) }, func(err *CallbackError) {
		failed = err
		close(returned)
	})
	select {
	case <-returned:
	case <-ctx.Done():
		// Twice what a script has to come back from its call: it says where it was.
		patience := 2 * max(r.grace(), time.Second)
		if !r.comesBack(returned, patience, func() int64 { return 0 }) {
			text := fmt.Sprintf("did not return when its context was done: %v", context.Cause(ctx))
			r.Find(callbackFinding(&CallbackError{Callback: name, Text: text}, during))
			return
		}
	}
	if failed != nil {
		r.Find(callbackFinding(failed, during))
	}
}

func callbackFinding(err *CallbackError, during string) Finding {
	return Finding{Outcome: Failed, Reason: err.Error(), Cause: err, During: during}
}

// observation is the observer of a run, and how far it has come.
type observation struct {
	name     string
	returned chan struct{}               // closed when it is told no more
	told     atomic.Int64                // events
	last     atomic.Pointer[event.Event] // of them
	left     atomic.Bool                 // it is not waited for any more

	// Under the journal's lock.
	missed   bool      // some events could not be read back
	unlogged []Finding // that came when the log had been closed
}

// observe begins to tell the observer all events. That it cannot be told of some, as the
// log at a path is not what was written, and that it does not return, are findings that
// fail the run.
func (r *Run) observe(log string, see func(event.Event)) {
	o := &observation{name: callbackName("Config.Observer", see), returned: make(chan struct{})}
	r.observation = o
	tell := func(e event.Event) {
		if !o.left.Load() {
			o.last.Store(&e)
			o.told.Add(1)
			see(e)
		}
	}
	missed := func(why error, events int64) {
		r.j.Lock()
		defer r.j.Unlock()
		if !o.missed {
			o.missed = true
			r.findObserved(r.changedLog(fmt.Errorf("%s: the observer was not told of %d events, if not of more: %w", log, events, why)))
		}
	}
	go guarded(o.name, func() { r.j.Observe(tell, missed) }, func(err *CallbackError) {
		defer close(o.returned)
		if err == nil {
			return
		}
		r.j.Lock()
		defer r.j.Unlock()
		if r.ending || r.cause != nil {
			r.findObserved(callbackFinding(err, r.phase()))
		}
		r.abort(err)
	})
}

// findObserved adds a finding, also where the log has been closed. The lock is held.
func (r *Run) findObserved(f Finding) {
	if r.j.Closed() {
		r.observation.unlogged = append(r.observation.unlogged, f)
	}
	r.find(f)
}

// observed waits until the observer has been told all events, and returns what was found
// since the log was closed.
func (r *Run) observed() []Finding {
	o := r.observation
	if o == nil {
		return nil
	}
	patience := cmp.Or(r.cfg.ObserverPatience, observerPatience)
	if patience < 0 {
		patience = math.MaxInt64
	}
	back := r.comesBack(o.returned, patience, o.told.Load)
	r.j.Lock()
	defer r.j.Unlock()
	if !back {
		o.left.Store(true)
		text := "did not return, and was told of nothing"
		if e := o.last.Load(); e != nil {
			text = fmt.Sprintf("did not return from event %d (%s), and was told of no more", e.Seq, e.Kind())
		}
		r.findObserved(callbackFinding(&CallbackError{Callback: o.name, Text: text}, verdict.AtEnd))
	}
	return o.unlogged
}
