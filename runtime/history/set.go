package history

import (
	"fmt"
	"strings"
)

// SetOptions are what is promised of a set or a queue besides that nothing is lost.
type SetOptions struct {
	Once bool // an element that is there more often than it was put there is an error, not a note
}

// Set compares a set with what was put into it: whatever was acknowledged is to be in
// it, and nothing else but what nobody knows the outcome of. The attempts are
// operations or a plain list. Of operations those called "read" are none; read is
// what the set has, as a list, or operations, of which the last that is OK, and not
// called "add", returned it; nil means those called "read" of the attempts.
//
// The groups are "lost", "unexpected", "failed but read", "duplicated", and, as a note,
// "recovered": attempts with outcome Info that were read. It is Unknown where nothing
// was acknowledged, or nothing read, and nothing is wrong.
func Set(all, read Elements, o SetOptions) *Result {
	r := &Result{Checker: "check_set"}
	among := read == nil
	if among {
		read = all
	}
	reads := not("add")
	if among {
		reads = called("read")
	}
	read, wasRead := lastRead(read, reads)
	if !wasRead {
		r.Summary = "no read is ok"
		return r.judge(false)
	}
	c := compare(attempted(all, not("read")), read)
	c.asSet()
	r.tell(c, o, "read", 0)
	return r.judge(c.acknowledged() > 0)
}

// lastRead is what the last of the operations that are reads came back with; ok is false
// where none did.
func lastRead(read Elements, reads func(*Op) bool) (list Elements, ok bool) {
	ops, isOps := read.(Ops)
	if !isOps {
		return read, true
	}
	var last *Op // of two that began at the same time, the one that is told later
	for i := range ops {
		if o := &ops[i]; o.Outcome == OK && reads(o) && (last == nil || o.Invoked >= last.Invoked) {
			last = o
		}
	}
	if last == nil {
		return nil, false
	}
	r := &returned{how: "read"}
	r.add(last)
	return r, !last.Returned().IsNone()
}

// tell adds the groups of a comparison, and sums up the worst; how is what was done
// with the elements that were found. Up to so many as mayHave may have been found by
// somebody who could not tell.
func (r *Result) tell(c *comparison, o SetOptions, how string, mayHave int) {
	acked, recovered := c.acknowledged(), c.recovered()
	lost := Group{Name: "lost", Bad: true, Points: points(c.attempted, c.missing())}
	if n := len(lost.Points); n > mayHave {
		r.add(lost)
	}
	r.add(Group{Name: "unexpected", Bad: true, Points: points(c.found, c.extra)})
	r.add(Group{Name: "failed but " + how, Bad: true, Points: points(c.found, c.refused)})
	r.add(Group{Name: "duplicated", Bad: o.Once, Points: points(c.found, c.duplicated)})
	r.sumUp(func(g Group) string {
		n := len(g.Points)
		if g.Name == "lost" {
			return fmt.Sprintf("%s of %s %s lost", thousands(n), counted(acked, "acknowledged element"), plural(n, "is", "are"))
		}
		what := g.Name
		if strings.HasPrefix(what, "failed") {
			what = "of an attempt that failed"
		}
		return fmt.Sprintf("%s of %s %s %s %s", thousands(n), counted(c.found.Len(), "element"), how, plural(n, "is", "are"), what)
	})
	switch n := len(lost.Points); {
	case r.Summary != "":
	case acked == 0:
		r.Summary = "nothing was acknowledged"
	case n > 0:
		r.Summary = fmt.Sprintf("%s of %s %s not %s", thousands(n), counted(acked, "acknowledged element"), plural(n, "was", "were"), how)
	default:
		r.Summary = counted(acked, "acknowledged element") + ", and none is lost"
	}
	if n := len(lost.Points); n <= mayHave {
		r.add(Group{Name: "perhaps " + how, Points: lost.Points})
	}
	r.add(Group{Name: "recovered", Points: points(c.attempted, recovered)})
}

// sumUp makes the Summary that of the worst group that is bad.
func (r *Result) sumUp(summary func(Group) string) {
	if len(r.Groups) > 0 && r.Groups[0].Bad {
		r.Groups[0].inSummary = true
		r.Summary = summary(r.Groups[0])
	}
}
