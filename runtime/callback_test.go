package runtime

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// beginUp begins a run whose node is up.
func beginUp(t *testing.T, cfg Config) *Run {
	t.Helper()
	cfg.Topology = ini(t, "node")
	cfg.Topology.Settings.Grace = 100 * time.Millisecond
	r := begin(t, cfg)
	must(t, r.Fork("node", ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	return r
}

// failedBy checks that a function of the caller's has failed a run, which was torn down.
func failedBy(t *testing.T, result *Result, callback, text string) *CallbackError {
	t.Helper()
	var by *CallbackError
	if result.Outcome != Failed || result.ExitCode() != 1 || !errors.As(result.Cause, &by) ||
		!strings.HasPrefix(by.Callback, callback+" (") || !strings.Contains(by.Callback, "runtime.Test") ||
		!strings.Contains(result.Reason, text) {
		t.Fatalf("%+v", result.Verdict)
	}
	if len(result.LeftBehind) > 0 || len(result.Nodes) != 1 || result.Nodes[0].State != StateExited {
		t.Errorf("left behind: %v; %+v", result.LeftBehind, result.Nodes)
	}
	return by
}

// ends is what a function does that does not return.
var ends = map[string]struct {
	do   func()
	text string
}{
	"panics":          {func() { panic("oh no") }, "panicked: oh no"},
	"dereferences":    {func() { _ = *(*int)(nil) }, "panicked: runtime error: invalid memory address"},
	"its goroutine":   {runtime.Goexit, "ended its goroutine by runtime.Goexit"},
	"panics with nil": {func() { panic(nil) }, "panicked: panic called with nil"},
}

// TestObserverFails: an observer that panics ends the run's work, and fails it; the nodes
// end as they do anyway, and the program goes on.
func TestObserverFails(t *testing.T) {
	for name, end := range ends {
		r := beginUp(t, Config{Observer: func(e event.Event) {
			if _, ok := e.Detail.(event.Print); ok {
				end.do()
			}
		}})
		r.Print("now")
		if err := r.Wait(r.Reached([]string{"node"}, StateExited)); err == nil || !strings.Contains(err.Error(), end.text) {
			t.Errorf("%s: the work went on: %v", name, err)
		}
		result, err := r.End(nil)
		must(t, err)
		by := failedBy(t, result, "Config.Observer", end.text)
		if panicked := by.Panic != nil; panicked != strings.Contains(string(by.Stack), "callback_test.go") {
			t.Errorf("%s: %v: %s", name, by.Panic, by.Stack)
		}
	}
}

// TestObserverFailsLast: what an observer does with the last event fails the run too.
func TestObserverFailsLast(t *testing.T) {
	r := beginUp(t, Config{Observer: func(e event.Event) {
		if _, ok := e.Detail.(event.RunFinished); ok {
			panic("at the end")
		}
	}})
	result, err := r.End(nil)
	must(t, err)
	failedBy(t, result, "Config.Observer", "panicked: at the end")
}

// TestObserverStays: an observer that does not return holds up no end of a run: as long as
// it is to be waited for, and not for long in a hurry.
func TestObserverStays(t *testing.T) {
	for name, test := range map[string]struct {
		patience time.Duration
		hurry    bool
	}{
		"patience":            {50 * time.Millisecond, false},
		"hurry":               {time.Hour, true},
		"hurry, no patience":  {50 * time.Millisecond, true},
		"for ever, but hurry": {-1, true},
		"almost none":         {1, false},
	} {
		t.Run(name, func(t *testing.T) {
			goOn, gone := make(chan struct{}), make(chan struct{})
			hurry := make(chan struct{})
			told := 0
			r := beginUp(t, Config{Hurry: hurry, ObserverPatience: test.patience, Observer: func(e event.Event) {
				if told++; told == 3 {
					<-goOn
					close(gone)
				}
			}})
			if test.hurry {
				close(hurry)
			}
			result, err := r.End(nil)
			must(t, err)
			failedBy(t, result, "Config.Observer", "did not return from event 2 (")
			close(goOn)
			<-gone
			<-r.observation.returned
			if told != 3 {
				t.Errorf("it was told of %d events", told)
			}
		})
	}
}

// TestObserverSlow: an observer is waited for as long as it takes one event after the other.
func TestObserverSlow(t *testing.T) {
	last, told := int64(-1), 0
	r := beginUp(t, Config{ObserverPatience: time.Second, Observer: func(e event.Event) {
		time.Sleep(20 * time.Millisecond) // it is slow
		last, told = e.Seq, told+1
	}})
	for range 100 {
		r.Print("x")
	}
	result, err := r.End(nil)
	must(t, err)
	if result.Outcome != Passed || last != r.j.Next()-1 || told < 100 {
		t.Errorf("%+v; it was told of %d events, the last %d", result.Verdict, told, last)
	}
}

// TestLastFails: a function that End is given and that does not return, however that is,
// fails the run, which ends, and the others are called.
func TestLastFails(t *testing.T) {
	goOn := make(chan struct{})
	defer close(goOn)
	cases := map[string]struct {
		do   func()
		text string
	}{"stays": {func() { <-goOn }, "did not return when its context was done: the call did not end within 100ms"}}
	for name, end := range ends {
		cases[name] = end
	}
	for name, test := range cases {
		r := beginUp(t, Config{})
		var calls []string
		result, err := r.End(func(context.Context) { calls = append(calls, "first") }, nil,
			func(context.Context) { test.do() },
			func(ctx context.Context) {
				calls = append(calls, "last")
				<-ctx.Done()
				if context.Cause(ctx).Error() != "the call did not end within 100ms" {
					t.Errorf("%s: %v", name, context.Cause(ctx))
				}
			})
		must(t, err)
		failedBy(t, result, "a function that End was given", test.text)
		if strings.Join(calls, " ") != "first last" {
			t.Errorf("%s: %v were called", name, calls)
		}
	}
}

// TestLastHurried: in a hurry such a function is not waited for.
func TestLastHurried(t *testing.T) {
	goOn, hurry := make(chan struct{}), make(chan struct{})
	defer close(goOn)
	top := ini(t, "node")
	r := begin(t, Config{Topology: top, Hurry: hurry}) // its grace is a minute
	result, err := r.End(func(context.Context) {
		close(hurry)
		<-goOn
	})
	must(t, err)
	var by *CallbackError
	if result.Outcome != Failed || !errors.As(result.Cause, &by) || !strings.Contains(result.Reason, "the end of the run was cut short") {
		t.Errorf("%+v", result.Verdict)
	}
}

// TestClockBlocked: a function that the run's clock calls, and that does not return, holds
// up no deadline and no end.
func TestClockBlocked(t *testing.T) {
	goOn := make(chan struct{})
	defer close(goOn)
	r := beginUp(t, Config{})
	r.Clock().AfterFunc(0, func() { <-goOn })
	var late *TimeoutError
	c := r.Reached([]string{"node"}, StateDone)
	c.Timeout = 10 * time.Millisecond
	if err := r.Wait(c); !errors.As(err, &late) {
		t.Errorf("%v", err)
	}
	result, err := r.End(nil)
	must(t, err)
	failedBy(t, result, "a function that the run's clock was given", "did not return")
}
