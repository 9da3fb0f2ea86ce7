package builtins

import (
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/task"
)

func timeAndTasks() family {
	return family{"time and tasks", "Wait, and do things at the same time. Exactly one task runs at a time; another goes on only where this one waits. To compute is not to wait, however long a call such as sorted, str or json.encode takes: other tasks could change what it works on, and when they went on would depend on how fast the machine is. The time of a task is the sum of what it has slept: computing takes none of it, nor does applying a fault, except a graceful restart. Tasks that sleep go on in the order of their times; of two at the same time, the one that began to sleep first. So with the same seed tasks do the same things in the same order, however busy the machine is, as long as they wait only for time, for each other and for their own faults.", []builtin{
		{"sleep", "duration", "Waits for a duration: a number of seconds, a string such as \"250ms\", or a time.duration. A sleep takes a microsecond at least. Example: sleep(\"1.5s\").", sleep},
		{"spawn", "fn, *args", "Starts a task that calls fn with the arguments, and returns it. The task's error fails the run, and the end of the main part cancels it. The task has .wait(), which returns fn's result, .cancel() and .name. Example: t = spawn(await_exit, worker_1).", spawn},
		{"after", "delay, fn, *args", "Starts a task that calls fn once, when a delay has passed since this call, and returns it. Example: after(\"30s\", fail, \"too slow\").", after},
		{"every", "period, fn, *args, times=None", "Starts a task that calls fn again and again, first after one period, and returns it: as often as times says, or until the main part ends. A tick that is due while the last one still runs is skipped, and does not count among times. Example: every(\"5s\", send, leader, \"/checkpoint\", times=10).", every},
		{"wait_until", "fn, timeout=None", "Waits until fn() is true, and returns what it returned; that an action in it is not ok means not yet. It is called again at every event, when another task has run, and every 100 ms. timeout is as for await_ready, and ends what fn waits for too; 0 asks once. Example: wait_until(lambda: len(messages(leader, \"/count\")) > 3).", waitUntil},
		{"defer", "fn, *args", "Calls fn with the arguments at the end of the run, however it ended: the last deferred first, each bounded by config.grace, or by the 5 s that it is by default where it is 0. After the time limit or a signal all of them together have that long, and those that do not end in it fail the run or leave it interrupted. An error in it fails the run, and what check_same, require_faults or inconclusive say in it counts as anywhere. Example: defer(print, \"worker 1 was\", worker_1).", deferCall},
		{"progress", "n, total, what=None", "Tells how far the script has come: n of total, whole numbers, of what, a text. The live table shows it, and the event log has it. Each what has a progress of its own. It changes nothing, and takes no time. Example: progress(3, 10, what=\"rounds\").", progress},
	}}
}

func progress(c *call) (starlark.Value, error) {
	n, err := c.integer("n", 0, 0)
	if err != nil {
		return nil, err
	}
	total, err := c.integer("total", 0, 1)
	if err != nil {
		return nil, err
	}
	what, err := c.text("what", "")
	if err != nil {
		return nil, err
	}
	c.host.run.Progress(n, total, what)
	return starlark.None, nil
}

func sleep(c *call) (starlark.Value, error) {
	d, err := c.duration("duration", 0)
	if err != nil {
		return nil, err
	}
	return nil, c.task.Sleep(d)
}

func spawn(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	args := c.rest
	return c.task.spawn(c.thread, 0, c.schedule(fn), func(_ *scriptTask, thread *starlark.Thread) (starlark.Value, error) {
		return starlark.Call(thread, fn, args, nil)
	}), nil
}

func after(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	d, err := c.duration("delay", 0)
	if err != nil {
		return nil, err
	}
	args := c.rest
	return c.task.spawn(c.thread, d, c.schedule(fn), func(_ *scriptTask, thread *starlark.Thread) (starlark.Value, error) {
		return starlark.Call(thread, fn, args, nil)
	}), nil
}

func every(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	period, err := c.duration("period", 0)
	if err != nil {
		return nil, err
	}
	if period <= 0 {
		return nil, c.wrong("period", "got %s, want more than 0", c.arg("period"))
	}
	times, err := c.integer("times", -1, 0)
	if err != nil {
		return nil, err
	}
	args, delay := c.rest, period
	if times == 0 {
		delay = 0
	}
	due := clock.Later(c.task.Now(), period)
	var schedule *fault.Schedule
	if times != 0 {
		schedule = c.schedule(fn)
	}
	return c.task.spawn(c.thread, delay, schedule, func(t *scriptTask, thread *starlark.Thread) (starlark.Value, error) {
		for n := int64(0); n != times; n++ {
			if n > 0 {
				if err := t.SleepUntil(due); err != nil {
					return nil, err
				}
			}
			began := t.Now()
			if _, err := starlark.Call(thread, fn, args, nil); err != nil {
				return nil, err
			}
			t.fire()
			due = clock.Later(due, ((t.Now()-began)/period+1)*period) // those that were due while it ran are skipped
		}
		return starlark.None, nil
	}), nil
}

// schedule is the fault that a function which is given to a task is to do: a
// builtin, or a function whose own text has one. It is nil for any other.
func (c *call) schedule(fn starlark.Callable) *fault.Schedule {
	what := ""
	// A builtin such as catch calls what it is given.
	for i, given := range append(starlark.Tuple{fn}, c.rest...) {
		if _, calls := fn.(*starlark.Builtin); i > 0 && !calls || what != "" {
			break
		}
		switch given := given.(type) {
		case *starlark.Builtin:
			signal := ""
			if len(c.rest) > i+1 {
				signal, _ = starlark.AsString(c.rest[i+1])
			}
			if IsFault(given.Name(), signal) {
				what = given.Name()
			}
		case *starlark.Function:
			if named := c.host.o.FaultIn; named != nil {
				if has := named(given); has != "" {
					what = given.Name() + ": " + has
				}
			}
		}
	}
	if what == "" {
		return nil
	}
	return c.host.run.Schedule(fmt.Sprintf("%s(…, %s)", c.name, what), c.place())
}

func waitUntil(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	timeout, err := c.duration("timeout", c.host.run.Settings().Timeout)
	if err != nil {
		return nil, err
	}
	var not *probe.Error // why fn was not asked to its end, the last time
	defer c.task.poll()()
	late := func(during string) error {
		what := fmt.Sprintf("wait_until of %s", fn.Name())
		if f, ok := fn.(*starlark.Function); ok {
			what += fmt.Sprintf(" (%s)", f.Position())
		}
		if during != "" {
			what += ", which was in " + during
		}
		switch {
		case not != nil && during != "":
			what += ", and before that came " + not.Error()
		case not != nil:
			what += ", whose last try was " + not.Error()
		}
		return &runtime.TimeoutError{What: what, Timeout: timeout}
	}
	limit, lift := c.task.Limit(timeout)
	defer func() { lift() }()
	defer c.task.Asked()
	isCut := func(err error) bool {
		var cut *task.Limit
		return errors.As(err, &cut) && cut == limit
	}
	for last := timeout == 0; ; {
		change := c.host.run.Change(time.Hour)
		v, err := starlark.Call(c.thread, fn, nil, nil)
		if n := notYet(err); n != nil || !isCut(err) { // one that is cut short says nothing
			not = n
		}
		switch {
		case isCut(err), err == nil && c.task.Cut() == limit: // or it has caught that
			return nil, late(CallIn(err))
		case err != nil && (notYet(err) == nil || c.task.isEnding()):
			return nil, err
		case err == nil && bool(v.Truth()):
			return v, nil
		case last:
			return nil, late("")
		}
		var w *runtime.Watch
		err = c.task.Poll(pollEvery, func(wake func()) { w = c.host.run.Watch(change, wake) })
		if w != nil {
			w.Stop()
		}
		switch {
		case isCut(err): // it asks once more
			last = true
			lift()
			limit, lift = c.task.Limit(0)
		case err != nil:
			return nil, err
		}
	}
}

func deferCall(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	if c.task.phase.during != "" {
		return nil, errors.New("the run is ending: call the function itself")
	}
	c.host.addDeferred(c.place(), fn, c.rest...)
	return nil, nil
}
