package transaction

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// dependency is why a transaction came before another one.
type dependency uint8

const (
	ww       dependency = iota // it wrote what the other one then replaced
	wr                         // it wrote what the other one read
	rw                         // it read what the other one then replaced
	process                    // its process did it before the other one
	realtime                   // it was complete before the other one began
	wwTime                     // ww, as time tells
	rwTime                     // rw, as time tells
)

// isRead reports whether it is a read of what was then replaced.
func (d dependency) isRead() bool { return d == rw || d == rwTime }

// edge is a dependency between two nodes. A node is a transaction, or an instant.
type edge struct {
	from, to int32
	kind     dependency
	key      *keyed
	old, new string
}

// between adds that one write came before another.
func (c *checker) between(k *keyed, kind dependency, a, b *write, old, new string) {
	if a != nil && b != nil && a.txn != b.txn && c.done(a) && c.done(b) {
		c.edges = append(c.edges, edge{a.txn, b.txn, kind, k, old, new})
	}
}

// after adds that a read came after the write of what it returned.
func (c *checker) after(k *keyed, r reading, v string) {
	if w := k.writes[v]; w != nil && w.txn != r.txn && c.done(w) {
		c.edges = append(c.edges, edge{w.txn, r.txn, wr, k, v, v})
	}
}

// before adds that a read came before a write of what it did not return.
func (c *checker) before(k *keyed, r reading, v string) {
	if w := k.writes[v]; w != nil && w.txn != r.txn && c.done(w) {
		old := r.micro.value
		if r.micro.isList {
			old = told(r.micro.list)
		}
		c.edges = append(c.edges, edge{r.txn, w.txn, rw, k, value(old), v})
	}
}

// done reports whether a write's transaction was done, or may have been.
func (c *checker) done(w *write) bool { return c.txns[w.txn].op.Outcome != history.Fail }

// processes adds the order of each process, and that in time, where they are asked
// for. That in time goes through instants: each transaction comes before that of its
// completion, each instant before the next one, and the last instant before an
// invocation before that. So there are few edges, whatever was done at once.
func (c *checker) processes() {
	if c.Process {
		last := map[int]int32{}
		for i := range c.txns {
			t := &c.txns[i]
			if !t.ok() {
				continue
			}
			if before, ok := last[t.op.Process]; ok {
				c.edges = append(c.edges, edge{from: before, to: int32(i), kind: process})
			}
			last[t.op.Process] = int32(i)
		}
	}
	if c.Level != StrictSerializable {
		return
	}
	var complete []int32
	for i := range c.txns {
		if c.txns[i].ok() {
			complete = append(complete, int32(i))
		}
	}
	slices.SortStableFunc(complete, func(a, b int32) int {
		return cmp.Compare(c.txns[a].op.Completed, c.txns[b].op.Completed)
	})
	n := int32(len(c.txns))
	for place, i := range complete {
		c.edges = append(c.edges, edge{from: i, to: n + int32(place), kind: realtime})
		if place > 0 {
			c.edges = append(c.edges, edge{from: n + int32(place) - 1, to: n + int32(place), kind: realtime})
		}
	}
	for i := range c.txns {
		t := &c.txns[i]
		if t.op.Outcome == history.Fail {
			continue
		}
		place, _ := slices.BinarySearchFunc(complete, t, func(i int32, t *txn) int {
			if c.txns[i].op.Completed < t.op.Invoked {
				return -1
			}
			return 1
		})
		if place > 0 {
			c.edges = append(c.edges, edge{from: n + int32(place) - 1, to: int32(i), kind: realtime})
		}
	}
}

// graph is the edges by the node that they are from.
type graph struct {
	edges []edge
	first []int32 // of node i, edges[first[i]:first[i+1]]
	nodes int
}

func newGraph(edges []edge, nodes int) *graph {
	slices.SortStableFunc(edges, func(a, b edge) int {
		if by := cmp.Compare(a.from, b.from); by != 0 {
			return by
		}
		return cmp.Compare(a.kind, b.kind)
	})
	g := &graph{edges: edges, first: make([]int32, nodes+1), nodes: nodes}
	for _, e := range edges {
		g.first[e.from+1]++
	}
	for i := range nodes {
		g.first[i+1] += g.first[i]
	}
	return g
}

func (g *graph) out(node int32) []edge { return g.edges[g.first[node]:g.first[node+1]] }

// kinds is a set of dependencies.
type kinds uint8

func (k kinds) has(d dependency) bool { return k&(1<<d) != 0 }

func of(list ...dependency) (k kinds) {
	for _, d := range list {
		k |= 1 << d
	}
	return k
}

// components returns, for each node, the strongly connected component that it is in,
// by Tarjan's algorithm, without recursion. Each that has more than one node has a
// number above zero.
func (g *graph) components(k kinds) []int32 {
	type frame struct{ node, next int32 }
	var (
		index     = make([]int32, g.nodes)
		low       = make([]int32, g.nodes)
		component = make([]int32, g.nodes)
		onStack   = make([]bool, g.nodes)
		stack     []int32
		frames    []frame
		count     int32
		number    int32
	)
	for root := range int32(g.nodes) {
		if index[root] != 0 {
			continue
		}
		frames = append(frames, frame{root, g.first[root]})
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			v := f.node
			if index[v] == 0 {
				count++
				index[v], low[v] = count, count
				stack = append(stack, v)
				onStack[v] = true
			}
			if f.next < g.first[v+1] {
				e := &g.edges[f.next]
				f.next++
				switch {
				case !k.has(e.kind):
				case index[e.to] == 0:
					frames = append(frames, frame{e.to, g.first[e.to]})
				case onStack[e.to]:
					low[v] = min(low[v], index[e.to])
				}
				continue
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				parent := frames[len(frames)-1].node
				low[parent] = min(low[parent], low[v])
			}
			if low[v] != index[v] {
				continue
			}
			single := stack[len(stack)-1] == v
			if !single {
				number++
			}
			for {
				w := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				onStack[w] = false
				if !single {
					component[w] = number
				}
				if w == v {
					break
				}
			}
		}
	}
	return component
}

// step is a node on a way, and whether the way came to it by an rw edge, where that
// matters.
type step struct {
	node    int32
	reading bool
}

// arrival is how a way came to a step.
type arrival struct {
	edge   *edge
	before step
}

// path returns the shortest way that follows an edge and leads back to where that is
// from, by edges of some kinds within a component; nil is none. Where apart is set,
// no two rw edges of the cycle follow each other. Came is memory for it.
func (g *graph) path(e *edge, component []int32, k kinds, apart bool, came map[step]arrival) []*edge {
	clear(came)
	from, to := step{e.to, apart && e.kind.isRead()}, step{e.from, false}
	in := component[from.node]
	came[from] = arrival{}
	for queue := []step{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		out := g.out(at.node)
		for i := range out {
			e := &out[i]
			next := step{e.to, apart && e.kind.isRead()}
			if !k.has(e.kind) || component[e.to] != in || at.reading && next.reading {
				continue
			}
			if _, ok := came[next]; ok {
				continue
			}
			came[next] = arrival{e, at}
			if next != to {
				queue = append(queue, next)
				continue
			}
			var way []*edge
			for next != from {
				way = append(way, came[next].edge)
				next = came[next].before
			}
			slices.Reverse(way)
			return way
		}
	}
	return nil
}

// search is a kind of cycle: at least one edge of must, all others of may.
type search struct {
	anomaly
	must, may         kinds
	process, realtime bool
}

// cycles looks for cycles, the worst first. A component of which a worse cycle was
// told is not looked at again.
func (c *checker) cycles() {
	nodes := len(c.txns)
	if c.Level == StrictSerializable {
		nodes *= 2
	}
	g := newGraph(c.edges, nodes)
	searches := []search{
		{g0, of(ww), of(ww), false, false},
		{g1c, of(wr), of(ww, wr), false, false},
		{gSingle, of(rw), of(ww, wr), false, false},
		{nonadjacent, of(rw), of(ww, wr, rw), false, false},
		{g2, of(rw), of(ww, wr, rw), false, false},
	}
	extra := func(d dependency, also kinds, p, r bool) {
		reads := of(rw)
		if r {
			reads = of(rw, rwTime)
		}
		searches = append(searches,
			search{g0, of(d), of(ww, d) | also, p, r},
			search{g1c, of(d), of(ww, wr, d) | also, p, r},
			search{gSingle, reads, of(ww, wr, d) | also, p, r},
			search{nonadjacent, reads, of(ww, wr, d) | reads | also, p, r},
			search{g2, reads, of(ww, wr, d) | reads | also, p, r})
		if also |= of(d); r { // which replaced which follows from reads: cycles of less tell more
			searches = append(searches,
				search{g1c, of(wwTime), of(ww, wr, wwTime) | also, p, r},
				search{gSingle, reads, of(ww, wr, wwTime) | also, p, r},
				search{g2, reads, of(ww, wr, wwTime) | reads | also, p, r})
		}
	}
	if c.Process {
		extra(process, 0, true, false)
	}
	if c.Level == StrictSerializable {
		extra(realtime, 0, false, true)
		if c.Process {
			extra(realtime, of(process), true, true)
		}
	}
	told := make([]bool, nodes) // nodes of cycles that were told
	for _, s := range searches {
		c.cycle(g, s, told)
	}
}

// mostTries is how many nodes are looked at for a kind of cycle in a component: a
// second's worth. Then it may be missed, or be told as one that is less bad.
const mostTries = 10_000_000

// cycle looks for one kind of cycle, one in each component.
func (c *checker) cycle(g *graph, s search, toldOf []bool) {
	component := g.components(s.must | s.may)
	tries := map[int32]int{}
	came := map[step]arrival{}
	for i := range g.edges {
		e := &g.edges[i]
		in := component[e.from]
		if in == 0 || component[e.to] != in || !s.must.has(e.kind) || tries[in] >= mostTries || toldOf[e.from] || toldOf[e.to] {
			continue
		}
		way := g.path(e, component, s.may, s.anomaly == nonadjacent, came)
		tries[in] += len(came)
		if way == nil {
			continue
		}
		tries[in] = mostTries
		cycle := append([]*edge{e}, way...)
		reads := 0
		for _, e := range cycle {
			toldOf[e.from] = toldOf[e.from] || c.Level.forbids(s.anomaly, s.realtime)
			if e.kind.isRead() {
				reads++
			}
		}
		a := s.anomaly
		if a == g2 && reads == 1 { // the search for those was given up
			a = gSingle
		}
		story, of := c.tell(cycle)
		c.note(a, s.realtime, s.process, story, of...)
	}
}

// tell tells a cycle.
func (c *checker) tell(cycle []*edge) (story string, of []*txn) {
	n := int32(len(c.txns))
	for cycle[0].from >= n { // it begins with a transaction
		cycle = append(cycle[1:], cycle[0])
	}
	named := map[int32]bool{}
	name := func(i int32) string {
		t := &c.txns[i]
		if named[i] {
			return t.String()
		}
		named[i] = true
		return t.who()
	}
	var parts []string
	for i := 0; i < len(cycle); i++ {
		e := *cycle[i]
		for e.to >= n { // through instants to the transaction that comes after them
			i++
			e.to = cycle[i].to
		}
		from, to := name(e.from), name(e.to)
		part := ""
		switch e.kind {
		case ww:
			part = fmt.Sprintf("%s wrote %s to %s, and %s then %s", from, value(e.old), value(e.key.name), to, value(e.new))
		case wr:
			part = fmt.Sprintf("%s wrote %s to %s, which %s read", from, value(e.new), value(e.key.name), to)
		case rw:
			part = fmt.Sprintf("%s read %s of %s, without %s, which %s wrote", from, value(e.old), value(e.key.name), value(e.new), to)
		case wwTime:
			part = fmt.Sprintf("%s wrote %s to %s, which was there before %s, which %s wrote, was last", from, value(e.old),
				value(e.key.name), value(e.new), to)
		case rwTime:
			part = fmt.Sprintf("%s read %s of %s, which was there before %s, which %s wrote, was last", from, value(e.old),
				value(e.key.name), value(e.new), to)
		case process:
			part = fmt.Sprintf("%s was done by the same process before %s", from, to)
		case realtime:
			part = fmt.Sprintf("%s was complete before %s began", from, to)
		}
		parts = append(parts, part)
		of = append(of, &c.txns[e.from])
	}
	first := c.txns[cycle[0].from].String()
	if n := len(parts); n > mostTold {
		parts = slices.Insert(parts[:mostTold-1:mostTold-1], mostTold-1, fmt.Sprintf("and so on, %d steps", n-mostTold), parts[n-1])
	}
	return strings.Join(parts, "; ") + fmt.Sprintf("; so %s came before itself", first), of
}
