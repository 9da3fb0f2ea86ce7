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
	"net/http"
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
	Refused               // it was not done: an HTTP status of 4xx, most exit codes that are not 0
	Unsure                // the answer leaves it open: an HTTP status of 5xx, a signal
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

// isSafe reports whether an HTTP method only asks, and changes nothing: RFC 9110, 9.2.1.
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// statusAnswer is what the status of an HTTP answer says of the request, of which the
// method is known. A redirect that is not followed is no answer to what was asked for. To a
// method that changes something it says what RFC 9110, 15.4, has of it:
//
//	status                      only asks  changes
//	1xx, 2xx                    Done       Done
//	304, the client has it      Done       Unsure
//	307, 308, ask there again   Refused    Refused
//	301, 302, 303, other 3xx    Refused    Unsure
//	4xx                         Refused    Refused
//	5xx and above               Unsure     Unsure
//
// After 301 and 302 some servers want the request there, and some have done it and show
// what came of it, as 303 does, which does not say what that was.
func statusAnswer(method string, status int) Answer {
	switch {
	case status >= 500:
		return Unsure
	case status >= 400, status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect:
		return Refused
	case status < 300, status == http.StatusNotModified && isSafe(method):
		return Done
	case isSafe(method):
		return Refused
	}
	return Unsure
}

// Exit codes that do not say that nothing was done.
const (
	// Of GNU xargs: one of its commands failed, where others may not have. Manual of GNU
	// findutils, 8.4 "Invoking xargs".
	someFailed = 123
	// Of GNU timeout: the time is over. Manual of GNU coreutils, 23.6. Of xargs: a command
	// came to 255.
	timeIsOver = 124
	// Of xargs: a signal ended one of its commands. Of timeout: it failed itself.
	oneKilled = 125
	// What a shell adds to the number of a signal that ended its command, to make an exit
	// code of it: POSIX, Shell Command Language, 2.8.2. timeout does as well where it had to
	// kill its command, 137.
	shellSignal = 128
	maxSignal   = 64 // the highest number
	// Of ssh: the connection failed, whenever that was. ssh(1), "Exit status".
	connectionLost = 255
)

// exitAnswer is what the end of a command says that is to exit with 0. A code other than
// that is the command's own word that it was not done. So are 126 and 127, with which a
// shell says that there was no command that it could run (POSIX, Shell Command Language,
// 2.8.2). Of the codes above nobody knows how far it had come.
func exitAnswer(code int, signal string) Answer {
	switch {
	case signal != "", code > shellSignal && code <= shellSignal+maxSignal:
		return Unsure
	case code == someFailed, code == timeIsOver, code == oneKilled, code == connectionLost:
		return Unsure
	case code != 0:
		return Refused
	}
	return Done
}

// Trail is what the actions have come to that an operation has done so far.
type Trail struct {
	Changed int    // so many were ok that may have changed something
	Unsure  int    // of so many nobody knows
	Within  *Trail // of the operation that this one is a part of, or nil
}

// Add adds an action, which is one of the operations too that this one is a part of;
// changes is whether it can have changed something. A nil Trail is of no operation.
func (t *Trail) Add(changes bool, o history.Outcome) {
	for ; t != nil; t = t.Within {
		switch {
		case o == history.Info:
			t.Unsure++
		case o == history.OK && changes:
			t.Changed++
		}
	}
}

// Outcome is the outcome of an operation that the last of its actions decides, or the word
// of who did them, by what the others came to:
//
//	the others                           last ok  fail  info  word fail
//	none, or all fail, or ok and asked   ok       fail  info  fail
//	one ok that may have changed         ok       info  info  fail
//	one info                             ok       info  info  info
//
// Who says that it was not done has looked at what came back, which there is where an
// action was ok. why says why the outcome is not that of the last; it is "" where it is.
func (t *Trail) Outcome(last history.Outcome, isWord bool) (o history.Outcome, why string) {
	switch {
	case last != history.Fail:
		return last, ""
	case t.Unsure > 0:
		return history.Info, "an action before it had come to info"
	case t.Changed > 0 && !isWord:
		return history.Info, "an action before it was ok, and may have changed something"
	}
	return last, ""
}

// Mistake is an action that cannot be tried as it is asked for, whatever the system does.
// It is no outcome: nothing of it was sent or started.
type Mistake struct {
	Action   string // what was asked for: "GET /health"
	Problem  string
	Expected string // may be ""
}

func (m *Mistake) Error() string {
	text := m.Action + ": " + m.Problem
	if m.Expected != "" {
		text += "; expected " + m.Expected
	}
	return text
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
	Status   int             // of the HTTP answer, where it is what that says; else 0
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
