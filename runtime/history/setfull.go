package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// SetFullOptions are what is promised of a set besides that nothing is lost.
type SetFullOptions struct {
	Once         bool // a read that has an element more often than it was added is an error, not a note
	Linearizable bool // an element that is stale is an error, not a note
}

// SetFull looks at each element of a set over time: operations called "read" return
// all that is there, all others add their value. An element is known from the time
// when its addition, or the first read that had it, was completed. One that a read
// begun later does not have, and no read begun after that one has, is "lost"; one that
// is missing in a read begun later and is there again is "stale", for the time from
// when it was known to the last such read. One that no read has, and that was known at
// the end at most, is "never read", a note. One that a read has before it was added,
// or without, is "unexpected", one that was surely not added "failed but read".
// It is Unknown where no element was read and stayed.
//
// It takes a time in proportion to all that was read.
func SetFull(ops Ops, o SetFullOptions) *Result {
	r := &Result{Checker: "check_set_full"}
	added := attempted(ops, not("read")).(attempts)
	var reads []*Op
	for i := range ops {
		if op := &ops[i]; op.F == "read" && op.Outcome == OK && !op.Returned().IsNone() {
			reads = append(reads, op)
		}
	}
	if len(reads) == 0 {
		r.Summary = "no read is ok"
		return r.judge(false)
	}
	slices.SortStableFunc(reads, func(a, b *Op) int { return cmp.Compare(a.Invoked, b.Invoked) })
	f := newFates(added)
	for i, read := range slices.Backward(reads) {
		f.follow(read, len(reads)-1-i)
	}
	for _, wrong := range [][]Point{f.unexpected, f.refused, f.duplicated} {
		slices.SortStableFunc(wrong, func(a, b Point) int { return cmp.Compare(a.At, b.At) })
	}
	lost, stale, never, stable, latencies := f.outcomes(reads)
	r.add(Group{Name: "lost", Bad: true, Points: lost})
	r.add(Group{Name: "unexpected", Bad: true, Points: f.unexpected})
	r.add(Group{Name: "failed but read", Bad: true, Points: f.refused})
	staleGroup := Group{Name: "stale", Bad: o.Linearizable, Points: stale}
	duplicated := Group{Name: "duplicated", Bad: o.Once, Points: f.duplicated}
	for _, isBad := range []bool{true, false} {
		for _, g := range []Group{staleGroup, duplicated} {
			if g.Bad == isBad {
				r.add(g)
			}
		}
	}
	r.sumUp(func(g Group) string {
		n := len(g.Points)
		what := g.Name
		switch g.Name {
		case "lost", "stale":
			return fmt.Sprintf("%s of %s %s %s", thousands(n), counted(f.elements, "element"), plural(n, "is", "are"), what)
		case "failed but read":
			what = "of an attempt that failed"
		}
		return fmt.Sprintf("%s read %s %s", counted(n, "element"), plural(n, "is", "are"), what)
	})
	if r.Summary == "" && stable == 0 {
		r.Summary = "no element was read and stayed"
	} else if r.Summary == "" {
		r.Summary = fmt.Sprintf("%s of %s %s read and stayed", thousands(stable), counted(f.elements, "element"), plural(stable, "was", "were"))
		if len(stale) > 0 {
			slices.Sort(latencies)
			at := func(of float64) time.Duration {
				return latencies[min(len(latencies)-1, int(of*float64(len(latencies))))]
			}
			r.Summary += fmt.Sprintf(", half within %.6fs, 99%% within %.6fs, all within %.6fs",
				at(0.5).Seconds(), at(0.99).Seconds(), latencies[len(latencies)-1].Seconds())
		}
	}
	r.add(Group{Name: "never read", Points: never})
	return r.judge(stable > 0)
}

// fates are what reads tell of the elements that were added. Those are known by the
// first of the additions of each.
type fates struct {
	added attempts
	known *index
	of    []fate
	first []bool // of each addition: it is the first one of its element

	elements                        int
	unexpected, refused, duplicated []Point
}

// fate is what reads, of which the last comes first, tell of an element.
type fate struct {
	began   time.Duration // when its first addition did that may have been done
	known   time.Duration // when it was known, or neverKnown
	present *Op           // the last read that has it
	run     int           // how many reads have it, from the last one on without a gap
	last    int           // the number of the read, from the last one, that had it last; -1
	times   int           // how often that one has it
	tries   int           // how many additions there are that may have been done
}

const neverKnown = time.Duration(1<<63 - 1)

func newFates(added attempts) *fates {
	f := &fates{added: added, known: newIndex(added), of: make([]fate, len(added)), first: make([]bool, len(added))}
	f.known.find(added, func(i int, s *slot) {
		if s.at == 0 {
			s.at = uint32(i + 1)
			f.first[i] = true
			f.elements++
			f.of[i] = fate{began: neverKnown, known: neverKnown, last: -1}
		}
		e, o := &f.of[s.at-1], added[i]
		if o.Outcome == Fail {
			return
		}
		e.tries++
		e.began = min(e.began, o.Invoked)
		if o.Outcome == OK {
			e.known = min(e.known, o.Completed)
		}
	})
	return f
}

// follow goes through a read, by its number from the last one.
func (f *fates) follow(read *Op, number int) {
	r := &returned{how: "read"}
	r.add(read)
	f.known.find(r, func(i int, s *slot) {
		if s.at == 0 {
			f.unexpected = append(f.unexpected, r.Point(i))
			return
		}
		e := &f.of[s.at-1]
		switch {
		case e.tries == 0:
			f.refused = append(f.refused, r.Point(i))
			return
		case e.began > read.Completed:
			f.unexpected = append(f.unexpected, r.Point(i))
		}
		if e.last == number {
			if e.times++; e.times > e.tries {
				f.duplicated = append(f.duplicated, r.Point(i))
			}
			return
		}
		e.last, e.times = number, 1
		if e.run == number {
			e.run++
		}
		if e.present == nil {
			e.present = read
		}
		e.known = min(e.known, read.Completed)
	})
}

// outcomes are what became of the elements. Of those that are stable, the latencies
// are how long after they were known a read that begun did not have them.
func (f *fates) outcomes(reads []*Op) (lost, stale, neverRead []Point, stable int, latencies []time.Duration) {
	for i, first := range f.first {
		e := &f.of[i]
		if !first || e.tries == 0 {
			continue
		}
		absent := -1
		if n := len(reads) - 1 - e.run; n >= 0 && reads[n].Invoked > e.known {
			absent = n
		}
		p := f.added.Point(i)
		switch {
		case absent >= 0 && (e.present == nil || e.present.Invoked < reads[absent].Invoked):
			if e.present != nil {
				p = Point{Element: p.Element, Op: e.present, At: e.present.Completed, Detail: "last read"}
			}
			lost = append(lost, p)
		case e.present == nil:
			neverRead = append(neverRead, p)
		default:
			stable++
			latency := time.Duration(0)
			if absent >= 0 {
				latency = reads[absent].Invoked - e.known
				if len(stale) == 0 {
					p.Detail = fmt.Sprintf("missing for %.6fs in a read begun", latency.Seconds())
				} else {
					p.Detail = "missing in a read begun"
				}
				p.Op, p.At = reads[absent], reads[absent].Invoked
				stale = append(stale, p)
			}
			latencies = append(latencies, latency)
		}
	}
	return lost, stale, neverRead, stable, latencies
}
