package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/link"
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

// linked is the pairs between which there are links of a kind, "tcp" or "udp", or
// any for "".
func (r *Run) linked(what, kind string, pairs []link.Pair) ([]link.Pair, error) {
	if r.network == nil {
		return nil, &LinkError{fmt.Sprintf("cannot do %s: nodes reach each other directly; [dagon] links = proxy gives them links", what)}
	}
	if len(pairs) == 0 {
		return nil, &LinkError{fmt.Sprintf("cannot do %s: no two nodes are named", what)}
	}
	var between []link.Pair
	other := ""
	for _, p := range pairs {
		if !r.network.Has(p) || slices.Contains(between, p) {
			continue
		}
		networks := r.network.Networks(p)
		if kind != "" && !networks[kind] {
			for other = range networks {
			}
			continue
		}
		between = append(between, p)
	}
	switch first := pairs[0]; {
	case len(between) > 0:
		return between, nil
	case other != "":
		return nil, &LinkError{fmt.Sprintf("cannot do %s: it befalls %s, and the link between %s and %s is %s", what, kind, first.From, first.To, other)}
	case len(pairs) > 2:
		return nil, &LinkError{fmt.Sprintf("cannot do %s: there is no link between any of the nodes; a link is where the ini has <node:NAME>", what)}
	default:
		return nil, &LinkError{fmt.Sprintf("cannot do %s: there is no link between %s and %s; a link is where the ini has <%s:NAME> in [%s], or the other way round",
			what, first.From, first.To, first.To, first.From)}
	}
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
			a, b := n.spec.Name, m.spec.Name
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

// intend logs the intent to harm links, and tells which of their nodes are dead and
// when it is to be done.
func (r *Run) intend(what, detail string, pairs []link.Pair) (id int64, nodes []*node, dead []string, t turn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return 0, nil, nil, t, ErrEnded
	}
	in := map[string]bool{}
	var links [][2]string
	for _, p := range pairs {
		in[p.From], in[p.To] = true, true
		if !slices.Contains(links, [2]string{p.To, p.From}) { // the way back
			links = append(links, [2]string{p.From, p.To})
		}
	}
	for _, n := range r.order {
		if in[n.spec.Name] {
			nodes = append(nodes, n)
			if n.state == StateExited {
				dead = append(dead, n.spec.Name)
			}
		}
	}
	r.lastID++
	r.record("", event.Fault{ID: r.lastID, What: what, Nodes: nodeNames(nodes), Detail: detail, Links: links})
	return r.lastID, nodes, dead, r.queue(), nil
}

// Disturb plans to put an effect on the bytes that move along pairs of nodes,
// until the fault is healed. what is its name in the log, and kind "tcp" or "udp"
// where it befalls one alone. Pairs without a link are passed over; it is a
// *LinkError where none has one.
func (r *Run) Disturb(what, kind, detail string, pairs []link.Pair, e link.Effect) (Planned, error) {
	return r.harmLinks(what, kind, detail, pairs, func(pairs []link.Pair) (*link.Disturbance, error) { return r.network.Apply(pairs, e) })
}

// HalfOpen plans to end the connections between pairs of nodes for the second of
// each alone, by a reset; the first does not know until the fault is healed.
func (r *Run) HalfOpen(pairs []link.Pair) (Planned, error) {
	const what = "net.half_open"
	return r.harmLinks(what, "tcp", "", pairs, func(pairs []link.Pair) (*link.Disturbance, error) {
		d, err := r.network.HalfOpen(pairs)
		if err == nil && !d.Touched().Any() {
			err = noConnections(what, pairs)
		}
		return d, err
	})
}

// ResetLinks plans to reset all connections between pairs of nodes.
func (r *Run) ResetLinks(pairs []link.Pair) (Planned, error) {
	const what = "net.reset"
	return r.harmLinks(what, "tcp", "", pairs, func(pairs []link.Pair) (*link.Disturbance, error) {
		d, err := r.network.Reset(pairs)
		if err == nil && !d.Touched().Any() {
			err = noConnections(what, pairs)
		}
		return nil, err
	})
}

func noConnections(what string, pairs []link.Pair) error {
	return &LinkError{fmt.Sprintf("cannot do %s: there is no connection between %s and %s at this time", what, pairs[0].From, pairs[0].To)}
}

func (r *Run) harmLinks(what, kind, detail string, pairs []link.Pair, do func([]link.Pair) (*link.Disturbance, error)) (Planned, error) {
	pairs, err := r.linked(what, kind, pairs)
	if err != nil {
		return nil, err
	}
	ways := r.ways(pairs)
	if detail != "" {
		ways += ": " + detail
	}
	id, nodes, dead, t, err := r.intend(what, ways, pairs)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (*Fault, error) {
		t.wait()
		defer t.end()
		began := time.Now()
		links, err := do(pairs)
		if err != nil {
			return nil, err
		}
		var f *Fault
		if links != nil {
			f = &Fault{run: r, ID: id, What: what, nodes: nodes, links: links}
			r.mu.Lock()
			r.disturbances = append(r.disturbances, f)
			r.mu.Unlock()
		}
		r.applied(id, began, dead)
		return f, nil
	}, nil
}

// HealLinks plans to undo all that is in force on links.
func (r *Run) HealLinks() Planned {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.healLinks(nil)
}

// healLinks plans to undo what is in force on links when its turn has come: one
// fault, or all for nil. The lock is held.
func (r *Run) healLinks(only *Fault) Planned {
	t := r.queue()
	return func(context.Context) (*Fault, error) {
		t.wait()
		defer t.end()
		var healing []*Fault
		r.mu.Lock()
		r.disturbances = slices.DeleteFunc(r.disturbances, func(f *Fault) bool {
			if only != nil && f != only {
				return false
			}
			healing = append(healing, f)
			return true
		})
		r.mu.Unlock()
		var errs []error
		for _, f := range slices.Backward(healing) {
			errs = append(errs, r.undisturb(f))
		}
		return nil, errors.Join(errs...)
	}
}

// undisturb heals a fault of links.
func (r *Run) undisturb(f *Fault) error {
	if err := f.links.Heal(); err != nil {
		return fmt.Errorf("cannot undo %s: %w", f.What, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	healed := nodeNames(f.nodes)
	f.nodes = nil
	r.record("", event.Healed{ID: f.ID, Nodes: healed})
	return nil
}
