package runtime

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

const (
	// drainTimeout is how long a dead node's connection is read after it has last
	// said something. Only a process outside of its tree that inherited the socket
	// can keep it open.
	drainTimeout = time.Second
	// drainLimit bounds how long it is read in all.
	drainLimit = time.Minute
)

// watchExit waits for a node's end and logs it: after its output and its
// control connection have been read to their ends, for what it said last it
// said before it exited.
func (r *Run) watchExit(n *node, p process.Process, gone chan struct{}) {
	<-p.Done()
	n.log.End()
	r.j.Lock()
	port := n.port
	n.port = nil
	r.j.Unlock()
	limit := time.Now().Add(drainLimit)
	if port != nil {
		port.Close()
		r.drain(n, port.Heard(), limit)
	}
	r.j.Lock()
	isUnheard := n.conn == nil && !n.WasReady
	r.j.Unlock()
	if isUnheard { // its connection may still stand among others that wait, at an address that nodes share
		ctx, cancel := context.WithTimeout(r.ended, drainTimeout)
		r.drivers.control.Settle(ctx)
		cancel()
	}
	r.j.Lock()
	conn := n.conn
	r.j.Unlock()
	if conn != nil && !r.drain(n, conn.Closed(), limit) {
		conn.Close()
		<-conn.Closed()
	}
	output := n.log.Tail(tailLines)

	n.asking.Lock()
	defer n.asking.Unlock()
	r.j.Lock()
	defer r.j.Unlock()
	defer close(gone)
	n.process = nil
	r.faults.Exited(n.Name)
	r.exited(n, p, output)
}

// drain waits until what a dead node has said has been heard; false if it has said
// nothing for the drainTimeout, or the limit has come, before that.
func (r *Run) drain(n *node, heard <-chan struct{}, limit time.Time) bool {
	count := func() int {
		r.j.Lock()
		defer r.j.Unlock()
		return len(n.Messages)
	}
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	for last := count(); ; timer.Reset(drainTimeout) {
		select {
		case <-heard:
			return true
		case <-timer.C:
		}
		said := count()
		if said == last || time.Now().After(limit) {
			return false
		}
		last = said
	}
}

// exited logs a node's end, and ends the run's work where nobody asked for it.
// The lock is held.
func (r *Run) exited(n *node, p process.Process, output []string) {
	exit := p.Exit()
	why := roster.End{Code: exit.Code, Signal: exit.Signal, Asked: n.Asked, Done: n.WasDone, MayExit: n.MayExit && !n.endedBefore}.Unasked()
	exited := event.Exited{
		PID: p.PID(), Code: exit.Code, Signal: exit.Signal, Expected: why == "", Why: why,
		UserS: exit.User.Seconds(), SystemS: exit.System.Seconds(), MaxRSSKB: exit.MaxRSS >> 10, Left: exit.Left,
		OutOfMemory: exit.OutOfMemory, Note: exit.Note,
	}
	for _, b := range n.blows {
		if roster.CrashedBy(b.signal, exit.Code, exit.Signal) {
			b.fault.Touch(event.Touched{Processes: 1})
		}
	}
	if why == "" {
		r.j.Append(n.Name, exited)
		return
	}
	unasked := &ExitError{Node: n.Name, Code: exit.Code, Signal: exit.Signal, Before: n.State,
		Lived: r.Elapsed() - n.ForkedAt, Why: why, Note: note(exit), Output: output}
	if !n.WasReady {
		unasked.Refusal = n.Refusal
	}
	// The waits end by the unasked exit, whatever else it makes impossible.
	r.j.AppendFirst(n.Name, exited, func() {
		if r.ending || r.cause != nil {
			r.find(verdict.Finding{Outcome: verdict.Failed, Reason: unasked.Error(), Cause: unasked, During: r.phase()})
		}
		r.abort(unasked)
	})
}

// phase is the part of the run that it is in, for findings. The lock is held.
func (r *Run) phase() string {
	if r.ending {
		return verdict.AtEnd
	}
	return ""
}

// note says what is known of an exit beside its code.
func note(e process.Exit) string {
	if e.OutOfMemory > 0 {
		return strings.TrimSuffix(fmt.Sprintf("the kernel killed %d of its processes as it ran out of the memory it is limited to; %s", e.OutOfMemory, e.Note), "; ")
	}
	return e.Note
}

// ExitError is the end of a node's process that nobody asked for. It ends the
// run's work.
type ExitError struct {
	Node    string
	Code    int    // -1 where a signal ended it
	Signal  string // "KILL", "SEGV", …
	Before  State  // the state it was in
	Lived   time.Duration
	Why     string   // why its end was not asked for; see roster.End
	Output  []string // its last lines
	Note    string   // what else is known of its end, such as that it ran out of memory
	Refusal string   // why its last connection was refused, or ""
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s exited %s, %s after its fork, in state %s: %s", e.Node, roster.ExitText(e.Code, e.Signal), journal.Short(e.Lived), e.Before, e.Why)
	if e.Note != "" {
		b.WriteString("\n  " + e.Note)
	}
	if e.Refusal != "" {
		fmt.Fprintf(&b, "\n  its connection was refused: %s", e.Refusal)
	}
	journal.WriteOutput(&b, e.Node, e.Output)
	return b.String()
}
