package builtins

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func operations() family {
	return family{"history", `What clients do to the system under test, as operations with outcomes: those of actions, "ok", "fail" and "info". The
operations of a run are in its folder, history.jsonl, in the shape of Jepsen's. A script makes some thousands of them
a second; a node can tell of more by the messages /invoke, /ok, /fail and /info, as package runtime/component does.`, []builtin{
		{"op", "f, fn, value=None, key=None, client=None", `Calls fn and records that as an operation f of a client, and returns it, also if it is not ok: a value with f, key,
value, outcome, ok, error, result and more; see operation. Give value to an operation that changes something: it is
what was written. An operation without one is a read, and its value is what fn returned, of an answer its body, of a
command what it wrote, without the space at its ends, of another operation its value. The outcome is that of the action
in which fn failed, or of the answer, the output of a command, the operation or the error of catch that it returned;
"fail" if fn returned False; "info" if a wait in it was not met in time, or it returned a task, which goes on; else "ok".
A "fail" is "info" if an action before it in fn came to "info", as where fn tries one node after another, or, unless fn
returned False, if one before it was ok and may have changed something. What changes nothing is an http that only asks,
a tcp connection on which nothing was sent, and read. Any other error is the script's. key is what it was done to, if
the system has several. client is by default the task that
the call is in. A client does one operation at a time, and goes on as a new process after one that ended in "info",
which may still be done.
Example:
o = op("add", lambda: exec(web, "echo 5 >> set.txt"), value=5)
check(o.ok, o.error)
op("read", lambda: read(web, "set.txt").split())`, operation},
		{"ops", "f=None, outcome=None, key=None, client=None, node=None", `The operations so far, in the order in which they began, as a sequence, those of nodes among them; only those with
this f, outcome, key, client or node where it is given. It is false if there are none.
Example:
check(not ops("add", outcome="info"), "nobody knows what became of some")
print([o.value for o in ops("add", outcome="ok")])`, operationsOf},
		{"workload", "fn, clients=4, pause=0, times=None", `Starts clients, each a task that calls fn(client, i) again and again, with its number, from 0, and i, which counts its
calls from 0. pause is a duration between two calls of a client. They go on until .stop() is called on what is
returned, which waits for the calls under way, or as often as times says: .wait(timeout=None) waits for that. An error
of fn fails the run; one of an action that op records is none. The end of the main part cancels them.
Example:
def client(c, i):
    value = "%d-%d" % (c, i)
    op("add", lambda: exec(web, "echo %s >> set.txt" % value), value=value)
w = workload(client, clients=2, pause="10ms")
sleep("100ms")
w.stop()`, workload},
	}}
}

// toValue makes a value of an operation of a script's value.
func (c *call) toValue(v starlark.Value) (history.Value, error) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return history.None, nil
	case starlark.Bool:
		return history.Value(strconv.FormatBool(bool(v))), nil
	case starlark.Int:
		return history.Value(v.String()), nil
	case starlark.String:
		return history.Text(string(v)), nil
	case starlark.Bytes:
		return history.Text(string(v)), nil
	}
	text, err := starlark.Call(c.thread, json.Module.Members["encode"], starlark.Tuple{v}, nil)
	if err != nil {
		return history.None, err
	}
	return history.ParseValue([]byte(text.(starlark.String)))
}

// fromValue makes a script's value of one of an operation.
func (c *call) fromValue(v history.Value) (starlark.Value, error) {
	if v.IsNone() {
		return starlark.None, nil
	}
	if text := v.Text(); text != string(v) {
		return starlark.String(text), nil
	}
	x, err := starlark.Call(c.thread, json.Module.Members["decode"], starlark.Tuple{starlark.String(v)}, nil)
	if err == nil {
		x.Freeze()
	}
	return x, err
}

// toResult is the result of an operation whose function has returned something. Of one
// that asks it is what was read: of an answer its body, of a command what it wrote, without
// the space around it, of an operation its value. It is an error if it is no value of an
// operation; of one that does not ask it is none then.
func (c *call) toResult(returned starlark.Value, asks bool) (history.Value, error) {
	switch v := returned.(type) {
	case *responseValue:
		if asks {
			return history.Text(string(v.answer.Body)), nil
		}
		return history.None, nil
	case *outputValue:
		if asks {
			return history.Text(strings.Trim(string(v.out.Stdout), " \t\r\n\v\f")), nil
		}
		return history.None, nil
	case opValue:
		if asks {
			return v.o.Returned(), nil
		}
		return history.None, nil
	}
	v, err := c.toValue(returned)
	if err != nil && asks {
		return v, fmt.Errorf("fn returned %s, which is no value of an operation: %w", returned.Type(), err)
	}
	return v, nil
}

// value is a parameter that an operation has.
func (c *call) value(name string) (history.Value, error) {
	v, err := c.toValue(c.arg(name))
	if err != nil {
		return v, c.wrong(name, "%v", err)
	}
	return v, nil
}

// client is the parameter of that name: by default the task.
func (c *call) client() string {
	switch v := c.arg("client").(type) {
	case nil:
		return c.task.Path()
	default:
		return plainText(v)
	}
}

func operation(c *call) (starlark.Value, error) {
	f, err := c.text("f", "")
	if err != nil {
		return nil, err
	}
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	value, err := c.value("value")
	if err != nil {
		return nil, err
	}
	key, err := c.value("key")
	if err != nil {
		return nil, err
	}
	index, err := c.host.run.Invoke(c.client(), f, key, value)
	if err != nil {
		return nil, err
	}
	trail := &probe.Trail{Within: c.task.trail}
	c.task.trail = trail
	returned, failed := starlark.Call(c.thread, fn, nil, nil)
	c.task.trail = trail.Within
	outcome, why, isActions := c.outcome(returned, failed)
	if o, because := trail.Outcome(outcome, failed == nil && returned == starlark.False); because != "" {
		outcome, why = o, why+"; "+because
	}
	result, noValue := history.None, error(nil)
	if outcome == history.OK {
		result, noValue = c.toResult(returned, value.IsNone())
	}
	o, err := c.host.run.Complete(index, outcome, result, why)
	switch {
	case failed != nil && !isActions:
		return nil, failed
	case noValue != nil:
		return nil, noValue
	}
	if err != nil {
		return nil, err
	}
	return opValue{&o}, nil
}

// outcome is what became of an operation whose function has returned or failed. It is no
// action's where the error is one of the script.
func (c *call) outcome(returned starlark.Value, failed error) (o history.Outcome, why string, isActions bool) {
	var late *runtime.TimeoutError
	if t, isTask := returned.(*taskValue); isTask && failed == nil {
		return history.Info, fmt.Sprintf("it returned task %s, which goes on", t.task.Path()), true
	}
	if failed == nil {
		if o, why := outcomeIn(returned); o != history.OK {
			return o, why, true
		}
	}
	switch {
	case failed == nil && returned == starlark.False:
		return history.Fail, "it returned False", true
	case failed == nil:
		return history.OK, "", true
	case c.task.isEnding():
		return history.Info, failed.Error(), false
	case notYet(failed) != nil:
		return notYet(failed).Outcome, failed.Error(), true
	case errors.As(failed, &late):
		return history.Info, failed.Error(), true
	}
	return history.Info, failed.Error(), false
}

// outcomeIn is the outcome that is told by what a function has returned: an answer, what
// a command came to, another operation, or an error that it has caught. Of one that is no
// action's nobody knows.
func outcomeIn(returned starlark.Value) (o history.Outcome, why string) {
	switch v := returned.(type) {
	case *responseValue:
		return history.Outcome(v.outcome), fmt.Sprintf("status %d", v.answer.Status)
	case opValue:
		return v.o.Outcome, fmt.Sprintf("operation %d: %s", v.o.Index, v.o.Error)
	case *outputValue:
		return v.out.Outcome(), fmt.Sprintf("exit code %d", v.out.Code)
	case *starlarkstruct.Struct:
		if v.Constructor() != starlark.String(caughtError) {
			break
		}
		outcome, _ := v.Attr("outcome")
		message, _ := v.Attr("message")
		text, _ := starlark.AsString(outcome)
		return cmp.Or(history.Outcome(text), history.Info), plainText(message)
	}
	return history.OK, ""
}

func operationsOf(c *call) (starlark.Value, error) {
	wants := []func(*history.Op) bool{}
	for name, of := range map[string]func(*history.Op) string{
		"f": func(o *history.Op) string { return o.F }, "outcome": func(o *history.Op) string { return string(o.Outcome) },
	} {
		want, err := c.text(name, "")
		if err != nil {
			return nil, err
		}
		if name == "outcome" && want != "" && !slices.Contains([]history.Outcome{history.OK, history.Fail, history.Info}, history.Outcome(want)) {
			return nil, c.wrong(name, "got %q, want \"ok\", \"fail\" or \"info\"", want)
		}
		if want != "" {
			wants = append(wants, func(o *history.Op) bool { return of(o) == want })
		}
	}
	if c.arg("key") != nil {
		key, err := c.value("key")
		if err != nil {
			return nil, err
		}
		wants = append(wants, func(o *history.Op) bool { return o.Key == key })
	}
	if c.arg("client") != nil {
		client := c.client()
		wants = append(wants, func(o *history.Op) bool { return o.Client == client })
	}
	if c.arg("node") != nil {
		node, err := c.node("node")
		if err != nil {
			return nil, err
		}
		wants = append(wants, func(o *history.Op) bool { return o.Node == node })
	}
	if len(wants) == 0 {
		return opList(c.host.run.History(nil)), nil
	}
	return opList(c.host.run.History(func(o *history.Op) bool {
		for _, want := range wants {
			if !want(o) {
				return false
			}
		}
		return true
	})), nil
}

// opList is a list of operations as a script has it. A value of one is made where the
// script looks at it.
type opList []history.Op

var (
	_ starlark.Sequence   = opList(nil)
	_ starlark.Sliceable  = opList(nil)
	_ starlark.HasBinary  = opList(nil)
	_ starlark.Comparable = opList(nil)
	_ starlark.Container  = opList(nil)
)

func (l opList) String() string             { return shown(l) }
func (l opList) Type() string               { return "operations" }
func (l opList) Freeze()                    {}
func (l opList) Truth() starlark.Bool       { return len(l) > 0 }
func (l opList) Hash() (uint32, error)      { return 0, fmt.Errorf("unhashable: operations") }
func (l opList) Len() int                   { return len(l) }
func (l opList) Index(i int) starlark.Value { return opValue{&l[i]} }

// Slice is as of a list.
func (l opList) Slice(start, end, step int) starlark.Value {
	return opList(sliced(l, start, end, step))
}

// Iterate gives the operations in their order.
func (l opList) Iterate() starlark.Iterator {
	return &iterator[history.Op]{left: l, value: func(o *history.Op) starlark.Value { return opValue{o} }}
}

// Binary adds operations to others, or to a list.
func (l opList) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	if y, ok := y.(opList); ok && op == syntax.PLUS {
		return slices.Concat(l, y), nil // it is on the left
	}
	return plus(op, l, y, side)
}

// Has reports whether an operation is there.
func (l opList) Has(y starlark.Value) (bool, error) {
	v, ok := y.(opValue)
	return ok && slices.Contains(l, *v.o), nil
}

// CompareSameType compares operations with others: they are equal or not.
func (l opList) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, slices.Equal(l, y.(opList)), "operations")
}

// opValue is an operation as a script has it.
type opValue struct{ o *history.Op }

var (
	_ starlark.HasAttrs   = opValue{}
	_ starlark.Comparable = opValue{}
)

func (v opValue) String() string        { return v.text(math.MaxInt) }
func (v opValue) Type() string          { return "operation" }
func (v opValue) Freeze()               {}
func (v opValue) Truth() starlark.Bool  { return true }
func (v opValue) Hash() (uint32, error) { return starlark.MakeInt(v.o.Index).Hash() }

// CompareSameType compares operations: they are equal or not.
func (v opValue) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, *v.o == *y.(opValue).o, "operations")
}

// text is the operation as the language would write it, with at most so many bytes of its
// value.
func (v opValue) text(most int) string {
	value := string(v.o.Returned())
	if v.o.Returned().IsNone() {
		value = "None"
	}
	return fmt.Sprintf("operation(index = %d, process = %d, f = %s, value = %s, outcome = %q)",
		v.o.Index, v.o.Process, starlark.String(v.o.F), topology.Brief(value, most), string(v.o.Outcome))
}

// opAttribute is an attribute of an operation.
type opAttribute struct {
	name, text string
	get        func(*history.Op) (starlark.Value, error)
}

func opAttributes() []opAttribute {
	text := func(get func(*history.Op) string) func(*history.Op) (starlark.Value, error) {
		return func(o *history.Op) (starlark.Value, error) { return starlark.String(get(o)), nil }
	}
	integer := func(get func(*history.Op) int) func(*history.Op) (starlark.Value, error) {
		return func(o *history.Op) (starlark.Value, error) { return starlark.MakeInt(get(o)), nil }
	}
	value := func(get func(*history.Op) history.Value) func(*history.Op) (starlark.Value, error) {
		return func(o *history.Op) (starlark.Value, error) {
			return (&call{thread: &starlark.Thread{Name: "value"}}).fromValue(get(o))
		}
	}
	seconds := func(get func(*history.Op) time.Duration) func(*history.Op) (starlark.Value, error) {
		return func(o *history.Op) (starlark.Value, error) { return starlark.Float(get(o).Seconds()), nil }
	}
	return []opAttribute{
		{"client", "The client that did it.", text(func(o *history.Op) string { return o.Client })},
		{"completed", "When it had come to its outcome, in seconds since the start; 0 while it is under way.", seconds(func(o *history.Op) time.Duration {
			if o.Open {
				return 0
			}
			return o.Completed
		})},
		{"error", "Why it is not ok; \"\" where it is.", text(func(o *history.Op) string { return o.Error })},
		{"f", "What was done.", text(func(o *history.Op) string { return o.F })},
		{"index", "Its place among all operations, from 0.", integer(func(o *history.Op) int { return o.Index })},
		{"invoked", "When it began, in seconds since the start.", seconds(func(o *history.Op) time.Duration { return o.Invoked })},
		{"key", "What it was done to; None where nothing was said.", value(func(o *history.Op) history.Value { return o.Key })},
		{"node", "The name of the node that told of it; \"\" for a script's.", text(func(o *history.Op) string { return o.Node })},
		{"ok", "True if its outcome is \"ok\".", func(o *history.Op) (starlark.Value, error) { return starlark.Bool(o.Outcome == history.OK), nil }},
		{"outcome", "\"ok\", \"fail\" or \"info\".", text(func(o *history.Op) string { return string(o.Outcome) })},
		{"process", "The process that did it: another one after each operation of the client that ended in info.", integer(func(o *history.Op) int { return o.Process })},
		{"result", "What it came back with, where it is ok.", value(func(o *history.Op) history.Value { return o.Result })},
		{"value", "What it says of the system: what it was given, or what it came back with where that was nothing.", value((*history.Op).Returned)},
	}
}

// Attr is an attribute of the operation.
func (v opValue) Attr(name string) (starlark.Value, error) {
	for _, a := range opAttributes() {
		if a.name == name {
			return a.get(v.o)
		}
	}
	return nil, nil
}

// AttrNames are the names of an operation's attributes.
func (v opValue) AttrNames() []string {
	var names []string
	for _, a := range opAttributes() {
		names = append(names, a.name)
	}
	return names
}

// workloadValue is clients at work.
type workloadValue struct {
	clients []*scriptTask
	stopped bool
}

func (w *workloadValue) String() string        { return fmt.Sprintf("workload of %d clients", len(w.clients)) }
func (w *workloadValue) Type() string          { return "workload" }
func (w *workloadValue) Freeze()               {}
func (w *workloadValue) Truth() starlark.Bool  { return true }
func (w *workloadValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: workload") }
func (w *workloadValue) AttrNames() []string   { return []string{"stop", "wait"} }

// Attr is a method of the workload.
func (w *workloadValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "stop":
		return builtin{name: "workload.stop", params: "timeout=None", call: func(c *call) (starlark.Value, error) {
			w.stopped = true
			return nil, w.join(c)
		}}.make(), nil
	case "wait":
		return builtin{name: "workload.wait", params: "timeout=None", call: func(c *call) (starlark.Value, error) {
			return nil, w.join(c)
		}}.make(), nil
	}
	return nil, nil
}

// join waits for the clients to end.
func (w *workloadValue) join(c *call) error {
	timeout, err := c.duration("timeout", c.host.run.Settings().Timeout)
	if err != nil {
		return err
	}
	until := c.task.Now() + timeout
	for _, client := range w.clients {
		switch over, err := c.task.Join(client.Task, max(until-c.task.Now(), 0)); {
		case err != nil:
			return err
		case !over:
			return &runtime.TimeoutError{What: "end of a " + w.String(), Timeout: timeout}
		}
	}
	return nil
}

func workload(c *call) (starlark.Value, error) {
	fn, err := c.function("fn")
	if err != nil {
		return nil, err
	}
	clients, err := c.integer("clients", 4, 1)
	if err != nil {
		return nil, err
	}
	if clients > maxClients {
		return nil, c.wrong("clients", "got %d, want at most %d", clients, maxClients)
	}
	pause, err := c.duration("pause", 0)
	if err != nil {
		return nil, err
	}
	times, err := c.integer("times", -1, 0)
	if err != nil {
		return nil, err
	}
	w := &workloadValue{}
	for n := range clients {
		client := c.task.spawn(c.thread, 0, nil, func(t *scriptTask, thread *starlark.Thread) (starlark.Value, error) {
			for i := int64(0); i != times && !w.stopped; i++ {
				if i > 0 {
					if err := t.Sleep(pause); err != nil {
						return nil, err
					}
				}
				if w.stopped { // while it slept
					break
				}
				if _, err := starlark.Call(thread, fn, starlark.Tuple{starlark.MakeInt64(n), starlark.MakeInt64(i)}, nil); err != nil {
					return nil, err
				}
			}
			return starlark.None, nil
		})
		w.clients = append(w.clients, client.task)
	}
	return w, nil
}

// maxClients bounds how many clients a workload has, each of which is a task.
const maxClients = 10_000
