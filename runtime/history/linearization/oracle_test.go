package linearization

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// system is a plain thing of a model. It is written without regard to the models, so
// that both are not wrong alike.
type system struct {
	register string
	list     []string
	held     bool
	set      map[string]bool
}

func (s *system) clone() *system {
	return &system{s.register, slices.Clone(s.list), s.held, maps.Clone(s.set)}
}

// do does an operation and returns its result.
func (s *system) do(model, f string, v history.Value) history.Value {
	switch f {
	case "read":
		if model == "set" {
			return history.Value("[" + strings.Join(slices.Sorted(maps.Keys(s.set)), ",") + "]")
		}
		return history.Value(s.register)
	case "write":
		s.register = string(v)
	case "cas":
		pair, _ := v.List()
		if s.register != string(pair[0]) {
			return "false"
		}
		s.register = string(pair[1])
		return "true"
	case "enqueue", "push":
		s.list = append(s.list, string(v))
	case "dequeue", "pop":
		if len(s.list) == 0 {
			return history.None
		}
		at := 0
		if f == "pop" {
			at = len(s.list) - 1
		}
		got := s.list[at]
		s.list = slices.Delete(s.list, at, at+1)
		return history.Value(got)
	case "acquire":
		if s.held {
			return "false"
		}
		s.held = true
		return "true"
	case "release":
		if !s.held {
			return "false"
		}
		s.held = false
		return "true"
	case "add":
		s.set[string(v)] = true
	case "remove":
		delete(s.set, string(v))
	case "contains":
		return history.Value(fmt.Sprint(s.set[string(v)]))
	}
	return history.None
}

// oracle tries every order.
func oracle(model string, ops []history.Op) bool {
	var left []history.Op
	for _, op := range ops {
		if op.Outcome != history.Fail {
			left = append(left, op)
		}
	}
	return fits(model, left, &system{set: map[string]bool{}})
}

func fits(model string, left []history.Op, s *system) bool {
	done := !slices.ContainsFunc(left, func(op history.Op) bool { return op.Outcome == history.OK })
	if done {
		return true
	}
	for i, op := range left {
		if slices.ContainsFunc(left, func(o history.Op) bool {
			return o.Outcome == history.OK && o.Completed < op.Invoked
		}) {
			continue
		}
		after := s.clone()
		got := after.do(model, op.F, op.Value)
		if op.Outcome == history.OK && !agrees(op, got) {
			continue
		}
		if fits(model, slices.Delete(slices.Clone(left), i, i+1), after) {
			return true
		}
	}
	return false
}

func agrees(op history.Op, got history.Value) bool {
	switch op.F {
	case "cas", "acquire", "release", "contains":
		return op.Result == got
	case "read", "dequeue", "pop":
		return op.Result == got
	}
	return true
}

// sample is a history of a thing that works, with a fault now and then: outcomes
// that nobody knows, and results that are not right.
type sample struct {
	model     string
	ops       int
	processes int
	values    int // how many values there are to write; 0 is a new one each time
	wrong     float64
	unknown   float64
}

func (p sample) draw(r *rand.Rand) []history.Op {
	s := &system{set: map[string]bool{}}
	type pending struct {
		op       history.Op
		done     bool
		unlikely bool // it will not be known what became of it
	}
	names := functions(p.model)
	free := make([]*pending, p.processes)
	var ops []history.Op
	written, next, process := 0, 0, p.processes
	ids := make([]int, p.processes)
	for i := range ids {
		ids[i] = i
	}
	value := func() history.Value {
		if p.values > 0 {
			return history.Value(fmt.Sprint(1 + r.IntN(p.values)))
		}
		written++
		return history.Value(fmt.Sprint(written))
	}
	now := 0
	finish := func(i int) {
		q := free[i]
		free[i] = nil
		q.op.Completed = time.Duration(now)
		if q.unlikely {
			q.op.Outcome, q.op.Result = history.Info, history.None
			q.op.Open = r.IntN(2) == 0
			ids[i], process = process, process+1
		}
		ops = append(ops, q.op)
	}
	for next < p.ops || slices.ContainsFunc(free, func(q *pending) bool { return q != nil }) {
		now += r.IntN(3)
		i := r.IntN(p.processes)
		switch q := free[i]; {
		case q == nil && next < p.ops:
			op := history.Op{Index: next, Process: ids[i], F: names[r.IntN(len(names))], Outcome: history.OK, Invoked: time.Duration(now)}
			switch op.F {
			case "write", "enqueue", "push", "add", "remove", "contains":
				op.Value = value()
			case "cas":
				old := history.Value(s.register)
				if old == "" || r.IntN(3) == 0 {
					old = value()
				}
				op.Value = history.Value(fmt.Sprintf("[%s,%s]", old, value()))
			}
			next++
			free[i] = &pending{op: op, unlikely: r.Float64() < p.unknown}
		case q == nil:
		case !q.done && (!q.unlikely || r.IntN(2) == 0):
			q.done = true
			q.op.Result = s.do(p.model, q.op.F, q.op.Value)
			if r.Float64() < p.wrong {
				q.op.Result = p.corrupt(r, q.op, written)
			}
		default:
			finish(i)
		}
	}
	slices.SortStableFunc(ops, func(a, b history.Op) int { return int(a.Invoked - b.Invoked) })
	for i := range ops {
		ops[i].Index = i
		if ops[i].Outcome == history.OK && r.IntN(40) == 0 && p.wrong > 0 {
			ops[i].Outcome, ops[i].Result = history.Fail, history.None
		}
	}
	return ops
}

// corrupt returns a result that is likely not right.
func (p sample) corrupt(r *rand.Rand, op history.Op, written int) history.Value {
	v := history.Value(fmt.Sprint(1 + r.IntN(max(written, p.values, 1))))
	switch op.F {
	case "read":
		if p.model == "set" {
			return "[" + v + "]"
		}
		return v
	case "dequeue", "pop":
		if r.IntN(3) == 0 {
			return history.None
		}
		return v
	case "cas", "contains", "acquire", "release":
		if op.Result == "true" {
			return "false"
		}
		return "true"
	}
	return op.Result
}
