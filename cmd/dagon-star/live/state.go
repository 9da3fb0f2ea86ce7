// Package live is what a person sees of a run while it runs, on a terminal: a table that
// repaints in place, with a row a node, below the last of the lines that the run prints.
//
// What is known is a State, a pure fold over the run's events. What is shown of it is
// Frame, a pure function of the State, of what the person looks at, and of the size of
// the terminal; what a key does to what they look at is View.Key, pure too. A Screen does
// the rest: it reads keys and the logs of nodes, and paints at most ten times a second,
// whatever comes in between.
package live

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
)

// Node is what is known of one node.
type Node struct {
	Name     string
	State    string        // as the log has it; "" before the first fork
	Since    time.Duration // when it came to it
	Paused   bool
	PID      int
	Restarts int
	Ended    string // how its present incarnation ended: "0", "KILL"; "" while it runs
	Unasked  bool   // and it was not to

	Usage   event.Usage   // at the last look; zero where there was none in its present incarnation
	UsedAt  time.Duration // when that was
	CPU     float64       // processors, between the last two looks; less than 0 where it is not known
	In, Out Flow          // messages to it, and from it

	Count, Total int64 // messages that it says it has handled, of how many; 0 where it is not known
}

// Flow counts messages.
type Flow struct {
	Count     int64
	second    int64 // the last in which there were any
	now, then int64 // in it, and in the one before
}

func (f *Flow) add(t time.Duration) {
	second := int64(t / time.Second)
	switch second {
	case f.second:
	case f.second + 1:
		f.then, f.now = f.now, 0
	default:
		f.then, f.now = 0, 0
	}
	f.second = second
	f.Count++
	f.now++
}

// Rate is how many there were in the last whole second before a time of the run.
func (f *Flow) Rate(t time.Duration) int64 {
	switch int64(t/time.Second) - f.second {
	case 0:
		return f.then
	case 1:
		return f.now
	}
	return 0
}

// Wait is something that the script waits for.
type Wait struct {
	ID      int64
	What    string
	Nodes   []string
	Since   time.Duration
	Timeout time.Duration
}

// State is what the log of a run tells so far. The zero value is that of an empty log.
type State struct {
	Script, Topology string
	Seed             uint64
	Now              time.Duration // of the last event
	Nodes            []*Node       // in the order of the ini
	Waits            []Wait        // that have not ended, in the order in which they began
	Progress         []event.Progress
	Faults           fault.Ledger
	Began            int            // operations
	Outcomes         map[string]int // of those that have completed
	Ending           bool           // nodes are asked to end by the end of the run
	Verdict          *event.Verdict // nil before the end

	byName map[string]*Node
}

// Node finds a node by its name; nil if there is none.
func (s *State) Node(name string) *Node { return s.byName[name] }

func (s *State) node(name string) *Node {
	n := s.byName[name]
	if n == nil {
		n = &Node{Name: name, CPU: -1}
		if s.byName == nil {
			s.byName = map[string]*Node{}
		}
		s.byName[name] = n
		s.Nodes = append(s.Nodes, n)
	}
	return n
}

// Apply folds an event in.
func (s *State) Apply(e event.Event) {
	s.Now = e.T
	switch d := e.Detail.(type) {
	case event.RunStarted:
		s.Script, s.Topology, s.Seed = d.Script, d.Topology, d.Seed
		for _, n := range d.Nodes {
			s.node(n.Name)
		}
	case event.Await:
		s.Waits = append(s.Waits, Wait{d.ID, d.What, d.Nodes, e.T, time.Duration(d.TimeoutS * float64(time.Second))})
	case event.AwaitEnded:
		s.Waits = slices.DeleteFunc(s.Waits, func(w Wait) bool { return w.ID == d.ID })
	case event.Progress:
		at := slices.IndexFunc(s.Progress, func(p event.Progress) bool { return p.What == d.What })
		if at < 0 {
			s.Progress = append(s.Progress, d)
		} else {
			s.Progress[at] = d
		}
	case event.Scheduled, event.Fired, event.FaultApplied, event.FaultTouched:
		s.Faults.Apply(e)
	case event.FaultPlanned:
		s.Faults.Apply(e)
		s.pause(d.Nodes, d.What == "pause", d.What == "pause" || d.What == "resume")
	case event.FaultHealed:
		s.Faults.Apply(e)
		r := s.Faults.Record(d.ID)
		s.pause(d.Nodes, false, r != nil && r.What == "pause")
	case event.Abandoned:
		s.Faults.Apply(e)
		if r := s.Faults.Record(d.ID); r != nil {
			s.pause(r.Nodes, false, r.What == "pause")
		}
	case event.Invoke:
		s.Began++
	case event.Completed:
		if s.Outcomes == nil {
			s.Outcomes = map[string]int{}
		}
		s.Outcomes[d.Outcome]++
	case event.Asked:
		s.Ending = s.Ending || d.By == "end"
	case event.Verdict:
		s.Verdict = &d
		s.Waits = nil
	}
	if e.Node != "" {
		s.node(e.Node).apply(e)
	}
}

// pause marks nodes as paused or not, where it is a pause that does it.
func (s *State) pause(nodes []string, paused, does bool) {
	for _, name := range nodes {
		if n := s.byName[name]; n != nil && does {
			n.Paused = paused && n.State != "" && n.Ended == ""
		}
	}
}

func (n *Node) apply(e event.Event) {
	switch d := e.Detail.(type) {
	case event.Forked:
		n.PID, n.Restarts, n.Ended, n.Unasked, n.Paused = d.PID, max(0, d.Incarnation-1), "", false, false
		n.Usage, n.UsedAt, n.CPU, n.Count, n.Total = event.Usage{}, 0, -1, 0, total(d.Argv)
	case event.State:
		n.State, n.Since = d.To, e.T
	case event.Exited:
		if n.Ended = d.Signal; n.Ended == "" {
			n.Ended = strconv.Itoa(d.Code)
		}
		n.Unasked, n.Paused, n.CPU = !d.Expected, false, -1
	case event.Received:
		n.Out.add(e.T)
		if d.Address == "/count" && len(d.Args) > 1 {
			switch count := d.Args[1].(type) {
			case int32:
				n.Count = max(n.Count, int64(count))
			case int64:
				n.Count = max(n.Count, count)
			}
		}
	case event.Sent:
		n.In.add(e.T)
	case event.Usage:
		n.CPU = -1
		if passed := (e.T - n.UsedAt).Seconds(); n.UsedAt > 0 && passed > 0 {
			n.CPU = max(0, (d.CPUS-n.Usage.CPUS)/passed)
		}
		n.Usage, n.UsedAt = d, e.T
	}
}

// total is how many messages the command line of a built-in component says that it is to
// handle; 0 where it does not.
func total(argv []string) int64 {
	own := slices.Index(argv, "component")
	if own < 0 {
		return 0
	}
	for i, arg := range argv[own:] {
		name, value, has := strings.Cut(arg, "=")
		if name != "--messages" && name != "--expect" {
			continue
		}
		if rest := argv[own+i+1:]; !has && len(rest) > 0 {
			value = rest[0]
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return 0
}
