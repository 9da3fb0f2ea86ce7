package builtins_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/script"
)

// TestOrder: tasks that sleep go on in the order of the times until which they
// sleep, however close these are, so that a script takes the same path again.
func TestOrder(t *testing.T) {
	passes(t, `
log = []
for i in range(500):
    after("50ms", log.append, i)
sleep("50ms")
assert.eq(log, list(range(500)))

log.clear()
def sleeper(i):
    sleep("20ms")
    log.append(i)
ts = [spawn(sleeper, i) for i in range(200)]
for t in ts: t.wait()
assert.eq(log, list(range(200)))

log.clear()
a = every("10ms", log.append, "a", times = 1)
b = every("10ms", log.append, "b", times = 1)
after("10ms", log.append, "c")
sleep("10ms")
log.append("d")
a.wait()
b.wait()
assert.eq(log, ["a", "b", "c", "d"])
`)
}

// TestHeldUp: what holds up all tasks puts off what they sleep for, so that the
// ticks of several come in the order of their times, and each as often as times
// says.
func TestHeldUp(t *testing.T) {
	for _, spin := range []string{"105ms", "115ms", "125ms", "135ms"} {
		passes(t, `
log = []
a = every("20ms", log.append, "a", times = 10)
sleep("10ms")
b = every("20ms", log.append, "b", times = 10)
for _ in range(3):
    end = time.now() + time.parse_duration("`+spin+`")
    while time.now() < end: pass
    sleep("15ms")
a.wait()
b.wait()
assert.eq("".join(log), "ab" * 10)
`)
	}
}

// TestFaultsInOrder: faults are planned in the order in which tasks ask for them,
// whatever is done at the same time.
func TestFaultsInOrder(t *testing.T) {
	r, _ := run(t, script.Config{TopologySource: ini(t, "a", "b", "c", "d"), Source: []byte(`
fork(topology.nodes)
await_ready(topology.nodes)
def harm(i):
    node = topology.nodes[i % 4]
    if i in (4, 9, 14, 19):
        pause(node)
    elif i in (24, 29):
        restart(node, graceful = False)
    else:
        signal(node, "URG")
tasks = [after("10ms", harm, i) for i in range(50)] + [spawn(harm, i) for i in range(50, 100)]
for t in tasks: t.wait()
`)})
	if r.Outcome != runtime.Passed {
		t.Fatalf("%s at %s: %s", r.Outcome, r.Where, r.Reason)
	}
	f, err := os.Open(filepath.Join(r.Folder, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := event.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		d, ok := e.Detail.(event.FaultPlanned)
		if !ok {
			continue
		}
		i := n + 50 // those that were spawned begin at once
		if n >= 50 {
			i = n - 50
		}
		what := "signal"
		switch i {
		case 4, 9, 14, 19:
			what = "pause"
		case 24, 29:
			what = "restart"
		}
		if node := string(rune('a' + i%4)); d.What != what || d.Nodes[0] != node {
			t.Errorf("fault %d is %s %v, want %s %s", n, d.What, d.Nodes, what, node)
		}
		n++
	}
	if n != 100 {
		t.Errorf("%d faults", n)
	}
}

// TestTasks holds what tasks do.
func TestTasks(t *testing.T) {
	passes(t, `
log = []
def add(*args):
    log.append(args)
    return len(log)

# Arguments are bound at the call, and a task begins only where this one waits.
x = 1
t = spawn(add, x)
x = 2
assert.eq(log, [])
assert.eq(t.wait(), 1)
assert.eq(t.wait(), 1)
assert.eq(log, [(1,)])
assert.eq(t.name, "main/1")
assert.eq(type(t), "task")

# One that is cancelled never begins, or ends where it waits, and says so to
# those who wait for it; it cannot catch that.
c = spawn(add, "never")
c.cancel()
assert.contains(catch(c.wait).message, 'task("main/2") has no result: the task was cancelled')
def stubborn():
    catch(lambda: sleep(3600))
    add("never")
c = spawn(stubborn)
sleep(0)
c.cancel()
c.cancel()
assert.fails(c.wait, "was cancelled")
assert.eq(log, [(1,)])
def suicide():
    own.cancel()
    add("never")
own = spawn(suicide)
assert.fails(own.wait, "was cancelled")

# A wait for a task ends.
def forever(): sleep(3600)
f = spawn(forever)
assert.eq(catch(f.wait, "10ms").kind, "timeout")
assert.eq(catch(f.wait, 0).kind, "timeout")
def me(): return catch(mine.wait).message
mine = spawn(me)
assert.contains(mine.wait(), "cannot wait for itself")

# A tick that is due while the last one still runs is skipped.
ticks = []
def slow():
    ticks.append(time.now())
    sleep("25ms")
e = every("10ms", slow)
wait_until(lambda: len(ticks) > 3)
e.cancel()
n = len(ticks)
for i in range(1, n):
    assert.lt(time.parse_duration("25ms"), ticks[i] - ticks[i - 1])
sleep("30ms")
assert.eq(len(ticks), n)
assert.eq(every("1h", add, times = 0).wait(), None)

# A task may spawn, and wait for what it has spawned.
def tree(n): return n + sum([spawn(tree, n - 1).wait() for _ in range(2)]) if n else 0
def sum(xs):
    total = 0
    for v in xs: total += v
    return total
assert.eq(spawn(tree, 3).wait(), 11)

# The end of the main part ends the rest.
log.clear()
spawn(fail, "never")
after(0, fail, "never")
after("1h", fail, "never")
def looping():
    while True: sleep(0)
spawn(looping)
`)
}

// TestMainEndsTasks: what is left when the main part ends is not run any more.
func TestMainEndsTasks(t *testing.T) {
	_, out := run(t, script.Config{Source: []byte(`
def swallow():
    catch(sleep, 3600)
    print("never")
spawn(swallow)
sleep(0)
spawn(print, "never")
print("end")
`)})
	if out != "end\n" {
		t.Errorf("%q", out)
	}
}

// TestTaskFails: the error of a task ends the run, in whatever the main part
// waits, with the task's own backtrace.
func TestTaskFails(t *testing.T) {
	for name, source := range map[string]string{
		"sleep":  "sleep(3600)",
		"caught": "catch(sleep, 3600)\nprint('never')",
		"wait":   "t.wait()",
		"until":  "wait_until(lambda: False)",
		"loop":   "while True: sleep(0)",
	} {
		r, out := run(t, script.Config{Source: []byte("def g(): fail('oh no')\ndef f():\n    sleep(0.01)\n    g()\nt = spawn(f)\n" + source)})
		var fail *builtins.FailError
		if r.Outcome != runtime.Failed || !errors.As(r.Cause, &fail) || fail.Reason != "oh no" ||
			!strings.HasPrefix(r.Where, "script.star:1:") || out != "" {
			t.Errorf("%s: %s at %s: %v; it printed %q", name, r.Outcome, r.Where, r.Cause, out)
		}
		if !strings.Contains(r.Backtrace, "script.star:4:6: in f\n") {
			t.Errorf("%s: backtrace %q", name, r.Backtrace)
		}
	}
}

// TestDeferredWhateverEnded: deferred calls can do all that a script can,
// whatever has ended the run's work.
func TestDeferredWhateverEnded(t *testing.T) {
	limit := 2 * time.Second
	for name, source := range map[string]string{
		"end":         "",
		"fail":        "fail('x')",
		"task":        "spawn(fail, 'x')\nsleep(3600)",
		"exit":        "send(node, '/die')\nsleep(3600)",
		"time limit":  "while True: pass",
		"interrupted": "interrupt()\nsleep(3600)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := script.Config{TopologySource: ini(t, "node", "other"), Source: []byte(`
def f():
    sleep(0.001)
    print(catch(fail, "x").kind)
    def g():
        sleep(0.001)
        return other.state
    print(spawn(g).wait())
    spawn(sleep, 3600)
    send(other, "start")
    await_done(other)
    pause()
    shutdown(other)
    await_exit(other)
    shutdown_topology()
    print("last")
defer(f)
fork([node, other])
await_ready([node, other])
` + source)}
			if name == "time limit" {
				c.TimeLimit = &limit
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			c.Builtins = starlark.StringDict{
				"interrupt": starlark.NewBuiltin("interrupt", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple,
					[]starlark.Tuple) (starlark.Value, error) {
					cancel()
					return starlark.None, nil
				}),
				"pause": starlark.NewBuiltin("pause", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple,
					_ []starlark.Tuple) (starlark.Value, error) {
					return starlark.None, script.Wait(thread, func(ctx context.Context) error { return ctx.Err() })
				}),
			}
			var out bytes.Buffer
			c.RunsDir, c.Output = t.TempDir(), &out
			r, err := script.Run(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != "fail\nready\nlast\n" || len(r.Beside) != 0 {
				t.Errorf("%s: %s; it printed %q; beside %v", r.Outcome, r.Reason, out.String(), r.Beside)
			}
			if (r.Outcome == runtime.Passed) != (name == "end") {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
		})
	}
}

// TestDeferredTooMany: deferred calls make a run last no longer than one grace after its
// time limit or an interruption, also one that comes while they run.
func TestDeferredTooMany(t *testing.T) {
	grace := 400 * time.Millisecond
	for name, test := range map[string]struct {
		limit   time.Duration
		source  string
		outcome runtime.Outcome
		reason  string
	}{
		"limit in the main part": {time.Second, "sleep(3600)", runtime.Failed, "the run's time limit has passed: 1s"},
		"limit in them": {time.Second, "", runtime.Failed,
			"the run's time limit has passed: 1s; what was deferred did not end within 400ms of that"},
		"interruption of the main part": {time.Hour, "interrupt()\nsleep(3600)", runtime.Interrupted,
			"interrupted by the caller: context canceled"},
		"interruption of them": {time.Hour, "defer(interrupt)", runtime.Interrupted, "interrupted by the caller: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			c := script.Config{Grace: &grace, TimeLimit: &test.limit, RunsDir: t.TempDir(), Source: []byte(`
for _ in range(100): defer(sleep, 0.3)
` + test.source), Builtins: starlark.StringDict{
				"interrupt": starlark.NewBuiltin("interrupt", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple,
					[]starlark.Tuple) (starlark.Value, error) {
					cancel()
					return starlark.None, nil
				}),
			}}
			r, err := script.Run(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != test.outcome || !strings.Contains(r.Reason, test.reason) {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
			left := 0
			for _, f := range r.Beside {
				if strings.Contains(f.Reason, "the call was not made: ") &&
					strings.HasSuffix(f.Reason, "did not end within 400ms of that") && f.Where == "script.star:2:27" {
					left++
				}
			}
			if left < 90 || left > 99 {
				t.Errorf("%d were not made: %v", left, r.Beside)
			}
		})
	}
}

// TestDeferredTasks: a deferred call and its tasks are a part of their own.
func TestDeferredTasks(t *testing.T) {
	grace := 300 * time.Millisecond
	r, out := run(t, script.Config{TopologySource: ini(t, "node"), Source: []byte(`
def again(): defer(again)
def spawns():
    spawn(fail, "in a task of a deferred call")
    sleep(3600)
    print("never")
def leaves():
    spawn(print, "never")
    after("1ms", print, "never")
def catches():
    catch(sleep, 3600)
    print("never")
defer(print, "last")
defer(again)
defer(leaves)
defer(spawns)
defer(catches)
defer(print, "first")
`), Grace: &grace})
	if out != "first\nlast\n" {
		t.Errorf("%q", out)
	}
	text := r.Reason
	for _, f := range r.Beside {
		text += "\n" + f.Told()
	}
	for _, want := range []string{"in a task of a deferred call", "defer: the run is ending: call the function itself",
		"deferred: the call did not end within 300ms; the script was in sleep"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the findings: %s", want, text)
		}
	}
	if r.Outcome != runtime.Failed {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
}

// TestWait holds what an embedder's own builtin may rely on.
func TestWait(t *testing.T) {
	began, ended := make(chan bool, 1), make(chan error, 1)
	block := starlark.NewBuiltin("block", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple,
		_ []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, builtins.Wait(thread, func(ctx context.Context) error {
			began <- true
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
	})
	boom := starlark.NewBuiltin("boom", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple,
		_ []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, builtins.Wait(thread, func(context.Context) error { panic("in a wait") })
	})
	r, _ := run(t, script.Config{Builtins: starlark.StringDict{"block": block}, Source: []byte("spawn(fail, 'x')\nblock()")})
	if <-began; r.Outcome != runtime.Failed || r.Reason != "fail: x" || (<-ended).Error() != "fail: x" {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	r, _ = run(t, script.Config{Builtins: starlark.StringDict{"block": block},
		Source: []byte("t = spawn(block)\nsleep(0)\nt.cancel()\nsleep(0)")})
	if <-began; r.Outcome != runtime.Passed || <-ended == nil {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	r, _ = run(t, script.Config{Builtins: starlark.StringDict{"boom": boom}, Source: []byte("catch(boom)")})
	if !r.Bug || !strings.Contains(r.Reason, "in a wait") {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	if err := builtins.Wait(&starlark.Thread{}, func(context.Context) error { return nil }); err == nil {
		t.Error("a wait outside of a run")
	}
}

// TestFailuresOfTasks: what comes up in several tasks at a time is found of each,
// whichever was the first.
func TestFailuresOfTasks(t *testing.T) {
	for name, source := range map[string]string{"of two tasks": "spawn(g)", "of the main part": "w.wait()\nreal()"} {
		called := 0
		c := script.Config{TopologySource: ini(t, "node"), Source: []byte(`
def wf(): sleep("20ms")
w = spawn(wf)
def f():
    w.wait()
    inconclusive("nothing shown")
def g():
    w.wait()
    real()
spawn(f)
` + source + `
sleep("1s")
`), Builtins: starlark.StringDict{
			"real": starlark.NewBuiltin("real", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
				called++
				return nil, errors.New("a real failure")
			}),
		}}
		r, _ := run(t, c)
		if called > 0 != (r.Outcome == runtime.Failed && r.Reason == "a real failure") {
			t.Errorf("%s: it was called %d times: %s: %s, beside: %v", name, called, r.Outcome, r.Reason, r.Beside)
		}
	}
}

// TestForgottenStep: a step that an embedder's builtin plans, and forgets, holds up the
// faults after it no longer than what waits for these, and never beyond the time limit.
func TestForgottenStep(t *testing.T) {
	limit := 3 * time.Second
	began := time.Now()
	r, out := run(t, script.Config{TopologySource: ini(t, "node", "other"), TimeLimit: &limit, Source: []byte(`
fork([node, other])
await_ready([node, other])
forget()
e = catch(lambda: wait_until(lambda: catch(lambda: pause(other)), timeout = "20ms"))
print(e.kind, "was in" in e.message)
kill(node)
pause(other)
`), Builtins: starlark.StringDict{
		"forget": starlark.NewBuiltin("forget", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple,
			_ []starlark.Tuple) (starlark.Value, error) {
			_, err := script.RunOf(thread).Pause([]string{"node"})
			return starlark.None, err
		}),
	}})
	if out != "timeout True\n" || !errors.Is(r.Cause, runtime.ErrTimeLimit) || r.Where != "script.star:8:6" {
		t.Errorf("%s at %s: %s; it printed %q", r.Outcome, r.Where, r.Reason, out)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestGoexit: a builtin whose goroutine is ended, as a failing test does it, fails the
// run, in the main part, in a task, and where it is waited for.
func TestGoexit(t *testing.T) {
	for name, source := range map[string]string{
		"main":   "leave()",
		"task":   "spawn(leave)\nsleep(3600)",
		"waited": "leave(True)",
		"caught": "catch(leave)",
	} {
		r, _ := run(t, script.Config{Source: []byte(source), Builtins: starlark.StringDict{
			"leave": starlark.NewBuiltin("leave", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
				_ []starlark.Tuple) (starlark.Value, error) {
				if len(args) == 0 {
					goruntime.Goexit()
				}
				return starlark.None, script.Wait(thread, func(context.Context) error {
					goruntime.Goexit()
					return nil
				})
			}),
		}})
		if r.Outcome != runtime.Failed || !strings.Contains(r.Reason, "runtime.Goexit") {
			t.Errorf("%s: %s: %s", name, r.Outcome, r.Reason)
		}
	}
}
