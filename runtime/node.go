package runtime

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// State is how far a node has come.
type State = roster.State

// The states of a node, in their order. A node that was never forked has none.
const (
	StateForked       = roster.StateForked
	StateReady        = roster.StateReady
	StateStarted      = roster.StateStarted
	StateDone         = roster.StateDone
	StateDoneShutdown = roster.StateDoneShutdown
	StateExited       = roster.StateExited
)

// node is the handles of one node's present incarnation, beside what the roster
// knows of it. The journal's lock guards it.
type node struct {
	*roster.Node
	spec *topology.Node
	host string

	birth       *birth      // of the next incarnation, while it is being forked
	token       string      // of the present incarnation
	showsToken  bool        // it has shown it, or will: who does not is another
	options     ForkOptions // of the present incarnation
	endedBefore bool        // its present incarnation, before it was allowed to exit
	blows       []blow      // signals of a crash that it was sent, of the present incarnation
	env         []string    // what the ini and the script set, of the present incarnation

	log     *output.Log
	process process.Process
	port    *control.Port
	conn    *control.Conn
	losses  int // of connections so far
	callers int // connections that say they are its, and are not yet

	challenged   *control.Conn // that another of its connections wants to follow
	challengedAt time.Time     // since when
	gone         chan struct{} // closed when the incarnation's exit has been logged

	// asking is held by who asks the process to end, from the act until the
	// request is in the log, and taken whole by who logs its exit: so that what a
	// dead process was asked is not taken for the reason of its end. It is taken
	// before the journal's lock.
	asking sync.RWMutex
}

// blow is a signal of a crash that a fault has sent.
type blow struct {
	signal string
	fault  *Fault
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
	Finished    bool // it has reported its end, or exited as it was asked or allowed to
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
		Name: n.Name, Section: n.spec.Section, Role: n.spec.Role, State: n.State,
		PID: n.PID, Incarnation: n.Incarnation, Restarts: max(0, n.Incarnation-1),
		Connected: n.Connected, WasReady: n.WasReady, WasDone: n.WasDone,
		Finished: n.State != "" && n.Finished(), MayExit: n.MayExit, Paused: n.Paused != 0, Args: slices.Clone(n.Argv),
		Env: map[string]string{}, Options: map[string]string{}, Endpoints: map[string]string{},
		LogFile: r.logPath(n.Name),
	}
	if n.State == StateExited {
		code := n.Exit.Code
		info.ExitCode, info.Signal = &code, n.Exit.Signal
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

// Node returns what is known of a node now; false if the topology has none of
// that name.
func (r *Run) Node(name string) (NodeInfo, bool) {
	r.j.Lock()
	defer r.j.Unlock()
	n, ok := r.nodes[name]
	if !ok {
		return NodeInfo{}, false
	}
	return r.info(n), true
}

// Nodes returns what is known of every node now, in the order of the file.
func (r *Run) Nodes() []NodeInfo {
	r.j.Lock()
	defer r.j.Unlock()
	return r.infos()
}

func (r *Run) infos() []NodeInfo {
	infos := make([]NodeInfo, len(r.order))
	for i, n := range r.order {
		infos[i] = r.info(n)
	}
	return infos
}

// node finds a node. The lock is held.
func (r *Run) node(name string) (*node, error) {
	if n, ok := r.nodes[name]; ok {
		return n, nil
	}
	_, err := r.j.Node(name)
	return nil, err
}

// names are the names of the nodes that which chooses, in the order of the file.
func (r *Run) names(which func(*node) bool) []string {
	r.j.Lock()
	defer r.j.Unlock()
	var names []string
	for _, n := range r.order {
		if which(n) {
			names = append(names, n.Name)
		}
	}
	return names
}

func alive(n *node) bool { return n.Alive() }

// key is the name in a KEY=VALUE of an environment.
func key(variable string) string {
	for i := 1; i < len(variable); i++ { // from 1: Windows has names that begin with "="
		if variable[i] == '=' {
			return variable[:i]
		}
	}
	return variable
}

// StateError is a call that a node's state does not allow: forking one that
// runs, sending to one that is not connected.
type StateError = journal.StateError
