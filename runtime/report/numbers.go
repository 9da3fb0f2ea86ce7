package report

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
)

// Numbers are what a log tells of times and amounts, for two runs to be compared by.
type Numbers struct {
	DurationS float64        `json:"duration_s"` // up to the last event
	HeldS     float64        `json:"held_s,omitempty"`
	Nodes     []NodeNumbers  `json:"nodes"` // in the order of their first events
	Awaits    []AwaitNumbers `json:"awaits"`
	Faults    []FaultNumbers `json:"faults"`
	// Operations are by f and outcome, sorted; "" is the outcome of those that have not
	// completed.
	Operations []OperationNumbers `json:"operations"`
}

// NodeNumbers are those of a node. A time is nil where it did not come to that; it is since
// the start of the run.
type NodeNumbers struct {
	Node         string   `json:"node"`
	ForkedS      *float64 `json:"forked_s"`
	ReadyS       *float64 `json:"ready_s"`
	DoneS        *float64 `json:"done_s"`
	ExitedS      *float64 `json:"exited_s"`     // the last time
	Incarnations int      `json:"incarnations"` // so often it was forked
	In           int      `json:"messages_in"`  // to it
	Out          int      `json:"messages_out"` // from it
	CPUS         float64  `json:"cpu_s"`        // of all that have exited
	MaxRSSKB     int64    `json:"max_rss_kb"`   // of the largest that has exited
}

// AwaitNumbers are those of a wait, in the order in which they began.
type AwaitNumbers struct {
	What    string  `json:"what"`
	AtS     float64 `json:"at_s"`
	WaitedS float64 `json:"waited_s"`
	Ended   string  `json:"outcome"` // how, "" where it has not
}

// FaultNumbers are those of a fault.
type FaultNumbers struct {
	What     string   `json:"what"`
	PlannedS float64  `json:"planned_s"`
	AppliedS *float64 `json:"applied_s"`
	HealedS  *float64 `json:"healed_s"`
	Touched  int64    `json:"touched"` // in all, as event.Touched counts
}

// OperationNumbers are those of operations of one kind that came to one outcome, with their
// latencies in seconds.
type OperationNumbers struct {
	F       string  `json:"f"`
	Outcome string  `json:"outcome"`
	Count   int     `json:"count"`
	MinS    float64 `json:"min_s"`
	MedianS float64 `json:"median_s"`
	P99S    float64 `json:"p99_s"`
	MaxS    float64 `json:"max_s"`
}

// Measure folds a log into numbers. It keeps a word for each operation. Its error is that
// of the events.
func Measure(events iter.Seq2[event.Event, error]) (*Numbers, error) {
	type kind struct{ f, outcome string }
	type begun struct {
		f  string
		at time.Duration
	}
	n := &Numbers{Nodes: []NodeNumbers{}, Awaits: []AwaitNumbers{}, Faults: []FaultNumbers{}, Operations: []OperationNumbers{}}
	nodes, awaits, open := map[string]int{}, map[int64]int{}, map[int]begun{}
	latencies := map[kind][]time.Duration{}
	var faults fault.Ledger
	at := func(own float64, t time.Duration) time.Duration { // of an operation: where a node told it, its time
		if own > 0 {
			return time.Duration(own * float64(time.Second))
		}
		return t
	}
	for e, err := range events {
		if err != nil {
			return nil, err
		}
		n.DurationS = e.T.Seconds()
		faults.Apply(e)
		of := &NodeNumbers{} // of what tells of no node, though it is to
		if e.Node != "" {
			i, ok := nodes[e.Node]
			if !ok {
				i = len(n.Nodes)
				nodes[e.Node] = i
				n.Nodes = append(n.Nodes, NodeNumbers{Node: e.Node})
			}
			of = &n.Nodes[i]
		}
		switch d := e.Detail.(type) {
		case event.Forked:
			of.Incarnations++
		case event.State:
			first(map[string]**float64{"forked": &of.ForkedS, "ready": &of.ReadyS, "done": &of.DoneS}[d.To], e.T)
		case event.Received:
			of.Out++
		case event.Sent:
			of.In++
		case event.Exited:
			of.ExitedS = nil
			first(&of.ExitedS, e.T)
			of.CPUS += d.UserS + d.SystemS
			of.MaxRSSKB = max(of.MaxRSSKB, d.MaxRSSKB)
		case event.Await:
			awaits[d.ID] = len(n.Awaits)
			n.Awaits = append(n.Awaits, AwaitNumbers{What: d.What, AtS: e.T.Seconds()})
		case event.AwaitEnded:
			if i, ok := awaits[d.ID]; ok {
				n.Awaits[i].WaitedS, n.Awaits[i].Ended = d.WaitedS, d.Outcome
			}
		case event.Released:
			n.HeldS += d.HeldS
		case event.Invoke:
			open[d.Op] = begun{d.F, at(d.At, e.T)}
		case event.Completed:
			if b, ok := open[d.Op]; ok {
				delete(open, d.Op)
				k := kind{b.f, d.Outcome}
				latencies[k] = append(latencies[k], max(0, at(d.At, e.T)-b.at))
			}
		}
	}
	for _, b := range open {
		latencies[kind{b.f, ""}] = append(latencies[kind{b.f, ""}], 0)
	}
	for k, all := range latencies {
		slices.Sort(all)
		n.Operations = append(n.Operations, OperationNumbers{F: k.f, Outcome: k.outcome, Count: len(all), MinS: all[0].Seconds(),
			MedianS: quantile(all, 50).Seconds(), P99S: quantile(all, 99).Seconds(), MaxS: all[len(all)-1].Seconds()})
	}
	slices.SortFunc(n.Operations, func(a, b OperationNumbers) int {
		return cmp.Or(cmp.Compare(a.F, b.F), cmp.Compare(a.Outcome, b.Outcome))
	})
	for _, r := range faults.Records() {
		if r.Scheduled {
			continue
		}
		f := FaultNumbers{What: r.Title(), PlannedS: r.T.Seconds(), Touched: r.Touched.Total()}
		if r.Applied {
			first(&f.AppliedS, r.AppliedAt)
		}
		if r.Healed {
			first(&f.HealedS, r.HealedAt)
		}
		n.Faults = append(n.Faults, f)
	}
	return n, nil
}

// first sets a time that is not set.
func first(to **float64, t time.Duration) {
	if to != nil && *to == nil {
		s := t.Seconds()
		*to = &s
	}
}

// quantile is the smallest of sorted values that so many of a hundred are not above.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
