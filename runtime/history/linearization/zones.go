package linearization

import (
	"cmp"
	"math"
	"slices"

	"github.com/dagon-star/dagon-star/runtime/history"
)

const (
	never   = math.MinInt64 // before any operation
	forever = math.MaxInt64 // after all: where an operation of unknown outcome ends
)

// cluster is what was done with one value of a register: its write, and all reads
// that returned it. In any order that explains the history they follow each other
// without another write between them.
type cluster struct {
	write, failed  *history.Op // failed is a write that was surely not done
	first, last    *history.Op // who completed first, and who was invoked last
	ended, began   int64       // when they did
	reads          int32
	oks, ambiguous int32 // writes
}

func (c *cluster) see(op *history.Op, ended int64) {
	if c.first == nil || ended < c.ended {
		c.first, c.ended = op, ended
	}
	if began := int64(op.Invoked); c.last == nil || began > c.began {
		c.last, c.began = op, began
	}
}

// zone is where in time a cluster has to be. A forward zone reaches from the first
// completion to the last invocation: the register holds the value all that time. In
// a backward zone, all the cluster's operations overlap, so that they can be done in
// one instant of it.
type zone struct {
	from, to int64
	*cluster
}

// rule is what a register must not do.
type rule int

const (
	neverWritten rule = iota // a value was read that nobody wrote
	beforeWrite              // a read returned a value before its write was invoked
	interleaved              // two values each were there before the other
	stale                    // a value was read after another one had replaced it
)

// breach is a rule that was broken: by one value, or by two.
type breach struct {
	rule
	at   int64
	a, b *cluster
}

// zones decides whether the operations of one register, of which each value was
// written once, are linearizable, as Gibbons and Korach do (Testing Shared Memories,
// 1997), in n·log n. It returns what is broken, in order of time; unique is false
// where it cannot say, as a value was written twice. A write that may not have been
// done is left out if nobody read its value: it can be put after everything else.
func zones(ops []*history.Op, initial history.Value) (breaches []breach, unique bool) {
	ids := make(map[history.Value]int32, len(ops)/4)
	clusters := make([]cluster, 1, len(ops)/4+1)
	ids[initial.Canonical()] = 0
	clusters[0].ended, clusters[0].began = never, never
	of := func(v history.Value) *cluster {
		v = v.Canonical()
		id, ok := ids[v]
		if !ok {
			id = int32(len(clusters))
			ids[v] = id
			clusters = append(clusters, cluster{})
		}
		return &clusters[id]
	}
	for _, op := range ops {
		switch {
		case op.F == "read" && op.Outcome == history.OK:
			c := of(op.Returned())
			c.reads++
			if c == &clusters[0] {
				if c.last == nil || int64(op.Invoked) > c.began {
					c.last, c.began = op, int64(op.Invoked)
				}
				continue
			}
			c.see(op, int64(op.Completed))
		case op.F == "read":
		case op.Outcome == history.Fail:
			of(op.Value).failed = op
		case op.Outcome == history.OK:
			c := of(op.Value)
			c.write = op
			c.oks++
			c.see(op, int64(op.Completed))
		default:
			c := of(op.Value)
			c.ambiguous++
			if c.write == nil {
				c.write = op
			}
		}
	}
	for i := range clusters {
		c := &clusters[i]
		most := int32(1)
		if i == 0 {
			most = 0
		}
		if c.oks > most || c.reads > 0 && c.oks+c.ambiguous > most {
			return nil, false
		}
		if i > 0 && c.reads > 0 && c.ambiguous == 1 {
			c.see(c.write, forever)
		}
	}
	return broken(clusters), true
}

// broken applies the rules. The first cluster is that of the initial value.
func broken(clusters []cluster) (breaches []breach) {
	forward := make([]zone, 0, len(clusters)/2)
	backward := make([]zone, 0, len(clusters)/2)
	for i := range clusters {
		c := &clusters[i]
		switch {
		case c.reads == 0 && c.oks == 0:
		case i == 0:
			forward = append(forward, zone{never, c.began, c})
		case c.write == nil:
			breaches = append(breaches, breach{neverWritten, c.ended, c, nil})
		case c.ended < int64(c.write.Invoked):
			breaches = append(breaches, breach{beforeWrite, c.ended, c, nil})
		case c.ended < c.began:
			forward = append(forward, zone{c.ended, c.began, c})
		default:
			backward = append(backward, zone{c.began, c.ended, c})
		}
	}
	byStart := func(a, b zone) int { return cmp.Compare(a.from, b.from) }
	slices.SortFunc(forward, byStart)
	slices.SortFunc(backward, byStart)

	var longest zone // of the forward zones so far, the one that reaches farthest
	longest.to = never
	next := 0
	for _, z := range backward {
		for ; next < len(forward) && forward[next].from < z.from; next++ {
			if forward[next].to > longest.to {
				longest = forward[next]
			}
		}
		if z.to < longest.to {
			breaches = append(breaches, breach{stale, longest.to, longest.cluster, z.cluster})
		}
	}
	longest = zone{to: never}
	for _, z := range forward {
		if z.from < longest.to {
			breaches = append(breaches, breach{interleaved, min(longest.to, z.to), longest.cluster, z.cluster})
		}
		if z.to > longest.to {
			longest = z
		}
	}
	slices.SortStableFunc(breaches, func(a, b breach) int { return cmp.Compare(a.at, b.at) })
	return breaches
}
