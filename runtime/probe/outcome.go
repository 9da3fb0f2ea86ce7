// Package probe is what can be done to a node from outside of it: a command in its
// folder, an HTTP request, bytes over TCP; and a socket at which a node says of itself
// that it is ready.
//
// An action has an outcome. It is ok where it was done and answered as hoped; else the
// error is an *Error, which says whether the action was surely not done, or whether
// nobody knows. See Answer.Outcome, which alone decides it.
//
// An action is bounded by its context: when that is done, the action ends, and with it
// all that it started. The package keeps no time of its own, starts nothing that
// outlives its call or its Close, and knows neither runs nor logs.
package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// Answer is what came back of an action.
type Answer int

// The answers.
const (
	None    Answer = iota // nothing, or not all of one
	Done                  // it was done
	Refused               // it was not done: an HTTP status of 4xx, an exit code that is not 0
	Unsure                // the system does not know either: an HTTP status of 5xx, a signal
)

// Outcome is the outcome of an action. sent is whether anything of it may have
// reached the system: a byte of the request was written, the command was started.
//
//	answer   nothing sent   sent
//	Done     ok             ok
//	Refused  fail           fail
//	Unsure   info           info
//	None     fail           info
func (a Answer) Outcome(sent bool) history.Outcome {
	switch {
	case a == Done:
		return history.OK
	case a == Refused, a == None && !sent:
		return history.Fail
	}
	return history.Info
}

// statusAnswer is what an HTTP status says.
func statusAnswer(status int) Answer {
	switch {
	case status >= 500:
		return Unsure
	case status >= 400:
		return Refused
	}
	return Done
}

// shellSignal is what a shell adds to the number of a signal that ended its command, to
// make an exit code of it; maxSignal is the highest number.
const (
	shellSignal = 128
	maxSignal   = 64
)

// exitAnswer is what the end of a command says that is to exit with 0. A shell whose
// command was ended by a signal says so in its exit code: how far that had come, nobody
// knows.
func exitAnswer(code int, signal string) Answer {
	switch {
	case signal != "", code > shellSignal && code <= shellSignal+maxSignal:
		return Unsure
	case code != 0:
		return Refused
	}
	return Done
}

// Error is an action that is not ok.
type Error struct {
	Outcome  history.Outcome // history.Fail or history.Info
	Action   string          // what was tried: "GET /health", "exec"
	Node     string          // on which node
	Endpoint string          // at which of its endpoints; "" of a command
	Address  string          // host:port, or a URL's; "" of a command
	Problem  string          // what happened
	Expected string          // what was expected instead; may be ""
	Err      error           // the last cause, or nil
}

// Error says all of it in a sentence, and then what is known of the action.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Action)
	if e.Node != "" {
		b.WriteString(" on " + e.Node)
	}
	switch {
	case e.Endpoint != "" && e.Address != "":
		b.WriteString(", endpoint " + e.Endpoint + " (" + e.Address + ")")
	case e.Address != "":
		b.WriteString(" (" + e.Address + ")")
	}
	b.WriteString(": " + e.Problem)
	if e.Expected != "" {
		b.WriteString("; expected " + e.Expected)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Outcome == history.Fail {
		return b.String() + " [fail: it was surely not done]"
	}
	return b.String() + " [info: nobody knows whether it was done]"
}

func (e *Error) Unwrap() error { return e.Err }

// unsure is the error where what came before the action may have done what was asked for.
func (e *Error) unsure() *Error {
	u := *e
	u.Outcome = Unsure.Outcome(true)
	return &u
}

// OutcomeOf is the outcome of an action that returned err.
func OutcomeOf(err error) history.Outcome {
	var e *Error
	switch {
	case err == nil:
		return history.OK
	case errors.As(err, &e):
		return e.Outcome
	}
	return history.Info
}

// ioProblem words what a connection failed with, of which ctx is the bound; the cause
// is what is worth telling beside it.
func ioProblem(ctx context.Context, err error) (problem string, cause error) {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return "it was given up", context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused; nothing listens there", nil
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset", nil
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "the connection was closed", nil
	case errors.Is(err, net.ErrClosed):
		return "the connection was closed here", nil
	case errors.As(err, &timeout) && timeout.Timeout():
		return "the system gave up the connection", err
	}
	return "the connection failed", err
}
