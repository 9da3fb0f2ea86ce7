package transaction

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

// reads looks at each read by itself: whether what it returned can have been there.
func (c *checker) reads() {
	for _, k := range c.keys {
		for _, r := range k.lists {
			c.list(k, r)
		}
		for _, r := range k.values {
			if r.micro.value != c.first {
				c.source(k, r, r.micro.value, true)
			}
		}
	}
	for i := range c.txns {
		if c.txns[i].ok() {
			c.internal(&c.txns[i])
		}
	}
}

// list looks at the elements of a read.
func (c *checker) list(k *keyed, r reading) {
	seen := make(map[string]bool, len(r.micro.list))
	for i, e := range r.micro.list {
		if seen[e] {
			t := &c.txns[r.txn]
			story := fmt.Sprintf("%s read %s of %s with %s twice", t.who(), told(r.micro.list), value(k.name), value(e))
			c.note(duplicates, false, false, story, t)
			return
		}
		seen[e] = true
		// An element in the middle of a list may be one that its transaction followed
		// by another: only the last one says that the transaction was not done yet.
		c.source(k, r, e, i == len(r.micro.list)-1)
	}
}

// source looks at who wrote what was read. Last is whether that is what was there
// last.
func (c *checker) source(k *keyed, r reading, v string, last bool) {
	t := &c.txns[r.txn]
	w := k.writes[v]
	if w == nil {
		story := fmt.Sprintf("%s read %s of %s, which nobody wrote", t.who(), value(v), value(k.name))
		c.note(garbage, false, false, story, t)
		return
	}
	w.seen = true
	writer := &c.txns[w.txn]
	if w.txn == r.txn {
		return
	}
	if writer.op.Outcome == "fail" {
		story := fmt.Sprintf("%s read %s of %s, which %s wrote", t.who(), value(v), value(k.name), writer.who())
		c.note(aborted, false, false, story, t, writer)
	}
	if last && !w.last {
		story := fmt.Sprintf("%s read %s of %s, where %s wrote more after it", t.who(), value(v), value(k.name), writer.who())
		c.note(intermediate, false, false, story, t, writer)
	}
}

// internal looks at what a transaction read of what it had read and written before.
func (c *checker) internal(t *txn) {
	if len(t.micros) < 2 {
		return
	}
	type view struct {
		whole bool     // it is known from its beginning
		list  []string // what the transaction knows of it; of a register, the value
	}
	views := make(map[string]view, len(t.micros))
	for i := range t.micros {
		m := &t.micros[i]
		v := views[m.key]
		switch {
		case m.verb == appendKey:
			v.list = append(slices.Clip(v.list), m.value)
		case m.verb == writeKey:
			v.list, v.whole = []string{m.value}, true
		case !m.known:
			continue
		default:
			got := m.list
			if !m.isList {
				got = []string{m.value}
			}
			tail := got[max(0, len(got)-len(v.list)):]
			if v.whole && !slices.Equal(got, v.list) || !slices.Equal(tail, v.list) {
				story := fmt.Sprintf("%s read %s of %s, where it knew %s", t.who(), told(got), value(m.key), told(v.list))
				c.note(internal, false, false, story, t)
				return
			}
			v.list, v.whole = got, true
		}
		views[m.key] = v
	}
}

// order infers what came before what.
func (c *checker) order() {
	for _, k := range c.keys {
		if len(k.lists) > 0 {
			c.appends(k)
		} else {
			c.versions(k)
			if c.Level == StrictSerializable {
				c.overtaken(k)
			}
		}
		c.lost(k)
	}
	c.processes()
}

// appends infers the order of a list's elements from the longest read of it.
func (c *checker) appends(k *keyed) {
	var longest reading
	for _, r := range k.lists {
		if longest.micro == nil || len(r.micro.list) > len(longest.micro.list) {
			longest = r
		}
	}
	list := longest.micro.list
	for i := 1; i < len(list); i++ {
		c.between(k, ww, k.writes[list[i-1]], k.writes[list[i]], list[i-1], list[i])
	}
	// What nobody read came after what was read, if it was done: it is in no list. If
	// nobody knows whether it was, nothing is known to come after that, and so that is
	// in no cycle.
	var unread []string
	for _, v := range k.added {
		if w := k.writes[v]; !w.seen && c.done(w) {
			unread = append(unread, v)
		}
	}
	if len(list) > 0 {
		last := list[len(list)-1]
		for _, v := range unread {
			c.between(k, ww, k.writes[last], k.writes[v], last, v)
		}
	}
	for _, r := range k.lists {
		got := r.micro.list
		if !slices.Equal(got, list[:len(got)]) {
			a, b := &c.txns[r.txn], &c.txns[longest.txn]
			at := 0
			for got[at] == list[at] {
				at++
			}
			story := fmt.Sprintf("of %s, %s read %s, and %s read %s: place %d is %s and %s", value(k.name),
				a.who(), told(got), b.who(), told(list), at+1, value(got[at]), value(list[at]))
			c.note(incompatible, false, false, story, a, b)
			continue
		}
		n := len(got)
		if n > 0 {
			c.after(k, r, got[n-1])
		}
		if n < len(list) {
			c.before(k, r, list[n])
			continue
		}
		for i, v := range unread {
			if i == mostUnread {
				break
			}
			c.before(k, r, v)
		}
	}
}

// mostUnread is how many of the appends that nobody read are taken to be after each
// read of all others: as many as clients do at once, and more. All pairs of them
// would be too many where a list is written more often than it is read.
const mostUnread = 100

// versions infers the order of a register's values: of one that was read by a
// transaction and the next that this wrote, and that what was there at first came
// before all others. That a transaction read a value says already that it came after
// who wrote that; so all that is new is who read the value before it was replaced.
func (c *checker) versions(k *keyed) {
	next := map[string][]string{}
	known := map[[2]string]bool{}
	hasOlder := map[string]bool{}
	for _, r := range k.values {
		if r.own {
			continue
		}
		for i := range c.txns[r.txn].micros {
			if m := &c.txns[r.txn].micros[i]; m.verb == writeKey && m.key == k.name && m.value != r.micro.value {
				if step := [2]string{r.micro.value, m.value}; !known[step] {
					known[step] = true
					next[r.micro.value] = append(next[r.micro.value], m.value)
				}
				hasOlder[m.value] = true
			}
		}
	}
	first := next[c.first]
	for _, v := range k.added {
		w := k.writes[v]
		if !hasOlder[v] && c.done(w) {
			first = append(first, v)
		}
	}
	if len(first) > 0 {
		next[c.first] = first
	}
	for _, r := range k.values {
		if r.micro.value != c.first {
			c.after(k, r, r.micro.value)
		}
		if r.own {
			continue
		}
		for i, n := range next[r.micro.value] {
			if i == mostUnread {
				break
			}
			c.before(k, r, n)
		}
	}
}

// cluster is what was done with one value of a register: its write, and all reads of it.
type cluster struct {
	value string
	write *write // nil of what was there at first
	reads []reading
	by    time.Duration // when the first of them was complete: then the value had been there
	last  time.Duration // when the last of them began: then it had not been replaced
	first [3]*cluster   // by which were there first, of it and those with a later last; nil is none
}

// overtaken infers from time what replaced a register's values. If something was done
// with one value before something that was done with another one began, the other one
// replaced it: it was written later than all that was done with the first. That holds in
// any order that keeps to time, so no key need be linearizable by itself. Of these other
// ones those are enough that were not overtaken by one of them, and the one that was there
// first: all others came after these.
func (c *checker) overtaken(k *keyed) {
	of := map[string]*cluster{c.first: {value: c.first, by: math.MinInt64}}
	all := []*cluster{of[c.first]}
	var others []*cluster // that may have replaced one
	for _, v := range k.added {
		w := k.writes[v]
		if !c.done(w) || !w.last {
			continue
		}
		t := &c.txns[w.txn]
		l := &cluster{value: v, write: w, by: math.MaxInt64, last: t.op.Invoked}
		if t.ok() {
			l.by = t.op.Completed
		}
		of[v] = l
		all, others = append(all, l), append(others, l)
	}
	for _, r := range k.values {
		l := of[r.micro.value]
		if l == nil || r.own || l.write != nil && l.write.txn == r.txn {
			continue
		}
		op := c.txns[r.txn].op
		l.reads = append(l.reads, r)
		l.by, l.last = min(l.by, op.Completed), max(l.last, op.Invoked)
	}
	slices.SortStableFunc(others, func(a, b *cluster) int { return cmp.Compare(a.last, b.last) })
	var first [3]*cluster
	for _, l := range slices.Backward(others) {
		for i, f := range first {
			if f == nil || l.by < f.by {
				copy(first[i+1:], first[i:])
				first[i] = l
				break
			}
		}
		l.first = first
	}
	for _, l := range all {
		at := sort.Search(len(others), func(i int) bool { return others[i].last > l.by })
		if at == len(others) {
			continue
		}
		first := others[at].first
		overtook := func(o *cluster, than time.Duration) bool { return o != nil && o.by < than }
		isFirst := func(o *cluster) bool { return o == first[0] || first[0] == l && o == first[1] }
		for n, o := range others[at:] {
			if n == mostUnread || overtook(first[2], o.last) {
				break
			}
			if !slices.ContainsFunc(first[:], func(f *cluster) bool { return f != l && f != o && overtook(f, o.last) }) {
				c.replaced(k, l, o)
			}
		}
		for _, o := range first[:2] {
			if o != nil && isFirst(o) {
				c.replaced(k, l, o)
			}
		}
	}
}

// replaced adds that all that was done with a value came before the write of another one.
func (c *checker) replaced(k *keyed, l, by *cluster) {
	to := by.write.txn
	if l == by {
		return
	}
	if l.write != nil && l.write.txn != to {
		c.edges = append(c.edges, edge{l.write.txn, to, wwTime, k, l.value, by.value})
	}
	for _, r := range l.reads {
		if r.txn != to {
			c.edges = append(c.edges, edge{r.txn, to, rwTime, k, l.value, by.value})
		}
	}
}

// lost looks for transactions that read the same version of a key and then wrote it.
func (c *checker) lost(k *keyed) {
	type change struct{ first, second int32 }
	changes := map[string]change{}
	see := func(r reading, version, name string) {
		if r.own {
			return
		}
		writes := false
		for i := range c.txns[r.txn].micros {
			m := &c.txns[r.txn].micros[i]
			writes = writes || m.verb != readKey && m.key == k.name
		}
		if !writes {
			return
		}
		ch, ok := changes[version]
		switch {
		case !ok:
			changes[version] = change{r.txn, -1}
		case ch.first != r.txn && ch.second < 0:
			changes[version] = change{ch.first, r.txn}
			a, b := &c.txns[ch.first], &c.txns[r.txn]
			story := fmt.Sprintf("%s and %s both read %s of %s, and then wrote it", a.who(), b.who(), name, value(k.name))
			c.note(lostUpdate, false, false, story, a, b)
		}
	}
	for _, r := range k.lists {
		version := versionOf(r.micro.list)
		see(r, version, version)
	}
	for _, r := range k.values {
		see(r, r.micro.value, value(r.micro.value)) // a text may be "None"
	}
}

// versionOf names a version of a list, of which its last element says which it is.
func versionOf(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return "[… " + value(list[len(list)-1]) + "]"
}
