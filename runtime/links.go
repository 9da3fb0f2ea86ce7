package runtime

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/link"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// LinkFaults are the names of what can be done to links.
func LinkFaults() []string {
	return []string{"net.partition", "net.isolate", "net.delay", "net.rate", "net.refuse", "net.reset", "net.half_open",
		"net.corrupt", "net.drop_connections", "net.loss", "net.duplicate", "net.reorder"}
}

// LinkError is harm that cannot be done to links: there are none between the
// nodes, or none that it can befall.
type LinkError struct{ Text string }

func (e *LinkError) Error() string { return e.Text }

// LinkPlan is a fault of links before it is planned.
type LinkPlan struct {
	What   string // one of LinkFaults
	Detail string
	Pairs  []link.Pair // directions in which bytes move
	// Partial has pairs without a link passed over, as long as there are others.
	Partial bool
}

// linkKinds are the kinds of network that faults befall, where it is one alone.
var linkKinds = map[string]string{"net.refuse": "tcp", "net.reset": "tcp", "net.half_open": "tcp", "net.drop_connections": "tcp",
	"net.loss": "udp", "net.duplicate": "udp", "net.reorder": "udp"}

// Across are the directions from each of some nodes to each of others.
func Across(from, to []string) (pairs []link.Pair) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				pairs = append(pairs, link.Pair{From: a, To: b})
			}
		}
	}
	return pairs
}

// Between are the directions that a fault of links of a name acts on, one way: of
// net.partition those from each group to later ones, or to all other nodes where
// there is one group; of net.isolate those to all other nodes; of the others those
// from the first group to the second.
func Between(what string, groups [][]string, t *topology.Topology) (pairs []link.Pair) {
	if len(groups) == 1 {
		var others []string
		for _, n := range t.Nodes {
			if what == "net.isolate" || !slices.Contains(groups[0], n.Name) {
				others = append(others, n.Name)
			}
		}
		groups = append(groups[:1:1], others)
	}
	for i, group := range groups {
		for _, later := range groups[i+1:] {
			pairs = append(pairs, Across(group, later)...)
		}
	}
	return pairs
}

// Linked returns those pairs of the plan between which the topology has a link of
// its kind, each once. It is a *LinkError that names the others, if any has none
// and the plan is not Partial, and if none has one.
func (p LinkPlan) Linked(t *topology.Topology) ([]link.Pair, error) {
	kinds, kind := t.Links(), linkKinds[p.What]
	var linked []link.Pair
	var missing []string
	seen := map[link.Pair]bool{}
	for _, pair := range p.Pairs {
		if seen[pair] {
			continue
		}
		seen[pair] = true
		has := kinds[[2]string{pair.From, pair.To}]
		switch {
		case kind == "" && len(has) > 0, slices.Contains(has, kind):
			linked = append(linked, pair)
		case seen[link.Pair{From: pair.To, To: pair.From}]: // it was named the other way round
		case len(has) > 0:
			missing = append(missing, fmt.Sprintf("%s and %s (it is of %s, and %s is needed)", pair.From, pair.To, strings.Join(has, " and "), kind))
		default:
			missing = append(missing, pair.From+" and "+pair.To)
		}
	}
	switch {
	case len(p.Pairs) == 0:
		return nil, &LinkError{fmt.Sprintf("cannot do %s: no two nodes are named", p.What)}
	case len(missing) == 0, p.Partial && len(linked) > 0:
		return linked, nil
	}
	const told = 8
	advice := "a link is where the ini has <node:NAME>"
	if len(linked) > 0 {
		advice += "; partial=True passes over pairs that have none"
	}
	if more := len(missing) - told; more > 0 {
		missing = append(missing[:told], fmt.Sprintf("%d other pairs", more))
	}
	return nil, &LinkError{fmt.Sprintf("cannot do %s: there is no link between %s; %s", p.What, strings.Join(missing, ", "), advice)}
}

// stream is the stream of random numbers that a link draws from, by its name: it
// depends on the run's seed and on nothing else.
func (r *Run) stream(name string) *rand.Rand {
	h := fnv.New64a()
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], r.cfg.Seed)
	h.Write(seed[:])
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(r.cfg.Seed, h.Sum64()))
}

// ways words the directions that are harmed: "a → b", or "a ↔ b" for both, the
// nodes in the order of the ini.
func (r *Run) ways(pairs []link.Pair) string {
	harmed := map[link.Pair]bool{}
	for _, p := range pairs {
		harmed[p] = true
	}
	var words []string
	for i, n := range r.order {
		for _, m := range r.order[i+1:] {
			a, b := n.Name, m.Name
			there, back := harmed[link.Pair{From: a, To: b}], harmed[link.Pair{From: b, To: a}]
			switch {
			case there && back:
				words = append(words, a+" ↔ "+b)
			case there:
				words = append(words, a+" → "+b)
			case back:
				words = append(words, b+" → "+a)
			}
		}
	}
	return strings.Join(words, ", ")
}

// harm does a fault to links.
type harm struct {
	nodes []string // at the ends of the links
	do    func() (*link.Disturbance, error)
	links *link.Disturbance // nil until it is done
}

// Apply puts the effect on the links.
func (h *harm) Apply(context.Context) (reach fault.Reach, err error) {
	if h.links, err = h.do(); err != nil {
		return reach, err
	}
	return fault.Reach{To: h.nodes, Unseen: h.links.Unseen()}, nil
}

// Heal takes the effect off the links.
func (h *harm) Heal([]string) error {
	if h.links == nil {
		return nil
	}
	return h.links.Heal()
}

// Unseen reports whether what the effect has done may not be counted.
func (h *harm) Unseen() bool { return h.links != nil && h.links.Unseen() }

// Touched counts what the effect has done.
func (h *harm) Touched() event.Touched {
	if h.links == nil {
		return event.Touched{}
	}
	t := h.links.Touched()
	return event.Touched{
		BytesHeld: t.BytesHeld, ClosesHeld: t.ClosesHeld, BytesDelayed: t.BytesDelayed, ClosesDelayed: t.ClosesDelayed,
		BytesCorrupted: t.BytesCorrupted, ConnectionsRefused: t.ConnectionsRefused, ConnectionsReset: t.ConnectionsReset,
		ConnectionsSilent: t.ConnectionsSilent, DatagramsLost: t.DatagramsLost, DatagramsDelayed: t.DatagramsDelayed,
		DatagramsDuplicated: t.DatagramsDuplicated, DatagramsReordered: t.DatagramsReordered,
	}
}

// Disturb plans to put an effect on the bytes that move along pairs of nodes,
// until the fault is healed. It is a *LinkError as LinkPlan.Linked says.
func (r *Run) Disturb(p LinkPlan, e link.Effect) (*Step, error) {
	return r.harmLinks(p, true, func(pairs []link.Pair) (*link.Disturbance, error) { return r.network.Apply(pairs, e) })
}

// HalfOpen plans to end the connections between pairs of nodes for the second of
// each alone, by a reset; the first does not know until the fault is healed. To do
// it is a *LinkError if there is no connection.
func (r *Run) HalfOpen(p LinkPlan) (*Step, error) {
	return r.harmLinks(p, true, func(pairs []link.Pair) (*link.Disturbance, error) {
		return someConnection(p)(r.network.HalfOpen(pairs))
	})
}

// ResetLinks plans to reset all connections between pairs of nodes. To do it is a
// *LinkError if there is none.
func (r *Run) ResetLinks(p LinkPlan) (*Step, error) {
	return r.harmLinks(p, false, func(pairs []link.Pair) (*link.Disturbance, error) {
		return someConnection(p)(r.network.Reset(pairs))
	})
}

// someConnection makes an error of what found no connection to act on.
func someConnection(p LinkPlan) func(*link.Disturbance, error) (*link.Disturbance, error) {
	return func(d *link.Disturbance, err error) (*link.Disturbance, error) {
		if err == nil && !d.Touched().Any() {
			err = &LinkError{fmt.Sprintf("cannot do %s: there is no connection between %s and %s at this time", p.What,
				p.Pairs[0].From, p.Pairs[0].To)}
		}
		return d, err
	}
}

func (r *Run) harmLinks(p LinkPlan, lasting bool, do func([]link.Pair) (*link.Disturbance, error)) (*Step, error) {
	if r.network == nil {
		return nil, &LinkError{fmt.Sprintf("cannot do %s: nodes reach each other directly; [dagon] links = proxy gives them links", p.What)}
	}
	pairs, err := p.Linked(r.cfg.Topology)
	if err != nil {
		return nil, err
	}
	detail := r.ways(pairs)
	if p.Detail != "" {
		detail += ": " + p.Detail
	}
	plan := fault.Plan{What: p.What, Detail: detail, Lasting: lasting, Turn: true}
	ends, told := map[string]bool{}, map[link.Pair]bool{}
	for _, pair := range pairs {
		ends[pair.From], ends[pair.To] = true, true
		if told[pair] = true; !told[link.Pair{From: pair.To, To: pair.From}] { // the way back
			plan.Links = append(plan.Links, [2]string{pair.From, pair.To})
		}
	}
	for _, n := range r.order {
		if ends[n.Name] {
			plan.Nodes = append(plan.Nodes, n.Name)
		}
	}
	r.j.Lock()
	defer r.j.Unlock()
	if r.ending {
		return nil, ErrEnded
	}
	plan.Where = r.place()
	return r.faults.Plan(plan, &harm{nodes: plan.Nodes, do: func() (*link.Disturbance, error) { return do(pairs) }}), nil
}

// HealLinks plans to undo all that is in force on links.
func (r *Run) HealLinks() *Step {
	r.j.Lock()
	defer r.j.Unlock()
	return r.faults.Heal(func(f *Fault, _ string) bool { return f.OnLinks() })
}
