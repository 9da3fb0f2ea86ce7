package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// hostName is who drives the nodes, as charts and traces name it.
const hostName = "dagon-star"

// chart is a run as a sequence chart: lanes of the host and of the nodes, and the last of
// what passes between them. What comes again and again in a lane is one arc that counts.
type chart struct {
	lanes  []string // their names, the host's first
	arcs   []*arc
	before int // arcs that came before these

	most   int
	lane   map[string]int // of a node
	others int            // the lane of all nodes that have none of their own, 0 where there is none
	last   map[int]*arc   // of a lane
	ledger fault.Ledger
}

// arcKind is what an arc is drawn as.
type arcKind int

const (
	arcFork     arcKind = iota // the host starts a node
	arcSent                    // a message, or a request, to a node
	arcReceived                // a message from a node
	arcNote                    // beside the lanes it is about
	arcExit                    // the end of a node's process
	arcFault                   // something is done to nodes
	arcHeal                    // and undone
	arcVerdict
)

// arc is what happened, once or several times.
type arc struct {
	kind  arcKind
	seq   int64
	t     time.Duration
	lanes []int  // it is about, sorted; the host's is 0
	fault int64  // the id of a fault
	name  string // arcs of one kind, lane and name are folded
	n     int
	bad   bool // it keeps the run from passing
	text  string
	// A message, of which the text is made when it is needed.
	node    string
	message event.Received
}

// label is what is written at the arc: one line of at most so many characters, nothing
// of which acts on whoever shows it.
func (a *arc) label(most int) string {
	text := a.text
	if a.message.Address != "" {
		text = MessageText(a.node, a.message.Address, a.message.Args)
	}
	if text = cut(Visible(text), most); a.n > 1 {
		text += fmt.Sprintf(" ×%d", a.n)
	}
	return text
}

// newChart reads the log of a run as a chart of at most so many arcs and lanes of nodes.
// It holds no more of the log than that. The lanes have the order of the documents:
// from the senders by the leaders and the workers to the receivers.
func newChart(r *Run, arcs, lanes int) (*chart, error) {
	c := &chart{lanes: []string{hostName}, most: arcs, lane: map[string]int{}, last: map[int]*arc{}}
	var nodes []NodeOverview
	for _, n := range r.Nodes {
		if n.State != "" || n.Received > 0 {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) > lanes {
		c.others = lanes // the last lane
		nodes = slices.Clone(r.foremost(nodes)[:lanes-1])
	}
	ranks := map[string]int{"sender": 1, "leader": 2, "worker": 3, "": 4, "receiver": 5}
	at := map[string]int{}
	for i, n := range r.Nodes {
		at[n.Name] = i
	}
	slices.SortStableFunc(nodes, func(a, b NodeOverview) int {
		if d := ranks[a.Role] - ranks[b.Role]; d != 0 {
			return d
		}
		return at[a.Name] - at[b.Name]
	})
	for _, n := range nodes {
		c.lane[n.Name] = len(c.lanes)
		c.lanes = append(c.lanes, n.Name)
	}
	if c.others > 0 {
		c.lanes = append(c.lanes, fmt.Sprintf("%d more nodes", len(r.Nodes)-len(nodes)))
	}
	for e, err := range r.Log() {
		if err != nil {
			return nil, err
		}
		c.apply(e)
	}
	if !r.Finished {
		c.add(&arc{kind: arcVerdict, seq: r.Events, t: time.Duration(r.EndS * float64(time.Second)), bad: true,
			text: r.headline()})
	}
	c.trim()
	return c, nil
}

// foremost are nodes, those first that the failure and the faults are about.
func (o *Overview) foremost(nodes []NodeOverview) []NodeOverview {
	concerns := map[string]bool{}
	for _, name := range o.Culprits {
		concerns[name] = true
	}
	for _, f := range o.LastFaults(mostFaults) {
		for _, name := range f.Nodes {
			concerns[name] = true
		}
	}
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b NodeOverview) int {
		rank := func(n NodeOverview) int {
			if concerns[n.Name] || n.Unexpected != "" {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	return nodes
}

// of is the lane of a node, which has one from then on.
func (c *chart) of(node string) int {
	if node == "" {
		return 0
	}
	lane, ok := c.lane[node]
	if !ok {
		if lane = c.others; lane == 0 {
			lane = len(c.lanes)
			c.lanes = append(c.lanes, node)
		}
		c.lane[node] = lane
	}
	return lane
}

// laneSet is the lanes of nodes, each once; the host's where there is none.
func (c *chart) laneSet(nodes ...string) []int {
	var lanes []int
	for _, n := range nodes {
		lanes = append(lanes, c.of(n))
	}
	if len(lanes) == 0 {
		return []int{0}
	}
	slices.Sort(lanes)
	return slices.Compact(lanes)
}

// apply folds an event.
func (c *chart) apply(e event.Event) {
	a := &arc{seq: e.Seq, t: e.T, node: e.Node}
	switch d := e.Detail.(type) {
	case event.Received:
		a.kind, a.message, a.name = arcReceived, d, d.Address
	case event.Sent:
		a.kind, a.message, a.name = arcSent, event.Received{Address: d.Address, Args: d.Args}, d.Address
	case event.Forked:
		a.kind, a.text = arcFork, "fork"
		if d.Incarnation > 1 {
			a.text += fmt.Sprintf(", incarnation %d", d.Incarnation)
		}
	case event.Probe:
		if !d.Ready {
			return
		}
		a.kind, a.text = arcReceived, "ready"
	case event.Asked:
		if d.How != roster.Stop && d.How != roster.Kill {
			return
		}
		a.kind, a.text = arcSent, d.Signal
	case event.Action:
		a.kind, a.text, a.name = arcSent, d.What+": "+d.Outcome, d.What+"\n"+d.Outcome
	case event.Lost:
		a.kind, a.text = arcNote, "lost its control connection"
	case event.Refused:
		a.kind, a.text, a.bad = arcNote, "refused: "+d.Reason, true
	case event.Exited:
		a.kind, a.text, a.bad = arcExit, "exited "+roster.ExitText(d.Code, d.Signal), !d.Expected
		if a.bad && d.Why != "" {
			a.text += ": " + d.Why
		}
	case event.AwaitEnded:
		if d.Outcome != "timeout" && d.Outcome != "impossible" {
			return
		}
		a.kind, a.bad, a.lanes = arcNote, true, c.laneSet()
		a.text = fmt.Sprintf("gave up waiting after %.3f s", d.WaitedS)
		if len(d.Missing) > 0 {
			a.text += " for " + some(d.Missing)
		}
	case event.Finding:
		if d.Outcome == string(verdict.Passed) {
			return
		}
		a.kind, a.bad, a.lanes, a.text = arcNote, true, c.laneSet(d.Nodes...), d.Outcome+": "+d.Reason
	case event.Verdict:
		a.kind, a.bad, a.text = arcVerdict, d.Outcome != string(verdict.Passed), d.Outcome
		if d.Reason != "" {
			a.text += ": " + d.Reason
		}
	default:
		c.ledger.Apply(e)
		if !c.applyFault(a, e.Detail) {
			return
		}
	}
	if a.lanes == nil {
		a.lanes = c.laneSet(e.Node)
	}
	c.add(a)
}

// applyFault makes an arc of an event of a fault's life, and reports whether it is one.
func (c *chart) applyFault(a *arc, detail event.Detail) bool {
	var id int64
	switch d := detail.(type) {
	case event.FaultApplied:
		id, a.kind = d.ID, arcFault
	case event.FaultHealed:
		id, a.kind, a.lanes = d.ID, arcHeal, c.laneSet(d.Nodes...)
	case event.Abandoned:
		id, a.kind = d.ID, arcNote
	default:
		return false
	}
	f := c.ledger.Record(id)
	if f == nil || f.Harmless && a.kind != arcFault || f.Scheduled {
		return false
	}
	if a.fault = id; a.lanes == nil {
		a.lanes = c.laneSet(f.Nodes...)
	}
	switch a.text = f.Title(); a.kind {
	case arcHeal:
		a.text = "healed: " + a.text
	case arcNote:
		a.text = "not applied: " + a.text
	case arcFault:
		if len(f.Dead) > 0 && len(f.To) == 0 {
			a.text += ", dead already"
		}
	}
	return true
}

// add adds an arc, or counts it where the one before it in its lane is alike.
func (c *chart) add(a *arc) {
	if a.lanes == nil {
		a.lanes = []int{0}
	}
	if a.name == "" {
		a.name = a.text
	}
	if a.kind != arcVerdict {
		if p := c.last[a.lanes[0]]; p != nil && p.kind == a.kind && p.name == a.name && p.fault == 0 && slices.Equal(p.lanes, a.lanes) {
			p.n++
			p.message = a.message
			return
		}
	}
	a.n = 1
	for _, lane := range a.lanes {
		c.last[lane] = a
	}
	if c.arcs = append(c.arcs, a); len(c.arcs) >= 2*c.most {
		c.shorten()
	}
}

func (c *chart) shorten() {
	if more := len(c.arcs) - c.most; more > 0 {
		c.before += more
		c.arcs = append([]*arc(nil), c.arcs[more:]...)
	}
}

// trim leaves out what is too much, and the lanes that nothing is drawn in.
func (c *chart) trim() {
	c.shorten()
	used := make([]bool, len(c.lanes))
	used[0] = true
	for _, a := range c.arcs {
		for _, lane := range a.lanes {
			used[lane] = true
		}
	}
	to := make([]int, len(c.lanes))
	var lanes []string
	for i, name := range c.lanes {
		if to[i] = len(lanes); used[i] {
			lanes = append(lanes, name)
		}
	}
	c.lanes = lanes
	for _, a := range c.arcs {
		a.lanes = slices.Clone(a.lanes)
		for i := range a.lanes {
			a.lanes[i] = to[a.lanes[i]]
		}
	}
}

// title is what the chart is of, in a line.
func (r *Run) title() string {
	return cut(Visible(strings.TrimSpace(r.Started.Script+" "+r.Started.Topology)+": "+r.headline()), 200)
}

// laneSpans are lanes as pairs of the first and the last of those side by side.
func laneSpans(lanes []int) (all [][2]int) {
	for _, lane := range lanes {
		if n := len(all); n > 0 && all[n-1][1] == lane-1 {
			all[n-1][1] = lane
			continue
		}
		all = append(all, [2]int{lane, lane})
	}
	return all
}
