// Package roster is what is known of the nodes of a run: a fold over its events,
// and the table of exits. It is pure: it knows no process, no connection and no
// clock. Only Apply writes it, but for how far messages have been given out.
package roster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// The messages of the protocol that change a node's state or count.
const (
	AddressReady        = "/ready"
	AddressStart        = "/start"
	AddressDone         = "/done"
	AddressDoneShutdown = "/done_shutdown"
	AddressCount        = "/count"
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

// Node is what is known of one node.
type Node struct {
	Name        string
	State       State
	Incarnation int // 0 before the first
	PID         int // of the present or last incarnation
	Argv        []string
	ForkedAt    time.Duration
	Exit        *event.Exited // of the present incarnation, nil while it has not exited
	Reached     State         // the furthest state of the present incarnation before it exited
	WasReady    bool          // in its present incarnation, as the next ones
	WasDone     bool
	Said        bool // /ready, by which it need not be ready: see event.Forked
	Phoned      bool // home: it has had a control connection
	Asked       []Request
	Connected   bool
	Lost        bool // it lives on without its control connection
	Messages    *Messages
	Count       int64 // the largest that it has reported by /count
	Paused      int64 // the id of the fault that keeps it paused, or 0
	Pauses      []Pause

	MayExit bool // in every incarnation

	ready []string // what says when its present incarnation is ready: see event.Forked

	WasReset bool    // of its present incarnation: one of its connections was, by its own end
	trouble  trouble // of its present incarnation
}

// Alive reports whether the node has a process, as far as events tell. Whether
// that has ended meanwhile the process driver knows.
func (n *Node) Alive() bool { return n.State != "" && n.State != StateExited }

// Finished reports whether nothing more is to be expected of the node: it has
// reported its end, or exited as it was asked or allowed to.
func (n *Node) Finished() bool {
	return n.State == StateDoneShutdown || n.State == StateExited && n.Exit.Expected
}

// WasAsked reports whether its present incarnation was asked to shut down.
func (n *Node) WasAsked() bool {
	return slices.ContainsFunc(n.Asked, func(r Request) bool { return r.How == Shutdown || r.How == Stop || r.How == Kill })
}

// WasStopped reports whether its present incarnation was sent its stop signal.
func (n *Node) WasStopped() bool {
	return slices.ContainsFunc(n.Asked, func(r Request) bool { return r.How == Stop || r.How == Kill })
}

// Phones reports whether the node's present incarnation has phoned home, or is to.
func (n *Node) Phones() bool {
	return n.Phoned || len(n.ready) == 0 || slices.Contains(n.ready, "message")
}

// Has reports whether the node has come as far as a state. One that exited as it
// was asked or allowed to has reached done_shutdown too.
func (n *Node) Has(s State) bool {
	switch s {
	case StateReady:
		return n.WasReady
	case StateDone:
		return n.WasDone
	case StateDoneShutdown:
		return n.State != "" && n.Finished() || n.Reached == StateDoneShutdown
	case StateExited:
		return n.State == StateExited
	}
	return n.State != "" && !n.Reached.before(s)
}

// Trouble returns what went wrong with the connections and messages of the node's present
// incarnation: what we closed or refused, or the node reset; or "".
func (n *Node) Trouble() string { return n.trouble.String() }

// Note returns what is known of a node that is awaited in vain, or "".
func (n *Node) Note() string {
	note := ""
	switch {
	case n.State == StateExited:
		note = "exited " + ExitText(n.Exit.Code, n.Exit.Signal)
	case n.Lost && (n.trouble.end == "" || n.trouble.isOver):
		note = "it closed its control connection and lives on"
	case n.State == StateForked && !n.Connected && n.Phones():
		note = "it has not phoned home"
	}
	if n.Alive() && n.WasStopped() {
		note = strings.TrimPrefix(note+"; it was sent its stop signal, and lives on", "; ")
	}
	if trouble := n.Trouble(); trouble != "" {
		note = strings.TrimPrefix(note+"; "+trouble, "; ")
	}
	switch {
	case n.Paused != 0 && note != "":
		return "it is paused; " + note
	case n.Paused != 0:
		return "it is paused"
	}
	return note
}

// ExitText words how a process ended.
func ExitText(code int, signal string) string {
	if signal != "" {
		return "by signal " + signal
	}
	return fmt.Sprintf("with code %d", code)
}

// Roster is what is known of all nodes. It is not safe for concurrent use.
type Roster struct {
	byName map[string]*Node
	order  []*Node
}

// New makes the roster of a topology's nodes, in the order of the file. mayExit
// says which may exit unasked.
func New(names []string, mayExit func(name string) bool) *Roster {
	r := &Roster{byName: map[string]*Node{}}
	for _, name := range names {
		n := &Node{Name: name, MayExit: mayExit(name), Messages: &Messages{}}
		r.byName[name] = n
		r.order = append(r.order, n)
	}
	return r
}

// Node finds a node; nil if there is none of that name.
func (r *Roster) Node(name string) *Node { return r.byName[name] }

// Nodes are all nodes, in the order of the file.
func (r *Roster) Nodes() []*Node { return r.order }

// Apply folds an event into the roster. changed is the change of state that
// follows from it, which is an event of the same node; nil where none does.
func (r *Roster) Apply(e event.Event) (changed *event.State) {
	switch d := e.Detail.(type) {
	case event.FaultPlanned:
		r.planned(e.T, d)
	case event.FaultHealed:
		r.unpause(e.T, d.ID, d.Nodes)
	case event.Abandoned:
		for _, n := range r.order {
			r.unpause(e.T, d.ID, []string{n.Name})
		}
	}
	n := r.byName[e.Node]
	if n == nil {
		return nil
	}
	if next := n.apply(e); next != n.State {
		return &event.State{From: string(n.State), To: string(next)}
	}
	return nil
}

// planned folds pauses: a node counts as paused from the plan on, so that it is
// not paused twice, and no longer once it is to be resumed.
func (r *Roster) planned(t time.Duration, d event.FaultPlanned) {
	for _, name := range d.Nodes {
		n := r.byName[name]
		switch {
		case n == nil:
		case d.What == "pause" && n.Alive():
			if n.Paused == 0 {
				n.Pauses = append(n.Pauses, Pause{From: t, To: -1})
			}
			n.Paused = d.ID
		case d.What == "resume":
			n.unpause(t)
		}
	}
}

func (r *Roster) unpause(t time.Duration, id int64, nodes []string) {
	for _, name := range nodes {
		if n := r.byName[name]; n != nil && n.Paused == id {
			n.unpause(t)
		}
	}
}

// Pause is a time in which a node was paused, since the start of the run.
type Pause struct{ From, To time.Duration } // To is -1 as long as it is

func (n *Node) unpause(t time.Duration) {
	if n.Paused != 0 {
		n.Pauses[len(n.Pauses)-1].To = t
	}
	n.Paused = 0
}

// PausedWithin is for how long of the time between two instants the node's present
// incarnation was paused.
func (n *Node) PausedWithin(from, to time.Duration) (d time.Duration) {
	for _, p := range n.Pauses {
		if p.To < 0 {
			p.To = to
		}
		d += max(0, min(p.To, to)-max(p.From, from))
	}
	return d
}

// apply folds one event of the node, and returns the state that follows.
func (n *Node) apply(e event.Event) State {
	switch d := e.Detail.(type) {
	case event.Forked:
		*n = Node{Name: n.Name, MayExit: n.MayExit, State: n.State, Incarnation: d.Incarnation, PID: d.PID, Argv: d.Argv,
			ForkedAt: e.T, Reached: StateForked, Messages: &Messages{}, ready: d.Ready}
		return StateForked
	case event.Connected:
		n.Connected, n.Phoned, n.Lost = true, true, false
		n.trouble.connected()
	case event.Disconnected:
		n.Connected = false
		n.WasReset = n.WasReset || d.Reset
		n.trouble.disconnected(d)
	case event.Lost:
		n.Lost = true
	case event.Refused:
		n.trouble.refuses(d)
	case event.Received:
		return n.receive(e.Seq, d)
	case event.Probe:
		if d.Ready && n.Alive() {
			return n.isReady()
		}
	case event.Sent:
		if d.Address == AddressStart && n.State == StateReady {
			return StateStarted
		}
	case event.Asked:
		if d.How == MayExit {
			n.MayExit = true
			break
		}
		n.Asked = append(n.Asked, Request{How: d.How, Signal: d.Signal})
	case event.Exited:
		n.unpause(e.T)
		n.Exit = &d
		return StateExited
	case event.State:
		n.State = State(d.To)
		if n.State != StateExited {
			n.Reached = n.State
		}
	}
	return n.State
}

func (n *Node) isReady() State {
	n.WasReady = true
	if n.State.before(StateReady) {
		return StateReady
	}
	return n.State
}

func (n *Node) receive(seq int64, d event.Received) State {
	n.Messages.add(seq, d.Address)
	if !n.Alive() {
		return n.State
	}
	switch d.Address {
	case AddressCount:
		if len(d.Args) > 1 {
			switch so := d.Args[1].(type) {
			case int64:
				n.Count = max(n.Count, so)
			case int32:
				n.Count = max(n.Count, int64(so))
			}
		}
	case AddressReady:
		n.Said = true
		if len(n.ready) == 0 { // else it is one of several, or none
			return n.isReady()
		}
	case AddressDone:
		n.WasDone = true
		if n.State.before(StateDone) {
			return StateDone
		}
	case AddressDoneShutdown:
		n.WasDone = true
		return StateDoneShutdown
	}
	return n.State
}
