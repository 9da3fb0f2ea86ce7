package script_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/verdict"
	"github.com/dagon-star/dagon-star/script"
)

// appendWord is an action that a program adds: append(node, word) adds a line to a file in
// the folder of a node, with a command that never ends where the word is "stuck".
func appendWord(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var node, word string
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "node", &node, "word", &word); err != nil {
		return nil, err
	}
	command := runtime.Command{Check: true,
		Argv: []string{"sh", "-c", `test "$1" != stuck || exec sleep 600; test "$1" && echo "$1" >>words`, "append", word}}
	timeout := time.Duration(0) // that of the run
	if word == "stuck" {
		timeout = 50 * time.Millisecond
	}
	return starlark.None, script.Act(thread, node, "append "+word, timeout, func(ctx context.Context) error {
		_, err := script.RunOf(thread).Exec(ctx, node, command)
		return err
	})
}

// checkShort is a checker that a program adds: no word that was acknowledged may have more
// than five bytes.
func checkShort(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var given starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "ops", &given); err != nil {
		return nil, err
	}
	ops, ok := script.OpsOf(given)
	if !ok {
		return nil, fmt.Errorf("%s: got %s, want operations", b.Name(), given.Type())
	}
	r := &history.Result{Checker: b.Name(), Verdict: history.Unknown, Summary: "nothing was acknowledged"}
	long := history.Group{Name: "long", Bad: true}
	for i := range ops {
		if ops[i].Outcome != history.OK {
			continue
		}
		r.Verdict = history.Valid
		if word := ops[i].Value.Text(); len(word) > 5 {
			long.Points = append(long.Points, history.Point{Element: word, Op: &ops[i], At: ops[i].Invoked})
		}
	}
	if len(long.Points) > 0 {
		r.Verdict, r.Summary, r.Groups = history.Invalid, "some words are long", []history.Group{long}
	}
	return script.Checked(thread, r)
}

// TestExtended: an action and a checker of the program that embeds are as good as the
// built-in ones: op records the outcome, the log has the action, and the verdict is the
// checker's.
func TestExtended(t *testing.T) {
	const add = "def add(word): return op('append', lambda: append('alice', word), value = word)\n"
	for _, test := range []struct {
		script  string
		outcome verdict.Outcome
		reason  string
	}{
		{"assert.eq([add(w).outcome for w in ('ada', '', 'bob')], ['ok', 'fail', 'ok'])\n" +
			"assert.eq(read('alice', 'words'), 'ada\\nbob\\n')\nassert.eq(check_short(ops()).verdict, 'valid')", verdict.Passed, ""},
		{"add('ada')\nadd('ada lovelace')\ncheck_short(ops())", verdict.Failed, `some words are long; 1 long: "ada lovelace"`},
		{"assert.eq(add('stuck').outcome, 'info')\nassert.eq(ops()[0].process, 0)\nassert.eq(add('').process, 1)\ncheck_short(ops())",
			verdict.Inconclusive, "check_short: nothing was acknowledged"},
		{"check_short([1])", verdict.Failed, "check_short: got list, want operations"},
		{"append('nobody', 'x')", verdict.Failed, "nobody: no such node in the topology"},
	} {
		r := run(t, script.Config{Source: []byte(add + test.script), TopologySource: nodes("alice"), Builtins: starlark.StringDict{
			"append": starlark.NewBuiltin("append", appendWord), "check_short": starlark.NewBuiltin("check_short", checkShort)}})
		if r.Outcome != test.outcome || !strings.Contains(r.Reason, test.reason) {
			t.Errorf("%s\nis %s: %s", test.script, r.Outcome, r.Reason)
		}
		logged := 0
		for e, err := range r.Events() {
			if err != nil {
				t.Fatal(err)
			}
			if a, ok := e.Detail.(event.Action); ok && e.Node == "alice" && strings.HasPrefix(a.What, "append ") {
				logged++
			}
		}
		if want := strings.Count(test.script, "add('") + 3*strings.Count(test.script, "add(w)"); logged != want {
			t.Errorf("%s\nhas %d actions in the log, want %d", test.script, logged, want)
		}
	}
}
