package builtins

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Main runs the main part of a script, and ends the tasks that it leaves behind
// when it returns. The error is that of the main part, or of the task that
// failed first; an error of the script is a *starlark.EvalError, never wrapped.
func (h *Host) Main(main func(*starlark.Thread) error) error {
	return h.runPart(&h.main, "main", main)
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
}

// Defer has a function called at the end of the run, as the script's defer does.
func (h *Host) Defer(fn starlark.Callable, args ...starlark.Value) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deferred = append(h.deferred, deferred{fn, args})
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
			f.During, f.Where = during, Where(err)
			h.run.Find(f)
		}
	}
}

func (h *Host) runDeferred(ctx context.Context, path, during string, d deferred) error {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	grace := h.run.Settings().Grace
	ctx, cancel := context.WithTimeoutCause(ctx, grace, fmt.Errorf("the call did not end within %s", grace))
	defer cancel()
	p := &part{ctx: ctx, abort: func(err error) { abort(err) }, during: during}
	stop := context.AfterFunc(ctx, func() { h.cancelPart(p, context.Cause(ctx)) })
	defer stop()
	return h.runPart(p, path, func(thread *starlark.Thread) error {
		_, err := starlark.Call(thread, d.fn, d.args, nil)
		return err
	})
}

// Where is the innermost place of an error that is in a file, or "".
func Where(err error) string {
	var evaluated *starlark.EvalError
	if !errors.As(err, &evaluated) {
		return ""
	}
	for _, frame := range slices.Backward(evaluated.CallStack) {
		if frame.Pos.Filename() != "<builtin>" {
			return frame.Pos.String()
		}
	}
	return ""
}

// Close waits for every goroutine of the host. The run must have ended.
func (h *Host) Close() {
	h.stop()
	h.waits.Wait()
}

// Wait lets other tasks run while fn does, and returns its error. fn gets a
// context that is done when the run's work has been ended, or the task was
// cancelled, and must return soon after that; Wait does not wait for it then,
// so that what fn writes may only be read where Wait returned no error. It is
// how an embedder's own builtin waits.
func Wait(thread *starlark.Thread, fn func(context.Context) error) error {
	return wait(thread, false, func() (work, error) { return work{do: fn}, nil })
}

// work is something that is done while a task waits; told, where it is not nil, is
// called when the task has been told that it is.
type work struct {
	do   func(context.Context) error
	told func()
}

// wait is Wait for something that is begun at once, before any other task runs.
// Where busy, the task is until it is done.
func wait(thread *starlark.Thread, busy bool, begin func() (work, error)) error {
	h, t, err := hostOf(thread)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(t.part.ctx)
	defer cancel(errCancelled)
	result := make(chan error, 1)
	stop := func() bool { return true }
	err = t.block(busy, func(wake func()) {
		w, err := begin()
		if err != nil {
			result <- err
			wake()
			return
		}
		h.waits.Go(func() {
			_, err := contained(func() (starlark.Value, error) { return nil, w.do(ctx) })
			result <- err
			wake()
			if w.told != nil {
				w.told()
			}
		})
		stop = context.AfterFunc(ctx, wake)
	})
	stop()
	if !busy {
		t.catchUp()
	}
	if err != nil {
		cancel(err)
		return err
	}
	select {
	case err := <-result:
		if ctx.Err() != nil { // it may say only that it was cancelled
			return context.Cause(ctx)
		}
		return err
	default:
		return context.Cause(ctx)
	}
}

// Task is a task as a script has it.
type Task struct{ task *task }

func (t *Task) String() string        { return fmt.Sprintf("task(%q)", t.task.path) }
func (t *Task) Type() string          { return "task" }
func (t *Task) Freeze()               {}
func (t *Task) Truth() starlark.Bool  { return true }
func (t *Task) Hash() (uint32, error) { return starlark.String(t.task.path).Hash() }
func (t *Task) AttrNames() []string   { return []string{"cancel", "name", "wait"} }

// Attr is a method of the task.
func (t *Task) Attr(name string) (starlark.Value, error) {
	s := &t.task.host.scheduler
	switch name {
	case "name":
		return starlark.String(t.task.path), nil
	case "cancel":
		return builtin{name: "task.cancel", call: func(*call) (starlark.Value, error) {
			s.mu.Lock()
			wake := t.task.cancel(errCancelled)
			s.mu.Unlock()
			if t.task.schedule != nil {
				t.task.schedule.Cancel()
			}
			wake()
			return starlark.None, nil
		}}.make(), nil
	case "wait":
		return builtin{name: "task.wait", params: "timeout=None", call: func(c *call) (starlark.Value, error) {
			return t.wait(c)
		}}.make(), nil
	}
	return nil, nil
}

func (t *Task) wait(c *call) (starlark.Value, error) {
	timeout, err := c.duration("timeout", c.host.run.Settings().Timeout)
	if err != nil {
		return nil, err
	}
	if c.task == t.task {
		return nil, errors.New("a task cannot wait for itself")
	}
	s := &c.host.scheduler
	var clock *runtime.Watch
	s.mu.Lock()
	over := t.task.over
	s.mu.Unlock()
	err = c.task.block(over, func(wake func()) {
		if over {
			wake()
			return
		}
		// The run's clock ends the wait too, and so does the run's end.
		clock = c.host.run.Watch(runtime.Elapsed(timeout), wake)
		s.mu.Lock()
		t.task.waiters = append(t.task.waiters, waiter{c.task, wake})
		s.mu.Unlock()
	})
	if clock != nil {
		clock.Stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.task.waiters = slices.DeleteFunc(t.task.waiters, func(w waiter) bool { return w.task == c.task })
	if t.task.over {
		c.task.now = max(c.task.now, t.task.now)
	} else {
		c.task.now = max(c.task.now, s.clock())
	}
	switch ctx := c.task.part.ctx; {
	case err != nil:
		return nil, err
	case t.task.over && t.task.cancelled != nil:
		return nil, fmt.Errorf("%s has no result: %w", t, t.task.cancelled)
	case t.task.over && t.task.err != nil:
		return nil, t.task.err
	case t.task.over:
		return t.task.result, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, &runtime.TimeoutError{What: "end of " + t.String(), Timeout: timeout}
}

// PanicError is a panic in a builtin: a bug, of ours or of an embedder's own.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("bug: panic: %v\nthis is a bug: please report it with the run's folder", e.Value)
}

// Finding says that the run has shown a bug.
func (e *PanicError) Finding() verdict.Finding {
	return verdict.Finding{Outcome: verdict.Failed, Bug: true}
}

// contained makes an error of a panic, so that a run comes to its end and tears
// its topology down whatever happens in it.
func contained(f func() (starlark.Value, error)) (v starlark.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// pollEvery is how often wait_until asks again when nothing happens.
const pollEvery = 100 * time.Millisecond
