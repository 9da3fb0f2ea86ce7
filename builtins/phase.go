package builtins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/task"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// phase is the main part of a script or a deferred call, with all tasks that it
// spawns. One phase runs at a time, and it leaves no task behind.
type phase struct {
	ctx   context.Context // done when the phase is to end at once
	abort func(error)     // ends the phase's work with an error
	// during is "" for the main part, and else which call at the end it is, as
	// findings have it.
	during string

	// in is the call of its first task that was under way when the phase was to end at
	// once; nil where there was none, or before the phase has ended.
	in *callSite

	// Under the host's lock.
	failed   error // a task's
	failedAt string
}

// runPhase runs a phase to its end, and ends the tasks that it leaves behind. The
// error is that of the task that failed first, else its own; a *StuckError where the
// phase was to end, and the script did not come back from a call.
func (h *Host) runPhase(p *phase, path string, body func(*starlark.Thread) error) error {
	patience := max(h.run.Settings().Grace, leastPatience)
	result := make(chan error, 1)
	first := &scriptTask{host: h, phase: p}
	err := h.tasks.Run(p.ctx, path, patience, h.o.Hurry, first, func(x *task.Task) {
		first.begin(x)
		err := task.ErrExited
		defer func() { result <- err }()
		_, err = contained(func() (starlark.Value, error) { return nil, body(h.thread(path, first)) })
	})
	var stuck *task.StuckError
	if errors.As(err, &stuck) {
		h.stuck = &StuckError{Cause: context.Cause(p.ctx)}
		t := stuck.Task.Owner().(*scriptTask)
		if site := t.calls.Load(); site != nil {
			h.stuck.Call, h.stuck.At = site.call(), site.place()
		} else if last := t.last.Load(); last != nil {
			h.stuck.After = fmt.Sprintf("%s at %s", last.call(), last.place())
		}
		return h.stuck
	}
	err = <-result
	p.in = first.in.Load()
	h.mu.Lock()
	failed := p.failed
	h.mu.Unlock()
	if failed == nil {
		return err
	}
	if err != nil {
		h.alsoFailed(p, failed, err, "")
	}
	return failed
}

// leastPatience is how long a script has at least to come back from a call when it is
// to end.
const leastPatience = time.Second

// alsoFailed adds an error of a phase to the findings that is not the first, which
// ended its work: it has come up by itself. at is the place that spawned the task.
func (h *Host) alsoFailed(p *phase, first, err error, at string) {
	if Follows(err, first) || Follows(err, context.Cause(p.ctx)) {
		return
	}
	f := verdict.Of(err)
	f.During, f.Where = p.during, cmp.Or(Where(err), at)
	h.run.Find(f)
}

// Follows reports whether a script's error is only that work was ended for a cause:
// of a wait, or between two instructions, where the language keeps no more than its
// text.
func Follows(err, cause error) bool {
	return cause != nil && (errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()))
}

// StuckError is a script that was to end, and that computes in one call, which nothing
// can interrupt.
type StuckError struct {
	Call  string // the builtin; "" where it is an operation of the language, such as x == y
	At    string // the place of the call, file:line:column; "" of an operation, which leaves none
	After string // the call that came before an operation, with its place, or ""
	Cause error  // why it was to end
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("%v; the script was in %s, which cannot be interrupted", e.Cause, e.in())
}

func (e *StuckError) in() string {
	switch {
	case e.Call != "":
		return e.Call
	case e.After != "":
		return "an operation of the language (its last call was " + e.After + ")"
	}
	return "an operation of the language"
}

// Unwrap is why the script was to end.
func (e *StuckError) Unwrap() error { return e.Cause }

// Main runs the main part of a script, and ends the tasks that it leaves behind
// when it returns. The error is that of the main part, or of the task that
// failed first; an error of the script is a *starlark.EvalError, never wrapped.
func (h *Host) Main(main func(*starlark.Thread) error) error {
	return h.runPhase(&h.main, "main", main)
}

// FailedAt is the place in a file that spawned the task whose error Main
// returned; "" where it was no task.
func (h *Host) FailedAt() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.main.failedAt
}

// EndedIn is the call in which the main part was when the run's work was ended, and its
// place; "" where it was in none. Main has returned.
func (h *Host) EndedIn() (call, at string) {
	if h.main.in == nil {
		return "", ""
	}
	return h.main.in.call(), h.main.in.place()
}

// deferred is a call to be made at the end of the run.
type deferred struct {
	fn   starlark.Callable
	args starlark.Tuple
	at   string // the place of the call of defer
}

// addDeferred has a function called at the end of the run, as the script's defer does.
func (h *Host) addDeferred(at string, fn starlark.Callable, args ...starlark.Value) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deferred = append(h.deferred, deferred{fn, args, at})
}

// SetTeardown has a function called at the end of the run, after the deferred
// calls: a test's teardown.
func (h *Host) SetTeardown(fn starlark.Callable) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.teardown = fn
}

// Deferred are the calls at the end of the run, for runtime.Run.End: the deferred ones,
// the last first, and then the teardown. What goes wrong in one is a finding, and so is one
// that is not made, as its context is done, or the script is in another call still.
func (h *Host) Deferred() (calls []func(context.Context)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, d := range slices.Backward(h.deferred) {
		path := fmt.Sprintf("defer/%d", len(h.deferred)-n)
		calls = append(calls, func(ctx context.Context) { h.runDeferred(ctx, path, "deferred", d) })
	}
	if d := (deferred{fn: h.teardown}); d.fn != nil {
		calls = append(calls, func(ctx context.Context) { h.runDeferred(ctx, "teardown", "teardown", d) })
	}
	return calls
}

func (h *Host) runDeferred(ctx context.Context, path, during string, d deferred) {
	found := func(err error, reason, where string) {
		f := verdict.Of(err)
		f.Reason, f.During, f.Where = reason, during, cmp.Or(where, d.at)
		h.run.Find(f)
	}
	if h.stuck != nil {
		found(h.stuck, fmt.Sprintf("the call was not made: the script is in %s still", h.stuck.in()), "")
		return
	}
	if cause := context.Cause(ctx); cause != nil {
		found(cause, fmt.Sprintf("the call was not made: %v", cause), "")
		return
	}
	work, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	p := &phase{ctx: work, abort: func(err error) { abort(err) }, during: during}
	err := h.runPhase(p, path, func(thread *starlark.Thread) error {
		_, err := starlark.Call(thread, d.fn, d.args, nil)
		return err
	})
	late := context.Cause(ctx)
	switch {
	case err == nil:
	case late != nil && p.in != nil && h.stuck == nil && Follows(err, late):
		found(late, fmt.Sprintf("%v; the script was in %s", late, p.in.call()), p.in.place())
	default:
		found(err, err.Error(), Where(err))
	}
}
