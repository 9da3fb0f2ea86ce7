package script_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/script"
)

// A program that embeds dagon-star can add actions and checkers of its own. Here the
// action issues a ticket, as by the client library of a system, and the checker demands
// that tickets rise: one that was issued after another was complete is higher.
func ExampleAct() {
	dir, err := os.MkdirTemp("", "runs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	tickets := []int{1, 2, 0, 7, 3} // what the system issues; 0 is that it refuses
	issue := func(context.Context) (int, error) {
		ticket := tickets[0]
		tickets = tickets[1:]
		if ticket == 0 {
			return 0, errors.New("sold out")
		}
		return ticket, nil
	}

	action := func(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var node starlark.HasAttrs
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "node", &node); err != nil {
			return nil, err
		}
		attr, err := node.Attr("name")
		if err != nil {
			return nil, err
		}
		name, _ := starlark.AsString(attr)
		ticket := 0
		err = script.Act(thread, name, "issue", 0, func(ctx context.Context) (err error) {
			if ticket, err = issue(ctx); err != nil {
				// It was surely not done: an error that nobody can be sure of is history.Info.
				return &probe.Error{Outcome: history.Fail, Action: "issue", Node: name, Problem: "it was refused", Err: err}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return starlark.MakeInt(ticket), nil
	}

	checker := func(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var v starlark.Value
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "ops", &v); err != nil {
			return nil, err
		}
		ops, ok := script.OpsOf(v)
		if !ok {
			return nil, fmt.Errorf("%s: got %s, want operations", b.Name(), v.Type())
		}
		ops = slices.DeleteFunc(slices.Clone(ops), func(o history.Op) bool { return o.Outcome != history.OK })
		slices.SortFunc(ops, func(a, b history.Op) int { return cmp.Compare(a.Invoked, b.Invoked) })
		r := &history.Result{Checker: b.Name(), Verdict: history.Valid, Summary: fmt.Sprintf("%d tickets rise", len(ops))}
		if len(ops) == 0 {
			r.Verdict, r.Summary = history.Unknown, "no ticket was issued"
		}
		for i := 1; i < len(ops); i++ {
			before, after := &ops[i-1], &ops[i]
			x, _ := strconv.Atoi(before.Result.Text())
			y, _ := strconv.Atoi(after.Result.Text())
			if before.Completed < after.Invoked && y <= x {
				r.Verdict, r.Summary = history.Invalid, fmt.Sprintf("ticket %d was issued after %d", y, x)
				r.Groups = []history.Group{{Name: "fallen", Bad: true, Told: true,
					Points: []history.Point{{Element: after.Result.Text(), Op: after, At: after.Completed}}}}
				break
			}
		}
		return script.Checked(thread, r)
	}

	result, err := script.Run(context.Background(), script.Config{
		Source: []byte(`
def take(ticket):
    sleep("1ms")
    return op("take", ticket)
fork(office)
one = take(lambda: issue(office))
two = take(lambda: issue(office))
three = take(lambda: issue(office))
print(one.result, two.result, three.outcome)
print(check_rising(ops()).text)
take(lambda: issue(office))
take(lambda: issue(office))
check_rising(ops())
`),
		TopologySource: []byte("[office]\ncommand = sleep 60\n"),
		Builtins: starlark.StringDict{
			"issue":        starlark.NewBuiltin("issue", action),
			"check_rising": starlark.NewBuiltin("check_rising", checker),
		},
		RunsDir: dir,
		Output:  os.Stdout,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	reason, _, _ := strings.Cut(result.Reason, " (client")
	fmt.Println(result.Outcome, "-", reason)
	// Output:
	// 1 2 fail
	// 2 tickets rise
	// failed - check_rising: ticket 3 was issued after 7
}
