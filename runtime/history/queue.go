package history

import (
	"math"
	"slices"
)

// Queue compares what came out of a queue with what was put into it: whatever was
// acknowledged is to come out, as often, and nothing else but what nobody knows the
// outcome of. Both are plain lists, or operations; dequeued may be nil where the first
// are operations of both kinds. Operations called "dequeue" and "drain" return an
// element, a list of them, or nothing, as do all others of dequeued; all others of
// enqueued put one there. What is still in the
// queue counts as lost: a history is to end by draining it.
//
// The groups are as for Set, "failed but taken" among them. What did not come out may
// have been taken by a dequeue of which nobody knows the outcome. Where there are as
// many of those as are missing, or one of them may have taken many, the group is
// "perhaps taken", a note, and the verdict is Unknown.
func Queue(enqueued, dequeued Elements, o SetOptions) *Result {
	r := &Result{Checker: "check_queue"}
	from, takes := dequeued, not("enqueue")
	if from == nil {
		from, takes = enqueued, called("dequeue", "drain")
	}
	looked, mayHave := dequeues(from, takes)
	if !looked {
		r.Summary = "no dequeue is OK"
		return r.judge(false)
	}
	c := compare(attempted(enqueued, not("dequeue", "drain")), found(from, "taken", takes))
	r.tell(c, o, "taken", mayHave)
	perhaps := slices.ContainsFunc(r.Groups, func(g Group) bool { return g.Name == "perhaps taken" })
	return r.judge(c.acknowledged() > 0 && !perhaps)
}

// dequeues reports whether any is OK, and how many elements those may have taken of
// which nobody knows the outcome. A drain, and where one has ever returned a list a
// dequeue, may have taken any number.
func dequeues(from Elements, takes func(*Op) bool) (looked bool, mayHave int) {
	ops, isOps := from.(Ops)
	if !isOps {
		return true, 0
	}
	many := false
	for i := range ops {
		o := &ops[i]
		switch {
		case !takes(o) || o.Outcome == Fail:
		case o.Outcome == OK:
			looked = true
			many = many || o.F != "drain" && o.Returned().IsList()
		case o.F == "drain":
			mayHave = math.MaxInt
		case mayHave < math.MaxInt:
			mayHave++
		}
	}
	if many && mayHave > 0 {
		mayHave = math.MaxInt
	}
	return looked, mayHave
}
