package builtins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	starlarktime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/task"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Options are what a Host needs to know beside its run.
type Options struct {
	Params map[string]string   // what --param gave
	Print  func(string)        // where print goes beside the log, or nil
	Embed  starlark.StringDict // more names for the vocabulary, an embedder's own
	// FaultIn is the name of the first fault in a function's own text, "" where it
	// has none; nil where no text is known.
	FaultIn func(*starlark.Function) string
	// Hurry, when closed, waits no longer for a script that does not come back from a
	// call. It may be nil.
	Hurry <-chan struct{}
}

// Host is what builtins reach through their thread: one for each run.
type Host struct {
	run   *runtime.Run
	o     Options
	tasks *task.Scheduler
	main  phase
	stuck *StuckError              // the script did not come back; for who runs phases alone
	here  atomic.Pointer[callSite] // the call of a builtin that the script has come to last, or nil

	mu       sync.Mutex
	deferred []deferred
	teardown starlark.Callable // of a test, or nil
	asked    map[string]bool   // parameters
	pictures int               // how many were written
	empty    map[string]bool   // comparisons of nothing, by name and place
}

// NewHost makes the host of a run. Close must be called when the run has ended.
func NewHost(run *runtime.Run, o Options) *Host {
	h := &Host{run: run, o: o, tasks: task.New(run.Clock()), asked: map[string]bool{}, empty: map[string]bool{}}
	h.main = phase{ctx: run.Context(), abort: run.Abort}
	run.Locate(func() string { return h.here.Load().place() })
	return h
}

// Close waits for the goroutines of the host: for a second at most, as what an
// embedder has given to Wait may forget to end. The run must have ended.
func (h *Host) Close() { h.tasks.Close(time.Second) }

const (
	hostKey = "dagon-star host"
	taskKey = "dagon-star task"
)

// hostOf is what a thread is bound to.
func hostOf(thread *starlark.Thread) (*Host, *scriptTask, error) {
	h, _ := thread.Local(hostKey).(*Host)
	t, _ := thread.Local(taskKey).(*scriptTask)
	if h == nil || t == nil {
		return nil, nil, errors.New("called outside of a run")
	}
	return h, t, nil
}

// RunOf is the run that a thread belongs to, for an embedder's own builtins;
// nil outside of one.
func RunOf(thread *starlark.Thread) *runtime.Run {
	if h, _, err := hostOf(thread); err == nil {
		return h.run
	}
	return nil
}

func (h *Host) thread(name string, t *scriptTask) *starlark.Thread {
	thread := &starlark.Thread{Name: name, Print: func(_ *starlark.Thread, text string) { h.print(t, text) }}
	thread.SetLocal(hostKey, h)
	thread.SetLocal(taskKey, t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.threads = append(t.threads, thread)
	if t.ended != nil {
		thread.Cancel(t.ended.Error())
	}
	return thread
}

// Thread makes another thread of the task that a thread belongs to, for a
// module that it loads: with the same print, limits and end.
func (h *Host) Thread(of *starlark.Thread, name string) (*starlark.Thread, error) {
	_, t, err := hostOf(of)
	if err != nil {
		return nil, err
	}
	thread := h.thread(name, t)
	thread.Load = of.Load
	return thread, nil
}

func (h *Host) print(t *scriptTask, text string) {
	h.run.Print(text)
	if h.o.Print == nil {
		return
	}
	err := t.briefly(func(context.Context) error {
		h.o.Print(text)
		return nil
	})
	if err != nil && t.Err() == nil { // else the task ends where it was told to
		t.phase.abort(fmt.Errorf("print: Config.Output: %w", err))
	}
}

// Predeclared is the vocabulary, with the embedder's own names and those that
// the ini gives, all frozen; notices tell which sections of the ini got no name.
func (h *Host) Predeclared() (names starlark.StringDict, notices []string) {
	names = Vocabulary()
	for name, v := range h.o.Embed {
		if b, ok := v.(*starlark.Builtin); ok {
			v = told("", b.Name(), b)
		}
		names[name] = v
	}
	names[Told] = methodTold()
	globals := h.values()
	notices = Globals(h.run.Topology(), names, func(name string, g Global) {
		if g.Node != nil {
			globals[name] = &nodeValue{host: h, name: g.Node.Name}
			return
		}
		list := make([]starlark.Value, len(g.Group.Nodes))
		for i, n := range g.Group.Nodes {
			list[i] = &nodeValue{host: h, name: n.Name}
		}
		globals[name] = starlark.NewList(list)
	})
	for name, v := range globals {
		names[name] = v
	}
	names.Freeze()
	return names, notices
}

// Vocabulary is what every script can name, whatever its ini.
func Vocabulary() starlark.StringDict {
	d := predeclared()
	for name, v := range starlark.Universe {
		if b, ok := v.(*starlark.Builtin); ok && d[name] == nil {
			d[name] = told("", name, bounded(b))
		}
	}
	d["json"] = jsonModule()
	d["math"] = math.Module
	d["time"] = starlarktime.Module
	d["struct"] = starlark.NewBuiltin("struct", starlarkstruct.Make)
	return d
}

// jsonModule is the language's own, except that decode refuses what is nested so
// deep that to read it would overflow the stack, which nothing survives.
func jsonModule() starlark.Value {
	members := maps.Clone(json.Module.Members)
	decode := members["decode"].(*starlark.Builtin)
	members["decode"] = starlark.NewBuiltin(decode.Name(), func(thread *starlark.Thread, _ *starlark.Builtin,
		args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if len(args) > 0 {
			if text, ok := starlark.AsString(args[0]); ok && jsonDepth(text) > maxJSONDepth {
				return nil, fmt.Errorf("%s: nested over %d deep", decode.Name(), maxJSONDepth)
			}
		}
		return decode.CallInternal(thread, args, kwargs)
	})
	return &starlarkstruct.Module{Name: json.Module.Name, Members: members}
}

// maxJSONDepth is what Go's own encoding/json takes.
const maxJSONDepth = 10_000

// jsonDepth is how deep a text is nested, or more where it is no JSON.
func jsonDepth(text string) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']', c == '}':
			depth--
		}
	}
	return deepest
}

// GroupNames are the names that every ini gives, beside one for each node.
func GroupNames() []string {
	return []string{"config", "leaders", "receivers", "senders", "topology", "workers"}
}

// Global is what a name that a topology gives to scripts stands for: a node, or the list
// of those that count = makes of a section.
type Global struct {
	Node  *topology.Node  // nil for a list
	Group *topology.Group // nil for a node
}

// Globals finds which names the nodes of a topology have in a script, and the lists of
// those that count = makes of a section. It returns a notice for each section with nodes,
// or a list, that have none because the name is not free.
func Globals(t *topology.Topology, taken starlark.StringDict, give func(name string, g Global)) (notices []string) {
	given := map[string]string{}
	unfree := func(name string) (why string) {
		_, isTaken := taken[name]
		_, isUniverse := starlark.Universe[name]
		switch {
		case isTaken, isUniverse, slices.Contains(GroupNames(), name):
			return "is a name of the vocabulary"
		case !isIdentifier(name):
			return "is no name that a script can have"
		case given[name] != "":
			return "is the name of [" + given[name] + "]"
		}
		return ""
	}
	noticed := "" // the last section whose nodes have got a notice
	for _, n := range t.Nodes {
		if g := t.Group(n.Section); g != nil && n.Index == 1 {
			name := g.Identifier()
			if why := unfree(name); why == "" {
				given[name] = g.Section
				give(name, Global{Group: g})
			} else {
				notices = append(notices, fmt.Sprintf("the list of the nodes of [%s] has no name in scripts, as %s %s: write "+
					"one, such as [topology.node(%q)]", g.Section, name, why, n.Name))
			}
		}
		name := n.Identifier()
		why := unfree(name)
		switch {
		case why == "":
			given[name] = n.Section
			give(name, Global{Node: n})
		case n.Index > 0 && noticed == n.Section:
		case n.Index > 0:
			noticed = n.Section
			notices = append(notices, fmt.Sprintf("a node of [%s] has no name of its own in scripts, as %s %s: use "+
				"topology.node(%q), and so for others", n.Section, name, why, n.Name))
		default:
			notices = append(notices, fmt.Sprintf("[%s] has no name of its own in scripts, as %s %s: use topology.node(%q)", n.Section,
				name, why, n.Name))
		}
	}
	return notices
}

// isIdentifier reports whether a script can have a variable of this name.
func isIdentifier(name string) bool {
	e, err := (&syntax.FileOptions{}).ParseExpr("name", name, 0)
	if err != nil {
		return false
	}
	id, ok := e.(*syntax.Ident)
	return ok && id.Name == name
}

// UnusedParams are the parameters that were given and never asked for, sorted.
func (h *Host) UnusedParams() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var unused []string
	for name := range h.o.Params {
		if !h.asked[name] {
			unused = append(unused, name)
		}
	}
	sort.Strings(unused)
	return unused
}
