package fault_test

import (
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

func log(details ...event.Detail) (events []event.Event) {
	for i, d := range details {
		events = append(events, event.Event{Seq: int64(i), Detail: d})
	}
	return events
}

// TestFindings: what each way of a fault's life shows of the run, cell by cell.
func TestFindings(t *testing.T) {
	kill := event.FaultPlanned{ID: 1, What: "kill", Nodes: []string{"a", "b"}, Detail: "KILL"}
	hup := event.FaultPlanned{ID: 1, What: "signal", Nodes: []string{"a"}, Detail: "HUP", Harmless: true}
	restart := event.FaultPlanned{ID: 1, What: "restart", Nodes: []string{"a"}, Detail: "stop"}
	nobody := event.FaultPlanned{ID: 1, What: "restart", Nodes: []string{}, Detail: "stop"}
	cut := event.FaultPlanned{ID: 1, What: "net.partition", Nodes: []string{"a", "b"}, Detail: "a ↔ b", Links: [][2]string{{"a", "b"}}}
	refuse := event.FaultPlanned{ID: 1, What: "net.refuse", Nodes: []string{"a", "b"}, Detail: "a ↔ b", Links: [][2]string{{"a", "b"}}}
	scheduled := event.Scheduled{ID: 1, What: "after(…, kill)", Where: "x.star:1:1"}
	applied := event.FaultApplied{ID: 1, To: []string{"a"}, Dead: []string{"b"}}
	dead := event.FaultApplied{ID: 1, To: []string{}, Dead: []string{"a", "b"}}
	touched := event.FaultTouched{ID: 1, Touched: event.Touched{Processes: 1}}
	held := event.FaultTouched{ID: 1, Touched: event.Touched{BytesHeld: 7}}
	byEnd, byScript := event.Abandoned{ID: 1, By: "end", Reason: "x"}, event.Abandoned{ID: 1, By: "script", Reason: "x"}
	for name, test := range map[string]struct {
		log    []event.Event
		struck bool
		want   string
	}{
		"touched":                 {log(kill, applied, touched), true, ""},
		"all were dead":           {log(kill, dead), false, "kill a b (KILL) touched nothing: a, b had exited before (seq 0)"},
		"descendants of the dead": {log(kill, dead, touched), true, ""},
		"cut off by the end":      {log(kill, byEnd), false, "kill a b (KILL) was planned, and the run ended before it was applied"},
		"ignored": {log(kill, event.FaultApplied{ID: 1, To: []string{"a"}}), false,
			"kill a b (KILL) touched nothing: a did not end of it (seq 0)"},
		"given up on its way": {log(restart, touched, byScript), true, ""},
		"cut off on its way": {log(restart, touched, byEnd), false,
			"restart a (stop) was planned, and the run ended before it was applied"},
		"given up by the script":  {log(kill, byScript), false, ""},
		"a log that is cut short": {log(kill), false, "kill a b (KILL) was planned, and the run ended before it was applied"},
		"harmless":                {log(hup, applied, touched), false, ""},
		"harmless, of the dead":   {log(hup, dead), false, ""},
		"restart":                 {log(restart, applied, touched), true, ""},
		"restart of the dead":     {log(restart, dead), false, ""},
		"restart of nobody": {log(nobody, event.FaultApplied{ID: 1}), false,
			"restart (stop) touched nothing: it was given no nodes (seq 0)"},
		"a cut that held bytes": {log(cut, applied, held, event.FaultHealed{ID: 1}), true, ""},
		"a cut that held nothing": {log(cut, applied, event.FaultHealed{ID: 1}), false,
			"net.partition (a ↔ b) touched nothing: no byte crossed, and nobody called (seq 0)"},
		"a refusal that nobody met": {log(refuse, applied), false,
			"net.refuse (a ↔ b) touched nothing: nobody is known to have called (seq 0)"},
		"a refusal that is not seen":     {log(refuse, event.FaultApplied{ID: 1, Unseen: true}), false, ""},
		"a refusal that was not seen":    {log(refuse, applied, event.FaultHealed{ID: 1, Unseen: true}), false, ""},
		"scheduled, and fired":           {log(scheduled, event.Fired{ID: 1}), false, ""},
		"scheduled, and never fired":     {log(scheduled, byEnd), false, "after(…, kill) at x.star:1:1 never fired"},
		"scheduled in a log cut short":   {log(scheduled), false, "after(…, kill) at x.star:1:1 never fired"},
		"scheduled, cancelled by script": {log(scheduled, byScript), false, ""},
		"of another": {log(event.FaultApplied{ID: 9}, event.FaultTouched{ID: 9}, event.FaultHealed{ID: 9},
			event.Abandoned{ID: 9}, event.Fired{ID: 9}), false, ""},
	} {
		var why []string
		for _, f := range told(test.log).Findings(0) {
			if f.Outcome != verdict.Inconclusive {
				t.Errorf("%s: %+v", name, f)
			}
			why = append(why, f.Reason)
		}
		if got := strings.Join(why, "; "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		required := told(test.log).Findings(1)
		met := len(required) == len(why)
		if met != test.struck {
			t.Errorf("%s: one fault is required: %v", name, required)
		}
	}
}

// TestTouchedText: each count is told, in words.
func TestTouchedText(t *testing.T) {
	all := event.Touched{Processes: 1, BytesHeld: 2, ClosesHeld: 3, BytesDelayed: 4, ClosesDelayed: 5, BytesCorrupted: 6,
		ConnectionsRefused: 7, ConnectionsReset: 8, ConnectionsSilent: 9, DatagramsLost: 10, DatagramsDelayed: 11,
		DatagramsDuplicated: 12, DatagramsReordered: 13}
	const want = "touched 1 process, 2 bytes held, 3 closes held, 4 bytes delayed, 5 closes delayed, 6 bytes corrupted, " +
		"7 connections refused, 8 connections reset, 9 connections kept silent, 10 datagrams lost, 11 datagrams delayed, " +
		"12 datagrams doubled, 13 datagrams overtaken"
	if got := fault.TouchedText(all); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := fault.TouchedText(event.Touched{}); got != "touched nothing" {
		t.Error(got)
	}
}

func told(events []event.Event) *fault.Ledger {
	t := &fault.Ledger{}
	for _, e := range events {
		t.Apply(e)
	}
	return t
}
