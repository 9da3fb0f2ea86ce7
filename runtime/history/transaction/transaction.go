// Package transaction decides which isolation transactions had, from what they read:
// as Elle does it, for lists that are only appended to and for registers, of which
// each value is written once.
//
// From what was read it infers what each transaction must have come before or after,
// and looks for what cannot be: a cycle of these, or a read of what was undone or not
// done yet. The anomalies are Adya's. It takes time and memory in proportion to the
// history.
//
// What it says is violated is so. That it finds nothing does not prove isolation: of
// registers the order of values is known only where a transaction read one and wrote
// the next, and by time where that is asked for.
package transaction

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// Level is a level of isolation.
type Level string

// The levels. The last one is serializable in an order in which a transaction that
// was complete before another one began comes before that.
const (
	ReadUncommitted    Level = "read-uncommitted"
	ReadCommitted      Level = "read-committed"
	RepeatableRead     Level = "repeatable-read"
	SnapshotIsolation  Level = "snapshot-isolation"
	Serializable       Level = "serializable"
	StrictSerializable Level = "strict-serializable"
)

// Levels returns all levels, the weakest first. Of repeatable read and snapshot
// isolation neither is the weaker one.
func Levels() []Level {
	return []Level{ReadUncommitted, ReadCommitted, RepeatableRead, SnapshotIsolation, Serializable, StrictSerializable}
}

// Options are what a check has to know.
type Options struct {
	Level Level // what must hold; "" is Serializable
	// Initial is what a register holds before the first write. A list is empty then.
	Initial history.Value
	// Process demands too that each process sees its own transactions in their order.
	Process bool
}

// anomaly is a kind of thing that a level forbids.
type anomaly struct {
	name, meaning string
	weakest       Level // the weakest level that forbids it
}

var (
	duplicates   = anomaly{"duplicate elements", "an element is twice in a list", ReadUncommitted}
	incompatible = anomaly{"incompatible order", "two reads of a list are not one the beginning of the other", ReadUncommitted}
	garbage      = anomaly{"garbage read", "what was read nobody wrote", ReadUncommitted}
	g0           = anomaly{"G0", "a cycle of writes", ReadUncommitted}
	aborted      = anomaly{"G1a", "a read of what a failed transaction wrote", ReadCommitted}
	intermediate = anomaly{"G1b", "a read of what a transaction replaced itself", ReadCommitted}
	g1c          = anomaly{"G1c", "a cycle of writes and reads of them", ReadCommitted}
	internal     = anomaly{"internal", "a transaction does not see what itself read and wrote", RepeatableRead}
	lostUpdate   = anomaly{"lost update", "two transactions changed the same version", RepeatableRead}
	gSingle      = anomaly{"G-single", "a cycle with one read of what was then replaced: read skew", RepeatableRead}
	nonadjacent  = anomaly{"G-nonadjacent", "a cycle with reads of what was then replaced, no two in a row: no " +
		"snapshots have it", RepeatableRead}
	g2 = anomaly{"G2-item", "a cycle with reads of what was then replaced: write skew", RepeatableRead}
)

// anomalies are all kinds, the worst first.
func anomalies() []anomaly {
	return []anomaly{garbage, duplicates, incompatible, g0, aborted, intermediate, g1c, internal, lostUpdate, gSingle, nonadjacent, g2}
}

// forbids reports whether a level forbids an anomaly. Time is whether it needs the
// order in time, which only the strictest level looks at.
func (l Level) forbids(a anomaly, time bool) bool {
	if time {
		return l == StrictSerializable
	}
	if l == SnapshotIsolation && a == g2 {
		return false
	}
	return slices.Index(Levels(), l) >= slices.Index(Levels(), a.weakest)
}

// mostTold is how many transactions and how many steps of a cycle are told.
const mostTold = 8

// Check looks for what a level forbids in the transactions of a history. The value
// of one is a list of micro-operations, ["append", key, element] and ["r", key,
// null], or ["w", key, value]; what it returned is the same list, with what was read.
// A transaction that failed must not have been seen. One of which nobody knows was
// done if it was seen.
//
// The verdict is Unknown where nothing was acknowledged and where nothing was read.
// The error is about the options, a transaction that cannot be understood, a result that
// is not of the transaction's micro-operations, or a value that was written twice to one
// key, or was there at first: then nobody can know which of them was read.
func Check(ops []history.Op, o Options) (*history.Result, error) {
	if o.Level == "" {
		o.Level = Serializable
	}
	if !slices.Contains(Levels(), o.Level) {
		return nil, fmt.Errorf("there is no level %q: it is one of %s", o.Level,
			strings.Trim(strings.ReplaceAll(fmt.Sprint(Levels()), " ", ", "), "[]"))
	}
	h, err := newHistory(ops, text(o.Initial))
	if err != nil {
		return nil, err
	}
	c := &checker{Options: o, histories: h, found: map[string]*group{}}
	c.reads()
	c.order()
	c.cycles()
	return c.conclude(), nil
}

// group is what was found of one kind.
type group struct {
	anomaly
	name    string // with what it needs: "G-single in time"
	time    bool   // the order in time
	process bool   // the order of a process
	story   string // of the first
	points  []history.Point
}

// checker is a check under way.
type checker struct {
	Options
	*histories
	found map[string]*group
	edges []edge
}

// note notes a finding, as a sentence, and the transactions that it is about, of which
// the first is the one that it begins with.
func (c *checker) note(a anomaly, time, process bool, story string, of ...*txn) {
	name := a.name
	if process {
		name += "-process"
	}
	if time {
		name += "-realtime"
	}
	g := c.found[name]
	if g == nil {
		g = &group{anomaly: a, name: name, time: time, process: process, story: story}
		c.found[name] = g
	}
	var names []string
	for i, t := range of {
		if i == mostTold {
			names = append(names, "…")
			break
		}
		names = append(names, t.String())
	}
	g.points = append(g.points, history.Point{Element: strings.Join(names, ", "), Op: of[0].op, At: of[0].op.Invoked})
}

// conclude makes the verdict of what was found.
func (c *checker) conclude() *history.Result {
	r := &history.Result{Checker: "check_transactions", Verdict: history.Valid}
	var first *group
	for _, a := range anomalies() {
		for _, suffix := range []string{"", "-process", "-realtime", "-process-realtime"} {
			g := c.found[a.name+suffix]
			if g == nil {
				continue
			}
			bad := c.Level.forbids(a, g.time)
			name := g.name
			if bad && first == nil {
				first = g
				r.Groups = append(r.Groups, history.Group{Name: name, Bad: true, Points: g.points[:1], Told: true})
				if g.points = g.points[1:]; len(g.points) == 0 {
					continue
				}
				name = "more " + name
			}
			r.Groups = append(r.Groups, history.Group{Name: name, Bad: bad, Points: g.points})
		}
	}
	slices.SortStableFunc(r.Groups, func(a, b history.Group) int {
		rank := func(g history.Group) int {
			switch {
			case g.Told:
				return 0
			case g.Bad:
				return 1
			}
			return 2
		}
		return rank(a) - rank(b)
	})
	switch {
	case first != nil:
		r.Verdict = history.Invalid
		r.Summary = fmt.Sprintf("the transactions are not %s, as there is %s (%s): %s", c.violated(first), first.name, first.meaning, first.story)
	case c.acknowledged == 0:
		r.Verdict = history.Unknown
		r.Summary = fmt.Sprintf("nothing was acknowledged: of %d transactions, none that writes is ok", len(c.txns))
	case c.read == 0:
		r.Verdict = history.Unknown
		r.Summary = fmt.Sprintf("nothing was read: of %d transactions, none that reads is ok", len(c.txns))
	default:
		r.Summary = fmt.Sprintf("no anomaly in %d transactions that is not allowed by %s", len(c.txns), c.Level)
	}
	return r
}

// violated is the weakest level that forbids what was found.
func (c *checker) violated(g *group) Level {
	for _, l := range Levels() {
		if l.forbids(g.anomaly, g.time) {
			return l
		}
	}
	return c.Level
}

// txn is a transaction.
type txn struct {
	op     *history.Op
	micros []micro
}

func (t *txn) ok() bool { return t.op.Outcome == history.OK }

func (t *txn) String() string { return fmt.Sprintf("T%d", t.op.Index) }

// who tells a transaction the first time.
func (t *txn) who() string { return t.String() + " " + t.op.Who() }

// write is an element that was appended, or a value that was written.
type write struct {
	txn  int32
	last bool // it is the transaction's last one to that key
	seen bool // somebody read it
}

// keyed is what is known of a key.
type keyed struct {
	name   string
	writes map[string]*write
	added  []string // its writes in the order of the history
	lists  []reading
	values []reading
	// appended and written are whether anybody did that to it.
	appended, written bool
}

// reading is a read of a key by a transaction that is ok.
type reading struct {
	txn   int32
	micro *micro
	own   bool // the transaction had written to it before
}

// histories is a history's transactions by key.
type histories struct {
	first              string // what a register holds before the first write
	txns               []txn
	keys               []*keyed
	acknowledged, read int // micro-operations that are ok
}

func newHistory(ops []history.Op, first string) (*histories, error) {
	h := &histories{first: first, txns: make([]txn, len(ops))}
	byName := map[string]*keyed{}
	for i := range ops {
		t := &h.txns[i]
		t.op = &ops[i]
		v := ops[i].Returned()
		if !v.IsList() { // a client that says only that it was done
			v = ops[i].Value
		}
		var err error
		if t.micros, err = parse(v); err != nil {
			return nil, fmt.Errorf("operation %d %s: %w", ops[i].Index, ops[i].Who(), err)
		}
		if err := answers(t.micros, &ops[i]); err != nil {
			return nil, fmt.Errorf("operation %d %s: %w", ops[i].Index, ops[i].Who(), err)
		}
		told := t.ok() && ops[i].Returned().IsList() && (!ops[i].Result.IsNone() || ops[i].Value.IsNone())
		wrote := map[*keyed]*write{}
		for j := range t.micros {
			m := &t.micros[j]
			k := byName[m.key]
			if k == nil {
				k = &keyed{name: m.key, writes: map[string]*write{}}
				byName[m.key] = k
				h.keys = append(h.keys, k)
			}
			if m.verb == readKey {
				if m.known = told || t.ok() && m.isList; !m.known {
					continue
				}
				h.read++
				r := reading{int32(i), m, wrote[k] != nil}
				if m.isList {
					k.lists = append(k.lists, r)
				} else {
					k.values = append(k.values, r)
				}
				continue
			}
			k.appended = k.appended || m.verb == appendKey
			k.written = k.written || m.verb == writeKey
			if t.ok() {
				h.acknowledged++
			}
			if m.verb == writeKey && m.value == first {
				return nil, fmt.Errorf("%s wrote %s to %s, which is what was there at first: each value must be written once a key, "+
					"else nobody can know which was read", t.who(), value(m.value), value(m.key))
			}
			if other := k.writes[m.value]; other != nil {
				return nil, fmt.Errorf("%s and %s both wrote %s to %s: each value must be written once a key, "+
					"else nobody can know which was read", h.txns[other.txn].who(), t.who(), m.value, m.key)
			}
			w := &write{txn: int32(i), last: true}
			if before := wrote[k]; before != nil {
				before.last = false
			}
			wrote[k] = w
			k.writes[m.value] = w
			k.added = append(k.added, m.value)
		}
	}
	for _, k := range h.keys {
		if err := k.sort(h); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// sort decides whether a key is of a list, of which an empty read may come back as
// null.
func (k *keyed) sort(h *histories) error {
	if !k.appended && len(k.lists) == 0 {
		return nil
	}
	if k.written {
		return fmt.Errorf("key %s is both appended to, or read as a list, and written", value(k.name))
	}
	for _, r := range k.values {
		if r.micro.value != none {
			return fmt.Errorf("%s read %s of key %s, which is a list", h.txns[r.txn].who(), r.micro.value, value(k.name))
		}
		r.micro.isList = true
		k.lists = append(k.lists, r)
	}
	k.values = nil
	return nil
}

// told writes a list with its last elements.
func told(list []string) string {
	before := ""
	if n := len(list); n > 5 {
		before, list = "… ", list[n-5:]
	}
	var values []string
	for _, v := range list {
		values = append(values, value(v))
	}
	return "[" + before + strings.Join(values, ", ") + "]"
}

// value writes a value or a key, with its beginning where it is long.
func value(v string) string {
	if v == none {
		return "None"
	}
	return history.Clipped(v)
}
