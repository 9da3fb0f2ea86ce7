package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Unfinished is the outcome of a run without a verdict: it was killed, or still runs.
const Unfinished = "unfinished"

// OverviewFormat is the number of the JSON format of an Overview.
const OverviewFormat = 1

// Overview is what a log comes to: who broke, when, under which faults, and how the run is
// repeated. It is a fold over the log, whose size depends on the nodes, the faults and the
// findings, and not on the messages. Times are seconds since the run's start.
type Overview struct {
	Format  int              `json:"format"`
	Started event.RunStarted `json:"started"`
	Rung    string           `json:"rung,omitempty"` // of the containment ladder
	Events  int64            `json:"events"`
	EndS    float64          `json:"end_s"` // of the last event
	// Finished says that the log is whole: the run came to its end.
	Finished      bool `json:"finished"`
	event.Verdict      // its outcome is Unfinished where there was none
	// Culprits are the nodes that the deciding finding is about, as far as that is known.
	Culprits []string `json:"culprits,omitempty"`
	// BrokeS is when the run failed: the time of a culprit's unasked exit, else that of
	// the deciding finding, else of the last event. Nodes, Awaits and Faults are as of then.
	BrokeS     float64        `json:"broke_s"`
	BrokeSeq   int64          `json:"broke_seq"` // of that event
	Findings   []Found        `json:"findings"`
	Nodes      []NodeOverview `json:"nodes"`
	Faults     []FaultLife    `json:"faults"`
	Awaits     []AwaitLife    `json:"awaits"`               // that had not ended, and one that ended in vain
	Operations map[string]int `json:"operations,omitempty"` // of the whole run, by outcome; "open" is one that did not complete
	Received   int64          `json:"received"`             // messages from nodes, of the whole run
	Sent       int64          `json:"sent"`                 // messages to nodes
}

// Found is a finding with its event.
type Found struct {
	event.Finding
	Seq int64   `json:"seq"`
	T   float64 `json:"t"`
}

// NodeOverview is one node.
type NodeOverview struct {
	Name        string  `json:"name"`
	Role        string  `json:"role,omitempty"`
	State       string  `json:"state"` // "" where it had not been forked
	StateS      float64 `json:"state_s,omitempty"`
	Paused      bool    `json:"paused,omitempty"`
	Incarnation int     `json:"incarnation,omitempty"`
	PID         int     `json:"pid,omitempty"`
	Exit        string  `json:"exit,omitempty"` // "0", "by signal KILL"
	ExitS       float64 `json:"exit_s,omitempty"`
	Unexpected  string  `json:"unexpected,omitempty"` // why nobody had asked for its exit
	Said        string  `json:"said,omitempty"`       // the last message from it
	SaidS       float64 `json:"said_s,omitempty"`
	Output      string  `json:"output,omitempty"` // the last line that it had written
	OutputS     float64 `json:"output_s,omitempty"`
	Received    int64   `json:"received"` // messages from it
	Sent        int64   `json:"sent"`     // to it

	said    event.Received
	exitSeq int64
}

// FaultLife is the life of a fault. Those times that have not come are -1.
type FaultLife struct {
	ID       int64    `json:"id"`
	Title    string   `json:"title"` // "kill worker-1 (KILL)"
	Nodes    []string `json:"nodes"`
	Where    string   `json:"where,omitempty"`
	Lasting  bool     `json:"lasting,omitempty"`
	Harmless bool     `json:"harmless,omitempty"`
	InForce  bool     `json:"in_force,omitempty"` // when the run failed
	Outcome  string   `json:"outcome,omitempty"`  // "reached a, touched 1 process"
	PlannedS float64  `json:"planned_s"`
	AppliedS float64  `json:"applied_s"`
	HealedS  float64  `json:"healed_s"`
}

// AwaitLife is a wait of the script.
type AwaitLife struct {
	ID       int64    `json:"id"`
	What     string   `json:"what"`
	Nodes    []string `json:"nodes,omitempty"`
	Where    string   `json:"where,omitempty"`
	BeganS   float64  `json:"began_s"`
	TimeoutS float64  `json:"timeout_s"`
	Ended    string   `json:"ended,omitempty"` // how: "timeout" or "impossible"; "" where it had not
	Missing  []string `json:"missing,omitempty"`
}

// Survey folds a log into its overview.
func Survey(events iter.Seq2[event.Event, error]) (*Overview, error) {
	var s survey
	for e, err := range events {
		if err != nil {
			return nil, err
		}
		s.apply(e)
	}
	return s.overview(), nil
}

// survey is what is known of a log so far. At a finding that is worse than those before
// it, what was known then is kept.
type survey struct {
	o       Overview
	nodes   map[string]*NodeOverview
	order   []*NodeOverview
	ledger  fault.Ledger
	where   map[int64]string // of faults
	awaits  map[int64]AwaitLife
	vain    *AwaitLife // that ended last otherwise than met
	verdict *event.Verdict
	worst   *Found
	kept    []NodeOverview // at worst
	waits   []AwaitLife
	open    int // operations
}

func (s *survey) node(name string) *NodeOverview {
	n := s.nodes[name]
	if n == nil {
		if s.nodes == nil {
			s.nodes = map[string]*NodeOverview{}
		}
		n = &NodeOverview{Name: name, exitSeq: -1}
		s.nodes[name] = n
		s.order = append(s.order, n)
	}
	return n
}

// apply folds an event.
func (s *survey) apply(e event.Event) {
	o, t := &s.o, e.T.Seconds()
	o.Events, o.EndS = e.Seq+1, t
	switch d := e.Detail.(type) {
	case event.Received: // first, what there may be most of
		o.Received++
		n := s.node(e.Node)
		n.Received++
		n.said, n.SaidS = d, t
		return
	case event.Sent:
		o.Sent++
		s.node(e.Node).Sent++
		return
	case event.Invoke:
		s.open++
		return
	case event.Completed:
		s.open--
		s.count(d.Outcome, 1)
		return
	}
	s.ledger.Apply(e)
	switch d := e.Detail.(type) {
	case event.RunStarted:
		o.Started = d
		for _, spec := range d.Nodes {
			s.node(spec.Name).Role = spec.Role
		}
	case event.Contained:
		o.Rung = d.Rung
	case event.Forked:
		n := s.node(e.Node)
		n.PID, n.Incarnation, n.Exit, n.Unexpected, n.exitSeq = d.PID, d.Incarnation, "", "", -1
	case event.State:
		n := s.node(e.Node)
		n.State, n.StateS = d.To, t
	case event.Exited:
		n := s.node(e.Node)
		n.Exit, n.ExitS, n.exitSeq = roster.ExitText(d.Code, d.Signal), t, e.Seq
		if n.Paused = false; !d.Expected {
			n.Unexpected = cmp.Or(d.Why, "nobody had asked for it")
		}
	case event.FaultPlanned:
		if s.where == nil {
			s.where = map[int64]string{}
		}
		s.where[d.ID] = d.Where
	case event.FaultApplied:
		if r := s.ledger.Record(d.ID); r != nil && r.What == "pause" {
			s.pause(d.To, true)
		}
	case event.FaultHealed:
		if r := s.ledger.Record(d.ID); r != nil && r.What == "pause" {
			s.pause(d.Nodes, false)
		}
	case event.Await:
		if s.awaits == nil {
			s.awaits = map[int64]AwaitLife{}
		}
		s.awaits[d.ID] = AwaitLife{ID: d.ID, What: d.What, Nodes: d.Nodes, Where: d.Where, BeganS: t, TimeoutS: d.TimeoutS}
	case event.AwaitEnded:
		w := s.awaits[d.ID]
		delete(s.awaits, d.ID)
		if d.Outcome == "timeout" || d.Outcome == "impossible" {
			w.Ended, w.Missing = d.Outcome, d.Missing
			s.vain = &w
		}
	case event.Finding:
		f := Found{d, e.Seq, t}
		o.Findings = append(o.Findings, f)
		if s.worst == nil || verdict.Worse(verdict.Outcome(d.Outcome), verdict.Outcome(s.worst.Outcome)) {
			s.worst = &f
			s.keep()
		}
	case event.Verdict:
		s.verdict = &d
	case event.RunFinished:
		o.Finished = true
	}
}

func (s *survey) count(outcome string, n int) {
	if s.o.Operations == nil {
		s.o.Operations = map[string]int{}
	}
	s.o.Operations[outcome] += n
}

func (s *survey) pause(names []string, paused bool) {
	for _, name := range names {
		s.node(name).Paused = paused
	}
}

// keep keeps what is known now.
func (s *survey) keep() {
	s.kept = s.kept[:0]
	for _, n := range s.order {
		s.kept = append(s.kept, *n)
	}
	s.waits = s.waits[:0]
	if s.vain != nil {
		s.waits = append(s.waits, *s.vain)
	}
	for _, w := range s.awaits {
		s.waits = append(s.waits, w)
	}
	slices.SortFunc(s.waits, func(a, b AwaitLife) int { return cmp.Compare(a.ID, b.ID) })
}

// overview is what it all comes to.
func (s *survey) overview() *Overview {
	o := &s.o
	o.Format = OverviewFormat
	o.BrokeS, o.BrokeSeq = o.EndS, o.Events-1
	if o.Verdict = (event.Verdict{Outcome: Unfinished}); s.verdict != nil {
		o.Verdict = *s.verdict
	}
	if s.worst != nil && s.worst.Outcome == o.Outcome && o.Outcome != string(verdict.Passed) {
		o.BrokeS, o.BrokeSeq, o.Culprits = s.worst.T, s.worst.Seq, s.worst.Nodes
	} else {
		s.vain = nil
		s.keep()
	}
	o.Nodes = s.kept
	for i := range o.Nodes {
		n := &o.Nodes[i]
		if n.said.Address != "" {
			n.Said = MessageText(n.Name, n.said.Address, n.said.Args)
		}
		if n.Unexpected != "" && len(o.Culprits) > 0 && n.Name == o.Culprits[0] && n.exitSeq >= 0 {
			o.BrokeS, o.BrokeSeq = n.ExitS, n.exitSeq
		}
	}
	o.Awaits = append([]AwaitLife{}, s.waits...)
	o.Faults = []FaultLife{}
	for _, r := range s.ledger.Records() {
		if !r.Scheduled {
			o.Faults = append(o.Faults, life(r, s.where[r.ID], time.Duration(o.BrokeS*float64(time.Second))))
		}
	}
	o.Findings = append([]Found{}, o.Findings...)
	if s.open > 0 {
		s.count("open", s.open)
	}
	return o
}

func life(r *fault.Record, where string, broke time.Duration) FaultLife {
	f := FaultLife{ID: r.ID, Title: r.Title(), Nodes: append([]string{}, r.Nodes...), Where: where, Lasting: r.Lasting, Harmless: r.Harmless,
		InForce: r.InForce(broke), Outcome: r.Outcome(), PlannedS: r.T.Seconds(), AppliedS: -1, HealedS: -1}
	if r.Applied {
		f.AppliedS = r.AppliedAt.Seconds()
	}
	if r.Healed {
		f.HealedS = r.HealedAt.Seconds()
	}
	return f
}

// Passed reports whether nothing keeps the run from having passed.
func (o *Overview) Passed() bool { return o.Outcome == string(verdict.Passed) }

// LastFaults are the faults that do harm and were applied before the run failed, of which
// the last n and those that were in force.
func (o *Overview) LastFaults(n int) (last []FaultLife) {
	for i := len(o.Faults) - 1; i >= 0; i-- {
		f := o.Faults[i]
		if f.Harmless || f.AppliedS < 0 || f.AppliedS > o.BrokeS || len(last) >= n && !f.InForce {
			continue
		}
		last = append(last, f)
	}
	slices.Reverse(last)
	return last
}

// writeOverview writes the overview as JSON.
func writeOverview(r *Run, w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r.Overview)
}

// place takes file:line:col apart; line is 0 where there is none.
func splitPlace(where string) (file string, line int) {
	parts := strings.Split(where, ":")
	if len(parts) < 3 {
		return where, 0
	}
	fmt.Sscan(parts[len(parts)-2], &line)
	return strings.Join(parts[:len(parts)-2], ":"), line
}
