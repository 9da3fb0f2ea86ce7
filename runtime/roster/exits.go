package roster

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// How a process may be asked to end.
const (
	// Shutdown is the /shutdown message.
	Shutdown = "shutdown"
	// RunEnd is that the run, or its topology, is being shut down, in whose order the
	// node's turn has not come.
	RunEnd = "end"
	// Stop is the node's stop signal, by which a restart and the end of the run ask,
	// and a shutdown where the node has no control connection.
	Stop = "stop"
	// Signal is a signal that a script has sent, itself or by a fault, or KILL by
	// an end of the run that is in a hurry.
	Signal = "signal"
	// Kill is KILL, sent because the process had ignored what it was asked for
	// longer than the grace.
	Kill = "kill"
	// MayExit is the permission to exit unasked, for all incarnations.
	MayExit = "may_exit"
)

// Request is what a process was asked while it lived.
type Request struct {
	How    string
	Signal string // of Stop, Signal and Kill: "TERM", …
}

// End is how a process ended, and all that bears on whether that was asked for.
type End struct {
	Code    int    // -1 where a signal ended it
	Signal  string // "KILL", "SEGV", …; "" where it exited
	Asked   []Request
	Done    bool // it had reported that it had done its work
	MayExit bool
	Clean   Clean
}

// Clean is what the ini says of how a node ends when it is stopped. The zero one is that
// of a node of which it says nothing.
type Clean struct {
	Signal string // the stop signal; "" is TERM
	Number int    // of it; 0 for one of stopSignals
	Codes  []int  // exit codes that are clean beside 0
}

// signal is the stop signal with its number.
func (c Clean) signal() (name string, number int) {
	name = cmp.Or(c.Signal, "TERM")
	return name, cmp.Or(c.Number, stopSignals[name])
}

// stopSignals are the signals that ask a process to end, with their numbers.
var stopSignals = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "TERM": 15}

// Unasked returns why the end of a process was not asked for, and "" where it
// was. It is the one table of exits:
//
//	asked                     asked-for ends
//	nothing                   exit 0 after it has reported done; any if it may exit
//	shutdown, stop, the end   exit 0; the node's stop signal, or 128 + it; its clean codes
//	signal S                  S; for TERM, INT, QUIT and HUP also exit 0 and 128 + S
//	kill after a grace        none
//
// Of several requests it is enough that one asked for the end, but an end for
// which a kill was needed is never asked for. What a process was asked after it
// had ended is no request.
func (e End) Unasked() string {
	var asked, wanted []string
	for _, r := range e.Asked {
		if r.How == Kill {
			return "it ignored what it was asked, and had to be killed"
		}
	}
	if e.MayExit || e.Done && e.clean() {
		return ""
	}
	for _, r := range e.Asked {
		if r.asksNothing() {
			continue
		}
		if r.asksFor(e) {
			return ""
		}
		word, want := r.words(e.Clean)
		if !slices.Contains(asked, word) {
			asked, wanted = append(asked, word), append(wanted, want)
		}
	}
	if len(asked) == 0 {
		return "nothing had asked it to"
	}
	return fmt.Sprintf("it was %s, and %s was expected", strings.Join(asked, " and "), strings.Join(wanted, ", or "))
}

func (e End) clean() bool { return e.Code == 0 && e.Signal == "" }

func (r Request) asksFor(e End) bool {
	if r.How == Shutdown || r.How == Stop || r.How == RunEnd {
		signal, number := e.Clean.signal()
		return e.Signal == signal || e.Signal == "" && (e.Code == 0 || e.Code == 128+number || slices.Contains(e.Clean.Codes, e.Code))
	}
	signal := r.Signal
	number, isStop := stopSignals[signal]
	return e.Signal == signal || isStop && e.Signal == "" && (e.Code == 0 || e.Code == 128+number)
}

// words returns what was done, and which ends it asks for.
func (r Request) words(clean Clean) (asked, wanted string) {
	number, isStop := stopSignals[r.Signal]
	switch {
	case r.How != Signal:
		signal, number := clean.signal()
		codes := "0"
		for _, c := range clean.Codes {
			codes += ", " + strconv.Itoa(c)
		}
		return "asked to shut down", fmt.Sprintf("exit code %s, %s or %d", codes, signal, 128+number)
	case isStop:
		return "sent " + r.Signal, fmt.Sprintf("exit code 0, %s or %d", r.Signal, 128+number)
	}
	return "sent " + r.Signal, r.Signal
}

// asksNothing reports whether a request is a signal that ends no process.
func (r Request) asksNothing() bool {
	return r.How == Signal && slices.Contains([]string{"CONT", "STOP", "TSTP", "TTIN", "TTOU", "CHLD", "URG", "WINCH"}, r.Signal)
}

// crashes are the signals that a process gets as it crashes. One that handles or
// ignores them may live on.
var crashes = map[string]int{"ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "SEGV": 11, "STKFLT": 16, "XCPU": 24,
	"XFSZ": 25, "SYS": 31}

// Harmful reports whether to send a signal is a fault: KILL, STOP, and those of a
// crash. The others ask a process to end or to stop, or tell it something: a clean
// stop is no harm.
func Harmful(signal string) bool { return signal == "KILL" || signal == "STOP" || MayCrash(signal) }

// MayCrash reports whether a signal is one of a crash, which a process may handle or
// ignore: whether it did harm shows in how the process ends.
func MayCrash(signal string) bool { return crashes[signal] > 0 }

// CrashedBy reports whether a process ended by a signal, or by an exit that says so.
func CrashedBy(signal string, code int, by string) bool {
	return by == signal || by == "" && code == 128+crashes[signal]
}
