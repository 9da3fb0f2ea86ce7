package runtime

import (
	"context"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Verdict is what the run comes to by what has been found so far.
func (r *Run) Verdict() verdict.Verdict {
	r.j.Lock()
	defer r.j.Unlock()
	return verdict.Conclude(r.findings)
}

// Hold calls hold, and returns when that does, for why the run goes on. It is for who
// wants to look at a system before End undoes and ends it. The time limit stands still
// meanwhile, and the log has event.Held and event.Released; else nothing is different:
// nodes go on, and what becomes of them counts.
//
// The context of hold is done when ctx is, or Config.Hurry is closed, with a cause that
// says which. A hold that does not return soon after that, or that panics, is a finding.
func (r *Run) Hold(ctx context.Context, hold func(context.Context) (why string)) {
	ctx, release := context.WithCancelCause(ctx)
	var hurried sync.WaitGroup
	defer hurried.Wait()
	defer release(nil)
	hurried.Go(func() {
		select {
		case <-r.cfg.Hurry: // nil is never closed
			release(errHurried)
		case <-ctx.Done():
		}
	})
	limit, limited := r.stopTimeLimit()
	began := r.Elapsed()
	r.note(event.Held{})
	whys := make(chan string, 1)
	r.callback(ctx, callbackName("a function that Hold was given", hold), "", func(ctx context.Context) {
		whys <- hold(ctx)
	})
	why := "what held it did not say why"
	select {
	case why = <-whys:
	default:
	}
	held := r.Elapsed() - began
	r.note(event.Released{HeldS: held.Truncate(time.Microsecond).Seconds(), Why: why})
	if limited {
		r.timeLimit.Reset(limit)
	}
}

// stopTimeLimit stops the time limit, and returns how much of it is left; false where there
// is none, or it has passed.
func (r *Run) stopTimeLimit() (left time.Duration, ok bool) {
	if r.timeLimit == nil {
		return 0, false
	}
	left, _ = r.timeLimit.Left()
	return left, r.timeLimit.Stop()
}

// note logs an event that is about no node.
func (r *Run) note(d event.Detail) {
	r.j.Lock()
	defer r.j.Unlock()
	r.j.Append("", d)
}
