package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// ErrTimeLimit is the cause of a run that its time limit ended.
var ErrTimeLimit = errors.New("the run's time limit has passed")

// ErrEnded is the error of a call on a run that has come to its end.
var ErrEnded = errors.New("the run has ended")

// InterruptedError is the cause of a run that a signal ended, or whose caller did. A
// program that runs topologies cancels the run's context with one that has the
// signal. A context that is done for another cause ends the run with one that has
// that cause.
type InterruptedError struct {
	Signal os.Signal // nil where it was no signal
	Err    error     // the cause of the caller's context; nil where it was a signal
}

func (e *InterruptedError) Error() string {
	if e.Signal == nil {
		return fmt.Sprintf("interrupted by the caller: %v", e.Err)
	}
	return fmt.Sprintf("interrupted by signal: %v", e.Signal)
}

func (e *InterruptedError) Unwrap() error { return e.Err }

// interruption is the cause of a run whose caller's context is done.
func interruption(ctx context.Context) error {
	cause := context.Cause(ctx)
	var by *InterruptedError
	if errors.As(cause, &by) {
		return cause
	}
	return &InterruptedError{Err: cause}
}

// Finding says that the run was interrupted, by which signal.
func (e *InterruptedError) Finding() verdict.Finding {
	f := verdict.Finding{Outcome: verdict.Interrupted}
	if s, ok := e.Signal.(syscall.Signal); ok {
		f.Signal = int(s)
	}
	return f
}

// UnsupportedError is a fault that this machine cannot do.
type UnsupportedError struct {
	Fault  string // one of Faults
	Reason string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("this machine cannot do %s: %s", e.Fault, e.Reason)
}

// Finding says that the run is to be skipped on this machine.
func (e *UnsupportedError) Finding() verdict.Finding {
	return verdict.Finding{Outcome: verdict.Skipped}
}

// Missing is a node that an await still waited for.
type Missing = journal.Missing

// TimeoutError is an await whose deadline passed.
type TimeoutError = journal.TimeoutError

// ImpossibleError is an await that ended at once because what it waited for
// can no longer come.
type ImpossibleError = journal.ImpossibleError

// ExitError is the end of a node's process that nobody asked for. It ends the
// run's work.
type ExitError = node.ExitError

// LogError is the event log failing, as on a full disk, which ends the run; or
// the log of a node, which fails it when it ends; or one of them that is not what was
// written any more, which fails it too.
type LogError = journal.LogError
