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

	"github.com/dagon-star/dagon-star/runtime/record"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func looking() family {
	return family{"looking", "Look at what nodes have said and written.", []builtin{
		{"await_message", "node, address, since=None, timeout=None", "Waits for a message that the node sends to the address, and returns it: a value with address, args, node and t, seconds since the start of the run. It is the first of the node's present incarnation that no such wait has returned yet; since=\"now\" skips those that have come. It ends at once with an error if the node exits before. timeout is as for await_ready. Example: total = await_message(leader, \"/total\").args[0].", awaitMessage},
		{"await_output", "node, pattern, since=None, timeout=None", "Waits for a line of the node's output, standard or error, that the regular expression matches anywhere, and returns it: a value with line, groups, a tuple of what the groups matched, stream and t. It is the first of the node's present incarnation that no such wait has returned yet; since=\"now\" skips those that have come. It ends at once with an error if the node exits before. timeout is as for await_ready. Example: port = await_output(db, r\"listening on port (\\d+)\").groups[0].", awaitOutput},
		{"await_count", "node, n, timeout=None", "Waits until the node's present incarnation has reported by /count that it has handled at least n messages, and returns how many. It ends at once with an error if the node exits before, or is done with fewer. timeout is as for await_ready. Example: await_count(leader, 1000).", awaitCount},
		{"messages", "node, address=None", "The messages that the node's present incarnation has sent so far, as a list; only those to one address if it is given. They are values as of await_message. Example: counts = [m.args[1] for m in messages(leader, \"/count\")].", messages},
		{"output", "node", "What the node's present incarnation has written so far, as a string, both streams as they were read. Example: assert.contains(output(worker_1), \"recovered\").", output},
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
	now, err := c.since()
	if err != nil {
		return nil, err
	}
	condition, found := c.host.run.OutputFrom(node, pattern, now)
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

func output(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	text, err := c.host.run.Output(node)
	return starlark.String(text), err
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
