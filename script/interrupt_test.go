package script_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/script"
)

// TestInterruptedAnywhere: a run that its caller ends is interrupted, in whichever part it
// is, whatever the cause of the caller's context, and what failed is told.
func TestInterruptedAnywhere(t *testing.T) {
	bySignal := &runtime.InterruptedError{Signal: syscall.SIGTERM}
	own := errors.New("the user pressed stop")
	for name, test := range map[string]struct {
		source  string
		cause   error
		outcome runtime.Outcome
		code    int
		reason  string
	}{
		"in the script": {"interrupt()\nsleep(3600)", bySignal, runtime.Interrupted, 143,
			"interrupted by signal: terminated; the script was in interrupt"},
		"by a cause of its": {"interrupt()\nsleep(3600)", own, runtime.Interrupted, 130,
			"interrupted by the caller: the user pressed stop; the script was in interrupt"},
		"without a cause": {"interrupt()\nsleep(3600)", nil, runtime.Interrupted, 130,
			"interrupted by the caller: context canceled; the script was in interrupt"},
		"in a deferred call": {"defer(interrupt)", bySignal, runtime.Interrupted, 143, "interrupted by signal: terminated"},
		"beside a failure":   {"interrupt(failing = True)", bySignal, runtime.Failed, 1, "interrupt: it failed meanwhile"},
		"beside a soft one": {"check(False, soft = True)\ninterrupt()\nsleep(1)", bySignal, runtime.Failed, 1,
			"a soft failure: script.star:1:6: check failed"},
		"of something else": {"overdue()", nil, runtime.Failed, 1, "overdue: the call took too long: context deadline exceeded"},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		c := script.Config{Source: []byte(test.source), RunsDir: t.TempDir(), Builtins: starlark.StringDict{
			"interrupt": starlark.NewBuiltin("interrupt", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple,
				failing []starlark.Tuple) (starlark.Value, error) {
				work := script.RunOf(thread).Context()
				before := length(script.RunOf(thread))
				cancel(test.cause)
				// Until the run knows: its work has ended, or it has found it.
				for work.Err() == nil && length(script.RunOf(thread)) == before {
				}
				if len(failing) > 0 {
					return nil, errors.New("interrupt: it failed meanwhile")
				}
				return starlark.None, nil
			}),
			"overdue": starlark.NewBuiltin("overdue", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple,
				[]starlark.Tuple) (starlark.Value, error) {
				return nil, fmt.Errorf("overdue: the call took too long: %w", context.DeadlineExceeded)
			}),
		}}
		r, err := script.Run(ctx, c)
		cancel(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Outcome != test.outcome || r.ExitCode() != test.code || r.Reason != test.reason {
			t.Errorf("%s: %s, exit code %d: %s (beside: %v)", name, r.Outcome, r.ExitCode(), r.Reason, r.Beside)
		}
	}
}

// TestHurried: a run whose end was cut short has not passed.
func TestHurried(t *testing.T) {
	hurry := make(chan struct{})
	c := script.Config{Source: []byte("fork(node)\nawait_ready(node)\ndefer(cut)\ndefer(print, 'first')"),
		TopologySource: nodes("node"), Hurry: hurry, Builtins: starlark.StringDict{
			"cut": starlark.NewBuiltin("cut", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
				close(hurry)
				return starlark.None, nil
			}),
		}}
	if r := run(t, c); r.Outcome != runtime.Interrupted || r.ExitCode() != 130 || len(r.LeftBehind) > 0 {
		t.Errorf("%s, exit code %d: %s", r.Outcome, r.ExitCode(), r.Reason)
	}
}

// length is how many events a run has so far.
func length(r *runtime.Run) (n int) {
	for range r.Events() {
		n++
	}
	return n
}
