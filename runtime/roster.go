package runtime

import (
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// State is how far a node has come.
type State string

// The states of a node, in their order. A node that was never forked has none.
const (
	StateForked       State = "forked"
	StateReady        State = "ready"
	StateStarted      State = "started"
	StateDone         State = "done"
	StateDoneShutdown State = "done_shutdown"
	StateExited       State = "exited"
)

var stateOrder = []State{"", StateForked, StateReady, StateStarted, StateDone, StateDoneShutdown, StateExited}

func (s State) before(t State) bool { return slices.Index(stateOrder, s) < slices.Index(stateOrder, t) }

// node is the roster's entry for one node: a fold over the event log, and the
// handles of what drives its present incarnation.
type node struct {
	spec *topology.Node
	host string

	// The fold: only apply writes these.
	state       State
	incarnation int
	pid         int
	argv        []string
	forkedAt    time.Duration
	exit        *event.Exited
	wasReady    bool // in its present incarnation, as the next two
	wasDone     bool
	reached     State // the furthest state before it exited
	connected   bool
	refusal     string // why its last connection was refused
	messages    []Message
	count       int64 // the largest that it has reported by /count

	// What the engine decided about it.
	mayExit    bool
	stopAsked  bool             // the script or the end of the run asked it to stop
	signalled  bool             // the engine sent it a signal
	neededKill bool             // …and TERM was not enough
	sent       []syscall.Signal // by the script, to its present incarnation
	lost       bool             // its connection has been gone for a while, and it lives
	token      string           // of the present incarnation
	showsToken bool             // it has shown it, or will: who does not is another
	returned   map[string]int
	outputRead map[string]int64
	options    ForkOptions // of the present incarnation
	env        []string    // what the ini and the script set, of the present incarnation

	// Handles.
	log     *process.Log
	process process.Process
	port    *control.Port
	conn    *control.Conn
	gone    chan struct{} // closed when the incarnation's exit has been logged
}

// Message is a message that a node sent.
type Message struct {
	T       time.Duration // since the start of the run
	Address string        // in the present protocol's names
	Args    []any         // as package osc decodes them
	index   int
}

// alive tells whether the node has a process.
func (n *node) alive() bool { return n.state != "" && n.state != StateExited }

// finished tells whether nothing more is to be expected of the node: it has
// reported its end, or exited as it was allowed to.
func (n *node) finished() bool {
	return n.state == StateDoneShutdown || n.state == StateExited && n.exit.Expected
}

// apply folds one event into the entry and returns the state that follows.
func (n *node) apply(e event.Event) State {
	switch d := e.Detail.(type) {
	case event.Forked:
		n.incarnation, n.pid, n.argv, n.forkedAt = d.Incarnation, d.PID, d.Argv, e.T
		n.exit, n.reached, n.messages, n.count, n.refusal = nil, StateForked, nil, 0, ""
		n.wasReady, n.wasDone, n.connected = false, false, false
		return StateForked
	case event.Connected:
		n.connected = true
	case event.Disconnected:
		n.connected = false
	case event.Refused:
		n.refusal = d.Reason
	case event.Received:
		return n.receive(e.T, d)
	case event.Sent:
		if d.Address == control.AddressStart && n.state == StateReady {
			return StateStarted
		}
	case event.Exited:
		n.exit = &d
		return StateExited
	case event.State:
		n.state = State(d.To)
		if n.state != StateExited {
			n.reached = n.state
		}
	}
	return n.state
}

func (n *node) receive(t time.Duration, d event.Received) State {
	n.messages = append(n.messages, Message{T: t, Address: d.Address, Args: d.Args, index: len(n.messages)})
	if !n.alive() {
		return n.state
	}
	switch d.Address {
	case control.AddressCount:
		if len(d.Args) > 1 {
			switch so := d.Args[1].(type) {
			case int64:
				n.count = max(n.count, so)
			case int32:
				n.count = max(n.count, int64(so))
			}
		}
	case control.AddressReady:
		n.wasReady = true
		if n.state.before(StateReady) {
			return StateReady
		}
	case control.AddressDone:
		n.wasDone = true
		if n.state.before(StateDone) {
			return StateDone
		}
	case control.AddressDoneShutdown:
		n.wasDone = true
		return StateDoneShutdown
	}
	return n.state
}

// endings are the signals that ask a process to end.
var endings = [...]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}

// expects tells whether a node that exits so was allowed to.
func (n *node) expects(exit process.Exit) bool {
	clean := exit.Code == 0 && exit.Signal == ""
	switch {
	case n.mayExit, n.signalled:
		return true
	case slices.ContainsFunc(n.sent, func(s syscall.Signal) bool {
		return slices.Contains(endings[:], s) || exit.Signal == process.SignalName(s)
	}):
		return true
	case n.stopAsked, n.wasDone:
		return clean
	}
	return false
}

// note says what is known of a node that is awaited in vain.
func (n *node) note() string {
	switch {
	case n.state == StateExited:
		return "exited " + ending(n.exit.Code, n.exit.Signal)
	case n.lost:
		return "it closed its control connection and lives on"
	case n.refusal != "" && !n.connected:
		return "its connection was refused: " + n.refusal
	case n.state == StateForked && !n.connected:
		return "it has not phoned home"
	}
	return ""
}

// NodeInfo is what is known of a node at one moment.
type NodeInfo struct {
	Name        string
	Section     string // of the ini
	Role        topology.Role
	State       State // "" where it was never forked
	PID         int   // of its present or last incarnation, 0 before its first
	Incarnation int   // 0 before its first
	Restarts    int   // incarnations after the first
	ExitCode    *int  // nil while it has not exited; -1 where a signal ended it
	Signal      string
	Connected   bool
	WasReady    bool // in its present incarnation, as WasDone
	WasDone     bool
	Finished    bool // it has reported its end, or exited as it was allowed to
	MayExit     bool
	Paused      bool
	Args        []string          // its command line, program first
	Env         map[string]string // what the ini and the script set
	Options     map[string]string // its other keys in the ini, as they stand there
	Endpoints   map[string]string // host:port by name
	LogFile     string
}

func (r *Run) info(n *node) NodeInfo {
	info := NodeInfo{
		Name: n.spec.Name, Section: n.spec.Section, Role: n.spec.Role, State: n.state,
		PID: n.pid, Incarnation: n.incarnation, Restarts: max(0, n.incarnation-1),
		Connected: n.connected, WasReady: n.wasReady, WasDone: n.wasDone,
		Finished: n.state != "" && n.finished(), MayExit: n.mayExit, Paused: r.pausing(n) != nil, Args: slices.Clone(n.argv),
		Env: map[string]string{}, Options: map[string]string{}, Endpoints: map[string]string{},
		LogFile: r.logPath(n.spec.Name),
	}
	if n.state == StateExited {
		code := n.exit.Code
		info.ExitCode, info.Signal = &code, n.exit.Signal
	}
	if n.env == nil {
		for _, v := range n.spec.Env {
			info.Env[v.Key] = v.Value
		}
	}
	for _, v := range n.env {
		info.Env[key(v)] = v[len(key(v))+1:]
	}
	for _, f := range n.spec.Flags {
		info.Options[f.Key] = f.Value
	}
	maps.Copy(info.Endpoints, r.addresses.Endpoints(n.spec))
	return info
}

// key is the name in a KEY=VALUE of an environment.
func key(variable string) string {
	for i := 1; i < len(variable); i++ { // from 1: Windows has names that begin with "="
		if variable[i] == '=' {
			return variable[:i]
		}
	}
	return variable
}

// Messages returns what the node's present incarnation has sent so far, all of
// it or only one address.
func (r *Run) Messages(name, address string) ([]Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.node(name)
	if err != nil {
		return nil, err
	}
	var out []Message
	for _, m := range n.messages {
		if address == "" || m.Address == address {
			out = append(out, m)
		}
	}
	return out, nil
}
