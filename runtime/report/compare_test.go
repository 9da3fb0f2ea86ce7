package report_test

import (
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
)

// entry is an event to be.
type entry struct {
	node   string
	detail event.Detail
}

// log makes a log of entries, in their order.
func log(entries ...entry) []event.Event {
	events := []event.Event{{Detail: event.RunStarted{Format: event.Format}}}
	for i, e := range entries {
		events = append(events, event.Event{Seq: int64(i + 1), T: time.Duration(i) * time.Second, Node: e.node, Detail: e.detail})
	}
	return events
}

func state(node, to string) entry { return entry{node, event.State{To: to}} }
func exit(node string, code int) entry {
	return entry{node, event.Exited{Code: code, UserS: float64(code), PID: code}}
}
func strike(id int64, what, detail string, nodes ...string) entry {
	return entry{"", event.FaultPlanned{ID: id, What: what, Nodes: nodes, Detail: detail}}
}
func verdict(outcome, where string) entry {
	return entry{"", event.Verdict{Outcome: outcome, Where: where, Reason: "after 3 s"}}
}

var base = []entry{
	state("a", "forked"), state("b", "forked"), state("a", "ready"), state("b", "ready"),
	strike(1, "pause", "", "a", "b"), {"", event.FaultApplied{ID: 1, To: []string{"a", "b"}}}, strike(4, "kill", "KILL", "a"),
	{"", event.FaultApplied{ID: 4, To: []string{"a"}}},
	exit("a", 1), state("a", "exited"), exit("b", 0), state("b", "exited"), verdict("passed", ""),
	{"", event.RunFinished{}},
}

// with is the base with another entry in the place of one.
func with(at int, e entry) []entry {
	changed := append([]entry{}, base...)
	changed[at] = e
	return changed
}

// TestCompare: what counts is found where it differs first, and what no run
// promises makes no difference.
func TestCompare(t *testing.T) {
	interleaved := append([]entry{}, base...)
	for _, swap := range [][2]int{{0, 1}, {2, 3}, {5, 6}, {8, 10}, {9, 11}} {
		interleaved[swap[0]], interleaved[swap[1]] = interleaved[swap[1]], interleaved[swap[0]]
	}
	for name, test := range map[string]struct {
		b     []entry
		same  bool
		fault int // that differs; -1 for none
		seqs  [2]int64
		nodes string
	}{
		"the same":               {base, true, -1, [2]int64{}, ""},
		"interleaved otherwise":  {interleaved, true, -1, [2]int64{}, ""},
		"another id":             {with(6, strike(5, "kill", "KILL", "a")), true, -1, [2]int64{}, ""},
		"another node":           {with(6, strike(4, "kill", "KILL", "b")), false, 1, [2]int64{7, 7}, ""},
		"nodes in another order": {with(4, strike(1, "pause", "", "b", "a")), false, 0, [2]int64{5, 5}, ""},
		"another fault":          {with(4, strike(1, "limit", "", "a", "b")), false, 0, [2]int64{5, 5}, ""},
		"another detail":         {with(6, strike(4, "kill", "TERM", "a")), false, 1, [2]int64{7, 7}, ""},
		"one more":               {append(append([]entry{}, base...), strike(9, "kill", "KILL", "b")), false, 2, [2]int64{0, 15}, ""},
		"one less":               {with(6, state("", "")), false, 1, [2]int64{7, 0}, ""},
		"cut short":              {base[:6], false, 1, [2]int64{7, 0}, ""},
		"cut in the end":         {base[:9], false, -1, [2]int64{}, "b"},
		"another was reached": {with(5, entry{"", event.FaultApplied{ID: 1, To: []string{"a"}, Dead: []string{"b"}}}),
			false, 0, [2]int64{5, 5}, ""},
		"it was given up":           {with(7, entry{"", event.Abandoned{ID: 4, By: "end"}}), false, 1, [2]int64{7, 7}, ""},
		"not yet applied":           {with(7, state("", "")), true, -1, [2]int64{}, ""},
		"another exit":              {with(10, exit("b", 3)), true, -1, [2]int64{11, 11}, "b"},
		"another state":             {with(2, state("a", "exited")), true, -1, [2]int64{3, 9}, "a"},
		"another verdict":           {with(12, verdict("failed", "")), false, -1, [2]int64{}, ""},
		"a verdict at another line": {with(12, verdict("passed", "x/a.star:1:1")), false, -1, [2]int64{}, ""},
	} {
		c := report.Compare(read(t, log(base...)), read(t, log(test.b...)))
		nodes := ""
		var seqs [2]int64
		for i := range seqs {
			switch {
			case c.Fault != nil && c.Fault.Sides[i] != nil:
				seqs[i] = c.Fault.Sides[i].Seq
			case c.Fault == nil && len(c.Nodes) > 0 && c.Nodes[0].Sides[i] != nil:
				seqs[i] = c.Nodes[0].Sides[i].Seq
			}
		}
		for _, n := range c.Nodes {
			nodes += n.Node
		}
		at := -1
		if c.Fault != nil {
			at = c.Fault.Index
		}
		if c.Same() != test.same || at != test.fault || nodes != test.nodes || test.fault < 0 && c.Faults != 2 {
			t.Errorf("%s: same %v, fault %d of %d, nodes %q", name, c.Same(), at, c.Faults, nodes)
		}
		if test.seqs != ([2]int64{}) && seqs != test.seqs {
			t.Errorf("%s: the events are %v, want %v", name, seqs, test.seqs)
		}
	}
	moved := [2][]event.Event{log(verdict("failed", "/x/a.star:1:1")), log(verdict("failed", `y\a.star:1:1`))}
	if !report.Compare(read(t, moved[0]), read(t, moved[1])).Same() {
		t.Error("the same place of a script in another folder is another")
	}
	if c := report.Compare(&report.Log{}, &report.Log{}); !c.Same() || c.Faults != 0 {
		t.Errorf("%+v", c)
	}
}

func read(t *testing.T, events []event.Event) *report.Log {
	t.Helper()
	l, err := report.Read(func(yield func(event.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
