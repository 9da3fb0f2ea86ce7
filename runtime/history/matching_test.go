package history_test

import (
	"fmt"
	"slices"
	"testing"

	. "github.com/dagon-star/dagon-star/runtime/history"
)

// merged draws what senders sent, of few elements, and something that was received of it:
// by a way that delivers it in order, and then is wrong now and then.
func (s small) merged(senders, elements int) (ops Ops, got []string) {
	for range s.IntN(7) {
		o := s.op("send", fmt.Sprint(s.IntN(elements)))
		o.Client = fmt.Sprint(s.IntN(senders))
		if s.IntN(2) == 0 {
			o.Outcome = OK
		}
		ops = append(ops, o)
	}
	s.timed(ops)
	next := make([]int, senders)
	var late []string
	for len(got) < s.IntN(9) {
		who := s.IntN(senders)
		for ; next[who] < len(ops); next[who]++ {
			o := ops[next[who]]
			if o.Client != fmt.Sprint(who) || o.Outcome == Fail {
				continue
			}
			if o.Outcome == Info {
				late = append(late, string(o.Value))
				continue
			}
			got = append(got, string(o.Value))
			next[who]++
			break
		}
		if len(late) > 0 && s.IntN(2) == 0 {
			i := s.IntN(len(late))
			got = append(got, late[i])
			late = slices.Delete(late, i, i+1)
		}
		if s.IntN(8) == 0 {
			got = append(got, fmt.Sprint(s.IntN(elements)))
		}
	}
	if len(got) > 1 && s.IntN(3) == 0 {
		i := s.IntN(len(got) - 1)
		got[i], got[i+1] = got[i+1], got[i]
	}
	if len(got) > 0 && s.IntN(3) == 0 {
		i := s.IntN(len(got))
		got = slices.Delete(got, i, i+1)
	}
	return ops, got
}

// fits reports whether some way to say which attempt brought each that was received is one
// that is allowed, by trying all.
func fits(ops Ops, got []string, o SequenceOptions, brought []int) bool {
	if len(brought) < len(got) {
		for n := range ops {
			if string(ops[n].Value) == got[len(brought)] && ops[n].Outcome != Fail && fits(ops, got, o, append(brought, n)) {
				return true
			}
		}
		return false
	}
	at := func(n int) int { return slices.Index(brought, n) }
	for i, a := range ops {
		first := at(i)
		if first >= 0 && !o.Duplicates && slices.Contains(brought[first+1:], i) {
			return false
		}
		for j := i + 1; j < len(ops); j++ {
			later := at(j)
			if ops[j].Client != a.Client || a.Outcome != OK || later < 0 {
				continue
			}
			if first < 0 && !o.Gaps || later < first {
				return false
			}
		}
	}
	return true
}

// TestMergedSequenceOracle holds Sequence of elements that several attempts are of against
// all ways in which these may have brought what was received.
func TestMergedSequenceOracle(t *testing.T) {
	s := newSmall()
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		ops, got := s.merged(1+s.IntN(3), 1+s.IntN(3))
		var list List
		for _, e := range got {
			list = append(list, Value(e))
		}
		for _, o := range []SequenceOptions{{}, {Gaps: true}, {Duplicates: true}, {Gaps: true, Duplicates: true}} {
			acked := slices.ContainsFunc(ops, func(a Op) bool { return a.Outcome == OK && slices.Contains(got, string(a.Value)) })
			want := Valid
			switch {
			case !fits(ops, got, o, nil):
				want = Invalid
			case !acked:
				want = Unknown
			}
			seen[want]++
			r := Sequence(ops, list, o)
			holds(t, r, want, ops, got, o)
			blamed(t, r, ops, got, o)
		}
	}
	all(t, seen)
}

// blamed holds what is told of a history: no more kinds of fault than would have to be
// allowed.
func blamed(t *testing.T, r *Result, ops Ops, got []string, o SequenceOptions) {
	t.Helper()
	var bad []string
	for _, g := range r.Groups {
		if g.Bad {
			bad = append(bad, g.Name)
		}
	}
	isRight := true
	switch {
	case len(bad) == 0, len(points(r, "unexpected"))+len(points(r, "failed but received")) > 0:
	case fits(ops, got, SequenceOptions{o.Gaps, true}, nil):
		isRight = slices.Equal(bad, []string{"duplicated"})
	case fits(ops, got, SequenceOptions{true, o.Duplicates}, nil):
		isRight = slices.Equal(bad, []string{"left out"})
	default:
		isRight = slices.Contains(bad, "out of order") != fits(ops, got, SequenceOptions{true, true}, nil)
	}
	if !isRight {
		holds(t, r, "with other groups", ops, got, o, bad)
	}
}
