package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"time"
)

// CounterOptions are what is known of a counter.
type CounterOptions struct {
	Start int64 // what it is at the beginning
}

// Counter looks at what was read of counters, one for each key: a read is at least the
// sum of what had surely been added when it began, and at most the sum of what may have
// been when it ended; of amounts below zero the other way round. Operations called
// "read" return a whole number; all others add their value, 1 where they have none.
//
// The groups are "too low", "too high" and "no number". It is Unknown where nothing
// was added for sure, or nothing read; where no read began after what was surely added
// to its key; and where amounts are no whole numbers, or too large together for 64 bits.
func Counter(ops Ops, o CounterOptions) *Result {
	r := &Result{Checker: "check_counter"}
	counters := map[Value]*counter{}
	at := func(key Value) *counter {
		if key.IsNone() {
			key = None
		}
		c := counters[key]
		if c == nil {
			c = &counter{}
			counters[key] = c
		}
		return c
	}
	acked := false
	for i := range ops {
		op := &ops[i]
		if op.F == "read" || op.Outcome == Fail {
			continue
		}
		n, ok := int64(1), true
		if !op.Value.IsNone() {
			n, ok = whole(op.Value)
		}
		if !ok {
			r.Summary = fmt.Sprintf("%s was added, which is no whole number", quote(op.Value.Text()))
			return r.judge(false)
		}
		c := at(op.Key)
		c.begun = append(c.begun, addition{op.Invoked, n})
		if op.Outcome == OK {
			acked = true
			c.done = append(c.done, addition{op.Completed, n})
		}
	}
	for _, c := range counters {
		if !c.total(o.Start) {
			r.Summary = "what was added is too large for 64 bits"
			return r.judge(false)
		}
	}
	low, high, none := Group{Name: "too low", Bad: true}, Group{Name: "too high", Bad: true}, Group{Name: "no number", Bad: true}
	reads, shown := 0, false
	for i := range ops {
		op := &ops[i]
		if op.F != "read" || op.Outcome != OK || op.Returned().IsNone() {
			continue
		}
		reads++
		p := Point{Element: op.Returned().Text(), Op: op, At: op.Completed, Detail: "read"}
		n, ok := whole(op.Returned())
		least, most, after := at(op.Key).bounds(op, o.Start)
		shown = shown || after
		to := &none
		switch {
		case ok && n < least:
			to = &low
		case ok && n > most:
			to = &high
		case ok:
			continue
		}
		if len(to.Points) == 0 {
			p.Detail = fmt.Sprintf("read where %d to %d was possible", least, most)
			if least == most {
				p.Detail = fmt.Sprintf("read where %d was possible", least)
			}
		}
		to.Points = append(to.Points, p)
	}
	r.add(low)
	r.add(high)
	r.add(none)
	n := len(low.Points) + len(high.Points) + len(none.Points)
	r.Summary = fmt.Sprintf("%s of %s %s out of bounds", thousands(n), counted(reads, "read"), plural(n, "is", "are"))
	switch {
	case reads == 0:
		r.Summary = "no read is ok"
	case n == 0 && !acked:
		r.Summary = "no addition is OK"
	case n == 0 && !shown:
		r.Summary = "no read began after an addition to its key that is OK"
	case n == 0:
		r.Summary = counted(reads, "read") + plural(reads, " is", " are") + " within bounds"
	}
	return r.judge(shown)
}

// whole is a whole number, or a text that is one.
func whole(v Value) (int64, bool) {
	n, err := strconv.ParseInt(v.Text(), 10, 64)
	return n, err == nil
}

// counter is what was added to a counter, in the order in which it began, and in that
// in which it was surely done.
type counter struct {
	begun, done         []addition
	begunSums, doneSums []sums
}

type addition struct {
	at time.Duration
	n  int64
}

// sums are those of the amounts above zero, and of those below.
type sums struct{ up, down int64 }

// total sorts the amounts, and sums them up to each; ok is false where they are too
// large.
func (c *counter) total(start int64) (ok bool) {
	var ok1, ok2 bool
	c.begunSums, ok1 = totals(c.begun, start)
	c.doneSums, ok2 = totals(c.done, start)
	return ok1 && ok2
}

func totals(all []addition, start int64) ([]sums, bool) {
	slices.SortFunc(all, func(a, b addition) int { return cmp.Compare(a.at, b.at) })
	t := make([]sums, len(all)+1)
	for i, a := range all {
		t[i+1] = sums{t[i].up + max(a.n, 0), t[i].down + min(a.n, 0)}
		if t[i+1].up < t[i].up || t[i+1].down > t[i].down || a.n == math.MinInt64 {
			return nil, false
		}
	}
	last := t[len(all)]
	upmost, lowest := last.up+start, last.down+start
	return t, !(start > 0 && upmost < last.up || start < 0 && lowest > last.down)
}

// bounds are the least and the most that a read may have returned, and whether it began
// after what was surely added.
func (c *counter) bounds(o *Op, start int64) (least, most int64, after bool) {
	var mayBe, is sums
	if n := sort.Search(len(c.begun), func(i int) bool { return c.begun[i].at > o.Completed }); n > 0 {
		mayBe = c.begunSums[n]
	}
	if n := sort.Search(len(c.done), func(i int) bool { return c.done[i].at >= o.Invoked }); n > 0 {
		is, after = c.doneSums[n], true
	}
	return start + mayBe.down + is.up, start + mayBe.up + is.down, after
}
