package transaction

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// arbitrary draws transactions on registers of which each read returns any value that is
// ever written, or what was there at first, which is "null" as the oracle has it.
func arbitrary(r *rand.Rand, n, keys, micros int, unknown float64) []history.Op {
	type place struct{ key, value int }
	var parts [][]place
	written := make([]int, keys)
	for range n {
		var p []place
		for range 1 + r.IntN(micros) {
			k := r.IntN(keys)
			value := -1
			if r.IntN(2) == 0 {
				written[k]++
				value = written[k]
			}
			p = append(p, place{k, value})
		}
		parts = append(parts, p)
	}
	var ops []history.Op
	at := 0
	for _, p := range parts {
		var asked, got []string
		for _, m := range p {
			if m.value > 0 {
				asked = append(asked, fmt.Sprintf(`["w",%d,%d]`, m.key, m.value))
				got = append(got, asked[len(asked)-1])
				continue
			}
			asked = append(asked, fmt.Sprintf(`["r",%d,null]`, m.key))
			seen := "null"
			if v := r.IntN(written[m.key] + 1); v > 0 {
				seen = fmt.Sprint(v)
			}
			got = append(got, fmt.Sprintf(`["r",%d,%s]`, m.key, seen))
		}
		at += r.IntN(4)
		op := history.Op{F: "txn", Outcome: history.OK, Value: history.Value("[" + strings.Join(asked, ",") + "]"),
			Result: history.Value("[" + strings.Join(got, ",") + "]"), Invoked: time.Duration(at), Completed: time.Duration(at + r.IntN(12))}
		if r.Float64() < unknown {
			op.Outcome, op.Result = history.Info, history.None
		}
		ops = append(ops, op)
	}
	return numbered(ops...)
}

// TestRegistersInTime compares the strictest level with what trying every order finds, on
// registers that are written without being read first: what has an order that keeps to
// time is never told as one without; and of transactions of one micro-operation, what has
// none is always.
func TestRegistersInTime(t *testing.T) {
	for _, micros := range []int{1, 3} {
		r := rand.New(rand.NewPCG(7, uint64(micros)))
		valid, invalid, missed := 0, 0, 0
		const rounds = 30_000
		for range rounds {
			ops := arbitrary(r, 2+r.IntN(5), 1+r.IntN(2), micros, []float64{0, 0.2}[r.IntN(2)])
			want := serializable(ops, true)
			initial := history.None
			if r.IntN(2) == 0 {
				initial = `"first"`
				for i := range ops {
					ops[i].Result = history.Value(strings.ReplaceAll(string(ops[i].Result), "null", `"first"`))
				}
			}
			res, err := Check(ops, Options{Level: StrictSerializable, Initial: initial})
			if err != nil {
				t.Fatal(err)
			}
			switch got := res.Verdict != history.Invalid; {
			case want && !got:
				t.Fatalf("there is an order, yet %s\n%s", res.Summary, show(ops))
			case want:
				valid++
			case got && micros == 1:
				t.Fatalf("there is no order, yet %s\n%s", res.Summary, show(ops))
			case got:
				missed++
			default:
				invalid++
			}
		}
		t.Logf("%d micro-operations: %d valid, %d invalid, %d missed", micros, valid, invalid, missed)
		if valid < rounds/10 || invalid < rounds/10 || missed > invalid/10 {
			t.Errorf("%d micro-operations: %d valid, %d invalid, %d missed", micros, valid, invalid, missed)
		}
	}
}

// TestStaleRegister holds what is told of a register that goes back, and that levels which
// do not look at time allow it.
func TestStaleRegister(t *testing.T) {
	for want, ops := range map[string][]history.Op{
		"G-single-realtime (a cycle with one read of what was then replaced: read skew): T1 by process 1 (0.020s–0.030s) read None " +
			"of x, without 1, which T0 by process 0 (0.000s–0.010s) wrote; T0 was complete before T1 began; so T1 came before itself": numbered(
			did(0, 10, `[["w","x",1]]`), did(20, 30, `[["r","x",null]]`)),
		"T2 by process 2 (0.040s–0.050s) read 1 of x, which was there before 2, which T1 by process 1 (0.020s–0.030s) wrote, was last; " +
			"T1 was complete before T2 began; so T2 came before itself": numbered(
			did(0, 10, `[["w","x",1]]`), did(20, 30, `[["w","x",2]]`), did(40, 50, `[["r","x",1]]`)),
		// two writes at once, of which each replaced the other
		"read 1 of x, which was there before 2, which T1 by process 1 (0.000s–0.010s) wrote, was last; T1 was complete before T2 began": numbered(
			did(0, 10, `[["w","x",1]]`), did(0, 10, `[["w","x",2]]`), did(20, 30, `[["r","x",1]]`), did(40, 50, `[["r","x",2]]`),
			did(60, 70, `[["r","x",1]]`)),
	} {
		for _, level := range Levels() {
			r, err := Check(ops, Options{Level: level})
			if err != nil || (r.Verdict == history.Invalid) != (level == StrictSerializable) {
				t.Errorf("%s: %+v, %v", level, r, err)
			}
			if level == StrictSerializable && !strings.Contains(r.Summary, want) {
				t.Errorf("%s\nwant %s", r.Summary, want)
			}
		}
	}
}

// TestAnswers holds what is said of a result that is not of the transaction's
// micro-operations, and of what was there at first.
func TestAnswers(t *testing.T) {
	const asked = `[["r","x",null],["w","y",1]]`
	for result, want := range map[string]string{
		asked:                       "",
		`[["r","x",7],["w","y",1]]`: "",
		`[["r","x",7]]`: `operation 0 by process 0 (0.000000s–0.001000s): its result "[[\"r\",\"x\",7]]" does not answer the transaction ` +
			`"[[\"r\",\"x\",null],[\"w\",\"y\",1]]": it has 1 micro-operations, want 2; the result is the transaction with what was read`,
		`[["r","z",7],["w","y",1]]`: "micro-operation 1 is r of z, want r of x",
		`[["w","y",1],["r","x",7]]`: "micro-operation 1 is w of 1 to y, want r of x",
		`[["r","x",7],["w","y",2]]`: "micro-operation 2 is w of 2 to y, want w of 1 to y",
		`[7]`:                       `a micro-operation is like ["r", "x", null]`,
		`[]`:                        "it has 0 micro-operations, want 2",
	} {
		op := did(0, 1, asked)
		op.Result = history.Value(result)
		_, err := Check(numbered(op), Options{Initial: "7"})
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", result, err, want)
		}
	}
	_, err := Check(numbered(did(0, 1, `[["w","x",7]]`)), Options{Initial: `"7"`})
	if err == nil || !strings.Contains(err.Error(), "wrote 7 to x, which is what was there at first") {
		t.Error(err)
	}
}
