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
)

// scheduler lets exactly one task run at a time. A task runs until it waits;
// those whose wait has ended stand in a queue, put there by whatever ended the
// wait, so that they go on in the order of the events that woke them.
type scheduler struct {
	mu      sync.Mutex
	queue   []*task
	current *task
	tasks   []*task // that have not ended, but for the main one
	threads []*starlark.Thread
	idle    func() // called when the last of them ends, or nil
}

// task is a script's main part, or what it has spawned.
type task struct {
	host     *Host
	path     string // its place in the tree of spawns
	at       string // the place in a file that spawned it
	children int
	random   *rand.Rand
	goOn     chan struct{} // it may run

	// Under the scheduler's lock.
	threads   []*starlark.Thread
	wake      func() // ends its present wait, or nil
	cancelled bool
	over      bool
	result    starlark.Value
	err       error
	waiters   []func()
}

var errCancelled = errors.New("the task was cancelled")

// newTask makes a task. What it draws depends on the seed and on its place in
// the tree of spawns, not on what other tasks do when.
func (h *Host) newTask(path string) *task {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], h.run.Seed())
	t := &task{host: h, path: path, goOn: make(chan struct{}, 1)}
	t.random = rand.New(rand.NewChaCha8(sha256.Sum256(append(seed[:], path...))))
	return t
}

// ready puts a task that waited in the queue.
func (s *scheduler) ready(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, t)
	s.dispatch()
}

// dispatch lets the next task run, if none does. The lock is held.
func (s *scheduler) dispatch() {
	if s.current == nil && len(s.queue) > 0 {
		s.current, s.queue = s.queue[0], s.queue[1:]
		s.current.goOn <- struct{}{}
	}
}

// leave lets others run until the task is ready again.
func (s *scheduler) leave(t *task) {
	s.mu.Lock()
	s.current = nil
	s.dispatch()
	s.mu.Unlock()
	<-t.goOn
}

// wait is the only way in which a task waits. start begins something that calls
// wake when it has ended, from any goroutine, once or more; it may do so at
// once. A task that is cancelled goes on at once, with an error.
func (t *task) wait(start func(wake func())) error {
	s := &t.host.scheduler
	var once sync.Once
	wake := func() { once.Do(func() { s.ready(t) }) }
	s.mu.Lock()
	if t.cancelled {
		s.mu.Unlock()
		return errCancelled
	}
	t.wake = wake
	s.mu.Unlock()
	start(wake)
	s.leave(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.wake = nil
	if t.cancelled {
		return errCancelled
	}
	return nil
}

// cancel ends a task: in the wait that it is in, or else between two of its
// instructions. The lock is held; what it returns is to be called without it.
func (t *task) cancel(why string) (wake func()) {
	if t.over || t.cancelled {
		return func() {}
	}
	t.cancelled = true
	for _, thread := range t.threads {
		thread.Cancel(why)
	}
	if t.wake == nil {
		return func() {}
	}
	return t.wake
}

// await waits for a condition of the run.
func (c *call) await(condition runtime.Condition) error {
	return c.task.await(condition)
}

func (t *task) await(condition runtime.Condition) error {
	var w *runtime.Watch
	if err := t.wait(func(wake func()) { w = t.host.run.Watch(condition, wake) }); err != nil {
		if w != nil {
			w.Stop()
		}
		return err
	}
	return w.Err()
}

// spawn starts a task that calls body, for the call that the thread is in. Its
// error fails the run.
func (t *task) spawn(of *starlark.Thread, body func(*task, *starlark.Thread) (starlark.Value, error)) *Task {
	h := t.host
	t.children++
	child := h.newTask(t.path + "/" + strconv.Itoa(t.children))
	if of.CallStackDepth() > 1 {
		child.at = of.CallFrame(1).Pos.String()
	}
	thread := h.thread("task "+child.path, child)
	s := &h.scheduler
	s.mu.Lock()
	s.tasks = append(s.tasks, child)
	s.mu.Unlock()
	h.waits.Go(func() {
		<-child.goOn
		result, err := contained(func() (starlark.Value, error) { return body(child, thread) })
		h.ended(child, result, err)
	})
	s.ready(child)
	return &Task{task: child}
}

// ended ends a task and lets the next run.
func (h *Host) ended(t *task, result starlark.Value, err error) {
	s := &h.scheduler
	s.mu.Lock()
	cancelled := t.cancelled
	s.mu.Unlock()
	if err != nil && !cancelled {
		h.fail(err, t.at)
	}
	s.mu.Lock()
	t.over, t.result, t.err = true, result, err
	s.tasks = slices.DeleteFunc(s.tasks, func(x *task) bool { return x == t })
	waiters, idle := t.waiters, s.idle
	if len(s.tasks) > 0 {
		idle = nil
	}
	s.mu.Unlock()
	for _, wake := range waiters {
		wake()
	}
	if idle != nil {
		idle()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	s.dispatch()
}

// FailedAt is the place in a file that spawned the task whose error Main
// returned; "" where it was no task.
func (h *Host) FailedAt() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failedAt
}

// fail ends the run's work with a task's error.
func (h *Host) fail(err error, at string) {
	h.mu.Lock()
	if h.failed == nil && h.run.Context().Err() == nil {
		h.failed, h.failedAt = err, at
	}
	h.mu.Unlock()
	h.run.Abort(err)
}

// Main runs the main part of a script, and ends the tasks that it leaves behind
// when it returns. The error is that of the main part, or of the task that
// failed first; an error of the script is a *starlark.EvalError, never wrapped.
func (h *Host) Main(main func(*starlark.Thread) error) error {
	t := h.newTask("main")
	s := &h.scheduler
	s.mu.Lock()
	s.current = t
	s.mu.Unlock()
	_, err := contained(func() (starlark.Value, error) { return nil, main(h.thread("main", t)) })

	s.mu.Lock()
	t.over = true
	var wakes []func()
	for _, left := range s.tasks {
		wakes = append(wakes, left.cancel("the main part of the script has ended"))
	}
	if len(wakes) > 0 {
		s.idle = func() { s.ready(t) }
	}
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
	if len(wakes) > 0 {
		s.leave(t)
	}
	s.mu.Lock()
	s.idle, s.current = nil, nil
	s.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed != nil {
		return h.failed
	}
	return err
}

// RunDeferred runs the deferred calls, the last first, at the end of the run.
// Each is ended when ctx is done, or after the grace. The error is that of all
// that failed.
func (h *Host) RunDeferred(ctx context.Context) error {
	var errs []error
	for n := 1; ; n++ {
		h.mu.Lock()
		if len(h.deferred) == 0 {
			h.mu.Unlock()
			break
		}
		d := h.deferred[len(h.deferred)-1]
		h.deferred = h.deferred[:len(h.deferred)-1]
		h.mu.Unlock()
		if err := h.runDeferred(ctx, fmt.Sprintf("defer/%d", n), d); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (h *Host) runDeferred(ctx context.Context, path string, d deferred) error {
	ctx, cancel := context.WithTimeout(ctx, h.run.Settings().Grace)
	defer cancel()
	t := h.newTask(path)
	s := &h.scheduler
	s.mu.Lock()
	s.current = t
	s.mu.Unlock()
	thread := h.thread(path, t)
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		wake := t.cancel(fmt.Sprintf("the deferred call did not end within %s", h.run.Settings().Grace))
		s.mu.Unlock()
		wake()
	})
	_, err := contained(func() (starlark.Value, error) { return starlark.Call(thread, d.fn, d.args, nil) })
	stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.over, s.current = true, nil
	return err
}

// Close waits for every goroutine of the host. The run must have ended.
func (h *Host) Close() {
	h.stop()
	h.waits.Wait()
}

// Wait lets other tasks run while fn does, and returns its error. fn gets a
// context that is done when the run's work has been ended, or the task was
// cancelled, and must return soon after that; Wait does not wait for it then. It is
// how an embedder's own builtin waits.
func Wait(thread *starlark.Thread, fn func(context.Context) error) error {
	h, t, err := hostOf(thread)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(h.run.Context())
	defer cancel(errCancelled)
	result := make(chan error, 1)
	stop := func() bool { return true }
	err = t.wait(func(wake func()) {
		h.waits.Go(func() {
			result <- fn(ctx)
			wake()
		})
		stop = context.AfterFunc(ctx, wake)
	})
	stop()
	if err != nil {
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
			wake := t.task.cancel("the task was cancelled")
			s.mu.Unlock()
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
	err = c.task.wait(func(wake func()) {
		// The run's clock ends the wait too, and so does the run's end.
		clock = c.host.run.Watch(runtime.Elapsed(timeout), wake)
		s.mu.Lock()
		over := t.task.over
		t.task.waiters = append(t.task.waiters, wake)
		s.mu.Unlock()
		if over {
			wake()
		}
	})
	if clock != nil {
		clock.Stop()
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.task.over && t.task.err != nil:
		return nil, t.task.err
	case t.task.over:
		return t.task.result, nil
	}
	if ctx := c.host.run.Context(); ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &runtime.TimeoutError{What: "end of " + t.String(), Timeout: timeout}
}

// deferred is a call to be made at the end of the run.
type deferred struct {
	fn   starlark.Callable
	args starlark.Tuple
}

// PanicError is a panic in a builtin: a bug, of ours or of an embedder's own.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("bug: panic: %v", e.Value) }

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
