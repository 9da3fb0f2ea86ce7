package history_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// small draws small histories; times are small too, so that many are the same.
type small struct{ *rand.Rand }

func newSmall() small { return small{rand.New(rand.NewPCG(1, 2))} }

func (s small) outcome() Outcome { return []Outcome{OK, OK, OK, Info, Fail}[s.IntN(5)] }

// op is an operation of some outcome; its times are not set.
func (s small) op(f, value string) Op {
	return Op{F: f, Value: Value(value), Outcome: s.outcome(), Process: s.IntN(2)}
}

// list is a list of up to n elements of some.
func (s small) list(n int, some ...string) (all []string) {
	for range s.IntN(n + 1) {
		all = append(all, some[s.IntN(len(some))])
	}
	return all
}

func listValue(elements []string) Value { return Value("[" + strings.Join(elements, ",") + "]") }

func count(all []string, what string) (n int) {
	for _, s := range all {
		if s == what {
			n++
		}
	}
	return n
}

// holds tells of a history whose verdict is not the oracle's.
func holds(t *testing.T, r *Result, want Verdict, ops []Op, also ...any) {
	t.Helper()
	if r.Verdict != want {
		var text strings.Builder
		for _, o := range ops {
			fmt.Fprintf(&text, "\n  %d: %s %s -> %s %s [%d, %d]", o.Process, o.F, o.Value, o.Result, o.Outcome, o.Invoked, o.Completed)
		}
		t.Fatalf("%s: %s, want %s: %s%s\n%v", r.Checker, r.Verdict, want, r.Text(TextOptions{}), text.String(), also)
	}
}

// elements are those of a group, sorted.
func elements(r *Result, name string) (all []string) {
	for _, p := range points(r, name) {
		all = append(all, p.Element)
	}
	slices.Sort(all)
	return all
}

// subsets calls f with each set of the operations of which nobody knows, until it
// returns true; it reports whether it did.
func subsets(ops []Op, is func(Op) bool, f func(done []Op) bool) bool {
	var sure, open []Op
	for _, o := range ops {
		if is(o) && o.Outcome == OK {
			sure = append(sure, o)
		} else if is(o) && o.Outcome == Info {
			open = append(open, o)
		}
	}
	for set := range 1 << len(open) {
		done := slices.Clone(sure)
		for i, o := range open {
			if set>>i&1 == 1 {
				done = append(done, o)
			}
		}
		if f(done) {
			return true
		}
	}
	return false
}

// TestSetOracle holds Set against all ways in which what nobody knows may have gone:
// one of them explains what was read, or none.
func TestSetOracle(t *testing.T) {
	s := newSmall()
	some := []string{"0", "1", `"2"`, "3"}
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		var ops []Op
		for range s.IntN(6) {
			ops = append(ops, s.op("add", some[s.IntN(3)]))
		}
		read := s.list(5, some...)
		o := SetOptions{Once: s.IntN(2) == 0}
		acked := slices.ContainsFunc(ops, func(o Op) bool { return o.Outcome == OK })
		explained := subsets(ops, func(Op) bool { return true }, func(done []Op) bool {
			for _, e := range some {
				var times int
				for _, o := range done {
					if string(o.Value) == e {
						times++
					}
				}
				if there := count(read, e); (times > 0) != (there > 0) || o.Once && there > times {
					return false
				}
			}
			return true
		})
		want := Valid
		switch {
		case !explained:
			want = Invalid
		case !acked:
			want = Unknown
		}
		seen[want]++
		whole := append(slices.Clone(ops), Op{F: "read", Outcome: OK, Result: `["x"]`}, Op{F: "read", Outcome: OK, Result: listValue(read)},
			Op{F: "read", Outcome: Info}, Op{F: "read", Outcome: Fail})
		var list List
		for _, e := range read {
			list = append(list, Text(Value(e).Text())) // 5 is "5"
		}
		holds(t, Set(Ops(whole), nil, o), want, whole)
		holds(t, Set(Ops(ops), Ops(whole), o), want, whole)
		r := Set(Ops(ops), list, o)
		holds(t, r, want, ops, list)

		groups := map[string][]string{}
		for i, e := range some {
			var sure, open, failed int
			for _, o := range ops {
				if string(o.Value) == e {
					sure += map[Outcome]int{OK: 1}[o.Outcome]
					open += map[Outcome]int{Info: 1}[o.Outcome]
					failed += map[Outcome]int{Fail: 1}[o.Outcome]
				}
			}
			there := count(read, e)
			put := func(group string, n int) {
				for range n {
					groups[group] = append(groups[group], fmt.Sprint(i))
				}
			}
			switch {
			case sure > 0 && there == 0:
				put("lost", 1)
			case sure+open+failed == 0:
				put("unexpected", there)
			case sure+open == 0:
				put("failed but read", there)
			case there > 0 && sure == 0:
				put("recovered", 1)
			}
			if sure+open > 0 && there > 1 {
				put("duplicated", max(0, there-sure-open))
			}
		}
		for _, g := range []string{"lost", "unexpected", "failed but read", "recovered", "duplicated"} {
			if got := elements(r, g); !slices.Equal(got, groups[g]) {
				t.Fatalf("%s: %v, want %v of %v and %v", g, got, groups[g], ops, read)
			}
		}
	}
	all(t, seen)
}

// rounds is how many histories are tried, fewer where each takes ten times as long.
func rounds(n int) int {
	if allocated.Raced {
		return n / 20
	}
	return n
}

// all holds that the histories had all verdicts.
func all(t *testing.T, seen map[Verdict]int) {
	t.Helper()
	for _, v := range []Verdict{Valid, Unknown, Invalid} {
		if seen[v] < rounds(1000) {
			t.Errorf("of the histories %d are %s", seen[v], v)
		}
	}
}

// TestQueueOracle holds Queue against all ways in which what nobody knows may have
// gone, with what the dequeues of which nobody knows may have taken.
func TestQueueOracle(t *testing.T) {
	s := newSmall()
	some := []string{"0", "1", `"2"`}
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		var ops []Op
		for range s.IntN(6) {
			ops = append(ops, s.op("enqueue", some[s.IntN(3)]))
		}
		var out []string
		hidden, looked := 0, false
		for range s.IntN(5) {
			o := s.op("dequeue", "")
			switch o.Outcome {
			case OK:
				looked = true
				if s.IntN(4) > 0 {
					o.Result = Value(some[s.IntN(3)])
					out = append(out, string(o.Result))
				}
			case Info:
				hidden++
			}
			ops = append(ops, o)
		}
		if s.IntN(4) == 0 {
			drained := s.list(3, some...)
			ops = append(ops, Op{F: "drain", Outcome: OK, Result: listValue(drained)})
			out = append(out, drained...)
			looked = true
			if s.IntN(8) == 0 {
				ops = append(ops, Op{F: "drain", Outcome: Info})
				hidden = 20
			}
		}
		o := SetOptions{Once: s.IntN(2) == 0}
		enqueue := func(o Op) bool { return o.F == "enqueue" }
		explained := func(mayHide int) bool {
			return subsets(ops, enqueue, func(done []Op) bool {
				left := mayHide
				for _, e := range some {
					var times, tries int
					for _, o := range done {
						times += map[bool]int{true: 1}[string(o.Value) == e]
					}
					for _, o := range ops {
						tries += map[bool]int{true: 1}[string(o.Value) == e && o.Outcome != Fail && enqueue(o)]
					}
					there := count(out, e)
					if there > times && (o.Once || tries == 0) {
						return false
					}
					left -= max(0, times-there)
				}
				return left >= 0
			})
		}
		acked := slices.ContainsFunc(ops, func(o Op) bool { return enqueue(o) && o.Outcome == OK })
		want := Valid
		switch {
		case !looked:
			want = Unknown
		case !explained(hidden):
			want = Invalid
		case !explained(0) || !acked:
			want = Unknown
		}
		seen[want]++
		r := Queue(Ops(ops), nil, o)
		holds(t, r, want, ops, o)
		groups := map[string]int{}
		for _, e := range some {
			n, there := map[Outcome]int{}, count(out, e)
			for _, o := range ops {
				n[o.Outcome] += one(enqueue(o) && string(o.Value) == e)
			}
			tries := n[OK] + n[Info]
			groups["recovered"] += max(0, min(there, tries)-n[OK])
			groups["missing"] += max(0, n[OK]-there)
			switch {
			case tries > 0:
				groups["duplicated"] += max(0, there-tries)
			case n[Fail] > 0:
				groups["failed but taken"] += there
			default:
				groups["unexpected"] += there
			}
		}
		if !looked {
			continue
		}
		missing := append(points(r, "lost"), points(r, "perhaps taken")...)
		if len(missing) != groups["missing"] || slices.ContainsFunc(missing, func(p Point) bool { return p.Op.Outcome != OK }) ||
			slices.ContainsFunc(points(r, "recovered"), func(p Point) bool { return p.Op.Outcome != Info }) {
			t.Fatalf("%v of %v: %v", groups, ops, r.Groups)
		}
		for _, g := range []string{"recovered", "duplicated", "failed but taken", "unexpected"} {
			if len(points(r, g)) != groups[g] {
				t.Fatalf("%s of %v: %v, want %d", g, ops, points(r, g), groups[g])
			}
		}
		var others Ops
		for _, o := range ops {
			if !enqueue(o) {
				o.F = strings.Replace(o.F, "dequeue", "pop", 1)
				others = append(others, o)
			}
		}
		holds(t, Queue(Ops(ops), others, o), want, ops, o)
	}
	all(t, seen)
}

// TestVerdicts holds what shows nothing, and what plain lists show.
func TestVerdicts(t *testing.T) {
	list := func(n ...int) (l List) {
		for _, i := range n {
			l = append(l, Value(fmt.Sprint(i)))
		}
		return l
	}
	add := func(o Outcome, v Value) Op { return Op{F: "add", Outcome: o, Value: v} }
	read := func(o Outcome, v Value) Op { return Op{F: "read", Outcome: o, Result: v} }
	once := SetOptions{Once: true}
	for what, c := range map[string]struct {
		r    *Result
		want Verdict
	}{
		"nothing at all":             {Set(nil0(), nil, once), Unknown},
		"empty lists":                {Set(List{}, List{}, once), Unknown},
		"no read":                    {Set(Ops{add(OK, "1")}, nil, once), Unknown},
		"a read that failed":         {Set(Ops{add(OK, "1"), read(Fail, None)}, nil, once), Unknown},
		"a read of nothing":          {Set(Ops{add(OK, "1"), read(OK, None)}, nil, once), Unknown},
		"an empty read":              {Set(Ops{add(OK, "1"), read(OK, "[]")}, nil, once), Invalid},
		"nothing acknowledged":       {Set(Ops{add(Info, "1"), read(OK, "[1]")}, nil, once), Unknown},
		"the last read counts":       {Set(Ops{add(OK, "1"), read(OK, "[]"), read(OK, "[1]")}, nil, once), Valid},
		"a number is its text":       {Set(Ops{add(OK, "1")}, List{`"1"`}, once), Valid},
		"lists":                      {Set(list(1, 2), list(2, 1), once), Valid},
		"lost from a list":           {Set(list(1, 2), list(1), once), Invalid},
		"unexpected in a list":       {Set(list(1), list(1, 2), once), Invalid},
		"twice in both lists":        {Set(list(1, 1), list(1, 1), once), Valid},
		"twice in one":               {Set(list(1), list(1, 1), once), Invalid},
		"twice is a note":            {Set(list(1), list(1, 1), SetOptions{}), Valid},
		"its result is the element":  {Set(Ops{{F: "add", Outcome: OK, Result: "7"}}, list(7), once), Valid},
		"queue of lists":             {Queue(list(1, 1), list(1, 1), once), Valid},
		"queue of lists, lost":       {Queue(list(1, 1), list(1), once), Invalid},
		"queue of lists, duplicated": {Queue(list(1), list(1, 1), once), Invalid},
		"queue that no one asked":    {Queue(Ops{{F: "enqueue", Outcome: OK, Value: "1"}}, nil, once), Unknown},
		"queue in batches, perhaps": {Queue(Ops{{F: "enqueue", Outcome: OK, Value: "1"}, {F: "enqueue", Outcome: OK, Value: "2"},
			{F: "dequeue", Outcome: OK, Result: "[]"}, {F: "dequeue", Outcome: Info}}, nil, once), Unknown},
		"the same, of nothing":     {Same(List{}, List{}, true), Unknown},
		"the same":                 {Same(list(1, 2), list(2, 1), false), Valid},
		"nothing of something":     {Same(List{}, list(1), false), Invalid},
		"a part of nothing":        {Subset(List{}, list(1)), Unknown},
		"a part":                   {Subset(list(1), list(1, 2)), Valid},
		"no part":                  {Subset(list(1), List{}), Invalid},
		"no duplicates of nothing": {NoDuplicates(List{}), Unknown},
		"unique":                   {Unique(list(1, 2)), Valid},
		"null is no empty text":    {Set(List{None}, List{`""`}, once), Invalid},
		"not unique":               {Unique(list(1, 2, 1)), Invalid},
		"unique of nothing":        {Unique(List{}), Unknown},
		"unique ids": {Unique(Ops{{Outcome: OK, Result: "1"}, {Outcome: OK, Result: "[2,3]"}, {Outcome: Info},
			{Outcome: Fail}}), Valid},
		"ids that are not": {Unique(Ops{{Outcome: OK, Result: "1"}, {Outcome: OK, Result: "[2,1]"}}), Invalid},
		"no id":            {Unique(Ops{{Outcome: Info}, {Outcome: Fail, Value: "1"}}), Unknown},
	} {
		if c.r.Verdict != c.want {
			t.Errorf("%s: %s, want %s: %s", what, c.r.Verdict, c.want, c.r.Text(TextOptions{}))
		}
	}
}

func nil0() Ops { return Ops{} }

// TestTextOfOperations holds what is said of them.
func TestTextOfOperations(t *testing.T) {
	var ops Ops
	for i := range 5000 {
		at := time.Duration(i) * time.Millisecond
		o := Op{Index: i, Process: i % 2, Client: fmt.Sprint(i % 2), F: "add", Value: Text(fmt.Sprintf("m%d", i)), Outcome: OK,
			Invoked: at, Completed: at + time.Millisecond}
		switch i {
		case 7:
			o.Outcome = Info
		case 9:
			o.Outcome, o.Client, o.Node = Fail, "", "loader"
		}
		ops = append(ops, o)
	}
	var read List
	for i := range ops {
		if i < 1856 || i > 3735 || i == 2000 {
			read = append(read, ops[i].Value)
		}
	}
	faults := func(at time.Duration) []string {
		if at < 1800*time.Millisecond || at > 3*time.Second {
			return nil
		}
		return []string{"pause(recv)", "net.delay(a, b)", "c", "d", strings.Repeat("x", 1000)}[:int(at/time.Second)*4-3]
	}
	options := TextOptions{Began: began, Faults: faults}
	for _, c := range []struct {
		r    *Result
		want string
	}{
		{Set(ops, read, SetOptions{}), `1,879 of 4,998 acknowledged elements are lost: m1856–m1999, m2001–m3735; ` +
			`first "m1856" (client 0, acknowledged at 1.857000s, while pause(recv) was in force); 1 failed but read: "m9" ` +
			`(number 10); 1 recovered: "m7" (client 1, attempted at 0.007000s)`},
		{Set(ops[:9], List{`"m7"`, `"m0"`, `"m0"`, `"q r"`, `"z"`}, SetOptions{}),
			`7 of 8 acknowledged elements are lost: m1–m6, m8; first "m1" (client 1, acknowledged at 0.002000s); 2 ` +
				`unexpected: "q r", "z"; first unexpected "q r" (number 4); 1 duplicated: "m0" (number 3); 1 recovered: "m7" ` +
				`(client 1, attempted at 0.007000s)`},
		{Set(ops[9:10], List{`"m9"`}, SetOptions{}), `1 of 1 element read is of an attempt that failed: "m9" (number 1)`},
		{Set(ops[:1], List{`"m0"`}, SetOptions{}), `1 acknowledged element, and none is lost`},
		{Set(ops[:1], List{`"m0"`, `"m0"`}, SetOptions{Once: true}), `1 of 2 elements read is duplicated: "m0" (number 2)`},
		{Set(ops[7:8], List{`"m7"`}, SetOptions{}), `nothing was acknowledged; 1 recovered: "m7" (client 1, attempted at 0.007000s)`},
		{Set(ops, ops, SetOptions{}), "no read is ok"},
		{Unique(Ops{{Outcome: OK, Result: "1", Process: 4}, {Outcome: OK, Result: `"1"`, Process: 5, Node: "gen",
			Completed: 2500 * time.Millisecond}}),
			`1 of 2 elements is a duplicate: "1" (process 5 of gen, given out at 2.500000s, while pause(recv), net.delay(a, ` +
				`b), c and 2 more were in force, and before it process 4, given out at 0.000000s)`},
	} {
		if got := c.r.Text(options); got != c.want || len(got) > 2000 {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
}

// benchmarkOps are a million operations that add an element each; every tenth is not
// known.
func benchmarkOps(b *testing.B, f string, per int) Ops {
	b.Helper()
	ops := make(Ops, 1_000_000)
	for i := range ops {
		at := time.Duration(i) * time.Microsecond
		ops[i] = Op{Index: i, Process: i % per, Client: "c", F: f, Value: Text(fmt.Sprint("m", i)), Outcome: OK, Invoked: at,
			Completed: at + 5*time.Microsecond}
		if i%10 == 0 {
			ops[i].Outcome = Info
		}
	}
	return ops
}

// listOf is what a read returns that has these elements, of the second half none.
func listOf(ops Ops) Value {
	var text strings.Builder
	for i := range ops[:len(ops)/2] {
		text.WriteByte("[,"[min(i, 1)])
		text.WriteString(string(ops[i].Value))
	}
	return Value(text.String() + "]")
}

// measure prints how long a checker takes with a million elements, with its text.
func measure(b *testing.B, check func() *Result) {
	b.Helper()
	var took time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		r := check()
		if text := r.Text(TextOptions{}); r.Verdict != Invalid || text == "" {
			b.Fatal(text)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms-check")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSet checks a million elements of which half are lost.
func BenchmarkSet(b *testing.B) {
	ops := benchmarkOps(b, "add", 10)
	read := Ops{{F: "read", Outcome: OK, Result: listOf(ops)}}
	measure(b, func() *Result { return Set(ops, read, SetOptions{}) })
}

// BenchmarkQueue is BenchmarkSet of a queue.
func BenchmarkQueue(b *testing.B) {
	ops := benchmarkOps(b, "enqueue", 10)
	drain := Ops{{F: "drain", Outcome: OK, Result: listOf(ops)}}
	measure(b, func() *Result { return Queue(ops, drain, SetOptions{}) })
}

// BenchmarkUnique checks a million elements that two operations returned each.
func BenchmarkUnique(b *testing.B) {
	ops := benchmarkOps(b, "generate", 10)
	half := listOf(ops)
	twice := Ops{{Outcome: OK, Result: half}, {Outcome: OK, Result: half}}
	measure(b, func() *Result { return Unique(twice) })
}

// TestLastRead: the last read is the one that began last, whichever a node told of first.
func TestLastRead(t *testing.T) {
	read := func(at time.Duration, result Value) Op {
		return Op{F: "read", Outcome: OK, Result: result, Invoked: at, Completed: at + 1}
	}
	add := Op{F: "add", Value: "1", Outcome: OK, Completed: 1}
	for _, reads := range [][]Op{{read(5, "[1]"), read(3, "[]")}, {read(3, "[]"), read(5, "[1]")}} {
		if r := Set(append(Ops{add}, reads...), nil, SetOptions{}); r.Verdict != Valid {
			t.Errorf("%s: %s", r.Verdict, r.Text(TextOptions{}))
		}
	}
}

// TestReadsAmong: where the reads are among the attempts they are those called so, whatever
// the attempts are called.
func TestReadsAmong(t *testing.T) {
	ops := Ops{{F: "read", Outcome: OK, Result: "[]", Invoked: 1}, {F: "insert", Outcome: OK, Value: "1", Invoked: 2}}
	if r := Set(ops, nil, SetOptions{}); r.Verdict != Invalid {
		t.Errorf("%s: %s", r.Verdict, r.Summary)
	}
}
