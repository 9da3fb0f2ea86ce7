package builtins

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	starlarktime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/record"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func looking() family {
	return family{"looking", "Look at what nodes have said and written.", []builtin{
		{"await_message", "node, address, since=None, timeout=None", "Waits for a message that the node sends to the address, and returns it: a value with address, args, node and t, seconds since the start of the run. It is the first of the node's present incarnation that no such wait has returned yet; since=\"now\" skips those that have come. It ends at once with an error if the node exits before. timeout is as for await_ready. Example: total = await_message(leader, \"/total\").args[0].", awaitMessage},
		{"await_output", "node, pattern, since=None, timeout=None, stream=None", "Waits for a line of the node's output that the regular expression matches anywhere, and returns it: a value with line, groups, a tuple of what the groups matched, stream, \"out\" or \"err\", ended and t. It is the first of the node's present incarnation that no such wait has returned yet. since=\"now\" skips those that have ended; since=t, a number of seconds as the t of a line or message, skips those that began before t. stream is \"stdout\" or \"stderr\"; without it both are looked at. " +
			"A line that has not ended, such as a prompt, is looked at as it stands once nothing was added to it for 100 ms, and at the deadline; ended is False then. It is not returned while a group would match more of it if it went on, such as (\\d+) at its end. The end of its stream ends a line. A line is returned once for a pattern, whether or not it goes on later; another pattern gets the whole of it. A pattern sees the first 16 MiB of a line, and line has no more. " +
			"The wait ends at once with an error if the node exits before. timeout is as for await_ready; what was written before the deadline counts. Example: port = await_output(db, r\"listening on port (\\d+)\").groups[0].", awaitOutput},
		{"await_count", "node, n, timeout=None", "Waits until the node's present incarnation has reported by /count that it has handled at least n messages, and returns how many. It ends at once with an error if the node exits before, or is done with fewer. timeout is as for await_ready. Example: await_count(leader, 1000).", awaitCount},
		{"messages", "node, address=None", "The messages that the node's present incarnation has sent so far, as a list; only those to one address if it is given. They are values as of await_message. Example: counts = [m.args[1] for m in messages(leader, \"/count\")].", messages},
		{"output", "node, stream=None, last=None, since=None", "What the node's present incarnation has written so far, as a string: the lines of both streams in the order in which they ended, and at its end what has not ended yet. stream=\"stdout\" or \"stderr\" is one of them alone; last=n the last n lines, which costs no more than those, but with stream as much as lies between them; since=t the lines from a time on, in seconds as the t of a line or message. Example: assert.contains(output(worker_1, stream=\"stderr\", last=100), \"recovered\").", outputText},
		{"records", "path", "The messages in a file of Giles Sender or Giles Receiver, a line \"MICROSECONDS, PAYLOAD\" each, as a sequence of values with payload, a string, and time_us, microseconds since 1970. It is indexed, sliced, iterated and added to another as a list is, and is what check_same compares. It equals no list: not records(path) tells that there are none. A last line without an end is left out, as who wrote it was cut off in it. A relative path begins in the folder of the run's nodes. Example: records(\"giles-receiver/received.txt\").", records},
		{"param", "name, default=None", "What --param NAME=VALUE gave, made a value of the default's type: string, int, float, bool, or duration. Without a default the parameter must be given, and is a string; with default=None it is a string, or None. Example: n = param(\"n\", default=5).", param},
	}}
}

// since reads the parameter of the same name.
func (c *call) since() (now bool, err error) {
	s, err := c.text("since", "")
	if err == nil && s != "" && s != "now" {
		err = c.wrong("since", "got %q, want \"now\" or nothing", s)
	}
	return s == "now", err
}

func awaitMessage(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	address, err := c.address("address")
	if err != nil {
		return nil, err
	}
	now, err := c.since()
	if err != nil {
		return nil, err
	}
	condition, found := c.host.run.MessageFrom(node, address, now)
	if condition.Timeout, err = c.timeout(); err != nil {
		return nil, err
	}
	if err := c.task.await(condition); err != nil {
		return nil, err
	}
	return c.host.messageValue(node, found()), nil
}

func awaitCount(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	n, err := c.integer("n", 0, 1)
	if err != nil {
		return nil, err
	}
	condition, reported := c.host.run.Counted(node, n)
	if condition.Timeout, err = c.timeout(); err != nil {
		return nil, err
	}
	if err := c.task.await(condition); err != nil {
		return nil, err
	}
	return starlark.MakeInt64(reported()), nil
}

func awaitOutput(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	pattern, err := c.pattern("pattern")
	if err != nil {
		return nil, err
	}
	var since runtime.OutputSince
	if since.Now = c.arg("since") == starlark.String("now"); !since.Now {
		if since.T, err = c.time("since", "\"now\" or "); err != nil {
			return nil, err
		}
	}
	stream, err := c.stream()
	if err != nil {
		return nil, err
	}
	condition, found := c.host.run.OutputFrom(node, pattern, stream, since)
	if condition.Timeout, err = c.timeout(); err != nil {
		return nil, err
	}
	if err := c.task.await(condition); err != nil {
		return nil, err
	}
	line := found()
	groups := starlark.Tuple{}
	for i, g := range pattern.FindStringSubmatch(line.Text) {
		if i > 0 {
			groups = append(groups, starlark.String(g))
		}
	}
	return frozenStruct("output", starlark.StringDict{
		"line":   starlark.String(line.Text),
		"groups": groups,
		"stream": starlark.String(line.Stream),
		"ended":  starlark.Bool(line.Ended),
		"t":      starlark.Float(line.T.Seconds()),
	}), nil
}

func messages(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	address := ""
	if c.arg("address") != nil {
		if address, err = c.address("address"); err != nil {
			return nil, err
		}
	}
	sent, err := c.host.run.Messages(node, address)
	if err != nil {
		return nil, err
	}
	list := make([]starlark.Value, len(sent))
	for i, m := range sent {
		list[i] = c.host.messageValue(node, m)
	}
	return frozenList(list), nil
}

func frozenList(elements []starlark.Value) *starlark.List {
	list := starlark.NewList(elements)
	list.Freeze()
	return list
}

func outputText(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	var q runtime.OutputQuery
	if q.Stream, err = c.stream(); err != nil {
		return nil, err
	}
	last, err := c.integer("last", 0, 1)
	if err != nil {
		return nil, err
	}
	q.Last = int(last)
	if q.Since, err = c.time("since", ""); err != nil {
		return nil, err
	}
	text, err := c.host.run.Output(node, q)
	return starlark.String(text), err
}

// stream is the parameter of the same name, as package output names the streams.
// What await_output calls them is taken too.
func (c *call) stream() (string, error) {
	s, err := c.text("stream", "")
	if err != nil {
		return "", err
	}
	switch s {
	case "":
		return output.Both, nil
	case "stdout", output.Stdout:
		return output.Stdout, nil
	case "stderr", output.Stderr:
		return output.Stderr, nil
	}
	return "", c.wrong("stream", "got %q, want \"stdout\", \"stderr\" or nothing", s)
}

// time is a parameter that is a time of the run, in seconds as scripts have them:
// to the microsecond, as the log has it; otherwise is what else was expected.
func (c *call) time(name, otherwise string) (time.Duration, error) {
	if v := c.arg(name); v != nil {
		if _, ok := starlark.AsFloat(v); !ok {
			return 0, c.wrong(name, "got %s, want %sa number of seconds, as the t of a line or message", v, otherwise)
		}
	}
	s, err := c.number(name, 0)
	if err != nil {
		return 0, err
	}
	return time.Duration(math.Round(max(0, min(s, 1e9))*1e6)) * time.Microsecond, nil
}

func records(c *call) (starlark.Value, error) {
	path, err := c.text("path", "")
	if err != nil {
		return nil, err
	}
	file := path
	if !filepath.IsAbs(file) {
		file = filepath.Join(c.host.run.NodeFolder(""), file)
	}
	var all []record.Record
	err = c.task.briefly(func(context.Context) (err error) {
		all, err = record.ReadFile(file, path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return recordList(all), nil
}

func param(c *call) (starlark.Value, error) {
	name, err := c.text("name", "")
	if err != nil {
		return nil, err
	}
	c.host.mu.Lock()
	c.host.asked[name] = true
	c.host.mu.Unlock()
	given, ok := c.host.o.Params[name]
	otherwise := c.values[1] // None is one too
	switch {
	case !ok && otherwise == nil:
		return nil, fmt.Errorf("parameter %s is missing: give it as --param %[1]s=VALUE", name)
	case !ok:
		return otherwise, nil
	}
	misfit := func(want string) error { return fmt.Errorf("--param %s=%s: want %s", name, given, want) }
	switch otherwise.(type) {
	case nil, starlark.NoneType, starlark.String:
		return starlark.String(given), nil
	case starlark.Int:
		v, err := starlark.Call(c.thread, starlark.Universe["int"], starlark.Tuple{starlark.String(given), starlark.MakeInt(0)}, nil)
		if err != nil {
			return nil, misfit("an int, as its default is")
		}
		return v, nil
	case starlark.Float:
		f, err := strconv.ParseFloat(given, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, misfit("a number, as its default is")
		}
		return starlark.Float(f), nil
	case starlark.Bool:
		b, err := strconv.ParseBool(given)
		if err != nil {
			return nil, misfit("true or false, as its default is")
		}
		return starlark.Bool(b), nil
	case starlarktime.Duration:
		d, err := topology.ParseDuration(given)
		if err != nil {
			return nil, misfit("a duration, as its default is")
		}
		return starlarktime.Duration(d), nil
	}
	return nil, c.wrong("default", "got %s, want a string, int, float, bool or time.duration", otherwise.Type())
}

// pollEvery is how often wait_until asks again when nothing happens.
const pollEvery = 100 * time.Millisecond
