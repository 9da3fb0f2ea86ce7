package report_test

import (
	"encoding/json"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
)

// TestMeasure: times are those of the events, a second apart, and operations by outcome.
func TestMeasure(t *testing.T) {
	n, err := report.Measure(func(yield func(event.Event, error) bool) {
		for _, e := range log(
			entry{"a", event.Forked{Incarnation: 1}}, state("a", "forked"), state("a", "ready"), // 0 to 2 s
			entry{"", event.Await{ID: 1, What: "done"}}, entry{"a", event.Received{Address: "/x"}}, entry{"a", event.Sent{Address: "/y"}},
			entry{"", event.Invoke{Op: 0, F: "read"}}, entry{"", event.Invoke{Op: 1, F: "read"}}, // 6, 7
			entry{"", event.Completed{Op: 0, Outcome: "ok"}}, entry{"", event.Completed{Op: 1, Outcome: "ok", At: 7.5}}, // 8, 9
			entry{"", event.Invoke{Op: 2, F: "read"}},
			strike(2, "pause", "", "a"), entry{"", event.FaultApplied{ID: 2, To: []string{"a"}}}, // 11, 12
			entry{"", event.FaultTouched{ID: 2, Touched: event.Touched{Processes: 3}}}, entry{"", event.FaultHealed{ID: 2, Nodes: []string{"a"}}},
			entry{"", event.AwaitEnded{ID: 1, Outcome: "met", WaitedS: 12}}, // 15
			entry{"a", event.Exited{UserS: 1, SystemS: 0.5, MaxRSSKB: 7}},
			entry{"", event.Held{}}, entry{"", event.Released{HeldS: 0.5}},
		) {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(n)
	const want = `{"duration_s":18,"held_s":0.5,"nodes":[{"node":"a","forked_s":1,"ready_s":2,"done_s":null,"exited_s":16,"incarnations":1,` +
		`"messages_in":1,"messages_out":1,"cpu_s":1.5,"max_rss_kb":7}],"awaits":[{"what":"done","at_s":3,"waited_s":12,"outcome":"met"}],` +
		`"faults":[{"what":"pause a","planned_s":11,"applied_s":12,"healed_s":14,"touched":3}],"operations":[` +
		`{"f":"read","outcome":"","count":1,"min_s":0,"median_s":0,"p99_s":0,"max_s":0},` +
		`{"f":"read","outcome":"ok","count":2,"min_s":0.5,"median_s":0.5,"p99_s":2,"max_s":2}]}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
