package node

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Send sends a message to the node, in the dialect and framing that it speaks. It is a
// *journal.StateError if the node is not connected, and if it is told to start after it
// has reported done: what it did, it did unasked. by says who sends it, for the log,
// where it asks the node to shut down.
func (n *Node) Send(by string, m *osc.Message) error {
	j := n.m.Journal
	if err := n.reconnected(nil); err != nil {
		return err
	}
	j.Lock()
	if err := n.sendable(m); err != nil {
		j.Unlock()
		return err
	}
	if m.Address == control.AddressShutdown {
		if n.process.Alive() {
			j.Append(n.Name, event.Asked{By: by, How: roster.Shutdown})
		}
		if len(m.Arguments) == 0 {
			m = osc.NewMessage(m.Address, n.Name)
		}
	}
	conn := n.conn
	j.Append(n.Name, event.Sent{Address: m.Address, Args: m.Arguments})
	j.Unlock()
	if err := conn.Send(m); err != nil {
		if ended := n.reconnected(conn); ended != nil { // why it failed
			return ended
		}
		return fmt.Errorf("%s: cannot send %s: %w", n.Spec.Name, m.Address, err)
	}
	return nil
}

// reconnected waits, not for long, as long as it is open what has become of a node that
// has closed its control connection: it may be about to exit, or to connect again, or
// lives on without. broken is a connection that is of no use any more, or nil. The error
// is what ended the run's work meanwhile, such as the node's exit.
func (n *Node) reconnected(broken *control.Conn) error {
	isKnown := func() bool {
		return !n.Alive() || !n.Phoned || n.Lost || n.conn != nil && n.conn != broken
	}
	n.m.Journal.Lock()
	known := isKnown()
	n.m.Journal.Unlock()
	if known {
		return nil
	}
	return n.m.Journal.Await(journal.Condition{
		What: "connection", Nodes: []string{n.Spec.Name}, Quiet: true, Expiry: true, Timeout: 2 * lostAfter,
		Check: func(string) journal.Answer { return journal.Answer{Met: isKnown()} }})
}

func (n *Node) sendable(m *osc.Message) error {
	cannot := func(why string) error {
		return &journal.StateError{Node: n.Name, State: n.State, Text: "cannot send it " + m.Address + ": " + why}
	}
	switch {
	case n.State == "":
		return cannot("it has not been forked")
	case n.State == roster.StateExited:
		return cannot("it has " + n.Note())
	case n.conn == nil && !n.Phones():
		return cannot("it has no control connection; a node with command = that speaks OSC says so by ready.message = true")
	case n.conn == nil:
		why := cmp.Or(n.Note(), "its control connection is closed")
		if m.Address == control.AddressShutdown {
			why += `: signal it "TERM" and await its exit, or use shutdown_topology()`
		}
		return cannot(why)
	case m.Address == control.AddressStart && n.WasDone:
		return cannot("it reported done before it was started")
	}
	return nil
}

// Shutdown asks the node to shut down: by a message, or where it has no control
// connection by its stop signal. It does nothing if the node
//   - was never forked, has exited, or has reported its end,
//   - has just closed its connection: whether it is about to exit, or lost, shows in a
//     wait for its end.
//
// by says who asks, for the log.
func (n *Node) Shutdown(by string) error {
	n.m.Journal.Lock()
	needed := n.Alive() && !n.Finished() && !(n.Phoned && n.conn == nil && !n.Lost)
	connected := needed && n.conn != nil
	present, runs := n.Present()
	n.m.Journal.Unlock()
	switch {
	case !needed:
		return nil
	case !connected && runs:
		if _, err := present.stop(by); !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return nil // its end is judged as what it is
	}
	err := n.Send(by, osc.NewMessage(control.AddressShutdown))
	if connected {
		return nil // where there is an error, it closed its connection at this moment
	}
	return err
}
