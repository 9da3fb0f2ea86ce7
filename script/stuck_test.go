package script_test

import (
	"context"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/script"
)

// slow is a value that whatever goes through it, or writes it, is long in.
type slow struct{ wait func() }

func (s slow) String() string             { s.wait(); return "slow" }
func (s slow) Type() string               { return "slow" }
func (s slow) Freeze()                    {}
func (s slow) Truth() starlark.Bool       { return true }
func (s slow) Hash() (uint32, error)      { return 0, nil }
func (s slow) Iterate() starlark.Iterator { return slowly{s} }
func (s slow) MarshalJSON() ([]byte, error) {
	s.wait()
	return []byte("null"), nil
}

// Attr is a method that is long too.
func (s slow) Attr(name string) (starlark.Value, error) {
	return starlark.NewBuiltin(name, func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		s.wait()
		return starlark.None, nil
	}).BindReceiver(s), nil
}
func (s slow) AttrNames() []string { return []string{"method"} }

type slowly struct{ slow }

func (i slowly) Next(*starlark.Value) bool { i.wait(); return false }
func (i slowly) Done()                     {}

// calls are scripts that are long in a call, which is named with its place.
var calls = map[string]struct{ source, in, at string }{
	"a function":             {"x = 1\n\nmax(slow)", "max", ":4:4"},
	"one of a key":           {"sorted([1, 2], key = lambda x: list(slow))", "list", ":2:36"},
	"a conversion":           {"def f(x):\n  return repr(x)\nf([slow])", "repr", ":3:14"},
	"a method of a set":      {"set([1]).intersection(slow)", "set.intersection", ":2:22"},
	"of a list":              {"[].extend(slow)", "list.extend", ":2:10"},
	"of a dict":              {"{}.update(slow)", "dict.update", ":2:10"},
	"of a string":            {"a = ', '\n(a.join)(slow)", "string.join", ":3:9"},
	"in a variable":          {"for f in [[].extend]:\n  f(slow)", "list.extend", ":3:4"},
	"of a dict's value":      {"d = {'f': [].extend}\nd['f'](slow)", "list.extend", ":3:7"},
	"in an expression":       {"x = [len(y) + 1 for y in ['{}'.format(slow)]]", "string.format", ":2:38"},
	"in what is given":       {"def f(a = set().union(slow)): pass", "set.union", ":2:22"},
	"a module's":             {"json.encode(slow)", "json.encode", ":2:12"},
	"an embedder's value's":  {"slow.method()", "slow.method", ":2:12"},
	"inside a wait":          {"wait_until(lambda: json.encode(slow))", "json.encode", ":2:31"},
	"what a builtin calls":   {"catch(max, slow)", "max", ":2:6"},
	"a method that it calls": {"catch([].extend, slow)", "list.extend", ":2:6"},
	"that another waits for": {"wait_until(slow.method)", "slow.method", ":2:11"},
	"in a file":              {"load('lib.star', 'f')\nf(slow)", "list.extend", "lib.star:1:20"},
}

// TestStuckIn: a run ends though its script does not come back from a call, and says from
// which one, and where that is.
func TestStuckIn(t *testing.T) {
	for name, test := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			defer close(over)
			inCall(t, test.source, func(context.Context) { <-over }, func(r *script.Result) {
				if want := "the run's time limit has passed: 1s; the script was in " + test.in + ", which cannot be interrupted"; r.Reason != want {
					t.Errorf("%s, want %s", r.Reason, want)
				}
				if !strings.HasSuffix(r.Where, test.at) {
					t.Errorf("at %s, want %s", r.Where, test.at)
				}
			})
		})
	}
}

// TestStuckInOperation: an operation of the language is told with the call before it.
func TestStuckInOperation(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	inCall(t, "min(1, 2)\nx = '%s' % slow", func(context.Context) { <-over }, func(r *script.Result) {
		before, place, _ := strings.Cut(r.Reason, " at ")
		if !strings.HasSuffix(before, "; the script was in an operation of the language (its last call was min") ||
			!strings.HasSuffix(place, "script.star:2:4), which cannot be interrupted") {
			t.Error(r.Reason)
		}
	})
}

// TestWasIn: so does one whose script comes back from it when the run is to end, whatever
// it would have called next.
func TestWasIn(t *testing.T) {
	for name, test := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inCall(t, test.source+"\nmin(1, 2)\nsleep(1)", func(work context.Context) { <-work.Done() }, func(r *script.Result) {
				if want := "the run's time limit has passed: 1s; the script was in " + test.in; r.Reason != want {
					t.Errorf("%s, want %s", r.Reason, want)
				}
				if !strings.HasSuffix(r.Where, test.at) {
					t.Errorf("at %s, want %s", r.Where, test.at)
				}
			})
		})
	}
}

// inCall runs a script whose slow waits until the run has begun to end, and then as wait
// does.
func inCall(t *testing.T, source string, wait func(work context.Context), check func(*script.Result)) {
	t.Helper()
	var of *runtime.Run
	limit, grace := time.Second, 100*time.Millisecond // it is to come to the call before
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lib.star"), []byte("def f(x): [].extend(x)"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, script.Config{
		Script: filepath.Join(dir, "script.star"), Source: []byte("begin()\n" + source), TimeLimit: &limit, Grace: &grace,
		Builtins: starlark.StringDict{
			"slow": slow{func() {
				if of != nil {
					wait(of.Context())
				}
			}},
			"begin": starlark.NewBuiltin("begin", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple,
				_ []starlark.Tuple) (starlark.Value, error) {
				of = script.RunOf(thread)
				return starlark.None, nil
			}),
		},
	})
	if r.Outcome != runtime.Failed {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	check(r)
}

// silted is where nobody reads what is written.
type silted struct{ over chan struct{} }

func (s silted) Write(p []byte) (int, error) {
	<-s.over
	return len(p), nil
}

// TestPrintBlocked: a script that prints where nobody reads was in print, not in what it
// would call next; and so is a deferred call.
func TestPrintBlocked(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	limit, grace := 300*time.Millisecond, 300*time.Millisecond
	for _, source := range []string{"x = 1\nprint(x)\nsleep(1)", "def f():\n  print(1)\n  sleep(1)\ndefer(f)"} {
		r := run(t, script.Config{Source: []byte(source), TimeLimit: &limit, Grace: &grace, Output: silted{over}})
		if r.Outcome != runtime.Failed || !strings.HasSuffix(r.Reason, "; the script was in print") ||
			!strings.HasPrefix(r.Where, "script.star:2:") {
			t.Errorf("%s at %s: %s", r.Outcome, r.Where, r.Reason)
		}
	}
}

// broken is where a write does not return as it should.
type broken struct{ do func() }

func (b broken) Write(p []byte) (int, error) {
	b.do()
	return len(p), nil
}

// TestPrintBroken: an output that panics, or ends its goroutine, fails the run.
func TestPrintBroken(t *testing.T) {
	for text, do := range map[string]func(){
		"bug: panic: oh no": func() { panic("oh no") },
		"its goroutine was ended by runtime.Goexit, as a": goruntime.Goexit,
	} {
		r := run(t, script.Config{Source: []byte("print(1)\nsleep(3600)"), Output: broken{do}})
		if r.Outcome != runtime.Failed || !strings.HasPrefix(r.Reason, "print: Config.Output: "+text) {
			t.Errorf("%s at %s: %s", r.Outcome, r.Where, r.Reason)
		}
	}
}
