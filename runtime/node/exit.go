package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

const (
	// drainTimeout is how long a dead node's connection is read after it has last
	// said something. Only a process outside of its tree that inherited the socket
	// can keep it open.
	drainTimeout = time.Second
	// drainLimit bounds how long it is read in all.
	drainLimit = time.Minute
)

// watch waits for the incarnation's end and logs it: after its output and its
// control connection have been read to their ends, for what it said last it
// said before it exited.
func (i Incarnation) watch() {
	n, m := i.Node, i.Node.m
	<-i.Process.Done()
	i.stopProbing()
	if i.prober != nil {
		<-i.prober.over
	}
	n.Log.End()
	m.Journal.Lock()
	port := n.port
	n.port = nil
	m.Journal.Unlock()
	limit := m.Clock.Now() + drainLimit
	if port != nil {
		port.Close()
		n.drain(port.Heard(), limit)
	}
	n.hearOut(limit)
	m.Control.TellRefused(n.Name)
	output := n.Log.Tail(tailLines)

	n.asking.Lock()
	defer n.asking.Unlock()
	m.Journal.Lock()
	defer m.Journal.Unlock()
	defer close(i.gone)
	n.process = nil
	m.Gone(n.Name)
	n.exited(i.Process, output)
}

// hearOut hears the connection of a dead node to its end, and then whichever of its own
// stands at an address that nodes share, or waits for that one's end.
func (n *Node) hearOut(limit time.Duration) {
	for isSettled := false; ; {
		n.m.Journal.Lock()
		conn := n.conn
		n.m.Journal.Unlock()
		switch {
		case conn != nil:
			if !n.drain(conn.Closed(), limit) {
				conn.Close("it was silent after its process had ended")
				<-conn.Closed()
			}
			isSettled = false
		case isSettled || n.m.Clock.Now() > limit:
			return
		default:
			n.m.Control.Settle(n.m.Ended, nil, nil, true)
			isSettled = true
		}
	}
}

// drain waits until what a dead node has said has been heard; false if it has said
// nothing for the drainTimeout, or the limit has come, before that.
func (n *Node) drain(heard <-chan struct{}, limit time.Duration) bool {
	return n.hasEnded(heard, drainTimeout, limit-n.m.Clock.Now())
}

// hasEnded waits for an end of what is heard of the node; false if nothing has been heard
// of it for so long a silence, or for so long in all, before that.
func (n *Node) hasEnded(heard <-chan struct{}, silence, limit time.Duration) bool {
	count := func() int {
		n.m.Journal.Lock()
		defer n.m.Journal.Unlock()
		return n.Messages.Count
	}
	until := n.m.Clock.Now() + limit
	for last := count(); ; {
		silent, stop := n.m.Clock.After(silence)
		select {
		case <-heard:
			stop()
			return true
		case <-silent:
		}
		said := count()
		if said == last || n.m.Clock.Now() > until {
			return false
		}
		last = said
	}
}

// exited logs a node's end, and says so where nobody asked for it. The lock is held.
func (n *Node) exited(p process.Process, output []string) {
	exit := p.Exit()
	why := roster.End{Code: exit.Code, Signal: exit.Signal, Asked: n.Asked, Done: n.WasDone, MayExit: n.MayExit &&
		!n.endedBefore, Clean: n.clean()}.Unasked()
	exited := event.Exited{
		PID: p.PID(), Code: exit.Code, Signal: exit.Signal, Expected: why == "", Why: why,
		UserS: exit.User.Seconds(), SystemS: exit.System.Seconds(), MaxRSSKB: exit.MaxRSS >> 10, Left: exit.Left,
		OutOfMemory: exit.OutOfMemory, Note: exit.Note,
	}
	for _, b := range n.blows {
		if roster.CrashedBy(b.signal, exit.Code, exit.Signal) {
			b.touch(event.Touched{Processes: 1})
		}
	}
	if why == "" {
		if n.WasReset && exit.Signal == "" { // else it did not choose what it left
			n.m.Journal.Append(n.Name, event.Notice{Text: n.Trouble() +
				". A process that exits without having read all that it was sent resets its connection: read to its end, or close it, first"})
		}
		n.m.Journal.Append(n.Name, exited)
		return
	}
	unasked := &ExitError{Node: n.Name, Code: exit.Code, Signal: exit.Signal, Before: n.State,
		Lived: n.m.Journal.Elapsed() - n.ForkedAt, Why: why, Note: note(exit), Output: output}
	unasked.Trouble = n.Trouble()
	// The waits end by the unasked exit, whatever else it makes impossible.
	n.m.Journal.AppendFirst(n.Name, exited, func() { n.m.Unasked(unasked) })
}

// clean is what the ini says of how the node ends when it is stopped.
func (n *Node) clean() roster.Clean {
	return roster.Clean{Signal: n.Spec.Stop, Number: int(process.ParseSignal(n.Spec.Stop)), Codes: n.Spec.Exit}
}

// note says what is known of an exit beside its code.
func note(e process.Exit) string {
	if e.OutOfMemory > 0 {
		return strings.TrimSuffix(fmt.Sprintf("the kernel killed %d of its processes as it ran out of the memory it is limited to; %s",
			e.OutOfMemory, e.Note), "; ")
	}
	return e.Note
}

// ExitError is the end of a node's process that nobody asked for. It ends the
// run's work.
type ExitError struct {
	Node    string
	Code    int          // -1 where a signal ended it
	Signal  string       // "KILL", "SEGV", …
	Before  roster.State // the state it was in
	Lived   time.Duration
	Why     string   // why its end was not asked for; see roster.End
	Output  []string // its last lines
	Note    string   // what else is known of its end, such as that it ran out of memory
	Trouble string   // with its connections and messages: see roster.Node.Trouble
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s exited %s, %s after its fork, in state %s: %s",
		e.Node, roster.ExitText(e.Code, e.Signal), journal.Short(e.Lived), e.Before, e.Why)
	if e.Note != "" {
		b.WriteString("\n  " + e.Note)
	}
	if e.Trouble != "" {
		b.WriteString("\n  " + e.Trouble)
	}
	journal.WriteOutput(&b, e.Node, e.Output)
	return b.String()
}
