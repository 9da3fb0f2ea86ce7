package builtins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
	"go.starlark.net/starlark"
)

// phase is the main part of a script or a deferred call, with all tasks that it
// spawns. One phase runs at a time, and it leaves no task behind.
type phase struct {
	ctx   context.Context // done when the phase is to end at once
	abort func(error)     // ends the phase's work with an error
	// during is "" for the main part, and else which call at the end it is, as
	// findings have it.
	during string

	// Under the scheduler's lock.
	failed   error // a task's
	failedAt string
}

// runPhase runs a phase to its end, and ends the tasks that it leaves behind. The
// error is that of the task that failed first, else its own.
func (h *Host) runPhase(p *phase, path string, body func(*starlark.Thread) error) error {
	s := &h.scheduler
	s.mu.Lock()
	now := s.clock()
	s.mu.Unlock()
	t := h.newTask(p, path, now)
	s.mu.Lock()
	s.current = t
	s.hold(t)
	s.mu.Unlock()
	_, err := contained(func() (starlark.Value, error) { return nil, body(h.thread(path, t)) })

	s.mu.Lock()
	t.over, t.threads = true, nil
	s.release(t)
	var wakes []func()
	for _, left := range s.tasks {
		if left != t {
			wakes = append(wakes, left.cancel(errors.New("the part of the script that had spawned it has ended")))
		}
	}
	if len(wakes) > 0 {
		s.onAlone = func() { s.ready(t, &s.queue) }
	}
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
	if len(wakes) > 0 {
		s.leave(t)
	}
	s.mu.Lock()
	s.onAlone, s.current, s.tasks = nil, nil, nil
	first := p.failed
	s.mu.Unlock()
	if first == nil {
		return err
	}
	if err != nil {
		h.alsoFailed(p, first, err, "")
	}
	return first
}

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

// cancelPhase ends what computes in a phase without end. The waits of the main
// part end by themselves, as the run ends them; those of a deferred call, which
// is made when the run is over, are ended here.
func (h *Host) cancelPhase(p *phase, why error) {
	s := &h.scheduler
	s.mu.Lock()
	var wakes []func()
	for _, t := range s.tasks {
		switch {
		case t.phase != p:
		case p.during != "":
			wakes = append(wakes, t.cancel(why))
		default:
			for _, thread := range t.threads {
				thread.Cancel(why.Error())
			}
		}
	}
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

// Main runs the main part of a script, and ends the tasks that it leaves behind
// when it returns. The error is that of the main part, or of the task that
// failed first; an error of the script is a *starlark.EvalError, never wrapped.
func (h *Host) Main(main func(*starlark.Thread) error) error {
	return h.runPhase(&h.main, "main", main)
}

// FailedAt is the place in a file that spawned the task whose error Main
// returned; "" where it was no task.
func (h *Host) FailedAt() string {
	s := &h.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
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
// or after the grace. What goes wrong in one is a finding.
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
	ctx, cancel := context.WithTimeoutCause(ctx, grace, fmt.Errorf("the call did not end within %s", grace))
	defer cancel()
	p := &phase{ctx: ctx, abort: func(err error) { abort(err) }, during: during}
	stop := context.AfterFunc(ctx, func() { h.cancelPhase(p, context.Cause(ctx)) })
	defer stop()
	return h.runPhase(p, path, func(thread *starlark.Thread) error {
		_, err := starlark.Call(thread, d.fn, d.args, nil)
		return err
	})
}
