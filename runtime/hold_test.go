package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// heldEvents are the kinds of a run's events from held on, without states, and what
// released tells.
func heldEvents(t *testing.T, r *Result) (kinds []string, released event.Released) {
	t.Helper()
	began := false
	for e, err := range r.Events() {
		must(t, err)
		began = began || e.Kind() == event.KindHeld
		if d, ok := e.Detail.(event.Released); ok {
			released = d
		}
		if began && e.Kind() != event.KindState {
			kinds = append(kinds, string(e.Kind()))
		}
	}
	return kinds, released
}

// TestHold: while a run is held nothing is undone, its time limit stands still, and what
// its nodes do is logged; then it ends as ever.
func TestHold(t *testing.T) {
	top := ini(t, "node")
	top.Settings.TimeLimit = 2 * time.Second
	r := begin(t, Config{Topology: top})
	must(t, r.Fork("node", ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	step, err := r.Pause([]string{"node"})
	must(t, err)
	must(t, step.Do(context.Background()))
	r.Find(Finding{Outcome: Failed, Reason: "on purpose"})
	if v := r.Verdict(); v.Outcome != Failed || v.Reason != "on purpose" {
		t.Errorf("%+v", v)
	}
	r.Hold(context.Background(), func(ctx context.Context) string {
		if n, _ := r.Node("node"); !n.Paused {
			t.Error("the fault was undone")
		}
		passed, stop := r.Clock().After(2100 * time.Millisecond)
		defer stop()
		select {
		case <-passed:
		case <-ctx.Done():
			t.Error(context.Cause(ctx))
		}
		return "enough"
	})
	if left, ok := r.timeLimit.Left(); !ok || left <= 0 || left > 2*time.Second {
		t.Errorf("%s of the time limit are left, %v", left, ok)
	}
	result, err := r.End(nil)
	must(t, err)
	kinds, released := heldEvents(t, result)
	if result.Outcome != Failed || result.Reason != "on purpose" || len(result.Beside) > 0 || released.Why != "enough" ||
		released.HeldS < 2.1 || !strings.HasPrefix(strings.Join(kinds, " "), "held released healed") {
		t.Errorf("%+v: %v: %+v", result.Verdict, kinds, released)
	}
}

// TestHoldEnds: a hold ends with its caller's context, and in a hurry; one that panics or
// stays is a finding.
func TestHoldEnds(t *testing.T) {
	stop := errors.New("stop")
	until := func(ctx context.Context) string {
		<-ctx.Done()
		return context.Cause(ctx).Error()
	}
	goOn := make(chan struct{})
	defer close(goOn)
	for name, test := range map[string]struct {
		hurry       bool
		hold        func(context.Context) string
		why, beside string
	}{
		"a context": {false, until, "stop", ""},
		"a hurry":   {true, until, errHurried.Error(), errHurried.Error()},
		"a panic":   {false, func(context.Context) string { panic("oh no") }, "what held it did not say why", "panicked: oh no"},
		"one that stays": {false, func(context.Context) string { <-goOn; return "" }, "what held it did not say why",
			"did not return when its context was done: stop"},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		hurry := make(chan struct{})
		r := beginUp(t, Config{Hurry: hurry})
		r.Find(Finding{Outcome: Failed, Reason: "on purpose"})
		if test.hurry {
			close(hurry)
		} else {
			cancel(stop)
		}
		r.Hold(ctx, test.hold)
		cancel(nil)
		result, err := r.End(nil)
		must(t, err)
		_, released := heldEvents(t, result)
		beside := ""
		for _, f := range result.Beside {
			beside += f.Reason
		}
		if result.Reason != "on purpose" || released.Why != test.why || !strings.Contains(beside, test.beside) || (beside == "") != (test.beside == "") {
			t.Errorf("%s: %+v: %+v", name, result.Verdict, released)
		}
	}
}
