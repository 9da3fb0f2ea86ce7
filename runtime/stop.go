package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// shutdownOrder is the documented order in which the groups shut down.
var shutdownOrder = [...]topology.Role{topology.Leader, topology.Worker, topology.Sender, topology.Receiver}

// ShutdownTopology ends every node that still runs: those that have not
// reported their end are asked to shut down, in the documented order and
// within the grace in all; those that have get the grace to exit; what runs
// then gets its stop signal, the grace again, and KILL. Those without a control
// connection get that in their turn in the order. A node that needed KILL fails the
// run. It returns early when ctx is done or the run's work is aborted: End does
// the rest.
func (r *Run) ShutdownTopology(ctx context.Context) error {
	r.j.Lock()
	ended, ending := context.Cause(r.work), r.ending
	r.j.Unlock()
	if ended != nil && !ending {
		return ended
	}
	leave, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !ending { // by the time that the run ends, End does it, and may be in a hurry
		defer context.AfterFunc(r.forks, func() { cancel(context.Cause(r.forks)) })()
	}
	r.stopAll(leave, context.Background(), "script")
	return context.Cause(leave)
}

// stopAll ends what runs. It leaves it when leave is done, and kills it at once
// when hurry is.
func (r *Run) stopAll(leave, hurry context.Context, by string) {
	r.stopping.Lock()
	defer r.stopping.Unlock()
	r.askAll(by)
	grace := r.cfg.Settings.Grace
	deadline := clock.Later(r.clock.Now(), grace)
	var stopped sync.WaitGroup
	stopping := map[string]bool{}
	stop := func(name string) {
		r.j.Lock()
		t, ok := r.nodes[name].Present()
		r.j.Unlock()
		if !ok || stopping[name] {
			return
		}
		stopping[name] = true
		stopped.Go(func() {
			if err := t.Stop(leave, hurry, by); err != nil && leave.Err() == nil && !errors.Is(err, os.ErrProcessDone) {
				r.Find(verdict.Finding{Outcome: verdict.Failed, Reason: fmt.Sprintf("%s: %v", name, err), During: verdict.AtEnd})
			}
		})
	}
	for _, role := range shutdownOrder {
		if leave.Err() != nil || hurry.Err() != nil {
			break
		}
		var group, asked []string
		for _, name := range r.names(func(n *node.Node) bool { return n.Spec.Role == role && n.Alive() && !n.Finished() && n.Conn() != nil }) {
			if r.wasAsked(name) {
				asked = append(asked, name)
			} else {
				group = append(group, name)
			}
		}
		if err := r.shutdown(by, group); err != nil {
			r.Find(verdict.Finding{Outcome: verdict.Passed, Reason: err.Error(), During: verdict.AtEnd})
		}
		silent := r.names(func(n *node.Node) bool { return n.Spec.Role == role && n.Alive() && !n.Phones() })
		for _, name := range silent {
			stop(name)
		}
		r.await(leave, hurry, r.Reached(silent, StateExited), deadline-r.clock.Now())
		for _, name := range append(group, asked...) { // one by one, so that one's failing does not cut the others short
			r.await(leave, hurry, r.Reached([]string{name}, StateDoneShutdown), deadline-r.clock.Now())
		}
	}
	exiting := r.names(func(n *node.Node) bool { return n.Alive() && n.Finished() })
	r.await(leave, hurry, r.Reached(exiting, StateExited), grace)
	if leave.Err() == nil {
		for _, name := range r.names(alive) {
			stop(name)
		}
	}
	stopped.Wait()
}

// askAll logs that all nodes are asked to end from now on: one may end as another
// does, before its own turn has come.
func (r *Run) askAll(by string) {
	r.j.Lock()
	defer r.j.Unlock()
	for _, n := range r.order {
		if n.Alive() && n.Running() {
			r.j.Append(n.Name, event.Asked{By: by, How: roster.RunEnd})
		}
	}
}

func (r *Run) wasAsked(name string) bool {
	r.j.Lock()
	defer r.j.Unlock()
	return r.nodes[name].WasAsked()
}

// await waits for a condition while tearing down: no longer than within, and
// not once leave or hurry is done. What is missed shows in what follows.
func (r *Run) await(leave, hurry context.Context, c Condition, within time.Duration) {
	if within <= 0 || len(c.Nodes) == 0 {
		return
	}
	c.Timeout = within
	ended := make(chan struct{})
	w := r.Watch(c, func() { close(ended) })
	select {
	case <-ended:
	case <-leave.Done():
	case <-hurry.Done():
	}
	w.Stop()
}
