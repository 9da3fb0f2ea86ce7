package transaction

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// did makes a transaction that is ok, from its invocation to its completion.
func did(from, to int, micros string) history.Op {
	micros = strings.ReplaceAll(micros, " ", "")
	return history.Op{
		F: "txn", Value: history.Value(micros), Result: history.Value(micros), Outcome: history.OK,
		Invoked: time.Duration(from) * time.Millisecond, Completed: time.Duration(to) * time.Millisecond,
	}
}

func ended(outcome history.Outcome, from, to int, micros string) history.Op {
	op := did(from, to, micros)
	op.Outcome, op.Result = outcome, history.None
	return op
}

func numbered(ops ...history.Op) []history.Op {
	for i := range ops {
		ops[i].Index, ops[i].Process = i, i
	}
	return ops
}

// TestAnomalies holds, of each anomaly, a history that has it, what is told, and
// which levels forbid it.
func TestAnomalies(t *testing.T) {
	const all = "read-uncommitted read-committed repeatable-read snapshot-isolation serializable strict-serializable"
	const committed = "read-committed repeatable-read snapshot-isolation serializable strict-serializable"
	const repeatable = "repeatable-read snapshot-isolation serializable strict-serializable"
	for _, c := range []struct {
		name, levels, want string
		ops                []history.Op
	}{
		{"none", "", "no anomaly in 2 transactions", numbered(
			did(0, 9, `[["append","x",1]]`), did(10, 19, `[["r","x",[1]],["append","x",2]]`))},
		{"garbage", all, ": T0 by process 0 (0.000000s–0.009000s) read 7 of x, which nobody wrote", numbered(
			did(0, 9, `[["r","x",[7]]]`))},
		{"duplicate", all, ": T1 by process 1 (0.020s–0.030s) read [1, 1] of x with 1 twice", numbered(
			did(0, 9, `[["append","x",1]]`), did(20, 30, `[["r","x",[1,1]]]`))},
		{"incompatible", all, ": of x, ", numbered(
			did(0, 9, `[["append","x",1]]`), did(0, 9, `[["append","x",2]]`), did(10, 19, `[["r","x",[1,2]]]`), did(10, 19, `[["r","x",[2,1]]]`))},
		{"G0", all, "not read-uncommitted, as there is G0 (a cycle of writes): T0 by process 0 (0.000s–0.010s) wrote 1 " +
			"to x, and T1 by process 1 (0.000s–0.010s) then 2; " +
			"T1 wrote 3 to y, and T0 then 4; so T0 came before itself", numbered(
			did(0, 10, `[["append","x",1],["append","y",4]]`), did(0, 10, `[["append","x",2],["append","y",3]]`),
			did(20, 30, `[["r","x",[1,2]],["r","y",[3,4]]]`))},
		{"G1a", committed, "not read-committed, as there is G1a (a read of what a failed transaction wrote): T1 by " +
			"process 1 (0.020s–0.030s) read 1 of x, which T0 by process 0 (0.000s–0.010s, failed) wrote", numbered(
			ended(history.Fail, 0, 10, `[["append","x",1]]`), did(20, 30, `[["r","x",[1]]]`))},
		{"G1a of a register", committed, "G1a", numbered(
			ended(history.Fail, 0, 10, `[["w","x",1]]`), did(20, 30, `[["r","x",1]]`))},
		{"an unknown one was done", "", "", numbered(
			ended(history.Info, 0, 10, `[["w","x",1]]`), did(20, 30, `[["r","x",1],["w","y",1]]`))},
		{"G1b", committed, ": T1 by process 1 (0.000s–0.010s) read 1 of x, where T0 by process 0 (0.000s–0.010s) " +
			"wrote more after it", numbered(
			did(0, 10, `[["append","x",1],["append","x",2]]`), did(0, 10, `[["r","x",[1]]]`))},
		{"G1b of a register", committed, "G1b", numbered(
			did(0, 10, `[["w","x",1],["w","x",2]]`), did(0, 10, `[["r","x",1]]`))},
		{"G1c", committed, ": T0 by process 0 (0.000s–0.010s) wrote 1 to x, which T1 by process 1 (0.000s–0.010s) " +
			"read; T1 wrote 2 to y, which T0 read; so T0 came before itself", numbered(
			did(0, 10, `[["append","x",1],["r","y",[2]]]`), did(0, 10, `[["append","y",2],["r","x",[1]]]`))},
		{"internal", repeatable, ": T0 by process 0 (0.000s–0.010s) read [] of x, where it knew [1]", numbered(
			did(0, 10, `[["append","x",1],["r","x",[]]]`))},
		{"internal of a register", repeatable, "internal", numbered(
			did(0, 10, `[["w","x",1],["r","x",null]]`))},
		{"lost update", repeatable, ": T1 by process 1 (0.020s–0.030s) and T2 by process 2 (0.020s–0.030s) both read " +
			"1 of x, and then wrote it", numbered(
			did(0, 10, `[["w","x",1]]`), did(20, 30, `[["r","x",1],["w","x",2]]`), did(20, 30, `[["r","x",1],["w","x",3]]`))},
		{"G-single", repeatable, ": T1 by process 1 (0.000s–0.010s) read [] of x, without 1, which T0 by process 0 " +
			"(0.000s–0.010s) wrote; T0 wrote 2 to y, which T1 read; so T1 came before itself", numbered(
			did(0, 10, `[["append","x",1],["append","y",2]]`), did(0, 10, `[["r","x",[]],["r","y",[2]]]`))},
		{"G-single of registers", repeatable, "G-single", numbered(
			did(0, 10, `[["w","x",1],["w","y",2]]`), did(0, 10, `[["r","x",null],["r","y",2]]`))},
		{"G2-item", "repeatable-read serializable strict-serializable", "G2-item", numbered(
			did(0, 10, `[["r","x",[]],["append","y",1]]`), did(0, 10, `[["r","y",[]],["append","x",2]]`))},
		{"three such reads, two in a row", "repeatable-read serializable strict-serializable", "G2-item", numbered(
			did(0, 10, `[["r","x",[]],["append","a",1]]`), did(0, 10, `[["append","x",2],["append","p",1]]`),
			did(0, 10, `[["r","p",[1]],["r","y",[]]]`), did(0, 10, `[["append","y",3],["append","q",1]]`),
			did(0, 10, `[["r","q",[1]],["append","b",1]]`), did(0, 10, `[["r","b",[1]],["r","a",[]]]`))},
		{"two such reads, apart", repeatable, "G-nonadjacent", numbered(
			did(0, 10, `[["r","x",[]],["r","b",[1]]]`), did(0, 10, `[["append","x",2],["append","p",1]]`),
			did(0, 10, `[["r","p",[1]],["r","y",[]]]`), did(0, 10, `[["append","y",3],["append","b",1]]`))},
		{"in time", "strict-serializable", "not strict-serializable, as there is G-single-realtime (a cycle with one " +
			"read of what was then replaced: read skew): T1 by process 1 (0.020s–0.030s) read [] of x, without 1, which " +
			"T0 by process 0 (0.000s–0.010s) wrote; T0 was complete before T1 began; so T1 came before itself", numbered(
			did(0, 10, `[["append","x",1]]`), did(20, 30, `[["r","x",[]]]`))},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, level := range Levels() {
				r, err := Check(c.ops, Options{Level: level})
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Contains(strings.Fields(c.levels), string(level))
				if (r.Verdict == history.Invalid) != want {
					t.Errorf("%s: %s: %s", level, r.Verdict, r.Summary)
				}
				if (want || c.levels == "") && !strings.Contains(r.Summary, c.want) {
					t.Errorf("%s: %s\nwant %s", level, r.Summary, c.want)
				}
			}
		})
	}
}

// TestProcess holds that the order of a process is one where that is asked for.
func TestProcess(t *testing.T) {
	ops := numbered(did(0, 10, `[["append","x",1]]`), did(20, 30, `[["r","x",[]]]`))
	ops[1].Process = 0
	for _, process := range []bool{false, true} {
		r, err := Check(ops, Options{Process: process})
		if err != nil || (r.Verdict == history.Invalid) != process {
			t.Errorf("process=%v: %+v, %v", process, r, err)
		}
	}
}

// TestUnknown holds what shows nothing, and what is refused.
func TestUnknown(t *testing.T) {
	for want, ops := range map[string][]history.Op{
		"nothing was acknowledged": numbered(did(0, 1, `[["r","x",null]]`), ended(history.Info, 0, 1, `[["w","x",1]]`)),
		"nothing was read":         numbered(did(0, 1, `[["w","x",1]]`)),
		"of 0 transactions":        nil,
	} {
		if r, err := Check(ops, Options{}); err != nil || r.Verdict != history.Unknown || !strings.Contains(r.Summary, want) {
			t.Errorf("%s: %+v, %v", want, r, err)
		}
	}
	for want, op := range map[string]history.Op{
		"a transaction is a list": did(0, 1, `5`),
		"is like":                 did(0, 1, `[["r","x"]]`),
		"not":                     did(0, 1, `[["read","x",1]]`),
		"cannot write null":       did(0, 1, `[["w","x",null]]`),
		"both wrote 1 to x":       did(0, 1, `[["w","x",1],["w","x",1]]`),
		"both appended to":        did(0, 1, `[["w","x",1],["append","x",2]]`),
		"which is a list":         did(0, 1, `[["r","x",5],["append","x",2]]`),
	} {
		if _, err := Check(numbered(op), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", op.Value, err, want)
		}
	}
	if _, err := Check(nil, Options{Level: "chaos"}); err == nil || !strings.Contains(err.Error(), "chaos") {
		t.Error(err)
	}
}

// sample draws a history of transactions that are done one after the other in some
// order, with reads that are wrong now and then.
func sample(r *rand.Rand, n, keys int, lists bool, wrong, unknown float64) []history.Op {
	db := map[string][]string{}
	var old []map[string][]string
	ops := make([]history.Op, n)
	written := map[string]int{}
	for i := range ops {
		old = append(old, maps.Clone(db))
		now, view := db, false
		if r.Float64() < wrong { // it sees and changes what was there before
			now, view = maps.Clone(old[r.IntN(len(old))]), true
		}
		var asked, got []string
		for range 1 + r.IntN(3) {
			k := string(rune('a' + r.IntN(keys)))
			if r.IntN(2) == 0 {
				asked = append(asked, fmt.Sprintf(`["r","%s",null]`, k))
				seen := "[" + strings.Join(now[k], ",") + "]"
				if !lists {
					if seen = "null"; len(now[k]) > 0 {
						seen = now[k][len(now[k])-1]
					}
				}
				got = append(got, fmt.Sprintf(`["r","%s",%s]`, k, seen))
				continue
			}
			written[k]++
			v := fmt.Sprint(written[k])
			f := "w"
			if lists {
				f = "append"
			}
			now[k] = append(slices.Clip(now[k]), v)
			if view {
				db[k] = append(slices.Clip(db[k]), v)
			}
			asked = append(asked, fmt.Sprintf(`["%s","%s",%s]`, f, k, v))
			got = append(got, asked[len(asked)-1])
		}
		at := 10 * i
		ops[i] = history.Op{F: "txn", Outcome: history.OK, Value: history.Value("[" + strings.Join(asked, ",") + "]"),
			Result:  history.Value("[" + strings.Join(got, ",") + "]"),
			Invoked: time.Duration(max(0, at-r.IntN(25))), Completed: time.Duration(at + r.IntN(25))}
		if r.Float64() < unknown {
			ops[i].Outcome, ops[i].Result = history.Info, history.None
		}
		if wrong > 0 && r.IntN(50) == 0 {
			ops[i].Outcome, ops[i].Result = history.Fail, history.None
		}
	}
	return numbered(ops...)
}

// serializable tries every order of what was done, and everything that may have been.
func serializable(ops []history.Op, strict bool) bool {
	var left []history.Op
	for _, op := range ops {
		if op.Outcome != history.Fail {
			left = append(left, op)
		}
	}
	return fits(left, map[string][]history.Value{}, strict)
}

func fits(left []history.Op, db map[string][]history.Value, strict bool) bool {
	if !slices.ContainsFunc(left, func(op history.Op) bool { return op.Outcome == history.OK }) {
		return true
	}
	for i, op := range left {
		if strict && slices.ContainsFunc(left, func(o history.Op) bool { return o.Outcome == history.OK && o.Completed < op.Invoked }) {
			continue
		}
		after, ok := apply(op, db)
		if ok && fits(slices.Delete(slices.Clone(left), i, i+1), after, strict) {
			return true
		}
	}
	return false
}

func apply(op history.Op, db map[string][]history.Value) (map[string][]history.Value, bool) {
	after := maps.Clone(db)
	micros, _ := op.Returned().List()
	for _, m := range micros {
		p, _ := m.List()
		k := string(p[1])
		switch {
		case p[0] != `"r"`:
			after[k] = append(slices.Clip(after[k]), p[2])
		case op.Outcome != history.OK:
		case p[2].IsList():
			if got, _ := p[2].List(); !slices.Equal(got, after[k]) {
				return nil, false
			}
		case p[2].IsNone():
			if len(after[k]) > 0 {
				return nil, false
			}
		default:
			if n := len(after[k]); n == 0 || after[k][n-1] != p[2] {
				return nil, false
			}
		}
	}
	return after, true
}

// TestOracle compares the check with what trying every order finds: what has an order
// is never told as one without; and of lists, what has none is always.
func TestOracle(t *testing.T) {
	for _, lists := range []bool{true, false} {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("lists=%v,strict=%v", lists, strict), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				invalid, missed := 0, 0
				const rounds = 6000
				level := Serializable
				if strict {
					level = StrictSerializable
				}
				for i := range rounds {
					ops := sample(r, 2+r.IntN(5), 1+r.IntN(3), lists, []float64{0, 0.3, 0.6}[i%3], []float64{0, 0.2}[r.IntN(2)])
					want := serializable(ops, strict)
					if i%3 == 0 && !want {
						t.Fatalf("the sample is not right\n%s", show(ops))
					}
					res, err := Check(ops, Options{Level: level})
					if err != nil {
						t.Fatal(err)
					}
					switch got := res.Verdict != history.Invalid; {
					case want && !got:
						t.Fatalf("there is an order, yet %s\n%s", res.Summary, show(ops))
					case !want && got && lists:
						t.Fatalf("there is no order, yet %s\n%s", res.Summary, show(ops))
					case !want && got:
						missed++
					case !want:
						invalid++
					}
				}
				t.Logf("%d of %d were told as invalid, %d were missed", invalid, rounds, missed)
				if invalid < rounds/40 || missed > invalid {
					t.Errorf("%d of %d were told as invalid, %d were missed", invalid, rounds, missed)
				}
			})
		}
	}
}

func show(ops []history.Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "T%d %s %s [%d, %d]\n", op.Index, op.Returned(), op.Outcome, op.Invoked, op.Completed)
	}
	return b.String()
}

// FuzzParse holds that no value makes the parser fail otherwise than with an error,
// and that its lists are those of encoding/json.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`[["r","x",null]]`, `[["append","x",1],["r","y",[1,"a,]",{"b":[2]}]]]`, `[1,]`, `[[]`, `["\"]"]`,
		`[01]`, "[", "[]", `[",]`, `[ 1 ]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := elements(history.Value(s))
		want, wantOK := history.Value(s).List()
		if ok != wantOK || !slices.Equal(got, want) {
			t.Fatalf("%q: %q %v, want %q %v", s, got, ok, want, wantOK)
		}
		op := history.Op{Outcome: history.OK, Value: history.Value(s), Result: history.Value(s)}
		_, _ = Check([]history.Op{op, op}, Options{Level: StrictSerializable})
		_, _ = Check([]history.Op{op}, Options{})
	})
}

// TestText: what is told is one sentence, in which nothing is told twice; its length is
// bounded, whatever the length of a cycle and of values.
func TestText(t *testing.T) {
	short := numbered(
		did(0, 10, `[["r","x",[]],["append","y",1]]`), did(0, 10, `[["r","y",[]],["append","x",1]]`),
		did(0, 10, `[["r","v",[]],["append","w",1]]`), did(0, 10, `[["r","w",[]],["append","v",1]]`),
		did(20, 30, `[["r","x",[7]]]`))
	for level, want := range map[Level]string{
		Serializable: `the transactions are not read-uncommitted, as there is garbage read (what was read nobody wrote): ` +
			`T4 by process 4 (0.020s–0.030s) read 7 of x, which nobody wrote (process 4, at 0.020000s, while pause(db) was in force); ` +
			`1 G2-item: "T2, T3" (process 2, at 0.000000s)`,
		RepeatableRead: "",
	} {
		ops := short
		if level == RepeatableRead {
			ops = ops[:4]
			want = `the transactions are not repeatable-read, as there is G2-item (a cycle with reads of what was then replaced: write skew): ` +
				`T0 by process 0 (0.000s–0.010s) read [] of x, without 1, which T1 by process 1 (0.000s–0.010s) wrote; ` +
				`T1 read [] of y, without 1, which T0 wrote; so T0 came before itself (process 0, at 0.000000s); ` +
				`1 more G2-item: "T2, T3" (process 2, at 0.000000s)`
		}
		r, err := Check(ops, Options{Level: level})
		if err != nil {
			t.Fatal(err)
		}
		text := r.Text(history.TextOptions{Faults: func(at time.Duration) []string {
			if at == 0 {
				return nil
			}
			return []string{"pause(db)"}
		}})
		if text != want {
			t.Errorf("%s\nwant %s", text, want)
		}
	}

	const n = 500
	long := strings.Repeat("long", 1000)
	var ops []history.Op
	for i := range n { // each reads what the next one replaces
		ops = append(ops, did(0, 10, fmt.Sprintf(`[["r","k%[1]d%[3]s",[]],["append","k%[2]d%[3]s","v%[1]d%[3]s"]]`, i, (i+1)%n, long)))
	}
	r, err := Check(numbered(ops...), Options{})
	if err != nil || r.Verdict != history.Invalid {
		t.Fatalf("%+v, %v", r, err)
	}
	if text := r.Text(history.TextOptions{}); len(text) > 4000 || !strings.Contains(text, "and so on, 492 steps; ") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

// TestTextNone holds that a register which has the text None is not one that nobody wrote.
func TestTextNone(t *testing.T) {
	ops := numbered(did(1, 2, `[["r","x",null],["w","x",1]]`), did(3, 4, `[["w","x","None"]]`), did(5, 6, `[["r","x","None"],["w","x",2]]`))
	if r, err := Check(ops, Options{}); err != nil || r.Verdict != history.Valid {
		t.Errorf("%+v, %v", r, err)
	}
}
