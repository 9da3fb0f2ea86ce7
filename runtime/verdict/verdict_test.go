package verdict_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// order is the order of outcomes as the design has it, the worst first.
const order = "failed > interrupted > inconclusive > skipped > passed"

// TestOutcomes holds the order of outcomes and the exit code of each, cell by cell.
func TestOutcomes(t *testing.T) {
	codes := map[verdict.Outcome]int{verdict.Failed: 1, verdict.Interrupted: 130, verdict.Inconclusive: 3, verdict.Skipped: 3,
		verdict.Passed: 0}
	var words []string
	for _, o := range slices.Backward(verdict.Outcomes()) {
		words = append(words, string(o))
	}
	if got := strings.Join(words, " > "); got != order {
		t.Errorf("the order is %s, want %s", got, order)
	}
	for i, a := range verdict.Outcomes() {
		if code := verdict.Conclude([]verdict.Finding{{Outcome: a, Reason: "x"}}).ExitCode(); code != codes[a] {
			t.Errorf("exit code of %s: %d, want %d", a, code, codes[a])
		}
		for j, b := range verdict.Outcomes() {
			if verdict.Worse(a, b) != (i > j) {
				t.Errorf("Worse(%s, %s) is %v", a, b, i <= j)
			}
			first, second := verdict.Finding{Outcome: a, Reason: "first"}, verdict.Finding{Outcome: b, Reason: "second"}
			want, reason := a, "first"
			if j > i {
				want, reason = b, "second"
			}
			if want == verdict.Passed {
				reason = ""
			}
			if v := verdict.Conclude([]verdict.Finding{first, second}); v.Outcome != want || v.Reason != reason {
				t.Errorf("%s, then %s: %s, %q", a, b, v.Outcome, v.Reason)
			}
		}
	}
	if v := verdict.Conclude(nil); v.Outcome != verdict.Passed || v.ExitCode() != 0 || v.Beside != nil {
		t.Errorf("without findings: %+v", v)
	}
	if !verdict.Worse("new", verdict.Failed) {
		t.Error("an outcome of no known name is not the worst")
	}
}

// TestDecides: which finding decides, and that the others are told beside it.
func TestDecides(t *testing.T) {
	f := func(o verdict.Outcome, reason string, more ...func(*verdict.Finding)) verdict.Finding {
		f := verdict.Finding{Outcome: o, Reason: reason}
		for _, m := range more {
			m(&f)
		}
		return f
	}
	soft := func(f *verdict.Finding) { f.Soft = true }
	bug := func(f *verdict.Finding) { f.Bug = true }
	at := func(where string) func(*verdict.Finding) { return func(f *verdict.Finding) { f.Where = where } }
	in := func(during string) func(*verdict.Finding) { return func(f *verdict.Finding) { f.During = during } }
	by := func(signal int) func(*verdict.Finding) { return func(f *verdict.Finding) { f.Signal = signal } }
	for name, test := range map[string]struct {
		findings []verdict.Finding
		outcome  verdict.Outcome
		reason   string
		where    string
		code     int
		beside   string
	}{
		"told only": {[]verdict.Finding{f(verdict.Passed, "a note")}, verdict.Passed, "", "", 0, "a note"},
		"the first of two": {[]verdict.Finding{f(verdict.Failed, "a", at("x:1:1")), f(verdict.Failed, "b")}, verdict.Failed,
			"a", "x:1:1", 1, "failed: b"},
		"after inconclusive": {[]verdict.Finding{f(verdict.Inconclusive, "a"), f(verdict.Failed, "b")}, verdict.Failed, "b",
			"", 1, "inconclusive: a"},
		"after skipped": {[]verdict.Finding{f(verdict.Failed, "a", soft, at("x:1:1")), f(verdict.Skipped, "b")},
			verdict.Failed, "a soft failure: x:1:1: a", "", 1, "skipped: b"},
		"hard before soft": {[]verdict.Finding{f(verdict.Failed, "a", soft), f(verdict.Failed, "b", at("x:2:1"))},
			verdict.Failed, "b", "x:2:1", 1, "failed: a"},
		"all soft together": {[]verdict.Finding{f(verdict.Failed, "a", soft), f(verdict.Skipped, "s"),
			f(verdict.Failed, "b", soft)}, verdict.Failed, "2 soft failures:\n  a\n  b", "", 1, "skipped: s"},
		"soft at the end": {[]verdict.Finding{f(verdict.Failed, "a", soft), f(verdict.Failed, "b", in(verdict.AtEnd))},
			verdict.Failed, "b", "", 1, "failed: a"},
		"teardown": {[]verdict.Finding{f(verdict.Failed, "a", in("teardown"), at("x:1:1"))}, verdict.Failed,
			"teardown: a", "x:1:1", 1, ""},
		"the script's own": {[]verdict.Finding{f(verdict.Failed, "a", in("deferred")), f(verdict.Failed, "b")}, verdict.Failed,
			"b", "", 1, "failed: deferred: a"},
		"worse in the end": {[]verdict.Finding{f(verdict.Inconclusive, "a"), f(verdict.Failed, "b", in(verdict.AtEnd))},
			verdict.Failed, "b", "", 1, "inconclusive: a"},
		"a bug": {[]verdict.Finding{f(verdict.Failed, "a"), f(verdict.Failed, "b", bug)}, verdict.Failed, "b",
			"", 70, "failed: a"},
		"a bug that is beside": {[]verdict.Finding{f(verdict.Failed, "b", bug), f(verdict.Failed, "c", bug)}, verdict.Failed,
			"b", "", 70, "failed: c"},
		"a signal": {[]verdict.Finding{f(verdict.Inconclusive, "a"), f(verdict.Interrupted, "b", by(15))},
			verdict.Interrupted, "b", "", 143, "inconclusive: a"},
		"failed by a signal": {[]verdict.Finding{f(verdict.Interrupted, "b", by(15)), f(verdict.Failed, "a")}, verdict.Failed,
			"a", "", 1, "interrupted: b"},
	} {
		v := verdict.Conclude(test.findings)
		var beside []string
		for _, f := range v.Beside {
			beside = append(beside, f.Told())
		}
		if v.Outcome != test.outcome || v.Reason != test.reason || v.Where != test.where || v.ExitCode() != test.code ||
			strings.Join(beside, "\n") != test.beside {
			t.Errorf("%s: %+v, exit code %d", name, v, v.ExitCode())
		}
	}
}

// TestWorstHolds compares Conclude with an oracle on drawn findings: the outcome is
// the worst, whatever the order, and nothing is lost.
func TestWorstHolds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var findings []verdict.Finding
		for i := range random.IntN(6) {
			o := verdict.Outcomes()[random.IntN(5)]
			findings = append(findings, verdict.Finding{Outcome: o, Reason: fmt.Sprintf("<%d>", i), Soft: o == verdict.Failed && random.IntN(3) == 0,
				During: []string{"", "deferred", "teardown", verdict.AtEnd}[random.IntN(4)]})
		}
		has := map[verdict.Outcome]bool{}
		for _, f := range findings {
			has[f.Outcome] = true
		}
		want := verdict.Passed
		switch {
		case has["failed"]:
			want = "failed"
		case has["interrupted"]:
			want = "interrupted"
		case has["inconclusive"]:
			want = "inconclusive"
		case has["skipped"]:
			want = "skipped"
		}
		v := verdict.Conclude(findings)
		told := v.Reason
		for _, f := range v.Beside {
			told += f.String()
		}
		for _, f := range findings {
			if strings.Count(told, f.Reason) != 1 {
				t.Fatalf("%s is not told once of %+v: %s", f.Reason, findings, told)
			}
		}
		if v.Outcome != want {
			t.Fatalf("%+v: %s, want %s", findings, v.Outcome, want)
		}
	}
}

type judged struct{ f verdict.Finding }

func (judged) Error() string              { return "judged" }
func (j judged) Finding() verdict.Finding { return j.f }

// TestOf: an error that knows what it makes of a run is asked, wherever in the
// chain it is.
func TestOf(t *testing.T) {
	skip := judged{verdict.Finding{Outcome: verdict.Skipped, Reason: "not this"}}
	for _, test := range []struct {
		err  error
		want verdict.Outcome
	}{
		{errors.New("x"), verdict.Failed}, {skip, verdict.Skipped}, {fmt.Errorf("in: %w", skip), verdict.Skipped},
		{context.Canceled, verdict.Failed}, {fmt.Errorf("x: %w", context.DeadlineExceeded), verdict.Failed},
		{errors.Join(context.Canceled, skip), verdict.Skipped},
	} {
		if f := verdict.Of(test.err); f.Outcome != test.want || f.Reason != test.err.Error() || f.Cause != test.err {
			t.Errorf("%v: %+v", test.err, f)
		}
	}
}
