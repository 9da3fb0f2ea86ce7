package builtins

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// FailError is a run that the script fails.
type FailError struct{ Reason string }

func (e *FailError) Error() string { return e.Reason }

// InconclusiveError is a run that the script finds to have shown nothing.
type InconclusiveError struct{ Reason string }

func (e *InconclusiveError) Error() string { return e.Reason }

// Finding says that the run is inconclusive.
func (e *InconclusiveError) Finding() verdict.Finding {
	return verdict.Finding{Outcome: verdict.Inconclusive}
}

func verdicts() family {
	return family{"verdict", "Say what the run came to. A run passes when its script comes to its end; assertions halt it, soft=True records a failure and goes on.", []builtin{
		{"fail", "*args, sep=\" \"", "Fails the run, with the arguments as the reason, sep between them. Example: fail(\"leader is\", leader.state).", func(c *call) (starlark.Value, error) {
			sep, err := c.text("sep", " ")
			if err != nil {
				return nil, err
			}
			var words []string
			for _, v := range c.rest {
				words = append(words, plainText(v))
			}
			return nil, &FailError{strings.Join(words, sep)}
		}},
		{"inconclusive", "reason", "Ends the run as inconclusive: nothing failed, and nothing was shown. Example: inconclusive(\"no message was under way\").", func(c *call) (starlark.Value, error) {
			reason, err := c.text("reason", "")
			if err != nil {
				return nil, err
			}
			return nil, &InconclusiveError{reason}
		}},
		{"require_faults", "n", "Has the run be inconclusive, unless it fails, if by its end fewer than n faults have touched something: killed, stopped or limited a process, held, delayed or lost what crossed a link. It may be called at any time. Example: require_faults(3).", requireFaults},
		{"check", "condition, message=None, soft=False", "Fails the run unless the condition is true. Example: check(worker_1.restarts == 0, \"worker 1 was restarted\").", func(c *call) (starlark.Value, error) {
			holds, err := c.condition()
			if err != nil {
				return nil, err
			}
			return c.assert(holds, "check failed")
		}},
		{"check_same", "sent, received, transform=None, ordered=False, message=None, soft=False", "Fails the run unless every payload was received as often as it was sent, and no other was; with ordered=True also in the same order. Each side is what records() returns, or a list of records or of strings. transform is called with each payload of sent, and returns what is expected for it: a string, or a list of strings. The error tells what is missing, extra and duplicated, and the first of each with its place and time, seconds since the start. A run in which a comparison compared no records is inconclusive, unless it fails. Example: check_same(records(\"giles-sender/sent.txt\"), records(\"giles-receiver/received.txt\"), transform=lambda p: str(int(p) // 2)).", checkSame},
		{"check_subset", "part, whole, transform=None, message=None, soft=False", "Fails the run unless every payload of part is in whole, at least as often: check_subset(received, sent) where some may be lost, and nothing may come twice; check_subset(sent, received) where nothing may be lost. transform is called with each payload of whole; all else is as for check_same. Where part is empty it has compared no records. Example: check_subset(records(\"giles-receiver/received.txt\"), records(\"giles-sender/sent.txt\")).", checkSubset},
		{"check_no_duplicates", "records, message=None, soft=False", "Fails the run if any payload is in the records more than once. They are as for check_same. Example: check_no_duplicates(records(\"giles-receiver/received.txt\")).", checkNoDuplicates},
		{"assert.fail", "message, soft=False", "Fails the run. Example: assert.fail(\"not here\").", func(c *call) (starlark.Value, error) {
			return c.assert(false, "failed")
		}},
		{"assert.true", "condition, message=None, soft=False", "Fails the run unless the condition is true. Example: assert.true(output(leader), \"the leader is silent\").", func(c *call) (starlark.Value, error) {
			holds, err := c.condition()
			if err != nil {
				return nil, err
			}
			return c.assert(holds, "assertion failed")
		}},
		{"assert.eq", "x, y, message=None, soft=False", "Fails the run unless x == y. Example: assert.eq(leader.exit_code, 0).", compare(syntax.EQL, "!=")},
		{"assert.ne", "x, y, message=None, soft=False", "Fails the run unless x != y. Example: assert.ne(messages(leader), []).", compare(syntax.NEQ, "==")},
		{"assert.lt", "x, y, message=None, soft=False", "Fails the run unless x < y. Example: assert.lt(m.t, 2, soft=True).", compare(syntax.LT, "is not less than")},
		{"assert.contains", "x, y, message=None, soft=False", "Fails the run unless y in x. Example: assert.contains(output(leader), \"elected\").", assertContains},
		{"assert.fails", "fn, pattern=\"\", soft=False", "Fails the run unless fn() is an error whose message the regular expression matches anywhere. Example: assert.fails(lambda: await_ready(worker_1, timeout=1), \"not within\").", assertFails},
		{"catch", "fn, *args", "Calls fn with the arguments; returns None, or the error where it failed: a value with message, outcome, that of an action or None, and kind, \"action\", \"timeout\", \"impossible\", \"state\", \"start\", \"link\", \"unsupported\", \"fail\", \"inconclusive\" or \"error\". It catches neither a node's unasked exit nor an interruption nor the time limit. Example: e = catch(lambda: await_ready(worker_1, timeout=1)).", catch},
	}}
}

func requireFaults(c *call) (starlark.Value, error) {
	n, err := c.integer("n", 0, 1)
	if err != nil {
		return nil, err
	}
	c.host.run.RequireFaults(n)
	return nil, nil
}

// plainText is a value as print has it.
func plainText(v starlark.Value) string {
	if s, ok := starlark.AsString(v); ok {
		return s
	}
	return v.String()
}

// assert fails unless it holds.
func (c *call) assert(holds bool, format string, args ...any) (starlark.Value, error) {
	if holds {
		return nil, nil
	}
	reason := fmt.Sprintf(format, args...)
	for i, p := range c.params {
		if p.Name == "message" && c.values[i] != nil && c.values[i] != starlark.None {
			if reason = plainText(c.values[i]); len(args) > 0 {
				reason += ": " + fmt.Sprintf(format, args...)
			}
		}
	}
	if !c.isSoft() {
		return nil, &FailError{reason}
	}
	f := verdict.Of(&FailError{reason})
	f.Soft, f.Where, f.During = true, c.place(), c.task.phase.during
	c.host.run.Find(f)
	c.host.print(c.task, "soft failure: "+f.String())
	return nil, nil
}

// isSoft reports whether the call has the parameter soft, and it is true.
func (c *call) isSoft() bool {
	return slices.ContainsFunc(c.params, func(p Param) bool { return p.Name == "soft" }) && c.truth("soft")
}

// condition is the argument of that name. A function is always true: it was to be
// called.
func (c *call) condition() (bool, error) {
	if fn, ok := c.arg("condition").(starlark.Callable); ok {
		return false, c.wrong("condition", "got the function %s, which is always true: call it", fn.Name())
	}
	return c.truth("condition"), nil
}

func compare(op syntax.Token, otherwise string) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) {
		x, y := alike(c.values[0], c.values[1])
		holds, err := starlark.Compare(op, x, y)
		if err != nil {
			return nil, err
		}
		return c.assert(holds, "%s %s %s", shown(x), otherwise, shown(y))
	}
}

func assertContains(c *call) (starlark.Value, error) {
	x, y := c.values[0], c.values[1]
	in, err := starlark.Binary(syntax.IN, y, x)
	if err != nil {
		return nil, err
	}
	return c.assert(bool(in.Truth()), "%s does not contain %s", shown(x), shown(y))
}

func assertFails(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	pattern, err := c.pattern("pattern")
	if err != nil {
		return nil, err
	}
	_, err = starlark.Call(c.thread, fn, nil, nil)
	switch {
	case err == nil:
		return c.assert(false, "%s did not fail", fn.Name())
	case c.task.isEnding(), isBug(err):
		return nil, err
	}
	return c.assert(pattern.MatchString(err.Error()), "%s failed, but its message %q does not match %q", fn.Name(), err.Error(), pattern)
}

// caughtError is what an error is to a script that has caught it.
const caughtError = "error"

func catch(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	_, err = starlark.Call(c.thread, fn, c.rest, nil)
	if err == nil || c.task.isEnding() || isBug(err) {
		return nil, err
	}
	outcome := starlark.Value(starlark.None)
	if not := notYet(err); not != nil {
		outcome = starlark.String(not.Outcome)
	}
	return frozenStruct(caughtError, starlark.StringDict{
		"message": starlark.String(err.Error()),
		"kind":    starlark.String(kind(err)),
		"outcome": outcome,
	}), nil
}

// isBug reports whether an error is a panic, which no script can catch.
func isBug(err error) bool {
	var bug *PanicError
	return errors.As(err, &bug)
}

func kind(err error) string {
	var (
		timeout    *runtime.TimeoutError
		impossible *runtime.ImpossibleError
		state      *runtime.StateError
		start      *process.StartError
		link       *runtime.LinkError
		cannot     *runtime.UnsupportedError
		failed     *FailError
		shown      *InconclusiveError
	)
	switch {
	case notYet(err) != nil:
		return "action"
	case errors.As(err, &timeout):
		return "timeout"
	case errors.As(err, &impossible):
		return "impossible"
	case errors.As(err, &state):
		return "state"
	case errors.As(err, &start):
		return "start"
	case errors.As(err, &link):
		return "link"
	case errors.As(err, &cannot):
		return "unsupported"
	case errors.As(err, &failed):
		return "fail"
	case errors.As(err, &shown):
		return "inconclusive"
	}
	return "error"
}
