package history

import "fmt"

// SessionsOptions are what is known of what sessions read.
type SessionsOptions struct {
	Initial Value // what each key had before the first write of the history
}

// Sessions looks at what each process has read and written of each key, by operations
// called "read" and "write"; others are passed over. It asks whether there is an order
// of the written values, for each key, in which every process
//
//   - reads nothing older than what it has read (monotonic reads),
//   - reads nothing older than what it has written (read your writes), and
//   - writes each value after those that it has written (monotonic writes).
//
// The initial value is the oldest: it may be read until something newer was read or
// written. A value that is written more than once for a key tells nothing, as the initial
// one does not where it is written again; such reads are "ambiguous", a note. A value that
// nobody wrote is "unexpected", if any was written, and one that surely was not written
// "failed but read". That holds for None, too, where it is not the initial value.
//
// Where there is no such order, each read of the contradiction is told that is older,
// by the time of its write, than what the process had read or written: in "monotonic
// writes" where that follows only from the order of another process's writes. It is
// Unknown where no process has read after it had read or written, and where all that was
// read so is the initial value.
//
// It takes a time in proportion to the history.
func Sessions(ops Ops, o SessionsOptions) *Result {
	r := &Result{Checker: "check_sessions"}
	g := newVersions(ops, o.Initial)
	g.follow(ops)
	whole := g.components(true)
	var reads []int // components of reads and own writes
	var order, own, writes, ambiguous []Point
	told := int32(-1) // the last operation that is told of
	for _, e := range g.edges {
		if e.kind == writeOrder || e.from == e.to || whole[e.from] != whole[e.to] || g.of[e.from].born < g.of[e.to].born || e.op == told {
			continue
		}
		told = e.op
		if reads == nil {
			reads = g.components(false)
		}
		p := g.point(&ops[e.op], int(e.from))
		switch {
		case e.kind == ownWrite:
			own = append(own, p)
		case reads[e.from] == reads[e.to]:
			order = append(order, p)
		default:
			writes = append(writes, p)
		}
	}
	for _, i := range g.ambiguous {
		ambiguous = append(ambiguous, g.point(&ops[i], -1))
	}
	for _, group := range []Group{
		{Name: "against monotonic reads", Points: order},
		{Name: "against read your writes", Points: own},
		{Name: "against monotonic writes", Points: writes},
		{Name: "unexpected", Points: g.unexpected},
		{Name: "failed but read", Points: g.refused},
	} {
		group.Bad = true
		r.add(group)
	}
	bad := len(order) + len(own) + len(writes) + len(g.unexpected) + len(g.refused)
	r.Summary = fmt.Sprintf("%s of %s %s not of a session", thousands(bad), counted(g.reads, "read"), plural(bad, "is", "are"))
	switch {
	case bad > 0:
	case g.reads == 0:
		r.Summary = "no read is ok"
	case g.compared == 0:
		r.Summary = "no process has read a value after it had read or written"
	default:
		r.Summary = fmt.Sprintf("%s %s sessions", counted(g.reads, "read"), plural(g.reads, "keeps to the order of", "keep to the order of"))
	}
	r.add(Group{Name: "ambiguous", Points: ambiguous})
	return r.judge(g.compared > 0)
}

// versions are the values of all keys, and what is known of their order.
type versions struct {
	initial Value
	keys    map[Value]map[Value]int
	of      []version
	// edges say that one version is not newer than another.
	edges []edge

	reads, compared     int
	ambiguous           []int // operations
	unexpected, refused []Point
}

type version struct {
	value  Value
	born   int // the operation that wrote it first, or read it; -1 for the initial one
	writes int // how many operations may have written it
	failed bool
}

type edge struct {
	from, to int32
	op       int32 // the operation from which it follows
	kind     edgeKind
}

type edgeKind uint8

const (
	readOrder edgeKind = iota
	ownWrite
	writeOrder
)

// newVersions makes the versions of what was written.
func newVersions(ops Ops, initial Value) *versions {
	g := &versions{initial: initial.Canonical(), keys: map[Value]map[Value]int{}, edges: make([]edge, 0, len(ops))}
	for i := range ops {
		o := &ops[i]
		if o.F != "write" {
			continue
		}
		v := &g.of[g.version(o.Key, o.Value, i)]
		if o.Outcome == Fail {
			v.failed = true
			continue
		}
		if v.writes == 0 && v.born >= 0 {
			v.born = i
		}
		v.writes++
	}
	return g
}

// version is the number of a key's version.
func (g *versions) version(key, value Value, op int) int {
	if key.IsNone() {
		key = None
	}
	values := g.keys[key]
	if values == nil {
		values = map[Value]int{g.initial: len(g.of)}
		g.keys[key] = values
		g.of = append(g.of, version{value: g.initial, born: -1})
	}
	value = value.Canonical()
	n, ok := values[value]
	if !ok {
		n = len(g.of)
		values[value] = n
		g.of = append(g.of, version{value: value, born: op})
		g.edges = append(g.edges, edge{int32(values[g.initial]), int32(n), int32(op), writeOrder})
	}
	return n
}

// follow goes through what the processes did.
func (g *versions) follow(ops Ops) {
	type session struct {
		process int
		key     Value
	}
	type state struct{ read, wrote int } // versions, from 1; 0 is none
	known := map[session]state{}
	written := false
	for _, v := range g.of {
		written = written || v.writes > 0 || v.failed
	}
	for i := range ops {
		o := &ops[i]
		isRead := o.F == "read" && o.Outcome == OK
		if !isRead && (o.F != "write" || o.Outcome == Fail) {
			continue
		}
		value := o.Value
		if isRead {
			value = o.Returned()
			g.reads++
		}
		n := g.version(o.Key, value, i)
		v := &g.of[n]
		if v.writes > 1 || v.writes > 0 && v.born < 0 {
			if isRead {
				g.ambiguous = append(g.ambiguous, i)
			}
			continue
		}
		at := session{o.Process, o.Key}
		if at.key.IsNone() {
			at.key = None
		}
		s := known[at]
		if !isRead {
			if s.wrote > 0 {
				g.edges = append(g.edges, edge{int32(s.wrote - 1), int32(n), int32(i), writeOrder})
			}
			s.wrote = n + 1
			known[at] = s
			continue
		}
		switch {
		case v.writes > 0 || v.born < 0 || !written:
		case v.failed:
			g.refused = append(g.refused, g.point(o, -1))
		default:
			g.unexpected = append(g.unexpected, g.point(o, -1))
		}
		if s.wrote > 0 {
			g.edges = append(g.edges, edge{int32(s.wrote - 1), int32(n), int32(i), ownWrite})
		}
		if s.read > 0 {
			g.edges = append(g.edges, edge{int32(s.read - 1), int32(n), int32(i), readOrder})
		}
		if s.wrote > 0 || s.read > 0 && (v.born >= 0 || g.of[s.read-1].born >= 0) {
			g.compared++
		}
		s.read = n + 1
		known[at] = s
	}
}

// point is a read, and the version after which it is.
func (g *versions) point(o *Op, after int) Point {
	p := Point{Element: valueText(o.Returned()), Op: o, At: o.Completed, Detail: "read"}
	if after >= 0 {
		p.Detail = "read after " + quote(valueText(g.of[after].value))
	}
	return p
}

// valueText is a value's text, and "null" of none.
func valueText(v Value) string {
	if v.IsNone() {
		return "null"
	}
	return v.Text()
}

// components are, for each version, the number of those that the order puts neither
// before nor after each other: those that are in a circle of edges. Without writes,
// the order in which a process wrote them is none.
func (g *versions) components(writes bool) []int {
	n := len(g.of)
	start := make([]int32, n+1)
	uses := func(e edge) bool { return writes || e.kind != writeOrder || g.of[e.from].born < 0 }
	for _, e := range g.edges {
		if uses(e) {
			start[e.from+1]++
		}
	}
	for i := range n {
		start[i+1] += start[i]
	}
	to, at := make([]int32, start[n]), make([]int32, n)
	for _, e := range g.edges {
		if uses(e) {
			to[start[e.from]+at[e.from]] = e.to
			at[e.from]++
		}
	}
	// Tarjan's, without recursion.
	component, low, number := make([]int, n), make([]int32, n), make([]int32, n)
	clear(at)
	var stack, path []int32
	next, found := int32(1), 0
	for root := range n {
		if number[root] > 0 {
			continue
		}
		path = append(path, int32(root))
		for len(path) > 0 {
			v := path[len(path)-1]
			if number[v] == 0 {
				number[v], low[v] = next, next
				next++
				stack = append(stack, v)
			}
			if k := start[v] + at[v]; k < start[v+1] {
				at[v]++
				switch w := to[k]; {
				case number[w] == 0:
					path = append(path, w)
				case component[w] == 0:
					low[v] = min(low[v], number[w])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				low[path[len(path)-1]] = min(low[path[len(path)-1]], low[v])
			}
			if low[v] < number[v] {
				continue
			}
			for found++; ; {
				w := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				component[w] = found
				if w == v {
					break
				}
			}
		}
	}
	return component
}
