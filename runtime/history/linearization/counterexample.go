package linearization

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// name tells a rule as what broke it.
func (r rule) name() string {
	return [...]string{"read of a value never written", "read before its write", "two values at once", "stale read"}[r]
}

// breached tells what a register did that it must not.
func (c *checker) breached(k *key, breaches []breach) {
	if len(c.failed) == mostTold {
		c.more++
		return
	}
	culprit, why := breaches[0].tell(c.Initial)
	c.group(k, breaches[0].rule.name(), []history.Point{point(culprit)})
	for r := neverWritten; r <= stale; r++ {
		var points []history.Point
		for _, b := range breaches[1:] {
			if b.rule != r || len(points) == mostTold {
				continue
			}
			other, _ := b.tell(c.Initial)
			points = append(points, point(other))
		}
		if points != nil {
			c.group(k, "more: "+r.name(), points)
		}
	}
	if c.finding.picture == nil {
		c.finding.machine, c.finding.picture = about(k.ops, breaches[0], c.Initial)
	}
	c.failed = append(c.failed, inKey(k, whole(culprit)+" "+why))
}

// tell returns the operation that cannot be placed, and why it cannot.
func (b breach) tell(initial history.Value) (culprit *history.Op, why string) {
	switch b.rule {
	case neverWritten:
		if b.a.failed != nil {
			return b.a.first, "though the only " + whole(b.a.failed)
		}
		return b.a.first, "though nobody wrote that"
	case beforeWrite:
		return b.a.first, "which was complete before " + whole(b.a.write) + " began"
	}
	// Each of the two values was there before an operation of the other one began.
	culprit = b.a.last
	why = "though " + whole(b.b.first) + " was complete before it began"
	switch {
	case b.a.first == nil:
		if b.b.first != b.b.last || b.rule == interleaved {
			why += fmt.Sprintf(", and %s is what was there at first", tell(initial))
		}
	case b.b.first == b.b.last:
		why += ", and had begun after " + whole(b.a.first) + " was complete"
	default:
		why += ", and " + whole(b.b.last) + " had begun after " + whole(b.a.first) + " was complete"
	}
	return culprit, why
}

// whole tells an operation with who did it.
func whole(op *history.Op) string { return what(op, op.Outcome != history.OK) + " " + op.Who() }

func point(op *history.Op) history.Point {
	return history.Point{Element: whole(op), Op: op, At: op.Invoked}
}

// mostDrawn is how many operations a picture can have, and how many neighbours in
// time of a breach it shows.
const (
	mostDrawn     = 1000
	mostNeighbour = 100
)

// about returns the calls that a picture of a breach shows: those of the values that
// it is about which decide, and what was done at the time. Without some of its reads,
// or without all that was done with a value, a history is no worse than with them.
func about(ops []*history.Op, b breach, initial history.Value) (*machine, []call) {
	needed := map[*history.Op]bool{}
	for _, c := range []*cluster{b.a, b.b} {
		if c != nil {
			needed[c.first], needed[c.last], needed[c.write] = true, true, true
		}
	}
	delete(needed, nil)
	near := slices.Clone(ops)
	distance := func(op *history.Op) int64 {
		d := int64(op.Invoked) - b.at
		return max(d, -d)
	}
	slices.SortStableFunc(near, func(x, y *history.Op) int {
		if needed[x] != needed[y] {
			if needed[x] {
				return -1
			}
			return 1
		}
		return int(max(-1, min(1, distance(x)-distance(y))))
	})
	near = near[:min(len(near), mostNeighbour+len(needed))]
	there := map[history.Value]bool{initial.Canonical(): true}
	for _, op := range near {
		if op.F == "write" && op.Outcome != history.Fail {
			there[op.Value.Canonical()] = true
		}
	}
	m := newMachine("register", initial)
	var calls []call
	for _, op := range near {
		if op.Outcome == history.Fail || op.F == "read" && !needed[op] && !there[op.Returned().Canonical()] {
			continue
		}
		if c, err := m.call(op); err == nil {
			calls = append(calls, c)
		}
	}
	return m, m.settle(calls)
}

// stuck tells the first operation that has no place, with what was done about then.
// The calls have no order.
func (c *checker) stuck(k *key, s *search, calls []call) {
	prefix, culprit, err := s.shortest(calls)
	if err != nil || culprit < 0 {
		why := "no order of its operations fits"
		if err != nil {
			why += "; which of them is the first to have no place is not known, as " + c.limit(err)
		}
		c.fail(k, inKey(k, why), "no order fits", nil)
		return
	}
	bad := &prefix[culprit]
	why := "which fits into no order with what was done until then"
	if len(prefix) <= mostDrawn {
		if state, ok := s.before(prefix, culprit); ok {
			why = fmt.Sprintf("which fits nowhere: in the longest order of the others the %s is %s then",
				strings.TrimPrefix(c.Model, "cas-"), s.machine.describe(state))
		}
		if c.finding.picture == nil {
			c.finding.machine, c.finding.picture = s.machine, prefix
		}
	}
	c.fail(k, inKey(k, whole(bad.op)+", "+why), "operation that no order fits", []history.Point{point(bad.op)})
}

func inKey(k *key, why string) string {
	if k.name.IsNone() {
		return why
	}
	return k.String() + ": " + why
}

// before returns the state after the longest order of calls that has no culprit.
func (s *search) before(prefix []call, culprit int) (state string, ok bool) {
	_, info, err := s.run(prefix, true)
	if err != nil || len(info.PartialLinearizations()) != 1 {
		return "", false
	}
	var longest []int
	for _, order := range info.PartialLinearizations()[0] {
		// porcupine's orders come in any order, and the told one must not depend on it
		if !slices.Contains(order, culprit) && (len(order) > len(longest) || len(order) == len(longest) && slices.Compare(order, longest) < 0) {
			longest = order
		}
	}
	state = s.machine.start
	for _, i := range longest {
		state, _ = s.machine.step(state, &prefix[i])
	}
	return state, true
}
