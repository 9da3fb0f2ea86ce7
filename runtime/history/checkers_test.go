package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/dagon-star/dagon-star/runtime/history"
)

// timed gives operations times, some of them the same, in the order of the list.
func (s small) timed(ops []Op) []Op {
	at := 0
	for i := range ops {
		at += s.IntN(3)
		ops[i].Index, ops[i].Invoked = i, time.Duration(at)
		ops[i].Completed = ops[i].Invoked + time.Duration(s.IntN(5))
	}
	return ops
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// TestCounterOracle holds Counter against all ways in which what is not sure when a
// read is done may have gone; amounts are 1 or -1, so that every number between the
// bounds is one of them.
func TestCounterOracle(t *testing.T) {
	s := newSmall()
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		var ops []Op
		for range s.IntN(8) {
			o := s.op("add", []string{"1", `"1"`, "", "-1"}[s.IntN(4)])
			if s.IntN(3) == 0 {
				o = s.op("read", "")
				if o.Outcome == OK {
					o.Result = Value([]string{"0", "1", "2", "-1", `"x"`}[s.IntN(4+one(s.IntN(8) == 0))])
				}
			}
			o.Key = Value([]string{"", "null", `"k"`}[s.IntN(3)])
			ops = append(ops, o)
		}
		s.timed(ops)
		start := s.IntN(2)
		shown, bad := false, false
		for _, r := range ops {
			if r.F != "read" || r.Outcome != OK {
				continue
			}
			sum, open := start, []int(nil)
			for _, a := range ops {
				if a.F != "add" || a.Outcome == Fail || a.Key.IsNone() != r.Key.IsNone() || a.Invoked > r.Completed {
					continue
				}
				n := 1
				if a.Value == "-1" {
					n = -1
				}
				if a.Outcome == OK && a.Completed < r.Invoked {
					sum += n
					shown = true
				} else {
					open = append(open, n)
				}
			}
			possible := false
			for set := range 1 << len(open) {
				all := sum
				for i, n := range open {
					all += n * (set >> i & 1)
				}
				possible = possible || fmt.Sprint(all) == r.Result.Text()
			}
			bad = bad || !possible
		}
		want := Valid
		switch {
		case bad:
			want = Invalid
		case !shown:
			want = Unknown
		}
		seen[want]++
		holds(t, Counter(ops, CounterOptions{Start: int64(start)}), want, ops, start)
	}
	all(t, seen)
}

// TestBankOracle holds Bank against summing up each read.
func TestBankOracle(t *testing.T) {
	const none = -100 // of a read that has no accounts
	s := newSmall()
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		var ops []Op
		var totals []int // of the reads that are OK, by place
		negative := false
		for range s.IntN(4) {
			o := s.op([]string{"read", "read", "transfer"}[s.IntN(3)], "")
			total, texts := 0, []string(nil)
			for i := range 3 * one(s.IntN(6) > 0) {
				n := s.IntN(4) - 1
				if i == 2 && s.IntN(6) > 0 {
					n = 4 - total
				}
				total += n
				text := fmt.Sprint([]any{n, float64(n) + 0.5, float64(n) - 0.5}[i*(s.IntN(2))])
				if i == 1 && strings.HasSuffix(text, ".5") {
					total++ // a half that the next one has to give back
					text = fmt.Sprint(float64(n) + 1)
				}
				if i == 2 && strings.Contains(text, ".5") {
					text = fmt.Sprint(n)
				}
				if s.IntN(2) == 0 {
					text = `"` + text + `"`
				}
				if o.F == "read" && o.Outcome == OK && strings.HasPrefix(strings.Trim(text, `"`), "-") {
					negative = true
				}
				texts = append(texts, text)
			}
			totals = append(totals, none)
			if o.Outcome == OK {
				o.Result = listValue(texts)
				switch {
				case texts == nil:
					o.Result = Value([]string{"[]", "{}"}[s.IntN(2)])
				case s.IntN(2) == 0:
					o.Result = Value(fmt.Sprintf(`{"a":%s,"b,:":%s,"c\"":%s}`, texts[0], texts[1], texts[2]))
				}
				if texts != nil {
					totals[len(totals)-1] = total
				}
			}
			o.Key = Value([]string{"", "", "null", `"k"`}[s.IntN(4)])
			ops = append(ops, o)
		}
		s.timed(ops)
		o := BankOptions{AllowNegative: s.IntN(2) == 0}
		if s.IntN(2) == 0 {
			o.Total = []Value{"4", `"4.0"`, "4e0"}[s.IntN(3)]
		}
		is := func(o Op) bool { return o.F == "transfer" }
		bad, shown := negative && !o.AllowNegative, false
		for i, r := range ops {
			if r.F != "read" || r.Outcome != OK {
				continue
			}
			first, hasFirst, complete := 4, o.Total != None, false // the total; a read with accounts was complete
			for j, f := range ops {
				if o.Total != None || f.F != "read" || f.Outcome != OK || f.Key.IsNone() != r.Key.IsNone() || totals[j] == none {
					continue
				}
				if !hasFirst && j < i {
					first, hasFirst = totals[j], true
				}
				complete = complete || j < i && f.Completed < r.Invoked
			}
			isEmpty := r.Result == "[]" || r.Result == "{}"
			total := totals[i]
			if isEmpty {
				total = 0
			}
			if !hasFirst || isEmpty && (first == 0 || o.Total == None && !complete) {
				continue
			}
			bad = bad || total != first
			shown = shown || !slices.ContainsFunc(ops, is) || slices.ContainsFunc(ops, func(w Op) bool {
				return is(w) && w.Outcome == OK && w.Invoked <= r.Completed
			})
		}
		want := Valid
		switch {
		case bad:
			want = Invalid
		case !shown:
			want = Unknown
		}
		seen[want]++
		holds(t, Bank(ops, o), want, ops, o, totals)
	}
	all(t, seen)
}

// TestBankWords holds what is said of a bank of which nothing was compared, and of reads
// of no accounts.
func TestBankWords(t *testing.T) {
	read := func(at int, result string) Op {
		return Op{F: "read", Outcome: OK, Result: Value(result), Invoked: time.Duration(at), Completed: time.Duration(at + 1)}
	}
	transfer := func(at int) Op {
		return Op{F: "transfer", Outcome: OK, Invoked: time.Duration(at), Completed: time.Duration(at + 5)}
	}
	keyed := func(key string, o Op) Op {
		o.Key = Value(key)
		return o
	}
	for _, c := range []struct {
		total, want string
		verdict     Verdict
		ops         []Op
	}{
		{"", "no total is given, and there is no second read to compare with the first: give total=, or read more", Unknown,
			[]Op{read(0, "[7]")}},
		{"", "no total is given, and no key has a second read", Unknown,
			[]Op{keyed("1", read(0, "[7]")), keyed("2", read(5, "[8]"))}},
		{"", "3 reads of 2 banks sum to the total of each", Valid,
			[]Op{keyed("1", read(0, "[7]")), keyed("2", read(5, "[8]")), keyed("2", read(9, "[4,4]"))}},
		{"7", "1 read sums to 7", Valid, []Op{read(0, "[7]")}},
		{"", "no account was read: 2 reads are empty; 2 empty", Unknown, []Op{read(0, "[]"), read(5, "{}")}},
		{"0", "no account was read: 1 read is empty", Unknown, []Op{read(0, "[]")}},
		{"7", "1 wrong total: \"0\"", Invalid, []Op{read(0, "[]"), read(5, "[7]")}},
		{"", "3 reads sum to 7; 1 empty", Valid, []Op{read(0, "[]"), read(5, "[7]"), read(10, "[3,4]")}},
		{"", "1 wrong total: \"0\"", Invalid, []Op{read(5, "[7]"), read(10, "{}")}},
		{"7", "every read was complete before the first transfer that is OK began", Unknown, []Op{read(0, "[7]"), transfer(5)}},
		{"7", "1 read sums to 7", Valid, []Op{transfer(0), read(1, "[7]")}},
		{"5", "1 read sums to 5", Valid, []Op{read(0, "[5,-0,-0.0,-0e5]")}},
	} {
		r := Bank(c.ops, BankOptions{Total: Value(c.total)})
		if text := r.Text(TextOptions{}); r.Verdict != c.verdict || !strings.Contains(text, c.want) {
			t.Errorf("%s: %s; want %s: %s", r.Verdict, text, c.verdict, c.want)
		}
	}
}

// TestSequenceOracle holds Sequence against comparing each element with each.
func TestSequenceOracle(t *testing.T) {
	s := newSmall()
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		var ops Ops
		for i := range s.IntN(6) {
			o := s.op("send", fmt.Sprint(i))
			o.Client = fmt.Sprint(s.IntN(2))
			ops = append(ops, o)
		}
		s.timed(ops)
		var got []int
		for i := range ops {
			if s.IntN(5) > 0 {
				got = append(got, i)
			}
		}
		if s.IntN(3) == 0 && len(got) > 1 {
			i := s.IntN(len(got) - 1)
			got[i], got[i+1] = got[i+1], got[i]
		}
		if s.IntN(6) == 0 {
			got = append(got, s.IntN(7))
		}
		o := SequenceOptions{Gaps: s.IntN(2) == 0, Duplicates: s.IntN(2) == 0}
		bad, acked := false, 0
		places := func(i int) (all []int) {
			for at, n := range got {
				if n == i {
					all = append(all, at)
				}
			}
			return all
		}
		for i := range 7 {
			at := places(i)
			if i >= len(ops) || ops[i].Outcome == Fail {
				bad = bad || len(at) > 0
				continue
			}
			bad = bad || len(at) > 1 && !o.Duplicates
			if ops[i].Outcome == Info {
				continue
			}
			acked += min(1, len(at))
			for j := i + 1; j < len(ops); j++ {
				if later := places(j); ops[j].Client == ops[i].Client && len(later) > 0 && ops[j].Outcome != Fail {
					bad = bad || len(at) > 0 && later[0] < at[0] || len(at) == 0 && !o.Gaps
				}
			}
		}
		want := Valid
		switch {
		case bad:
			want = Invalid
		case acked == 0:
			want = Unknown
		}
		seen[want]++
		var list List
		for _, n := range got {
			list = append(list, Text(fmt.Sprint(n)))
		}
		holds(t, Sequence(ops, list, o), want, ops, got, o)
	}
	all(t, seen)
}

// TestNumberedSequence holds what the numbers of what was received tell, and of
// elements that are the same.
func TestNumberedSequence(t *testing.T) {
	list := func(text string) (l List) {
		for _, s := range strings.Fields(text) {
			l = append(l, Text(s))
		}
		return l
	}
	for received, want := range map[string]string{
		"":                         "nothing was received",
		"a1 b7 a2 b8 a3":           "5 elements received in sequence",
		"a008 a009 a010 a011":      "4 elements received in sequence",
		"-1 0 1":                   "3 elements received in sequence",
		"a1 a2 a5 a7 b1":           `2 gaps in 5 elements received: "a3–a4", "a6"; first "a3–a4" (number 3)`,
		"a1 a9223372036854775807":  `1 gap in 2 elements received: "a2–a9223372036854775806" (number 2)`,
		"a1 a3 a2 a4":              `1 of 4 elements received is out of order: "a2" (number 3)`,
		"a1 a1 a2":                 `1 of 3 elements received is duplicated: "a1" (number 2)`,
		"a1 a2 x":                  `1 of 3 elements received is unexpected: "x" (number 3)`,
		"a1 a99999999999999999999": `1 of 2 elements received is unexpected: "a99999999999999999999" (number 2)`,
		"a3 a1 a1 b4 b6 a2 z b6 b5": `1 of 9 elements received is unexpected: "z" (number 7); 3 out of order: a1–a2, ` +
			`b5; first out of order "a1" (number 2); 2 duplicated: a1, b6; first duplicated "a1" (number 3)`,
	} {
		r := Sequence(nil, list(received), SequenceOptions{})
		if got := r.Text(TextOptions{}); got != want || (r.Verdict == Valid) != strings.HasSuffix(want, "in sequence") {
			t.Errorf("%s: %s: %s, want %s", received, r.Verdict, got, want)
		}
	}
	for received, want := range map[string]Verdict{"x y x": Valid, "x x y": Invalid, "x y": Valid, "x y x x": Invalid, "y x": Invalid} {
		if r := Sequence(list("x y x"), list(received), SequenceOptions{}); r.Verdict != want {
			t.Errorf("x y x as %s: %s, want %s", received, r.Text(TextOptions{}), want)
		}
	}
}

// TestSetFullOracle holds SetFull against looking at each read for each element.
func TestSetFullOracle(t *testing.T) {
	s := newSmall()
	some := []string{"0", "1", "2"}
	seen := map[Verdict]int{}
	for range rounds(100_000) {
		var ops []Op
		for range s.IntN(7) {
			o := s.op("add", some[s.IntN(2)])
			if s.IntN(2) == 0 {
				o = s.op("read", "")
				if o.Outcome == OK {
					o.Result = listValue(s.list(3, some[:2+one(s.IntN(10) == 0)]...))
				}
			}
			ops = append(ops, o)
		}
		s.timed(ops)
		s.Shuffle(len(ops)*s.IntN(2), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
		o := SetFullOptions{Once: s.IntN(2) == 0, Linearizable: s.IntN(2) == 0}
		bad, stable := false, 0
		for _, e := range some {
			tries, began := 0, time.Duration(1<<60)
			known := began
			for _, a := range ops {
				if a.F == "add" && string(a.Value) == e && a.Outcome != Fail {
					tries++
					began = min(began, a.Invoked)
					if a.Outcome == OK {
						known = min(known, a.Completed)
					}
				}
			}
			has := func(r Op) int {
				elements, _ := r.Result.List()
				n := 0
				for _, x := range elements {
					n += one(string(x) == e)
				}
				return n
			}
			var reads []Op
			isThere := false
			for _, r := range ops {
				if r.F != "read" || r.Outcome != OK {
					continue
				}
				reads = append(reads, r)
				if n := has(r); n > 0 {
					isThere = true
					known = min(known, r.Completed)
					bad = bad || r.Completed < began || tries == 0 || o.Once && n > tries
				}
			}
			lost, stale := false, false
			for _, r := range reads {
				if has(r) > 0 || r.Invoked <= known {
					continue
				}
				back := slices.ContainsFunc(reads, func(x Op) bool { return has(x) > 0 && x.Invoked >= r.Invoked })
				lost = lost || !back
				stale = stale || back
			}
			if tries == 0 {
				continue
			}
			bad = bad || lost || stale && o.Linearizable
			if isThere && !lost {
				stable++
			}
		}
		want := Valid
		switch {
		case bad:
			want = Invalid
		case stable == 0:
			want = Unknown
		}
		seen[want]++
		holds(t, SetFull(ops, o), want, ops, o)
	}
	all(t, seen)
}

// TestSessionsOracle holds Sessions against all orders of the versions.
func TestSessionsOracle(t *testing.T) {
	s := newSmall()
	seen := map[Verdict]int{}
	for range rounds(200_000) {
		var ops []Op
		writer := map[string]int{}
		for range s.IntN(9) {
			o := s.op("write", []string{"1", `"2"`, "3"}[s.IntN(3)])
			if writer[string(o.Value)] > 0 && s.IntN(8) > 0 || s.IntN(2) == 0 {
				o = s.op("read", "")
				if o.Outcome == OK {
					o.Result = Value([]string{"", "1", "2", `"3"`, "1", "2"}[s.IntN(6)])
					if s.IntN(4) == 0 {
						o.Result = `"0"`
					}
				}
			}
			writer[string(o.Value)]++
			o.Key = Value([]string{`"k"`, `"k"`, ""}[s.IntN(3)])
			ops = append(ops, o)
		}
		s.timed(ops)
		initial := []string{"", "", "0", "1", "2"}[s.IntN(5)]
		first, versionOf := "first", func(o Op) string { // what is read or written
			switch v := o.Value.Text() + o.Result.Text(); v {
			case initial:
				return "first"
			case "":
				return "none"
			default:
				return v
			}
		}
		bad, compared := false, 0
		written := slices.ContainsFunc(ops, func(o Op) bool { return o.F == "write" })
		for _, key := range []Value{None, `"k"`} {
			writes := map[string]int{}
			for _, o := range ops {
				if o.F == "write" && o.Key == key && o.Outcome != Fail {
					writes[versionOf(o)]++
				}
			}
			var acts []Op // what counts
			for _, o := range ops {
				version := versionOf(o)
				if o.Key != key || o.F == "read" && o.Outcome != OK || o.Outcome == Fail || writes[version] > one(version != first) {
					continue
				}
				bad = bad || o.F == "read" && version != first && writes[version] == 0 && written
				o.Error = version
				acts = append(acts, o)
			}
			holdsIn := func(order []string) bool {
				at := func(o Op) int { return slices.Index(order, o.Error) }
				for i, a := range acts {
					for _, b := range acts[i+1:] {
						if a.Process == b.Process && at(a) > at(b) && !(a.F == "read" && b.F == "write") {
							return false
						}
					}
				}
				return true
			}
			fits := false
			var try func(order, left []string)
			try = func(order, left []string) {
				fits = fits || len(left) == 0 && holdsIn(order)
				for i := range left {
					try(append(slices.Clip(order), left[i]), slices.Delete(slices.Clone(left), i, i+1))
				}
			}
			var values []string
			for _, a := range acts {
				if a.Error != first && !slices.Contains(values, a.Error) {
					values = append(values, a.Error)
				}
			}
			try([]string{first}, values)
			bad = bad || !fits
			for i, a := range acts {
				compared += one(a.F == "read" && slices.ContainsFunc(acts[:i], func(b Op) bool {
					return b.Process == a.Process && (b.F == "write" || a.Error != first || b.Error != first)
				}))
			}
		}
		want := Valid
		switch {
		case bad:
			want = Invalid
		case compared == 0:
			want = Unknown
		}
		seen[want]++
		holds(t, Sessions(ops, SessionsOptions{Initial: Value(initial)}), want, ops, initial)
	}
	all(t, seen)
}

// TestSessionsInitial holds what is said of reads of the value that was there at first,
// and of those of none and of the empty text, which are two values.
func TestSessionsInitial(t *testing.T) {
	for _, c := range []struct {
		initial, ops, want string
		verdict            Verdict
	}{
		{"5", "r5 w1 r1", "2 reads keep to the order of sessions", Valid},
		{`"5"`, "r5 w1 r1", "2 reads keep to the order of sessions", Valid},
		{"5", "r5 w1 r5", `1 against read your writes: "5" (process 0, read after "1"`, Invalid},
		{"5", "w1 rnull", `1 unexpected: "null"`, Invalid},
		{"", "w1 rnull", `1 against read your writes: "null"`, Invalid},
		{"", "r5 w1 r1", `1 unexpected: "5"`, Invalid},
		{"5", "r5 r5 r5", "no process has read a value after", Unknown},
		{"5", "w1 r1 w5 r5", "1 ambiguous", Valid},
		{"5", `w1 r1 wnull rnull`, "2 reads keep", Valid},
		{"", `rnull w"" r"" rnull`, `1 against read your writes: "null" (process 0, read after ""`, Invalid},
		{"", `rnull w"null" r"null" r"null"`, "3 reads keep", Valid},
	} {
		var ops Ops
		for i, text := range strings.Fields(c.ops) {
			o := Op{Index: i, F: "write", Value: Value(text[1:]), Outcome: OK, Invoked: time.Duration(i), Completed: time.Duration(i)}
			if text[0] == 'r' {
				o.F, o.Value, o.Result = "read", None, o.Value
			}
			ops = append(ops, o)
		}
		r := Sessions(ops, SessionsOptions{Initial: Value(c.initial)})
		if text := r.Text(TextOptions{}); r.Verdict != c.verdict || !strings.Contains(text, c.want) {
			t.Errorf("%s from %s: %s: %s; want %s: %s", c.ops, c.initial, r.Verdict, text, c.verdict, c.want)
		}
	}
}
