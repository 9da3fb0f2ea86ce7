package runtime

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Outcome is what a run came to.
type Outcome = verdict.Outcome

// The outcomes of a run.
const (
	Passed       = verdict.Passed
	Skipped      = verdict.Skipped
	Inconclusive = verdict.Inconclusive
	Interrupted  = verdict.Interrupted
	Failed       = verdict.Failed
)

// Finding is something that bears on the verdict.
type Finding = verdict.Finding

// Result is what is left of a run.
type Result struct {
	verdict.Verdict
	ID       string
	Folder   string
	Duration time.Duration
	Nodes    []NodeInfo
	// LeftBehind are the processes that even SIGKILL did not end in time.
	LeftBehind []int

	events iter.Seq2[event.Event, error]
}

// Events goes through the events of the run, which are on the disk. An error, as
// where the run's folder has been moved, is the last of the sequence.
func (r *Result) Events() iter.Seq2[event.Event, error] { return r.events }

// End ends the run, whatever ended its work: all faults are undone, then the functions
// last are called, one after the other, then all that still runs is shut down, and then
// the findings are judged. What last and the end itself find counts as what was found
// before; of last one may be nil. The context of each is done when
//   - it has taken the grace, or the default grace where that is 0,
//   - the grace has passed since the time limit, or since an interruption, or
//   - Config.Hurry is closed.
//
// Its cause says which. A function that does not return soon after that, or that panics,
// is a finding, and End goes on.
//
// Nothing of the run is left after End, except what a finding tells of. The error
// says only that its log could not be written to the end.
func (r *Run) End(last ...func(context.Context)) (*Result, error) {
	r.j.Lock()
	if r.ending {
		r.j.Unlock()
		return nil, ErrEnded
	}
	r.ending = true
	r.j.CancelWatches(ErrEnded)
	r.findCause()
	inTime, late := context.WithCancelCause(r.ended)
	defer late(nil)
	r.late = late
	if errors.Is(r.cause, ErrTimeLimit) || errors.As(r.cause, new(*InterruptedError)) {
		r.curtail(r.cause)
	}
	r.j.Unlock()
	r.endForks(ErrEnded)
	r.forking.Wait() // what was being started is stopped with all others

	// A hurry ends what is waited for, here and in the deferred calls.
	ctx, stop := context.WithCancelCause(r.ended)
	defer stop(nil)
	if r.cfg.Hurry != nil {
		var hurried sync.WaitGroup
		defer hurried.Wait()
		defer stop(nil)
		hurried.Go(func() {
			select {
			case <-r.cfg.Hurry:
				stop(errHurried)
			case <-ctx.Done():
			}
		})
	}
	defer context.AfterFunc(ctx, func() { late(context.Cause(ctx)) })()
	r.endFaults()
	for _, call := range last {
		if call != nil {
			r.callLast(inTime, call)
		}
	}
	if r.timeLimit != nil {
		r.timeLimit.Stop()
	}
	r.stopAll(context.Background(), ctx, "end")
	if errors.Is(context.Cause(ctx), errHurried) {
		r.Find(Finding{Outcome: Interrupted, Reason: errHurried.Error(), Cause: errHurried, During: verdict.AtEnd})
	}
	return r.conclude()
}

// errHurried is the cause for which what is done at the end of a run is cut short.
var errHurried = &InterruptedError{Err: errors.New("the end of the run was cut short, and what still ran was killed")}

// curtail has what the end of the run calls end when the grace has passed, for the cause
// that comes first. The lock is held; the run is ending.
func (r *Run) curtail(cause error) {
	if r.curtailed {
		return
	}
	r.curtailed = true
	grace := r.grace()
	r.clock.AfterFunc(grace, func() {
		r.late(fmt.Errorf("%w; what was deferred did not end within %s of that", cause, grace))
	})
}

// endFaults undoes all faults. One that cannot be undone in time, as nothing more
// can be opened, ends with the network of the run.
func (r *Run) endFaults() {
	bounded, late := context.WithCancelCause(context.WithoutCancel(r.ended))
	defer late(nil)
	timer := r.clock.AfterFunc(node.KillTimeout, func() {
		late(fmt.Errorf("the faults in force could not be undone within %s", node.KillTimeout))
	})
	defer timer.Stop()
	healed := make(chan error, 1)
	r.healing.Go(func() { healed <- r.faults.End(bounded, ErrEnded) })
	err := error(nil)
	select {
	case err = <-healed:
	case <-bounded.Done():
		err = context.Cause(bounded)
	}
	if err != nil {
		r.Find(Finding{Outcome: Failed, Reason: err.Error(), During: verdict.AtEnd})
	}
}

// findCause adds what ended the run's work, unless it was found already. The lock
// is held.
func (r *Run) findCause() {
	if r.cause == nil {
		return
	}
	for _, f := range r.findings {
		if errors.Is(f.Cause, r.cause) {
			return
		}
	}
	r.find(verdict.Of(r.cause))
}

// conclude judges the run, writes the end of the log and gives everything back.
func (r *Run) conclude() (*Result, error) {
	r.stopSampling()
	left := r.leftBehind()
	if reaper, ok := r.drivers.process.(process.Reaper); ok && r.drivers.owned && len(left) > 0 {
		// Whoever should have ended them may have been stopped or be stuck itself.
		r.tasks.Go(reaper.KillKeeper)
		never := context.Background()
		r.await(never, never, r.Reached(r.names(alive), StateExited), node.KillTimeout)
		left = r.leftBehind()
	}
	if len(left) == 0 {
		r.tasks.Wait()
	} else {
		r.drivers.owned = false // closing it would wait for them
		r.Find(Finding{Outcome: Failed, Reason: fmt.Sprintf("processes %v were killed and have not ended", left), During: verdict.AtEnd})
	}
	r.stopOnDone()
	released := r.release()
	r.healing.Wait()
	if err := r.writeHistory(); err != nil {
		released = append(released, err)
	}

	r.j.Lock()
	if r.j.Lost() == nil { // which tells more
		if err := r.folder.CheckEvents(r.j.Written()); err != nil {
			r.find(r.changedLog(err))
		}
	}
	for _, err := range released {
		outcome := Passed
		var lost *LogError
		var loose *containError
		var stays *CallbackError
		if errors.As(err, &lost) || errors.As(err, &loose) || errors.As(err, &stays) {
			outcome = Failed
		}
		r.find(Finding{Outcome: outcome, Reason: err.Error(), Cause: err, During: verdict.AtEnd})
	}
	r.faults.CloseSchedules(ErrEnded) // those of the deferred calls
	for _, f := range r.ledger.Findings(r.required) {
		r.find(f)
	}
	v := r.writeVerdict(left)
	r.j.Close(ErrEnded)
	result := &Result{Verdict: v, ID: r.id, Folder: r.folder.Path, Duration: r.Elapsed(), events: r.Events(),
		Nodes: r.infos(), LeftBehind: left}
	err := r.j.Lost()
	r.j.Unlock()
	r.j.Wait()
	if unlogged := r.observed(); len(unlogged) > 0 {
		result.Verdict = verdict.Conclude(append(r.findings, unlogged...))
	}
	return result, errors.Join(err, r.folder.Close())
}

// changedLog is the finding that the log is not what was written, as err says. The lock
// is held.
func (r *Run) changedLog(err error) Finding {
	lost := &LogError{Err: fmt.Errorf("event log: %w", err)}
	return Finding{Outcome: Failed, Reason: lost.Error(), Cause: lost, During: r.phase()}
}

// writeVerdict judges the run and writes the end of its log. A log without its
// end is a finding too, and whoever observes the run hears of it. The lock is held.
func (r *Run) writeVerdict(left []int) verdict.Verdict {
	judge := func() (v verdict.Verdict, d event.Verdict) {
		findings := r.findings
		if lost := r.j.Lost(); lost != nil {
			findings = append(findings, Finding{Outcome: Failed, Reason: lost.Error(), Cause: lost, During: verdict.AtEnd})
		}
		v = verdict.Conclude(findings)
		return v, event.Verdict{Outcome: string(v.Outcome), Reason: v.Reason, Where: v.Where}
	}
	v, written := judge()
	r.j.Append("", written)
	r.j.Append("", event.RunFinished{DurationS: r.Elapsed().Truncate(time.Microsecond).Seconds(), LeftBehind: left})
	r.j.Flush()
	if r.j.Lost() != nil {
		v, written = judge()
		r.j.Correct(2, written)
	}
	return v
}

func (r *Run) leftBehind() []int {
	r.j.Lock()
	defer r.j.Unlock()
	left := []int{}
	for _, n := range r.order {
		if n.Alive() {
			left = append(left, n.PID)
		}
	}
	return left
}
