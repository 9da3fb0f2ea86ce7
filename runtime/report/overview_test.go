package report_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
)

// TestSurvey: what small logs come to.
func TestSurvey(t *testing.T) {
	forked := event.Forked{PID: 4, Incarnation: 1}
	for _, c := range []struct {
		name, outcome string
		log           []any
		broke         int64 // seq
		culprits      []string
		check         func(o *report.Overview) bool
	}{
		{"killed", report.Unfinished, []any{started("a"), "a", forked, "a", event.State{To: "forked"}}, 2, nil,
			func(o *report.Overview) bool {
				return !o.Finished && o.Nodes[0].State == "forked" && o.Nodes[0].PID == 4
			}},
		{"passed", "passed", []any{started("a"), event.Verdict{Outcome: "passed"}, event.RunFinished{}}, 2, nil,
			func(o *report.Overview) bool { return o.Finished && o.Passed() && o.Nodes[0].State == "" }},
		{"an unasked exit is when it broke", "failed", []any{started("a", "b"), "a", forked, "a", event.Exited{Code: 3}, event.Print{Text: "x"},
			event.Finding{Outcome: "failed", Reason: "a exited 3", Nodes: []string{"a"}}, event.Verdict{Outcome: "failed"}}, 2, []string{"a"},
			func(o *report.Overview) bool { return o.Nodes[0].Exit == "with code 3" && o.Nodes[0].Unexpected != "" }},
		{"the worst finding decides", "failed", []any{started("a"), event.Finding{Outcome: "inconclusive", Nodes: []string{"a"}},
			event.Finding{Outcome: "failed"}, event.Finding{Outcome: "failed", Nodes: []string{"a"}}, event.Verdict{Outcome: "failed"}}, 2, nil,
			func(o *report.Overview) bool { return len(o.Findings) == 3 }},
		{"faults in force, and before", "failed", []any{started("a"),
			event.FaultPlanned{ID: 1, What: "pause", Nodes: []string{"a"}, Lasting: true}, event.FaultApplied{ID: 1, To: []string{"a"}},
			event.FaultHealed{ID: 1, Nodes: []string{"a"}},
			event.FaultPlanned{ID: 2, What: "pause", Nodes: []string{"a"}, Lasting: true}, event.FaultApplied{ID: 2, To: []string{"a"}},
			event.Finding{Outcome: "failed"}, event.FaultHealed{ID: 2, Nodes: []string{"a"}}, event.Verdict{Outcome: "failed"}}, 6, nil,
			func(o *report.Overview) bool { return !o.Faults[0].InForce && o.Faults[1].InForce && o.Nodes[0].Paused }},
		{"a wait in vain", "failed", []any{started("a"), event.Await{ID: 1, What: "ready", Nodes: []string{"a"}, TimeoutS: 1},
			event.AwaitEnded{ID: 1, Outcome: "timeout", Missing: []string{"a"}}, event.Finding{Outcome: "failed"}, event.Verdict{Outcome: "failed"}}, 3, nil,
			func(o *report.Overview) bool {
				return len(o.Awaits) == 1 && o.Awaits[0].Ended == "timeout" && slices.Equal(o.Awaits[0].Missing, []string{"a"})
			}},
		{"operations", report.Unfinished, []any{started(), event.Invoke{Op: 0}, event.Invoke{Op: 1}, event.Completed{Op: 0, Outcome: "ok"}}, 3, nil,
			func(o *report.Overview) bool { return o.Operations["ok"] == 1 && o.Operations["open"] == 1 }},
		{"messages", report.Unfinished, []any{started("a"), "a", event.Received{Address: "/ready", Args: event.Args{"a"}},
			"a", event.Received{Address: "/count", Args: event.Args{int32(3)}}, "a", event.Sent{Address: "/go"}}, 3, nil,
			func(o *report.Overview) bool {
				return o.Received == 2 && o.Sent == 1 && o.Nodes[0].Said == "count 3" && o.Nodes[0].SaidS == 0.002
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := report.Open("x", folder(logOf(t, time.Millisecond, c.log...)))
			if err != nil {
				t.Fatal(err)
			}
			o := r.Overview
			if o.Outcome != c.outcome || o.BrokeSeq != c.broke || !slices.Equal(o.Culprits, c.culprits) || !c.check(o) {
				t.Errorf("%+v", o)
			}
		})
	}
}
