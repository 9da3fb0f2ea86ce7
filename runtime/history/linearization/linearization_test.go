package linearization

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// decided returns what a search by porcupine alone makes of a history.
func decided(t *testing.T, model string, ops []history.Op) bool {
	t.Helper()
	m := newMachine(model, history.None)
	var calls []call
	for i := range ops {
		if ops[i].Outcome == history.Fail {
			continue
		}
		c, err := m.call(&ops[i])
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	s := &search{ctx: t.Context(), machine: m, limit: DefaultMemoryLimit}
	ok, _, err := s.run(m.settle(calls), false)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// TestOracle compares each model with what trying every order finds.
func TestOracle(t *testing.T) {
	for _, model := range Models() {
		t.Run(model, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(model))))
			invalid := 0
			const rounds = 3000
			for i := range rounds {
				p := sample{model: model, ops: 2 + r.IntN(6), processes: 1 + r.IntN(4), values: r.IntN(4),
					wrong: []float64{0, 0.1, 0.3}[i%3], unknown: []float64{0, 0.2, 0.5}[r.IntN(3)]}
				ops := p.draw(r)
				want := oracle(model, ops)
				if p.wrong == 0 && !want {
					t.Fatalf("the sample is not right\n%s", show(ops))
				}
				found, err := Check(t.Context(), ops, Options{Model: model})
				if err != nil {
					t.Fatal(err)
				}
				if !want {
					invalid++
				}
				if (found.Verdict != history.Invalid) != want {
					t.Fatalf("round %d: %s, but whether an order fits is %v\n%s", i, found.Summary, want, show(ops))
				}
				if got := decided(t, model, ops); got != want {
					t.Fatalf("round %d: the search found %v, want %v\n%s", i, got, want, show(ops))
				}
				culprits(t, model, ops, found)
			}
			if invalid < rounds/20 || invalid > rounds*9/10 {
				t.Errorf("%d of %d histories are invalid: the samples show little", invalid, rounds)
			}
			t.Logf("%d of %d are invalid", invalid, rounds)
		})
	}
}

// culprits holds what is told of an invalid history: a search tells the first
// completion that does not fit, without which all that was complete before does.
func culprits(t *testing.T, model string, ops []history.Op, found *Finding) {
	t.Helper()
	if found.Verdict != history.Invalid {
		return
	}
	if len(found.Groups) == 0 || len(found.Groups[0].Points) == 0 || found.Groups[0].Points[0].Op == nil {
		t.Fatalf("%s tells of no operation\n%s", found.Summary, show(ops))
	}
	if found.Groups[0].Name != "operation that no order fits" {
		return
	}
	culprit := found.Groups[0].Points[0].Op
	var before []history.Op
	for _, op := range ops {
		if op.Invoked > culprit.Completed {
			continue
		}
		if op.Outcome == history.OK && (op.Completed > culprit.Completed) {
			op.Outcome, op.Result = history.Info, history.None
		}
		before = append(before, op)
	}
	if oracle(model, before) {
		t.Fatalf("up to %s there is an order\n%s", found.Summary, show(ops))
	}
	for i := range before {
		if before[i].Outcome == history.OK && before[i].Completed == culprit.Completed {
			before[i].Outcome, before[i].Result = history.Info, history.None
		}
	}
	if !oracle(model, before) {
		t.Fatalf("%s: there is no order before that\n%s", found.Summary, show(ops))
	}
}

func show(ops []history.Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "p%d %s %q -> %q %s [%d, %d] open=%v\n", op.Process, op.F, op.Value, op.Result, op.Outcome, op.Invoked,
			op.Completed, op.Open)
	}
	return b.String()
}

// TestZones compares zones with porcupine: on registers of unique values, with reads
// of what was there at first, and writes of which nobody knows.
func TestZones(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	invalid, rules := 0, map[rule]int{}
	const rounds = 30_000
	for i := range rounds {
		p := sample{model: "register", ops: 2 + r.IntN(30), processes: 1 + r.IntN(6),
			wrong: []float64{0, 0.02, 0.1}[i%3], unknown: []float64{0, 0.1, 0.3}[r.IntN(3)]}
		ops := p.draw(r)
		breaches, unique := zones(pointers(ops), history.None)
		if !unique {
			t.Fatalf("not unique\n%s", show(ops))
		}
		if got, want := len(breaches) == 0, decided(t, "register", ops); got != want {
			t.Fatalf("round %d: zones say %v %+v, porcupine %v\n%s", i, got, breaches, want, show(ops))
		}
		if len(breaches) > 0 {
			invalid++
			for _, b := range breaches {
				rules[b.rule]++
			}
		}
	}
	for r := neverWritten; r <= stale; r++ {
		if rules[r] < 20 {
			t.Errorf("%q was broken %d times only", r.name(), rules[r])
		}
	}
	t.Logf("%d of %d are invalid: %v", invalid, rounds, rules)
}

func pointers(ops []history.Op) []*history.Op {
	list := make([]*history.Op, len(ops))
	for i := range ops {
		list[i] = &ops[i]
	}
	return list
}

// op makes an operation of a text: "process f value result from to", with - for none.
// An outcome after these is other than ok.
func op(text string) history.Op {
	var o history.Op
	var value, result, outcome string
	var from, to int
	n, err := fmt.Sscan(text, &o.Process, &o.F, &value, &result, &from, &to, &outcome)
	if n < 6 {
		panic(err)
	}
	of := func(s string) history.Value {
		if s == "-" {
			return history.None
		}
		return history.Value(s)
	}
	o.Value, o.Result, o.Outcome = of(value), of(result), history.OK
	if outcome != "" {
		o.Outcome = history.Outcome(outcome)
	}
	o.Invoked, o.Completed = time.Duration(from)*time.Millisecond, time.Duration(to)*time.Millisecond
	return o
}

func parse(lines string) []history.Op {
	var ops []history.Op
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		if line = strings.TrimSpace(line); line != "" {
			o := op(line)
			o.Index = len(ops)
			ops = append(ops, o)
		}
	}
	return ops
}

// TestWords holds the verdicts and what is told of them.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		name, model, ops string
		verdict          history.Verdict
		want             string
	}{
		{"valid", "register", "0 write 1 - 0 10\n1 read - 1 20 30", history.Valid, "2 operations are linearizable as a register"},
		{"text for number", "register", "0 write 1 - 0 10\n1 read - \"1\" 20 30", history.Valid, "2 operations"},
		{"nothing read", "register", "0 write 1 - 0 10", history.Unknown, "nothing was read"},
		{"nothing written", "register", "0 read - - 0 10", history.Unknown, "nothing was acknowledged"},
		{"ambiguous only", "register", "0 write 1 - 0 10 info\n0 read - - 20 30", history.Unknown, "nothing was acknowledged"},
		{"nothing at all", "queue", "", history.Unknown, "nothing was acknowledged"},
		{"never written", "register", "0 write 1 - 0 10\n1 read - 7 20 30", history.Invalid,
			"read of 7 by process 1 (0.020s–0.030s) though nobody wrote that"},
		{"failed", "register", "0 write 7 - 0 10 fail\n1 read - 7 20 30", history.Invalid,
			"read of 7 by process 1 (0.020s–0.030s) though the only write of 7 by process 0 (0.000s–0.010s, failed)"},
		{"too early", "register", "1 read - 7 20 30\n0 write 7 - 40 50", history.Invalid,
			"read of 7 by process 1 (0.020s–0.030s) which was complete before write of 7 by process 0 (0.040s–0.050s) began"},
		{"stale", "register", "0 write 3 - 0 10\n0 write 4 - 20 30\n2 read - 3 40 50", history.Invalid,
			"read of 3 by process 2 (0.040s–0.050s) though write of 4 by process 0 (0.020s–0.030s) was complete before it began, " +
				"and had begun after write of 3 by process 0 (0.000s–0.010s) was complete"},
		{"stale at first", "register", "0 write 4 - 20 30\n2 read - - 40 50", history.Invalid,
			"read of None by process 2 (0.040s–0.050s) though write of 4 by process 0 (0.020s–0.030s) was complete before it began"},
		{"touching", "register", "0 write 4 - 20 30\n2 read - - 30 50", history.Valid, ""},
		{"read again", "cas-register", "0 write 1 - 0 10\n0 cas [1,2] true 20 30\n1 read - 1 40 50", history.Invalid,
			"read of 1 by process 1 (0.040s–0.050s), which fits nowhere: in the longest order of the others the register is 2 then"},
		{"cas", "cas-register", "0 write 1 - 0 10\n0 cas [5,2] false 20 30\n1 read - 1 40 50", history.Valid, ""},
		{"lost element", "queue", "0 enqueue 1 - 0 10\n0 enqueue 2 - 20 30\n1 dequeue - 2 40 50", history.Invalid,
			"dequeue of 2 by process 1 (0.040s–0.050s), which fits nowhere: in the longest order of the others the queue is [1, 2] then"},
		{"taken by one of which nobody knows", "queue", "0 enqueue 1 - 0 10\n0 enqueue 2 - 20 30\n" +
			"2 dequeue - - 20 30 info\n1 dequeue - 2 40 50", history.Valid, ""},
		{"held twice", "mutex", "0 acquire - - 0 10\n1 acquire - - 20 30", history.Invalid,
			"acquire by process 1 (0.020s–0.030s), which fits nowhere: in the longest order of the others the mutex is held then"},
		{"set", "set", "0 add 1 - 0 10\n1 read - [] 20 30", history.Invalid, "read of [] by process 1"},
		{"stack", "stack", "0 push 1 - 0 10\n0 push 2 - 20 30\n1 pop - 1 40 50", history.Invalid, "[1, 2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := Check(t.Context(), parse(c.ops), Options{Model: c.model})
			if err != nil {
				t.Fatal(err)
			}
			if found.Verdict != c.verdict || !strings.Contains(found.Summary, c.want) {
				t.Errorf("%s: %s\nwant %s: %s", found.Verdict, found.Summary, c.verdict, c.want)
			}
			var page bytes.Buffer
			err = found.Picture(t.Context(), &page, []Fault{{"a cut", 5 * time.Millisecond, 15 * time.Millisecond}})
			if c.verdict != history.Invalid {
				if err != ErrNoPicture {
					t.Errorf("a picture of a %s history: %v", c.verdict, err)
				}
			} else if err != nil || !strings.Contains(page.String(), "a cut") || !strings.Contains(page.String(), "process") {
				t.Errorf("picture of %d bytes: %v", page.Len(), err)
			}
		})
	}
}

// TestKeys holds that each key is for itself, and that those that fail are named.
func TestKeys(t *testing.T) {
	ops := parse("0 write 1 - 0 10\n1 write 1 - 0 10\n0 read - 1 20 30\n1 read - - 20 30\n2 write 5 - 40 50\n3 read - 1 60 70")
	for i, k := range []string{`"a"`, `"b"`, `"a"`, `"b"`, `"c"`, `"c"`} {
		ops[i].Key = history.Value(k)
	}
	found, err := Check(t.Context(), ops, Options{Model: "register"})
	if err != nil || found.Verdict != history.Invalid || len(found.Groups) != 2 ||
		!strings.HasPrefix(found.Summary, "2 of 3 keys are not linearizable as a register: key b: read of None") {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestRefusals holds what is an error, and what it says.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ model, ops, want string }{
		{"registry", "", `there is no model "registry": it is one of cas-register, mutex`},
		{"register", "0 cas [1,2] - 0 1", `operation 0, "cas" by process 0 (0.000000s–0.001000s): the model register knows read, write`},
		{"cas-register", "0 cas 1 - 0 1", "the expected and the new value"},
		{"set", "0 contains 1 - 0 1", "true or false"},
		{"set", "0 read - 1 0 1", "returns a list"},
	} {
		_, err := Check(t.Context(), parse(c.ops), Options{Model: c.model})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, want %s", c.model, c.ops, err, c.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("the run is over"))
	if _, err := Check(ctx, parse("0 enqueue 1 - 0 1"), Options{Model: "queue"}); err == nil || err.Error() != "the run is over" {
		t.Errorf("with a context that is done: %v", err)
	}
}

// TestInitial holds what a register has at first: also where that is written again,
// which zones cannot decide.
func TestInitial(t *testing.T) {
	for _, c := range []struct {
		initial history.Value
		ops     string
		want    history.Verdict
	}{
		{"7", "0 read - 7 0 10\n0 write 1 - 20 30", history.Valid},
		{"7", "0 write 1 - 20 30\n0 read - 7 40 50", history.Invalid},
		{"7", "0 write 1 - 20 30\n0 write 7 - 40 50\n0 read - 7 60 70", history.Valid},
		{"7", "0 write 1 - 20 30\n0 write 7 - 40 50 info\n0 read - 7 60 70", history.Valid},
		{"7", "0 read - - 0 10\n0 write 1 - 20 30", history.Invalid},
		{history.None, "0 write 1 - 20 30\n0 write - - 40 50\n0 read - - 60 70", history.Valid},
	} {
		found, err := Check(t.Context(), parse(c.ops), Options{Model: "register", Initial: c.initial})
		if err != nil || found.Verdict != c.want {
			t.Errorf("%q: %s, %v; want %s", c.ops, found.Summary, err, c.want)
		}
	}
}

// TestLimits holds that a limit makes a verdict unknown, never invalid, and is named.
func TestLimits(t *testing.T) {
	ops := sample{model: "queue", ops: 400, processes: 2}.draw(rand.New(rand.NewPCG(10, 11)))
	for want, o := range map[string]Options{
		"undecided: the history with its 400 operations: the search would take more than 0 MiB; " +
			"use fewer clients a key": {MemoryLimit: 400*callSize + 8000},
		"was not done after 1ns": {TimeLimit: 1},
	} {
		o.Model = "queue"
		found, err := Check(t.Context(), ops, o)
		if err != nil || found.Verdict != history.Unknown || !strings.Contains(found.Summary, want) {
			t.Errorf("%+v, %v; want %s", found, err, want)
		}
	}
	if found, err := Check(t.Context(), ops, Options{Model: "queue"}); err != nil || found.Verdict != history.Valid {
		t.Errorf("without a limit: %+v, %v", found, err)
	}
}
