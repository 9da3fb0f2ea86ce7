// Package verdict judges a run. Whatever bears on the verdict is a Finding;
// everybody may add one until the log is closed, and Conclude alone turns them
// into an outcome. The package does no I/O, and knows nothing of the engine.
package verdict

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Outcome is what a run came to.
type Outcome string

// The outcomes of a run. See Worse for their order.
const (
	Passed       Outcome = "passed"
	Skipped      Outcome = "skipped"      // this machine cannot do what the run needs
	Inconclusive Outcome = "inconclusive" // nothing failed, and nothing was shown
	Interrupted  Outcome = "interrupted"  // by a signal, or by the caller's context
	Failed       Outcome = "failed"
)

// Outcomes returns all outcomes, the best first.
func Outcomes() []Outcome { return []Outcome{Passed, Skipped, Inconclusive, Interrupted, Failed} }

// Worse reports whether a is worse than b: failed > interrupted > inconclusive >
// skipped > passed. An outcome of no known name is worse than all.
func Worse(a, b Outcome) bool { return rank(a) > rank(b) }

func rank(o Outcome) int {
	if i := slices.Index(Outcomes(), o); i >= 0 {
		return i
	}
	return len(Outcomes())
}

// AtEnd is the part of a run in which it is shut down.
const AtEnd = "end"

// Finding is something that bears on the verdict of a run.
type Finding struct {
	// Outcome is what the run has come to at best. Passed is for what is only
	// told, such as a message that could not be sent while the run was ending.
	Outcome Outcome
	Reason  string
	Where   string // file:line:col of the script, or ""
	// During is the part of the run in which it was found: "" for the script,
	// else "deferred", "teardown" or AtEnd.
	During string
	// Soft says that the script went on. What ended it is told before.
	Soft bool
	// Bug says that it shows a bug of dagon-star, or of an embedder's builtin.
	Bug bool
	// Signal is the number of the signal that interrupted the run, or 0.
	Signal int
	// Cause is the error that it comes from, for errors.As. It may be nil.
	Cause error
}

// Judged is an error that knows what it makes of a run.
type Judged interface {
	error
	// Finding returns the finding, of which Reason and Cause are filled in by Of.
	Finding() Finding
}

// Of makes a finding of an error that ended something: that of a Judged error in
// its chain, else failed.
func Of(err error) Finding {
	f := Finding{Outcome: Failed}
	var judged Judged
	if errors.As(err, &judged) {
		f = judged.Finding()
	}
	f.Reason, f.Cause = err.Error(), err
	return f
}

// Event returns the finding as the event log has it.
func (f Finding) Event() event.Finding {
	return event.Finding{Outcome: string(f.Outcome), Reason: f.Reason, Where: f.Where, During: f.During, Soft: f.Soft,
		Bug: f.Bug, Signal: f.Signal}
}

// String returns the finding's reason, after where and when it was found.
func (f Finding) String() string {
	if f.Where != "" {
		return f.Where + ": " + f.told()
	}
	return f.told()
}

// Told returns the finding as it is told beside a verdict: with its outcome, where
// it has one.
func (f Finding) Told() string {
	if f.Outcome == Passed {
		return f.String()
	}
	return string(f.Outcome) + ": " + f.String()
}

// told is the reason, after when it was found, where the reason does not say so.
func (f Finding) told() string {
	if f.During != "" && f.During != AtEnd {
		return f.During + ": " + f.Reason
	}
	return f.Reason
}

// Verdict is what the findings of a run come to.
type Verdict struct {
	Outcome Outcome
	// Reason, Where and Cause are those of the finding that decided. Where soft
	// failures decided, Reason lists all of them.
	Reason string
	Where  string // file:line:col of the script, or ""
	Cause  error
	// Bug reports whether any finding shows a bug of dagon-star.
	Bug bool
	// Beside are the findings that did not decide, in the order in which they
	// were found.
	Beside []Finding

	signal int
}

// Conclude judges a run by its findings, in the order in which they were found.
// The worst outcome holds, whatever came first. Of several findings of that
// outcome the first decides, except that
//   - one that shows a bug goes before all others,
//   - one that ended the script goes before those that were soft, and
//   - one of the script goes before those of the deferred calls, the teardown
//     and the end.
//
// A run without findings passed.
func Conclude(findings []Finding) Verdict {
	v := Verdict{Outcome: Passed}
	decided := -1
	for i, f := range findings {
		v.Bug = v.Bug || f.Bug
		if f.Outcome != Passed && (decided < 0 || before(f, findings[decided])) {
			decided = i
		}
	}
	if decided < 0 {
		v.Beside = findings
		return v
	}
	d := findings[decided]
	var soft []string
	v.Outcome, v.Reason, v.Where, v.Cause, v.signal = d.Outcome, d.told(), d.Where, d.Cause, d.Signal
	for i, f := range findings {
		switch {
		case d.Soft && f.Soft && f.Outcome == d.Outcome:
			soft = append(soft, f.String())
		case i != decided:
			v.Beside = append(v.Beside, f)
		}
	}
	if d.Soft {
		v.Where, v.Reason = "", fmt.Sprintf("%d soft failures:\n  %s", len(soft), strings.Join(soft, "\n  "))
		if len(soft) == 1 {
			v.Reason = "a soft failure: " + soft[0]
		}
	}
	return v
}

// before reports whether a later finding decides rather than an earlier one.
func before(later, earlier Finding) bool {
	switch {
	case later.Bug != earlier.Bug:
		return later.Bug
	case later.Outcome != earlier.Outcome:
		return Worse(later.Outcome, earlier.Outcome)
	case later.Soft != earlier.Soft:
		return earlier.Soft
	}
	return later.During == "" && earlier.During != ""
}

// ExitCode returns the exit code that tells the verdict: 0 for passed, 1 for
// failed, 3 for inconclusive and skipped, 70 for a bug, and for interrupted 128
// with the signal's number added, 130 where it was no signal.
func (v Verdict) ExitCode() int {
	switch {
	case v.Bug:
		return 70
	case v.Outcome == Passed:
		return 0
	case v.Outcome == Inconclusive, v.Outcome == Skipped:
		return 3
	case v.Outcome == Interrupted && v.signal > 0:
		return 128 + v.signal
	case v.Outcome == Interrupted:
		return 130
	}
	return 1
}
