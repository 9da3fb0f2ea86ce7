package runtime

import (
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/roster"
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

// NodeInfo is what is known of a node at one moment.
type NodeInfo = node.Info

// Node returns what is known of a node now; false if the topology has none of
// that name.
func (r *Run) Node(name string) (NodeInfo, bool) {
	r.j.Lock()
	defer r.j.Unlock()
	n, ok := r.nodes[name]
	if !ok {
		return NodeInfo{}, false
	}
	return n.Info(), true
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
		infos[i] = n.Info()
	}
	return infos
}

// node finds a node; a *StateError if there is none of that name. The lock is held.
func (r *Run) node(name string) (*node.Node, error) {
	if n, ok := r.nodes[name]; ok {
		return n, nil
	}
	_, err := r.j.Node(name)
	return nil, err
}

// unlocked is node where the lock is not held.
func (r *Run) unlocked(name string) (*node.Node, error) {
	r.j.Lock()
	defer r.j.Unlock()
	return r.node(name)
}

// names are the names of the nodes that which chooses, in the order of the file.
func (r *Run) names(which func(*node.Node) bool) []string {
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

func alive(n *node.Node) bool { return n.Alive() }

// StateError is a call that a node's state does not allow: forking one that
// runs, sending to one that is not connected.
type StateError = journal.StateError
