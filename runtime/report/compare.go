package report

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
)

// Comparison is how the logs of two runs, a and b, compare. In which order events
// of different nodes come is not looked at: no run promises one.
type Comparison struct {
	// Faults is how many faults both had in the same order, the same thing done to
	// the same nodes, and reaching the same ones, from the first on; Fault is the
	// first in which they differ, nil where there is none.
	Faults int
	Fault  *FaultDivergence
	// Where the faults are the same, Nodes tells of each node whose own states and
	// exits differ the first that does, in the order in which the nodes were forked.
	Nodes []Divergence
	// Verdicts of a and b; nil for a run that has none, as it was killed or still
	// runs.
	Verdicts [2]*event.Verdict
}

// Same reports whether the faults and the verdicts are the same; of verdicts, the
// outcome and the place are looked at, for a reason may tell of times.
func (c Comparison) Same() bool {
	a, b := c.Verdicts[0], c.Verdicts[1]
	return c.Fault == nil && (a == nil) == (b == nil) && (a == nil || a.Outcome == b.Outcome && place(a.Where) == place(b.Where))
}

// place is a place in a script, wherever its folder is.
func place(where string) string { return where[strings.LastIndexAny(where, `/\`)+1:] }

// FaultDivergence is a fault of one run, and what the other has in its place.
type FaultDivergence struct {
	Index int              // which fault, from 0
	Sides [2]*fault.Record // of a and b; nil where the run has no more
}

// Divergence is an event of one run, and what the other has in its place.
type Divergence struct {
	Node  string          // whose event it is
	Index int             // which of the node's states and exits, from 0
	Sides [2]*event.Event // of a and b; nil where the run has no more
}

// Compare compares the logs of two runs. A log may be cut short.
func Compare(a, b *Log) Comparison {
	var c Comparison
	n, sides := diverge(a.faults.Records(), b.faults.Records(), (*fault.Record).Alike)
	if c.Faults = n; sides != nil {
		c.Fault = &FaultDivergence{Index: n}
		for i, side := range sides {
			if side != nil {
				c.Fault.Sides[i] = *side
			}
		}
	}
	c.Verdicts = [2]*event.Verdict{a.verdict, b.verdict}
	if c.Fault != nil {
		return c
	}
	names := slices.Clip(a.names)
	for _, name := range b.names {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		n, sides := diverge(a.nodes[name], b.nodes[name], func(a, b event.Event) bool { return Step(a) == Step(b) })
		if sides != nil {
			c.Nodes = append(c.Nodes, Divergence{Node: name, Index: n, Sides: *sides})
		}
	}
	return c
}

// Log is what of a run's log is compared: the lives of faults, the states and exits of
// nodes, and the verdict. Messages cost it nothing.
type Log struct {
	Finished bool // the run came to its end
	faults   fault.Ledger
	nodes    map[string][]event.Event
	names    []string // of nodes, in the order of their first events
	verdict  *event.Verdict
}

// Read reads a log. Its error is that of the events.
func Read(events iter.Seq2[event.Event, error]) (*Log, error) {
	l := &Log{nodes: map[string][]event.Event{}}
	for e, err := range events {
		if err != nil {
			return nil, err
		}
		l.add(e)
	}
	return l, nil
}

func (l *Log) add(e event.Event) {
	l.Finished = e.Kind() == event.KindRunFinished
	l.faults.Apply(e)
	switch d := e.Detail.(type) {
	case event.State:
		if d.To == exited { // the exit itself tells more
			return
		}
	case event.Exited:
	case event.Verdict:
		l.verdict = &d
	}
	if e.Node == "" || Step(e) == "" {
		return
	}
	if l.nodes[e.Node] == nil {
		l.names = append(l.names, e.Node)
	}
	l.nodes[e.Node] = append(l.nodes[e.Node], e)
}

// exited is the state after an exit.
const exited = "exited"

// Step is what an event says of the way that a node takes, such as "ready" or
// "exited 0"; "" where it says nothing.
func Step(e event.Event) string {
	switch d := e.Detail.(type) {
	case event.State:
		return d.To
	case event.Exited:
		if d.Signal != "" {
			return exited + " by signal " + d.Signal
		}
		return fmt.Sprintf("%s %d", exited, d.Code)
	}
	return ""
}

// diverge finds the first elements that are not the same, and returns how many
// are; sides is nil where all are.
func diverge[T any](a, b []T, same func(a, b T) bool) (n int, sides *[2]*T) {
	for n < len(a) && n < len(b) && same(a[n], b[n]) {
		n++
	}
	if n == len(a) && n == len(b) {
		return n, nil
	}
	sides = &[2]*T{}
	for i, log := range [][]T{a, b} {
		if n < len(log) {
			sides[i] = &log[n]
		}
	}
	return n, sides
}
