package verdict

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Expected is the verdict that a run is to come to, as a test of it says.
type Expected struct {
	Outcome Outcome
	Reason  *regexp.Regexp // that its reason is to match anywhere
	text    string
}

// ParseExpected reads "passed", or "failed" or "inconclusive" with a regular expression
// behind a colon, of which a dot matches the end of a line too: "failed: acknowledged .* lost".
func ParseExpected(text string) (Expected, error) {
	outcome, pattern, _ := strings.Cut(text, ":")
	e := Expected{Outcome: Outcome(outcome), text: text}
	if !slices.Contains([]Outcome{Passed, Failed, Inconclusive}, e.Outcome) {
		return e, fmt.Errorf("%q is no verdict: \"passed\", \"failed: REGEX\" or \"inconclusive: REGEX\" was expected", text)
	}
	var err error
	if e.Reason, err = regexp.Compile("(?s)" + strings.TrimSpace(pattern)); err != nil {
		return e, fmt.Errorf("%q has no regular expression: %w", text, err)
	}
	return e, nil
}

// Judge is the verdict of the test of a run with the verdict v. The test passes where the
// run came to what was expected and to nothing else beside it, which is told then; else
// it fails. That the run was interrupted or skipped, or shows a bug, is the test's verdict
// too.
func (e Expected) Judge(v Verdict) Verdict {
	if v.Bug || v.Outcome == Interrupted || v.Outcome == Skipped {
		return v
	}
	got := string(v.Outcome)
	if v.Reason != "" {
		got += ": " + v.Reason
	}
	alone := !slices.ContainsFunc(v.Beside, func(f Finding) bool { return f.Outcome != Passed })
	switch isMet := v.Outcome == e.Outcome && e.Reason.MatchString(v.Reason); {
	case !isMet:
		v.Outcome, v.Reason = Failed, fmt.Sprintf("the verdict was to be %q, and is %s", e.text, got)
	case !alone:
		v.Outcome, v.Reason = Failed, fmt.Sprintf("the verdict was to be %q and nothing beside it, and is %s", e.text, got)
	case v.Outcome != Passed:
		told := Finding{Outcome: Passed, Reason: "as it was to be, " + got, Where: v.Where}
		v = Verdict{Outcome: Passed, Beside: append([]Finding{told}, v.Beside...)}
	}
	return v
}
