package builtins

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

func processFaults() family {
	return family{"process faults", "Do harm to the processes of nodes: to the whole tree of each, whatever it has started. Each is in the event log, its intent before it is done, and that it is applied after. A node whose process has ended is passed over, and the log says so; one that was never forked is an error. A fault that reaches nobody leaves the run inconclusive, but for a restart. What stays in force ends with the node's process, with the run, or when it is healed.", []builtin{
		{"kill", "nodes, signal=\"KILL\"", "Sends a signal to the whole tree of each node, all at the same time. After KILL it returns when the nodes have exited; any other signal leaves that to them. An exit by that signal was asked for; after TERM, INT, QUIT or HUP also exit code 0, or 128 and the signal's number. Any other exit fails the run, as a crash does: one that the signal came too late for, too. A signal that asks or tells, such as TERM or HUP, is no harm that require_faults counts; one of a crash, such as SEGV, is if the node ends by it. Example: kill(worker_1).", kill},
		{"signal", "nodes, signal, tree=False", "Sends a signal to the process that was forked for each node, or with tree=True to all that it has started too. Which exits fail the run is as for kill. Which are harm is as for kill. Example: signal(leader, \"HUP\").", sendSignal},
		{"pause", "nodes", "Stops the whole tree of each node, and returns when all of it has stopped: a fault with .heal(), .id, .what, .nodes, and .touched: how much it has touched so far. It is an error if a node is paused already. Example: f = pause(worker_1).", pause},
		{"resume", "nodes", "Lets paused nodes go on. It is an error if a node is not paused. Example: resume(worker_1).", resume},
		{"restart", "nodes, graceful=True, args=None, env=None", "Ends the nodes, all at the same time, and forks each again as a new incarnation. A node is asked to shut down if it is connected, then gets TERM, and after config.grace KILL; with graceful=False it is killed at once. A node that crashes meanwhile, or needs KILL after the grace, fails the run. args and env are as for fork; where neither is given they are those of the last fork. It returns when the processes run, which says nothing of their being ready. Example: restart(worker_1, graceful=False).", restart},
		{"limit", "nodes, cpu=None, memory=None, files=None", "Limits what the whole tree of each node may use, and returns a fault with .heal(). cpu is a number of processors, such as 0.2; memory a number of bytes or such as \"64MiB\" or \"64MB\", counting what is taken from then on; files the number of open files of each process. Of two limits of a kind the later one holds. A process that the kernel kills for want of memory is told as such. It is an error where the machine cannot do it: see can. Example: slow = limit(worker_1, cpu=0.1).", limit},
		{"can", "fault", "True if this machine can do a fault: \"" + strings.Join(runtime.Faults(), "\", \"") + "\". A script that asks is not told by check that its call of limit cannot be done. Example: if can(\"limit.memory\"): limit(worker_1, memory=\"64MiB\").", can},
	}}
}

// IsFault reports whether a call of a builtin does harm: not of one that only undoes
// it, or says where it is to be done. What kill and signal do depends on the signal
// that they are given: "" where it is not known, or is their own.
func IsFault(name, signal string) bool {
	if s := process.ParseSignal(signal); s != 0 && (name == "kill" || name == "signal") {
		return roster.Harmful(process.SignalName(s))
	}
	return name == "limit" || name != "resume" && slices.Contains(runtime.Faults(), name)
}

// signal is an argument that is a signal's name.
func (c *call) signal(otherwise string) (syscall.Signal, error) {
	name, err := c.text("signal", otherwise)
	if err != nil {
		return 0, err
	}
	s := process.ParseSignal(name)
	if s == 0 {
		return 0, c.wrong("signal", "got %q, want the name of a signal, such as \"TERM\"", name)
	}
	return s, nil
}

// do plans something at once, before any other task runs, so that what tasks ask
// for comes in the order in which they do; it is done while others run. It takes no
// time on their clock, unless it takes as long as a node likes. What waits for its turn
// beyond the time of what the task is part of is given up.
func (c *call) do(asLongAsANodeLikes bool, plan func() (*runtime.Step, error)) (starlark.Value, error) {
	var step *runtime.Step
	begin := func() (do func(context.Context) error, err error) {
		if step, err = plan(); err != nil {
			return nil, err
		}
		if life := step.Life(); life != nil && !life.Harmless() {
			c.task.fire()
		}
		return step.Do, nil
	}
	inTime := func() (func(context.Context) error, error) {
		_, err := begin()
		limit, left := c.task.Left()
		if err != nil || limit == nil {
			return step.Do, err
		}
		return func(ctx context.Context) error {
			late, stop := c.host.run.Clock().After(left)
			defer stop()
			return step.DoInTime(ctx, late, limit)
		}, nil
	}
	var err error
	if !asLongAsANodeLikes {
		err = c.task.Apply(inTime)
	} else if err = c.task.Err(); err == nil {
		var do func(context.Context) error
		if do, err = begin(); err == nil {
			err = c.task.While(do)
		}
	}
	if err != nil || !step.Lasting() {
		return nil, err
	}
	return &faultValue{c.host, step.Life()}, nil
}

// harm does something to nodes.
func (c *call) harm(plan func(nodes []string) (*runtime.Step, error)) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	return c.do(false, func() (*runtime.Step, error) { return plan(nodes) })
}

// undo heals something.
func (c *call) undo(plan func() *runtime.Step) (starlark.Value, error) {
	return c.do(false, func() (*runtime.Step, error) { return plan(), nil })
}

func kill(c *call) (starlark.Value, error) {
	s, err := c.signal("KILL")
	if err != nil {
		return nil, err
	}
	return c.harm(func(nodes []string) (*runtime.Step, error) { return c.host.run.Kill(nodes, s) })
}

func sendSignal(c *call) (starlark.Value, error) {
	s, err := c.signal("")
	if err != nil {
		return nil, err
	}
	reach := process.Reach(c.truth("tree"))
	return c.harm(func(nodes []string) (*runtime.Step, error) { return c.host.run.Signal(nodes, s, reach) })
}

func pause(c *call) (starlark.Value, error) { return c.harm(c.host.run.Pause) }

func resume(c *call) (starlark.Value, error) { return c.harm(c.host.run.Resume) }

func restart(c *call) (starlark.Value, error) {
	o := runtime.RestartOptions{Kill: c.arg("graceful") != nil && !c.truth("graceful")}
	if c.arg("args") != nil || c.arg("env") != nil {
		fork, err := c.forkOptions()
		if err != nil {
			return nil, err
		}
		o.Fork = &fork
	}
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	return c.do(!o.Kill, func() (*runtime.Step, error) { return c.host.run.Restart(nodes, o) })
}

func limit(c *call) (starlark.Value, error) {
	var l process.Limits
	var err error
	if l.CPU, err = c.number("cpu", 0); err != nil {
		return nil, err
	}
	if c.arg("cpu") != nil && (l.CPU < leastCPU || l.CPU > mostCPU) {
		return nil, c.wrong("cpu", "got %g, want a number of processors from %g to %d", l.CPU, leastCPU, mostCPU)
	}
	if l.Memory, err = c.size("memory"); err != nil {
		return nil, err
	}
	files, err := c.integer("files", 0, 1)
	if err != nil {
		return nil, err
	}
	if files > math.MaxInt32 {
		return nil, c.wrong("files", "got %d, want at most %d", files, math.MaxInt32)
	}
	l.Files = int(files)
	if l == (process.Limits{}) {
		return nil, fmt.Errorf("nothing is limited: give cpu, memory or files")
	}
	return c.harm(func(nodes []string) (*runtime.Step, error) { return c.host.run.Limit(nodes, l) })
}

// A CPU limit is a whole number of microseconds, at least 1000, of each 100 ms.
const (
	leastCPU = 0.01
	mostCPU  = 10_000
)

// units are those of sizes, by their names.
var units = [...]struct {
	name string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

// size is an argument that is a number of bytes, over 0; 0 where it was left
// out.
func (c *call) size(name string) (int64, error) {
	text, isText := starlark.AsString(c.arg(name))
	if c.arg(name) == nil || !isText {
		return c.integer(name, 0, 1)
	}
	n, ok := sizeOf(text)
	if !ok {
		return 0, c.wrong(name, "got %q, want a number of bytes, or such as \"64MiB\" or \"64MB\"", text)
	}
	return n, nil
}

// sizeOf reads a number of bytes with its unit, such as "64MiB".
func sizeOf(text string) (bytes int64, ok bool) {
	for _, u := range units {
		if number, found := strings.CutSuffix(text, u.name); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			size := n * u.size
			return int64(size), err == nil && size >= 1 && size < 1<<62
		}
	}
	return 0, false
}

func can(c *call) (starlark.Value, error) {
	name, err := c.text("fault", "")
	if err != nil {
		return nil, err
	}
	err = c.host.run.Can(name)
	if unsupported := (*runtime.UnsupportedError)(nil); err != nil && !errors.As(err, &unsupported) {
		return nil, c.wrong("fault", "%v", err)
	}
	return starlark.Bool(err == nil), nil
}

// faultValue is a fault that stays in force.
type faultValue struct {
	host *Host
	f    *runtime.Fault
}

func (f *faultValue) String() string        { return fmt.Sprintf("fault(%q, id=%d)", f.f.What, f.f.ID) }
func (f *faultValue) Type() string          { return "fault" }
func (f *faultValue) Freeze()               {}
func (f *faultValue) Truth() starlark.Bool  { return true }
func (f *faultValue) Hash() (uint32, error) { return uint32(f.f.ID), nil }
func (f *faultValue) AttrNames() []string   { return []string{"heal", "id", "nodes", "touched", "what"} }

// Attr is an attribute of the fault now.
func (f *faultValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "heal":
		return builtin{name: "fault.heal", call: func(c *call) (starlark.Value, error) { return c.undo(f.f.Heal) }}.make(), nil
	case "id":
		return starlark.MakeInt64(f.f.ID), nil
	case "nodes":
		return f.host.nodeValues(f.f.Nodes()), nil
	case "touched":
		return starlark.MakeInt64(f.f.Touched().Total()), nil
	case "what":
		return starlark.String(f.f.What), nil
	}
	return nil, nil
}
