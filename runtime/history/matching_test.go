package history_test

import (
	"fmt"
	"slices"
	"strings"
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
			accounted(t, r, ops, got)
		}
	}
	all(t, seen)
}

// accounted holds that what is told of each element accounts for how often it was received
// and sent.
func accounted(t *testing.T, r *Result, ops Ops, got []string) {
	t.Helper()
	told := func(e string, names ...string) (n int) {
		for _, name := range names {
			n += count(elements(r, name), e)
		}
		return n
	}
	for _, e := range got {
		n := map[Outcome]int{}
		for _, o := range ops {
			if string(o.Value) == e {
				n[o.Outcome]++
			}
		}
		if n[OK]+n[Info] == 0 {
			continue
		}
		done, acked := count(got, e)-told(e, "duplicated"), n[OK]-told(e, "left out", "outstanding")
		if acked < 0 || acked > done || done > acked+n[Info] || told(e, "out of order") > acked {
			holds(t, r, "an account", ops, got, e)
		}
	}
}

// TestSequenceLimit holds that a search that comes to its limit says so, and blames nobody
// but for what is wrong whoever sent what; and that senders that are alike need none.
func TestSequenceLimit(t *testing.T) {
	s := newSmall()
	send := func(senders, n int, element func() int) (ops Ops, got List) {
		for i := range n {
			for who := range senders {
				ops = append(ops, Op{Index: i, Client: fmt.Sprint(who), Value: Value(fmt.Sprint(element())), Outcome: OK})
			}
		}
		next := make([]int, senders)
		for range len(ops) {
			who := s.IntN(senders)
			for next[who] == n {
				who = (who + 1) % senders
			}
			got = append(got, ops[next[who]*senders+who].Value)
			next[who]++
		}
		return ops, got
	}
	ops, got := send(10, 200, func() int { return s.IntN(2) })
	ops[0].Value, got[len(got)-1] = `"missing"`, `"missing"` // that is sent first, and comes last
	r := Sequence(ops, got, SequenceOptions{})
	if text := r.Text(TextOptions{}); r.Verdict != Unknown || !strings.HasPrefix(text, "undecided: ") || len(r.Groups) > 0 {
		t.Errorf("%s: %s", r.Verdict, text)
	}
	r = Sequence(ops, append(got, `"x"`), SequenceOptions{})
	if text := r.Text(TextOptions{}); r.Verdict != Invalid || text != `1 of 2,001 elements received is unexpected: "x" (number 2,001)` {
		t.Errorf("%s: %s", r.Verdict, text)
	}
	var n int
	ops, got = send(20, 50, func() int { n++; return (n - 1) / 20 })
	if r := Sequence(ops, got, SequenceOptions{}); r.Verdict != Valid {
		t.Errorf("%s: %s", r.Verdict, r.Text(TextOptions{}))
	}
	got[10], got[900] = got[900], got[10]
	if r := Sequence(ops, got, SequenceOptions{}); r.Verdict != Invalid {
		t.Errorf("%s: %s", r.Verdict, r.Text(TextOptions{}))
	}
}
