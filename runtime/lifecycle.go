package runtime

import (
	"errors"

	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Send sends a message to a node, in the dialect and framing that the node
// speaks. It is a *StateError if the node is not connected, and if it is told
// to start after it has reported done: what it did, it did unasked.
func (r *Run) Send(name string, m *osc.Message) error {
	n, err := r.unlocked(name)
	if err != nil {
		return err
	}
	return n.Send("script", m)
}

// Shutdown asks the nodes to shut down: by a message, or those that have no control
// connection by their stop signal. Wait for StateDoneShutdown to know
// that they have; the end of a process that was asked to end is that too. These are left alone:
//   - nodes that were never forked, have exited, or have reported their end,
//   - one that has just closed its connection: whether it is about to exit, or
//     lost, shows in the wait.
func (r *Run) Shutdown(names []string) error { return r.shutdown("script", names) }

func (r *Run) shutdown(by string, names []string) error {
	var errs []error
	for _, name := range names {
		n, err := r.unlocked(name)
		if err == nil {
			err = n.Shutdown(by)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Wipe empties the folders of nodes that do not run, and has their setups run again
// before their next forks. It is a *StateError if one runs, or works in a folder that is not
// the run's; none is wiped if one is named that is not there.
func (r *Run) Wipe(names []string) error {
	var all []*node.Node
	for _, name := range names {
		n, err := r.unlocked(name)
		if err != nil {
			return err
		}
		all = append(all, n)
	}
	for _, n := range all {
		if err := n.Wipe(); err != nil {
			return err
		}
	}
	return nil
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
		n.AllowExit("script")
	}
	return nil
}
