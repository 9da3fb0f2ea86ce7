package verdict

import (
	"strings"
	"testing"
)

func TestExpected(t *testing.T) {
	other := Finding{Outcome: Failed, Reason: "a node crashed"}
	note := Finding{Outcome: Passed, Reason: "a message could not be sent"}
	lost := Verdict{Outcome: Failed, Reason: "2 are\nlost"}
	with := func(v Verdict, f Finding) Verdict { v.Beside = []Finding{f}; return v }
	for _, c := range []struct {
		name, want string
		got        Verdict
		outcome    Outcome
		reason     string
	}{
		{"as expected", "failed: 2 .*lost", lost, Passed, ""},
		{"any reason", "failed", lost, Passed, ""},
		{"and a note", "failed: lost", with(lost, note), Passed, ""},
		{"and a crash", "failed: lost", with(lost, other), Failed, "and nothing beside it, and is failed: 2 are\nlost"},
		{"another reason", "failed: lost", Verdict{Outcome: Failed, Reason: "a node crashed"}, Failed,
			`was to be "failed: lost", and is failed: a node crashed`},
		{"it passed", "failed: lost", Verdict{Outcome: Passed}, Failed, "and is passed"},
		{"it failed", "passed", lost, Failed, `was to be "passed", and is failed: 2 are`},
		{"both passed", "passed", Verdict{Outcome: Passed}, Passed, ""},
		{"inconclusive", "failed", Verdict{Outcome: Inconclusive, Reason: "nothing lost"}, Failed, "and is inconclusive: nothing lost"},
		{"as inconclusive as expected", "inconclusive: nothing", Verdict{Outcome: Inconclusive, Reason: "nothing lost"}, Passed, ""},
		{"interrupted", "failed: lost", Verdict{Outcome: Interrupted, Reason: "lost"}, Interrupted, "lost"},
		{"skipped", "failed: lost", Verdict{Outcome: Skipped, Reason: "lost"}, Skipped, "lost"},
		{"a bug", "failed: lost", Verdict{Outcome: Failed, Reason: "lost", Bug: true}, Failed, "lost"},
	} {
		e, err := ParseExpected(c.want)
		if err != nil {
			t.Fatal(err)
		}
		v := e.Judge(c.got)
		if v.Outcome != c.outcome || !strings.Contains(v.Reason, c.reason) || c.reason == "" && v.Reason != "" {
			t.Errorf("%s: %s: %s", c.name, v.Outcome, v.Reason)
		}
		if told := len(v.Beside) > len(c.got.Beside); told != (c.outcome == Passed && c.got.Outcome != Passed) {
			t.Errorf("%s: beside it %v", c.name, v.Beside)
		}
	}
}

func TestParseExpected(t *testing.T) {
	for text, want := range map[string]string{
		"lost": "no verdict", "": "no verdict", "skipped": "no verdict", "failed: (": "no regular expression", "Passed": "no verdict",
	} {
		if _, err := ParseExpected(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}
