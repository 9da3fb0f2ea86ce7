package builtins

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/task"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// scriptTask is a script's main part, a deferred call, or what these have spawned.
type scriptTask struct {
	*task.Task
	host     *Host
	phase    *phase
	at       string // the place in a file that spawned it
	random   *rand.Rand
	schedule *fault.Schedule          // of the fault that it is to do; nil where it does something else
	polls    *runtime.Polls           // of the actions that a wait tries again and again; nil where none does
	trail    *probe.Trail             // of the actions of the operation that it is in; nil where it is in none
	calls    atomic.Pointer[callSite] // the innermost call of a builtin that it is in, or nil
	in       atomic.Pointer[callSite] // that, when its phase was to end at once
	last     atomic.Pointer[callSite] // the call that it has come back from last, or nil
	result   starlark.Value           // when it is over, as err
	err      error

	mu      sync.Mutex
	threads []*starlark.Thread
	ended   error // why its threads are cancelled, or nil
}

var errCancelled = fault.ErrGivenUp

// begin makes the task the one that x is. What it draws depends on the seed and on its
// place in the tree of spawns, not on what other tasks do when.
func (t *scriptTask) begin(x *task.Task) {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], t.host.run.Seed())
	t.Task = x
	t.random = rand.New(rand.NewChaCha8(sha256.Sum256(append(seed[:], x.Path()...))))
}

// Interrupt ends what the task computes.
func (t *scriptTask) Interrupt(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = why
	for _, thread := range t.threads {
		thread.Cancel(why.Error())
	}
}

// isEnding reports whether the task or its phase has been ended, or what it is part of
// has taken its time, so that no script may catch what comes of it.
func (t *scriptTask) isEnding() bool { return t.Err() != nil || t.Cut() != nil }

// spawn starts a task that calls body after a delay, 0 for at once, for the call
// that the thread is in; schedule is the fault that it is to do, or nil. Its error
// ends the phase that it belongs to.
func (t *scriptTask) spawn(of *starlark.Thread, delay time.Duration, schedule *fault.Schedule,
	body func(*scriptTask, *starlark.Thread) (starlark.Value, error)) *taskValue {
	h := t.host
	child := &scriptTask{host: h, phase: t.phase, schedule: schedule, trail: t.trail}
	if of.CallStackDepth() > 1 {
		child.at = of.CallFrame(1).Pos.String()
	}
	child.Task = t.Spawn(delay, child, func(x *task.Task) {
		child.begin(x)
		if err := x.Err(); err != nil {
			child.ends(nil, err)
			return
		}
		result, err := starlark.Value(nil), task.ErrExited
		defer func() {
			if err == nil {
				child.fire()
			}
			child.ends(result, err)
		}()
		result, err = contained(func() (starlark.Value, error) { return body(child, h.thread("task "+x.Path(), child)) })
	})
	return &taskValue{task: child}
}

// fire says that the fault which the task is to do has fired: one that does harm was
// planned, or its function came to its end without one.
func (t *scriptTask) fire() {
	if t.schedule != nil {
		t.schedule.Fire()
	}
}

// ends says what a task has come to.
func (t *scriptTask) ends(result starlark.Value, err error) {
	h, p := t.host, t.phase
	t.result, t.err = result, err
	t.mu.Lock()
	t.threads = nil
	t.mu.Unlock()
	if err == nil || t.Cancelled() != nil {
		return
	}
	h.mu.Lock()
	isFirst := p.failed == nil && p.ctx.Err() == nil
	if isFirst {
		p.failed, p.failedAt = err, t.at
	}
	first := p.failed
	h.mu.Unlock()
	if !isFirst {
		h.alsoFailed(p, first, err, t.at)
	}
	p.abort(err)
}

// await waits for a condition of the run.
func (t *scriptTask) await(condition runtime.Condition) error {
	var w *runtime.Watch
	condition.Where = t.calls.Load().place()
	if err := t.Wait(func(wake func()) { w = t.host.run.Watch(condition, wake) }); err != nil {
		if w != nil {
			w.Stop()
		}
		return err
	}
	return w.Err()
}

// Wait lets other tasks run while fn does, and returns its error. fn gets a
// context that is done when the run's work has been ended, or the task was
// cancelled, and must return soon after that; Wait does not wait for it then,
// so that what fn writes may only be read where Wait returned no error. It is
// how an embedder's own builtin waits.
func Wait(thread *starlark.Thread, fn func(context.Context) error) error {
	_, t, err := hostOf(thread)
	if err != nil {
		return err
	}
	return t.While(func(ctx context.Context) error {
		_, err := contained(func() (starlark.Value, error) { return nil, fn(ctx) })
		return err
	})
}

// briefly does something that waits only where somebody does not take what they are
// given: other tasks run then.
func (t *scriptTask) briefly(fn func(context.Context) error) error {
	return t.Briefly(func(ctx context.Context) error {
		_, err := contained(func() (starlark.Value, error) { return nil, fn(ctx) })
		return err
	})
}

// Act does an action on a node, as http and exec do: other tasks run while do does; its
// context is done when the timeout has passed, which 0 makes that of the run. The log has
// what was done, and its outcome, which do tells by a *probe.Error. It is taken for one
// that can change something. It is how an embedder's own action acts.
func Act(thread *starlark.Thread, node, what string, timeout time.Duration, do func(context.Context) error) error {
	_, t, err := hostOf(thread)
	if err != nil {
		return err
	}
	return t.act(node, what, cmp.Or(timeout, t.host.run.Settings().Timeout), always, do)
}

// Checked is what a checker found, as check_set has it: it fails the run where the history
// is invalid, makes it inconclusive where it is unknown, and returns what the script gets.
// It is how an embedder's own checker ends.
func Checked(thread *starlark.Thread, r *history.Result) (starlark.Value, error) {
	h, t, err := hostOf(thread)
	if err != nil {
		return nil, err
	}
	v, err := (&call{name: r.Checker, thread: thread, host: h, task: t}).checked(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Checker, err)
	}
	return v, nil
}

// OpsOf are the operations that a script has given an embedder's own checker: what ops()
// returns; false where it is another value.
func OpsOf(v starlark.Value) (history.Ops, bool) {
	l, ok := v.(opList)
	return history.Ops(l), ok
}

// taskValue is a task as a script has it.
type taskValue struct{ task *scriptTask }

func (t *taskValue) String() string        { return fmt.Sprintf("task(%q)", t.task.Path()) }
func (t *taskValue) Type() string          { return "task" }
func (t *taskValue) Freeze()               {}
func (t *taskValue) Truth() starlark.Bool  { return true }
func (t *taskValue) Hash() (uint32, error) { return starlark.String(t.task.Path()).Hash() }
func (t *taskValue) AttrNames() []string   { return []string{"cancel", "name", "wait"} }

// Attr is a method of the task.
func (t *taskValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(t.task.Path()), nil
	case "cancel":
		return builtin{name: "task.cancel", call: func(*call) (starlark.Value, error) {
			if t.task.schedule != nil {
				t.task.schedule.Cancel()
			}
			t.task.Cancel(errCancelled)
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
	over, err := c.task.Join(t.task.Task, timeout)
	switch {
	case err != nil:
		return nil, err
	case !over:
		return nil, &runtime.TimeoutError{What: "end of " + t.String(), Timeout: timeout}
	case t.task.Cancelled() != nil:
		return nil, fmt.Errorf("%s has no result: %w", t, t.task.Cancelled())
	}
	return t.task.result, t.task.err
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

// CallIn is the innermost builtin that an error of a script comes from, or "".
func CallIn(err error) string {
	var evaluated *starlark.EvalError
	if !errors.As(err, &evaluated) || len(evaluated.CallStack) == 0 {
		return ""
	}
	last := evaluated.CallStack.At(0)
	if last.Pos.Filename() != builtinFile {
		return ""
	}
	return last.Name
}

// Where is the innermost place of an error that is in a file, or "".
func Where(err error) string {
	var stuck *StuckError
	if errors.As(err, &stuck) {
		return stuck.At
	}
	var evaluated *starlark.EvalError
	if !errors.As(err, &evaluated) {
		return ""
	}
	for _, frame := range slices.Backward(evaluated.CallStack) {
		if frame.Pos.Filename() != builtinFile {
			return frame.Pos.String()
		}
	}
	return ""
}
