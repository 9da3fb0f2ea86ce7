package history

import (
	"math"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Begin returns the event of a client's next operation, for the log. It records nothing:
// Apply does. The error is that of Recorder.Invoke.
func (r *Recorder) Begin(node, name, f string, key, value Value) (event.Invoke, error) {
	process, err := r.may(node, name, f)
	return event.Invoke{Op: r.n, Process: process, Client: name, F: f, Key: event.JSON(key), Value: event.JSON(value)}, err
}

// End returns the event of what became of an operation, for the log: with the result of
// one that is OK, and why another is not. It records nothing: Apply does. The error is
// that of Recorder.Complete.
func (r *Recorder) End(index int, outcome Outcome, result Value, why string) (event.Completed, error) {
	d := event.Completed{Op: index, Outcome: string(outcome)}
	if outcome == OK {
		d.Result = event.JSON(result)
	} else {
		d.Error = why
	}
	return d, r.mayComplete(index, outcome)
}

// Apply records what an event tells, so that a history is a fold over the events of a
// run. One that Begin and End would not have made is no part of it.
func (r *Recorder) Apply(e event.Event) {
	switch d := e.Detail.(type) {
	case event.Invoke:
		if d.Op == r.n {
			_, _ = r.Invoke(e.Node, d.Client, d.F, Value(d.Key), Value(d.Value), when(e.T, d.At))
		}
	case event.Completed:
		_ = r.Complete(d.Op, Outcome(d.Outcome), Value(d.Result), d.Error, when(e.T, d.At))
	}
}

// when is the time of an operation's event: what its node has told, or the event's own.
func when(t time.Duration, at float64) time.Duration {
	if at == 0 {
		return t
	}
	return time.Duration(math.Round(at*1e9)) * time.Nanosecond
}
