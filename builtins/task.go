package builtins

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// task is a script's main part, a deferred call, or what these have spawned.
type task struct {
	host     *Host
	phase    *phase
	path     string // its place in the tree of spawns
	at       string // the place in a file that spawned it
	children int
	random   *rand.Rand
	now      time.Duration   // its own time; for it alone while it lives
	goOn     chan struct{}   // it may run
	schedule *fault.Schedule // of the fault that it is to do; nil where it does something else

	// Under the scheduler's lock.
	threads   []*starlark.Thread
	busy      bool
	wake      func() // ends its present wait, or nil
	cancelled error  // why it is to end, or nil
	over      bool
	result    starlark.Value
	err       error
	waiters   []waiter
}

// waiter is a task that waits for another to end.
type waiter struct {
	task *task
	wake func()
}

var errCancelled = fault.ErrGivenUp

// newTask makes a task. What it draws depends on the seed and on its place in
// the tree of spawns, not on what other tasks do when.
func (h *Host) newTask(p *phase, path string, now time.Duration) *task {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], h.run.Seed())
	t := &task{host: h, phase: p, path: path, now: now, goOn: make(chan struct{}, 1)}
	t.random = rand.New(rand.NewChaCha8(sha256.Sum256(append(seed[:], path...))))
	s := &h.scheduler
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.mu.Unlock()
	return t
}

// spawn starts a task that calls body after a delay, 0 for at once, for the call
// that the thread is in; schedule is the fault that it is to do, or nil. Its error
// ends the phase that it belongs to.
func (t *task) spawn(of *starlark.Thread, delay time.Duration, schedule *fault.Schedule, body func(*task, *starlark.Thread) (starlark.Value, error)) *taskValue {
	h, s := t.host, &t.host.scheduler
	t.children++
	child := h.newTask(t.phase, t.path+"/"+strconv.Itoa(t.children), t.now)
	child.schedule = schedule
	if of.CallStackDepth() > 1 {
		child.at = of.CallFrame(1).Pos.String()
	}
	thread := h.thread("task "+child.path, child)
	var once sync.Once
	begin := func() { once.Do(func() { s.ready(child, &s.queue) }) }
	s.mu.Lock()
	if child.cancelled == nil {
		child.cancelled = t.cancelled
	}
	child.wake = begin
	if child.cancelled != nil {
		delay = 0
	}
	if delay == 0 {
		s.hold(child)
	}
	s.mu.Unlock()
	var asleep *sleeper
	if delay > 0 {
		asleep = child.beginSleep(later(t.now, delay), delay, begin)
	} else {
		begin()
	}
	h.waits.Go(func() {
		<-child.goOn
		s.mu.Lock()
		s.hold(child)
		child.wake = nil
		err := child.cancelled
		s.mu.Unlock()
		if asleep != nil {
			if ended := child.endSleep(asleep); err == nil {
				err = ended
			}
		}
		var result starlark.Value
		if err == nil {
			result, err = contained(func() (starlark.Value, error) { return body(child, thread) })
			if err == nil {
				child.fire()
			}
		}
		h.ended(child, result, err)
	})
	return &taskValue{task: child}
}

// fire says that the fault which the task is to do has fired: one was planned, or its
// function came to its end without one.
func (t *task) fire() {
	if t.schedule != nil {
		t.schedule.Fire()
	}
}

// ended ends a task and lets the next run.
func (h *Host) ended(t *task, result starlark.Value, err error) {
	s, p := &h.scheduler, t.phase
	s.mu.Lock()
	failed := err != nil && t.cancelled == nil
	isFirst := failed && p.failed == nil && p.ctx.Err() == nil
	if isFirst {
		p.failed, p.failedAt = err, t.at
	}
	first := p.failed
	s.mu.Unlock()
	if failed && !isFirst {
		h.alsoFailed(p, first, err, t.at)
	}
	if failed {
		p.abort(err)
	}
	s.mu.Lock()
	t.over, t.result, t.err = true, result, err
	t.threads = nil
	for _, waiter := range t.waiters {
		s.hold(waiter.task) // it goes on at the task's time
	}
	s.release(t)
	wakeSleeper := s.wakeNext()
	s.tasks = slices.DeleteFunc(s.tasks, func(x *task) bool { return x == t })
	waiters, onAlone := t.waiters, s.onAlone
	t.waiters = nil
	if len(s.tasks) > 1 {
		onAlone = nil
	}
	s.mu.Unlock()
	for _, waiter := range waiters {
		waiter.wake()
	}
	wakeSleeper()
	if onAlone != nil {
		onAlone()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	s.dispatch()
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
	ctx, cancel := context.WithCancelCause(t.phase.ctx)
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

// taskValue is a task as a script has it.
type taskValue struct{ task *task }

func (t *taskValue) String() string        { return fmt.Sprintf("task(%q)", t.task.path) }
func (t *taskValue) Type() string          { return "task" }
func (t *taskValue) Freeze()               {}
func (t *taskValue) Truth() starlark.Bool  { return true }
func (t *taskValue) Hash() (uint32, error) { return starlark.String(t.task.path).Hash() }
func (t *taskValue) AttrNames() []string   { return []string{"cancel", "name", "wait"} }

// Attr is a method of the task.
func (t *taskValue) Attr(name string) (starlark.Value, error) {
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

func (t *taskValue) wait(c *call) (starlark.Value, error) {
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
	switch ctx := c.task.phase.ctx; {
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
