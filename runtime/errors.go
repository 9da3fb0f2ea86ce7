package runtime

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// ErrTimeLimit is the cause of a run that its time limit ended.
var ErrTimeLimit = errors.New("the run's time limit has passed")

// ErrEnded is the error of a call on a run that has come to its end.
var ErrEnded = errors.New("the run has ended")

// InterruptedError is the cause of a run that a signal ended. A program that
// runs topologies cancels the run's context with it.
type InterruptedError struct{ Signal os.Signal }

func (e *InterruptedError) Error() string { return fmt.Sprintf("interrupted by signal: %v", e.Signal) }

// StateError is a call that a node's state does not allow: forking one that
// runs, sending to one that is not connected.
type StateError struct {
	Node  string
	State State  // "" where it was never forked
	Text  string // what cannot be done, and what to do
}

func (e *StateError) Error() string { return e.Node + ": " + e.Text }

// UnsupportedError is a fault that this machine cannot do.
type UnsupportedError struct {
	Fault  string // one of Faults
	Reason string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("this machine cannot do %s: %s", e.Fault, e.Reason)
}

// ExitError is a node's unasked exit: the script did not stop it, it was not
// allowed to exit, and it had not done its work. It ends the run.
type ExitError struct {
	Node    string
	Code    int    // -1 where a signal ended it
	Signal  string // "KILL", "SEGV", …
	Before  State  // the state it was in
	Lived   time.Duration
	Asked   bool     // it was asked to shut down, but did not exit with 0
	Output  []string // its last lines
	Note    string   // what else is known of its end, such as that it ran out of memory
	Refusal string   // why its last connection was refused, or ""
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s exited %s, %s after its fork, in state %s", e.Node, ending(e.Code, e.Signal), short(e.Lived), e.Before)
	if e.Asked {
		b.WriteString(": it was asked to shut down, and exit code 0 was expected")
	} else {
		b.WriteString(": nothing had asked it to")
	}
	if e.Note != "" {
		b.WriteString("\n  " + e.Note)
	}
	if e.Refusal != "" {
		fmt.Fprintf(&b, "\n  its connection was refused: %s", e.Refusal)
	}
	writeOutput(&b, e.Node, e.Output)
	return b.String()
}

// Missing is a node that an await still waited for.
type Missing struct {
	Node  string
	State State  // "" where it was never forked
	Note  string // what is known of it: a refused connection, a lost one
}

func (m Missing) String() string {
	state := string(m.State)
	if state == "" {
		state = "not forked"
	}
	if m.Note != "" {
		state += "; " + m.Note
	}
	return m.Node + " (" + state + ")"
}

// TimeoutError is an await whose deadline passed.
type TimeoutError struct {
	What    string // what was awaited: "ready", "message /x", …
	Timeout time.Duration
	Missing []Missing
	Output  map[string][]string // last lines of the missing nodes
}

func (e *TimeoutError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: not within %s", e.What, short(e.Timeout))
	writeMissing(&b, e.Missing, e.Output)
	return b.String()
}

// ImpossibleError is an await that ended at once because what it waited for
// can no longer come.
type ImpossibleError struct {
	What    string
	Missing []Missing // those that cannot come; the first is the culprit
	Output  map[string][]string
}

func (e *ImpossibleError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: can no longer come", e.What)
	writeMissing(&b, e.Missing, e.Output)
	return b.String()
}

// LogError is the event log failing, as on a full disk, which ends the run; or
// the log of a node, which fails it when it ends.
type LogError struct{ Err error }

func (e *LogError) Error() string { return e.Err.Error() }
func (e *LogError) Unwrap() error { return e.Err }

func writeMissing(b *strings.Builder, missing []Missing, output map[string][]string) {
	for i, m := range missing {
		if i == 0 {
			b.WriteString(": missing ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(m.String())
	}
	for _, m := range missing {
		writeOutput(b, m.Node, output[m.Node])
	}
}

func writeOutput(b *strings.Builder, node string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n  last output of %s:", node)
	for _, line := range lines {
		b.WriteString("\n    " + line)
	}
}

// ending words how a process ended.
func ending(code int, signal string) string {
	if signal != "" {
		return "by signal " + signal
	}
	return fmt.Sprintf("with code %d", code)
}

// short rounds a duration to what a person reads.
func short(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
