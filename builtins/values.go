package builtins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	starlarktime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// attribute is an attribute of a node.
type attribute struct {
	name, text string
	get        func(runtime.NodeInfo) starlark.Value
}

func nodeAttributes() []attribute {
	return []attribute{
		{"args", "Its command line as a tuple, program first; empty before its first fork.", func(i runtime.NodeInfo) starlark.Value {
			t := make(starlark.Tuple, len(i.Args))
			for j, a := range i.Args {
				t[j] = starlark.String(a)
			}
			return t
		}},
		{"endpoints", "A dict of its listen.NAME endpoints, name to \"host:port\".", func(i runtime.NodeInfo) starlark.Value { return dict(i.Endpoints) }},
		{"env", "A dict of what the ini and the script set in its environment.", func(i runtime.NodeInfo) starlark.Value { return dict(i.Env) }},
		{"exit_code", "The code it exited with, -1 where a signal ended it, None while it has not exited.", func(i runtime.NodeInfo) starlark.Value {
			if i.ExitCode == nil {
				return starlark.None
			}
			return starlark.MakeInt(*i.ExitCode)
		}},
		{"host", "Its address, on which its endpoints are.", func(i runtime.NodeInfo) starlark.Value { return starlark.String(i.Host) }},
		{"name", "Its name.", func(i runtime.NodeInfo) starlark.Value { return starlark.String(i.Name) }},
		{"options", "A dict of the other keys of its section, as they stand in the ini.", func(i runtime.NodeInfo) starlark.Value { return dict(i.Options) }},
		{"paused", "True while it is paused.", func(i runtime.NodeInfo) starlark.Value { return starlark.Bool(i.Paused) }},
		{"pid", "The process id of its present or last incarnation, None before its first.", func(i runtime.NodeInfo) starlark.Value {
			if i.PID == 0 {
				return starlark.None
			}
			return starlark.MakeInt(i.PID)
		}},
		{"restarts", "How often it was forked again.", func(i runtime.NodeInfo) starlark.Value { return starlark.MakeInt(i.Restarts) }},
		{"role", "\"leader\", \"worker\", \"sender\" or \"receiver\".", func(i runtime.NodeInfo) starlark.Value { return starlark.String(i.Role) }},
		{"state", "\"forked\", \"ready\", \"started\", \"done\", \"done_shutdown\" or \"exited\"; \"\" before its first fork.", func(i runtime.NodeInfo) starlark.Value { return starlark.String(i.State) }},
	}
}

// valueDocs documents what is no builtin.
func valueDocs() []Doc {
	var docs []Doc
	add := func(name, signature, text string, params ...Param) {
		docs = append(docs, Doc{Name: name, Family: "values", Signature: signature, Text: text, Params: params,
			Callable: strings.Contains(signature, "(")})
	}
	for _, a := range nodeAttributes() {
		add("node."+a.name, "node."+a.name, a.text)
	}
	add("topology.nodes", "topology.nodes", "A tuple of all nodes, in the order of the ini.")
	add("topology.node", "topology.node(name)", "The node of this name, or of the section of this name. It is an error if there is none.", Param{Name: "name"})
	add("topology.name", "topology.name", "The name of the ini, without its ending.")
	for _, role := range []string{"leaders", "receivers", "senders", "workers"} {
		add(role, role, "A tuple of the "+role+", in the order of the ini.")
	}
	for _, k := range topology.SettingKeys() {
		add("config."+k.Name, "config."+k.Name, "The [dagon] key of this name, with what the command line put in its place: "+k.Text+".")
	}
	add("fault.heal", "fault.heal()", "Undoes the fault, on the nodes where it is in force. To heal it once more does nothing.")
	add("fault.id", "fault.id", "The fault's id in the event log.")
	add("fault.nodes", "fault.nodes", "A tuple of the nodes on which the fault is in force.")
	add("fault.touched", "fault.touched", "How much the fault has done so far, 0 if nothing: the sum of the processes it reached and of the bytes, connections and datagrams it held up, changed or refused. It says whether a fault has struck, not how hard.")
	add("fault.what", "fault.what", "The name of the builtin that made it.")
	for _, a := range opAttributes() {
		add("operation."+a.name, "operation."+a.name, a.text)
	}
	for _, a := range []struct{ name, params, text string }{
		{"send", "data, timeout=None", "Sends a string or bytes."},
		{"line", "timeout=None", "Reads a line, and returns it without its end."},
		{"read", "n, timeout=None", "Reads n bytes."},
		{"read_until", "delim, timeout=None", "Reads up to delim, and returns what was read with it."},
		{"read_all", "timeout=None", "Reads to the end of the connection."},
		{"close", "", "Closes the connection."},
	} {
		add("connection."+a.name, "connection."+a.name+"("+a.params+")", a.text, parseParams(a.params)...)
	}
	for _, a := range [][2]string{
		{"body", "The body of the answer, a string."}, {"headers", "A dict of its headers, with lower-case names."},
		{"json", "The body decoded, frozen; an error where it is no JSON."}, {"ok", "True if its outcome is \"ok\"."},
		{"outcome", "\"ok\", \"fail\" for 4xx, or \"info\" for 5xx."}, {"status", "Its status, a number."},
		{"url", "The URL that it is from."},
	} {
		add("response."+a[0], "response."+a[0], a[1])
	}
	for _, a := range [][2]string{
		{"code", "The code that the command exited with, -1 where a signal ended it."}, {"err", "What it wrote to its standard error."},
		{"ok", "True if its code is 0."}, {"out", "What it wrote to its standard output."}, {"signal", "The signal that ended it, or \"\"."},
	} {
		add("output."+a[0], "output."+a[0], a[1])
	}
	add("workload.stop", "workload.stop(timeout=None)", "Has the clients begin nothing more, and waits for what they do.", Param{Name: "timeout", Optional: true})
	add("workload.wait", "workload.wait(timeout=None)", "Waits for the clients to have done all their times.", Param{Name: "timeout", Optional: true})
	add("task.wait", "task.wait(timeout=None)", "Waits for the task to end, and returns what its function returned.", Param{Name: "timeout", Optional: true})
	add("task.cancel", "task.cancel()", "Ends the task: at once where it waits.")
	add("task.name", "task.name", "The task's place in the tree of spawns.")
	return docs
}

func dict(m map[string]string) *starlark.Dict {
	d := starlark.NewDict(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		d.SetKey(starlark.String(k), starlark.String(m[k]))
	}
	d.Freeze()
	return d
}

// nodeValue is a node as a script has it. Its attributes are those of the moment
// when they are read.
type nodeValue struct {
	host *Host
	name string
}

var (
	_ starlark.HasAttrs   = (*nodeValue)(nil)
	_ starlark.Comparable = (*nodeValue)(nil)
)

func (n *nodeValue) String() string        { return fmt.Sprintf("node(%q)", n.name) }
func (n *nodeValue) Type() string          { return "node" }
func (n *nodeValue) Freeze()               {}
func (n *nodeValue) Truth() starlark.Bool  { return true }
func (n *nodeValue) Hash() (uint32, error) { return starlark.String(n.name).Hash() }

// CompareSameType compares nodes by their names: they are equal or not.
func (n *nodeValue) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, n.host == y.(*nodeValue).host && n.name == y.(*nodeValue).name, "nodes")
}

// equality compares what can only be equal or not.
func equality(op syntax.Token, same bool, what string) (bool, error) {
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, fmt.Errorf("%s have no order: %s is not defined for them", what, op)
}

// Attr is an attribute of the node now.
func (n *nodeValue) Attr(name string) (starlark.Value, error) {
	for _, a := range nodeAttributes() {
		if a.name == name {
			info, _ := n.host.run.Node(n.name)
			return a.get(info), nil
		}
	}
	return nil, nil
}

// AttrNames are the names of a node's attributes.
func (n *nodeValue) AttrNames() []string { return NodeAttributes() }

// NodeAttributes are the names of a node's attributes, sorted.
func NodeAttributes() []string {
	var names []string
	for _, a := range nodeAttributes() {
		names = append(names, a.name)
	}
	return names
}

func (h *Host) nodeValues(names []string) starlark.Tuple {
	t := make(starlark.Tuple, len(names))
	for i, name := range names {
		t[i] = &nodeValue{host: h, name: name}
	}
	return t
}

// values are the globals that every ini gives.
func (h *Host) values() starlark.StringDict {
	t := h.run.Topology()
	groups := map[topology.Role][]string{}
	var all []string
	for _, n := range t.Nodes {
		groups[n.Role] = append(groups[n.Role], n.Name)
		all = append(all, n.Name)
	}
	nodes := h.nodeValues(all)
	node := builtin{name: "topology.node", params: "name", call: func(c *call) (starlark.Value, error) {
		name, err := c.node("name")
		return &nodeValue{host: h, name: name}, err
	}}
	s := h.run.Settings()
	config := starlark.StringDict{
		"listen": starlark.String(s.Listen), "links": starlark.String(s.Links), "contain": starlark.String(s.Contain),
		"timeout": starlarktime.Duration(s.Timeout), "drain": starlarktime.Duration(s.Drain),
		"grace": starlarktime.Duration(s.Grace), "time_limit": starlarktime.Duration(s.TimeLimit),
		"usage": starlarktime.Duration(s.Usage), // 0 where it is off
		"seed":  starlark.MakeUint64(h.run.Seed()),
	}
	return starlark.StringDict{
		"topology":  &module{"topology", starlark.StringDict{"name": starlark.String(t.Name), "nodes": nodes, "node": node.make()}},
		"leaders":   h.nodeValues(groups[topology.Leader]),
		"workers":   h.nodeValues(groups[topology.Worker]),
		"senders":   h.nodeValues(groups[topology.Sender]),
		"receivers": h.nodeValues(groups[topology.Receiver]),
		"config":    &module{"config", config},
	}
}

// frozenStruct makes a frozen value with attributes.
func frozenStruct(kind string, fields starlark.StringDict) starlark.Value {
	v := starlarkstruct.FromStringDict(starlark.String(kind), fields)
	v.Freeze()
	return v
}
