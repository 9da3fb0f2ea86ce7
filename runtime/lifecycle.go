package runtime

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Send sends a message to a node, in the dialect and framing that the node
// speaks. It is a *StateError if the node is not connected, and if it is told
// to start after it has reported done: what it did, it did unasked.
func (r *Run) Send(name string, m *osc.Message) error { return r.send("script", name, m) }

// send is Send, by whom is in the log where it asks the node to shut down.
func (r *Run) send(by, name string, m *osc.Message) error {
	r.j.Lock()
	n, err := r.node(name)
	if err == nil {
		err = r.sendable(n, m)
	}
	if err != nil {
		r.j.Unlock()
		return err
	}
	if m.Address == control.AddressShutdown {
		if n.process.Alive() {
			r.j.Append(name, event.Asked{By: by, How: roster.Shutdown})
		}
		if len(m.Arguments) == 0 {
			m = osc.NewMessage(m.Address, name)
		}
	}
	conn := n.conn
	r.j.Append(name, event.Sent{Address: m.Address, Args: m.Arguments})
	r.j.Unlock()
	if err := conn.Send(m); err != nil {
		return fmt.Errorf("%s: cannot send %s: %w", name, m.Address, err)
	}
	return nil
}

func (r *Run) sendable(n *node, m *osc.Message) error {
	cannot := func(why string) error {
		return &StateError{Node: n.Name, State: n.State, Text: "cannot send it " + m.Address + ": " + why}
	}
	switch {
	case n.State == "":
		return cannot("it has not been forked")
	case n.State == StateExited:
		return cannot("it has " + n.Note())
	case n.conn == nil:
		return cannot(cmp.Or(n.Note(), "its control connection is closed"))
	case m.Address == control.AddressStart && n.WasDone:
		return cannot("it reported done before it was started")
	}
	return nil
}

// Shutdown asks the nodes to shut down; wait for StateDoneShutdown to know
// that they have. These are left alone:
//   - nodes that were never forked, have exited, or have reported their end,
//   - one that has just closed its connection: whether it is about to exit, or
//     lost, shows in the wait.
func (r *Run) Shutdown(names []string) error { return r.shutdown("script", names) }

func (r *Run) shutdown(by string, names []string) error {
	var errs []error
	for _, name := range names {
		r.j.Lock()
		n, err := r.node(name)
		needed := err == nil && n.Alive() && !n.Finished() && !(n.WasReady && n.conn == nil && !n.Lost)
		connected := needed && n.conn != nil
		r.j.Unlock()
		if needed {
			if err = r.send(by, name, osc.NewMessage(control.AddressShutdown)); connected {
				err = nil // it closed its connection at this moment
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MayExit allows the nodes to exit unasked, from now on and in all their
// incarnations. One that has ended before is judged without it.
func (r *Run) MayExit(names []string) error {
	r.j.Lock()
	defer r.j.Unlock()
	for _, name := range names {
		n, err := r.node(name)
		if err != nil {
			return err
		}
		n.endedBefore = n.endedBefore || !n.MayExit && n.process != nil && !n.process.Alive()
		r.j.Append(name, event.Asked{By: "script", How: roster.MayExit})
	}
	return nil
}
