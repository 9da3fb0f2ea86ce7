package builtins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/task"
	"github.com/dagon-star/dagon-star/runtime/topology"
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
		if site := stuck.Task.Owner().(*scriptTask).calls.Load(); site != nil {
			h.stuck.Call, h.stuck.At = site.name, site.at.String()
		}
		return h.stuck
	}
	err = <-result
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
	Call  string // the builtin; "" where it is an operation of the language
	At    string // the place of the call, file:line:column
	Cause error  // why it was to end
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("%v; the script was in %s, which cannot be interrupted", e.Cause, e.in())
}

func (e *StuckError) in() string { return cmp.Or(e.Call, "an operation of the language") }

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

// RunDeferred runs the deferred calls, the last first, and then the teardown, at
// the end of the run, whatever has ended its work. Each is ended when ctx is done,
// or after the grace; none is begun then. What goes wrong in one is a finding, and so is
// one that is not made.
func (h *Host) RunDeferred(ctx context.Context) {
	for n := 1; ; n++ {
		h.mu.Lock()
		var d deferred
		during, path := "deferred", fmt.Sprintf("defer/%d", n)
		if last := len(h.deferred) - 1; last >= 0 {
			d, h.deferred = h.deferred[last], h.deferred[:last]
		} else {
			d, h.teardown = deferred{fn: h.teardown}, nil
			during, path = "teardown", "teardown"
		}
		h.mu.Unlock()
		if d.fn == nil {
			return
		}
		cause := context.Cause(ctx)
		if h.stuck != nil {
			cause = h.stuck
		}
		if cause != nil {
			f := verdict.Of(cause)
			if f.Reason = fmt.Sprintf("the call was not made: %v", cause); h.stuck != nil {
				f.Reason = fmt.Sprintf("the call was not made: the script is in %s still", h.stuck.in())
			}
			f.During, f.Where = during, d.at
			h.run.Find(f)
			continue
		}
		if err := h.runDeferred(ctx, path, during, d); err != nil {
			f := verdict.Of(err)
			f.During, f.Where = during, cmp.Or(Where(err), d.at)
			h.run.Find(f)
		}
	}
}

func (h *Host) runDeferred(ctx context.Context, path, during string, d deferred) error {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	grace := cmp.Or(h.run.Settings().Grace, topology.DefaultSettings().Grace) // no grace is for nodes
	late := h.run.Clock().AfterFunc(grace, func() { abort(fmt.Errorf("the call did not end within %s", grace)) })
	defer late.Stop()
	p := &phase{ctx: ctx, abort: func(err error) { abort(err) }, during: during}
	return h.runPhase(p, path, func(thread *starlark.Thread) error {
		_, err := starlark.Call(thread, d.fn, d.args, nil)
		return err
	})
}
