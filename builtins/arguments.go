package builtins

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	starlarktime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime/topology"
)

// arg is an argument by its parameter's name; nil where it was left out, and
// where it is None and may be left out.
func (c *call) arg(name string) starlark.Value {
	i := slices.IndexFunc(c.params, func(p Param) bool { return p.Name == name })
	if v := c.values[i]; v != starlark.None || !c.params[i].Optional {
		return v
	}
	return nil
}

// wrong is the error of an argument.
func (c *call) wrong(name, format string, args ...any) error {
	return fmt.Errorf("for parameter %s: %s", name, fmt.Sprintf(format, args...))
}

// place is where a script calls the builtin, or spawned the task that does; ""
// where no file does.
func (c *call) place() string {
	for i := 1; i < c.thread.CallStackDepth(); i++ {
		if pos := c.thread.CallFrame(i).Pos; pos.Filename() != builtinFile {
			return pos.String()
		}
	}
	return c.task.at
}

func (c *call) text(name, otherwise string) (string, error) {
	switch v := c.arg(name).(type) {
	case nil:
		return otherwise, nil
	case starlark.String:
		return string(v), nil
	default:
		return "", c.wrong(name, "got %s, want a string", v.Type())
	}
}

// pattern is an argument that is a regular expression, "" where it was left
// out.
func (c *call) pattern(name string) (*regexp.Regexp, error) {
	text, err := c.text(name, "")
	if err != nil {
		return nil, err
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		return nil, c.wrong(name, "%v", err)
	}
	return pattern, nil
}

func (c *call) number(name string, otherwise float64) (float64, error) {
	v := c.arg(name)
	if v == nil {
		return otherwise, nil
	}
	f, ok := starlark.AsFloat(v)
	switch {
	case !ok:
		return 0, c.wrong(name, "got %s, want a number", v.Type())
	case math.IsNaN(f) || math.IsInf(f, 0):
		return 0, c.wrong(name, "got %s, want a number that is finite", v)
	}
	return f, nil
}

// integer is an argument that is a whole number; least is the smallest allowed.
func (c *call) integer(name string, otherwise, least int64) (int64, error) {
	v := c.arg(name)
	if v == nil {
		return otherwise, nil
	}
	i, ok := v.(starlark.Int)
	if !ok {
		return 0, c.wrong(name, "got %s, want an int", v.Type())
	}
	n, ok := i.Int64()
	if !ok || n < least {
		return 0, c.wrong(name, "got %s, want an int of at least %d", shown(i), least)
	}
	return n, nil
}

func (c *call) truth(name string) bool {
	v := c.arg(name)
	return v != nil && bool(v.Truth())
}

func (c *call) function(name string) (starlark.Callable, error) {
	switch v := toldMethod(c.arg(name)).(type) {
	case starlark.Callable:
		return v, nil
	default:
		return nil, c.wrong(name, "got %s, want a function, such as lambda: …", v.Type())
	}
}

// duration is an argument that is a duration; otherwise is what it is where it
// was left out.
func (c *call) duration(name string, otherwise time.Duration) (time.Duration, error) {
	v := c.arg(name)
	if v == nil {
		return otherwise, nil
	}
	d, err := toDuration(v)
	if err != nil {
		return 0, c.wrong(name, "%v", err)
	}
	return d, nil
}

// timeout is the parameter of that name, for a condition: its 0 is the default,
// and what the script calls 0 is to look once.
func (c *call) timeout() (time.Duration, error) {
	d, err := c.duration("timeout", -1)
	if err != nil || d < 0 {
		return 0, err
	}
	return max(d, 1), nil
}

// toDuration makes a duration of a value: a number of seconds, a string such as
// "250ms", or a time.duration. It is not negative.
func toDuration(v starlark.Value) (time.Duration, error) {
	var d time.Duration
	var err error
	switch v := v.(type) {
	case starlarktime.Duration:
		if d = time.Duration(v); d < 0 {
			err = fmt.Errorf("negative")
		}
	case starlark.String:
		return topology.ParseDuration(string(v))
	case starlark.Int, starlark.Float:
		seconds, _ := starlark.AsFloat(v)
		d, err = topology.Seconds(seconds)
	default:
		return 0, fmt.Errorf("got %s, want a duration: a number of seconds, a string such as \"250ms\", or a time.duration", v.Type())
	}
	if err != nil {
		return 0, fmt.Errorf("got %s, want a duration that is not negative", shown(v))
	}
	return d, nil
}

// sequence are the elements of a list, tuple, set or other iterable.
func (c *call) sequence(name string) ([]starlark.Value, error) {
	it, ok := c.arg(name).(starlark.Iterable)
	if !ok {
		return nil, c.wrong(name, "got %s, want a list", c.arg(name).Type())
	}
	n := starlark.Len(it)
	if n > maxElements { // a range may be of any length and yet take no memory
		return nil, c.wrong(name, "has %d elements, want at most %d", n, maxElements)
	}
	return slices.AppendSeq(make([]starlark.Value, 0, max(n, 0)), starlark.Elements(it)), nil
}

// maxElements bounds how many elements an argument may have.
const maxElements = 1 << 20

// nodes are the names of the nodes that an argument means: a node, a name, or a
// list of either, or of lists.
func (c *call) nodes(name string) ([]string, error) {
	left := maxNodes
	names, err := c.host.nodeNames(c.arg(name), nil, 0, &left)
	if err != nil {
		return nil, c.wrong(name, "%v", err)
	}
	return names, nil
}

// node is the name of one node.
func (c *call) node(name string) (string, error) {
	names, err := c.nodes(name)
	if err == nil && len(names) != 1 {
		err = c.wrong(name, "got %d nodes, want one", len(names))
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// maxDepth bounds how deep lists of nodes may be nested, as a list can contain
// itself, and maxNodes how many values are in them, as they can contain each
// other many times over.
const (
	maxDepth = 8
	maxNodes = 1 << 16
)

func (h *Host) nodeNames(v starlark.Value, to []string, depth int, left *int) ([]string, error) {
	if *left--; *left < 0 {
		return nil, fmt.Errorf("has over %d elements", maxNodes)
	}
	switch v := v.(type) {
	case *nodeValue:
		if v.host != h {
			return nil, fmt.Errorf("%s is a node of another run", v)
		}
		return append(to, v.name), nil
	case starlark.String:
		name := string(v)
		if n := h.run.Topology().Find(name); n != nil {
			return append(to, n.Name), nil
		}
		return nil, fmt.Errorf("no node is named %q%s", name, h.hint(name))
	case starlark.Iterable:
		if depth == maxDepth {
			return nil, fmt.Errorf("has lists nested over %d deep", maxDepth)
		}
		var err error
		for element := range starlark.Elements(v) {
			if to, err = h.nodeNames(element, to, depth+1, left); err != nil {
				return nil, err
			}
		}
		return to, nil
	}
	return nil, fmt.Errorf("got %s, want a node, the name of one, or a list of either", v.Type())
}

func (h *Host) hint(name string) string {
	var names []string
	for _, n := range h.run.Topology().Nodes {
		names = append(names, n.Name)
	}
	if n := topology.Nearest(name, names); n != "" {
		return fmt.Sprintf(" (did you mean %q?)", n)
	}
	return fmt.Sprintf(" (there are %s)", strings.Join(names, ", "))
}
