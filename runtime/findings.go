package runtime

import (
	"errors"

	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Find adds a finding: something that bears on the verdict. It does nothing once
// the run has ended.
func (r *Run) Find(f verdict.Finding) {
	r.j.Lock()
	defer r.j.Unlock()
	r.find(f)
}

func (r *Run) find(f verdict.Finding) {
	if !r.j.Closed() {
		r.findings = append(r.findings, f)
		e := f.Event()
		e.Nodes = culprits(f.Cause)
		r.j.Append("", e)
	}
}

// culprits are the nodes that an error is about, as far as it knows.
func culprits(err error) (names []string) {
	var exit *ExitError
	var timeout *TimeoutError
	var impossible *ImpossibleError
	var action *probe.Error
	switch {
	case errors.As(err, &exit):
		return []string{exit.Node}
	case errors.As(err, &timeout):
		for _, m := range timeout.Missing {
			names = append(names, m.Node)
		}
	case errors.As(err, &impossible) && len(impossible.Missing) > 0:
		return []string{impossible.Missing[0].Node}
	case errors.As(err, &action) && action.Node != "":
		return []string{action.Node}
	}
	return names
}

// RequireFaults has the run be inconclusive unless at least n faults touch
// something; of several calls the largest n holds.
func (r *Run) RequireFaults(n int64) {
	r.j.Lock()
	defer r.j.Unlock()
	r.required = max(r.required, n)
}

// Schedule logs that the script means to do a fault: see fault.Schedule.
func (r *Run) Schedule(what, where string) *fault.Schedule { return r.faults.Schedule(what, where) }

// interrupt ends the run's work, or is a finding where that has ended.
func (r *Run) interrupt(cause error) {
	r.j.Lock()
	defer r.j.Unlock()
	if r.ending {
		f := verdict.Of(cause)
		f.During = verdict.AtEnd
		r.find(f)
		r.curtail(cause)
	}
	r.abort(cause)
}

// unasked ends the run's work, and is a finding where that has ended. The lock is held.
func (r *Run) unasked(e *ExitError) {
	if r.ending || r.cause != nil {
		r.find(verdict.Finding{Outcome: verdict.Failed, Reason: e.Error(), Cause: e, During: r.phase()})
	}
	r.abort(e)
}

// phase is the part of the run that it is in, for findings. The lock is held.
func (r *Run) phase() string {
	if r.ending {
		return verdict.AtEnd
	}
	return ""
}
