package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// killTimeout is how long a killed process may take to be gone before the run
// ends without it. Only one stuck in the kernel takes longer.
const killTimeout = 10 * time.Second

// shutdownOrder is the documented order in which the groups shut down.
var shutdownOrder = [...]topology.Role{topology.Leader, topology.Worker, topology.Sender, topology.Receiver}

// ShutdownTopology ends every node that still runs: those that have not
// reported their end are asked to shut down, in the documented order and
// within the grace in all; those that have get the grace to exit; what runs
// then gets TERM, the grace again, and KILL. A node that needed KILL fails the
// run. It returns early when ctx is done or the run's work is aborted: End does
// the rest.
func (r *Run) ShutdownTopology(ctx context.Context) error {
	r.j.Lock()
	ended, ending := context.Cause(r.work), r.ending
	r.j.Unlock()
	if ended != nil && !ending {
		return ended
	}
	r.stopAll(ctx, context.Background(), "script")
	return context.Cause(ctx)
}

// stopAll ends what runs. It leaves it when leave is done, and kills it at once
// when hurry is.
func (r *Run) stopAll(leave, hurry context.Context, by string) {
	r.stopping.Lock()
	defer r.stopping.Unlock()
	r.askAll(by)
	grace := r.cfg.Settings.Grace
	deadline := clock.Later(r.clock.Now(), grace)
	for _, role := range shutdownOrder {
		if leave.Err() != nil || hurry.Err() != nil {
			break
		}
		var group, asked []string
		for _, name := range r.names(func(n *node) bool { return n.spec.Role == role && n.Alive() && !n.Finished() && n.conn != nil }) {
			if r.wasAsked(name) {
				asked = append(asked, name)
			} else {
				group = append(group, name)
			}
		}
		if err := r.shutdown(by, group); err != nil {
			r.Find(verdict.Finding{Outcome: verdict.Passed, Reason: err.Error(), During: verdict.AtEnd})
		}
		for _, name := range append(group, asked...) { // one by one, so that one's failing does not cut the others short
			r.await(leave, hurry, r.Reached([]string{name}, StateDoneShutdown), deadline-r.clock.Now())
		}
	}
	exiting := r.names(func(n *node) bool { return n.Alive() && n.Finished() })
	r.await(leave, hurry, r.Reached(exiting, StateExited), grace)
	if leave.Err() != nil {
		return
	}
	var stopped sync.WaitGroup
	for _, name := range r.names(alive) {
		r.j.Lock()
		n := r.nodes[name]
		t := target{n, n.process, n.gone}
		r.j.Unlock()
		if t.process == nil {
			continue
		}
		stopped.Go(func() {
			if err := r.stop(leave, hurry, by, t); err != nil && leave.Err() == nil && !errors.Is(err, os.ErrProcessDone) {
				r.Find(verdict.Finding{Outcome: verdict.Failed, Reason: fmt.Sprintf("%s: %v", name, err), During: verdict.AtEnd})
			}
		})
	}
	stopped.Wait()
}

// askAll logs that all nodes are asked to end from now on: one may end as another
// does, before its own turn has come.
func (r *Run) askAll(by string) {
	r.j.Lock()
	defer r.j.Unlock()
	for _, n := range r.order {
		if n.Alive() && n.process != nil && n.process.Alive() {
			r.j.Append(n.Name, event.Asked{By: by, How: roster.RunEnd})
		}
	}
}

func (r *Run) wasAsked(name string) bool {
	r.j.Lock()
	defer r.j.Unlock()
	return r.nodes[name].WasAsked()
}

// stop ends one node's process by signals: TERM, and after the grace KILL. It
// returns when its exit has been logged, or when leave is done; what it has begun
// goes on then. A process that had ended is os.ErrProcessDone.
func (r *Run) stop(leave, hurry context.Context, by string, t target) error {
	ended := make(chan error, 1)
	r.tasks.Go(func() {
		err := r.terminate(hurry, by, t)
		if err == nil || errors.Is(err, os.ErrProcessDone) {
			<-t.gone
		}
		ended <- err
	})
	late, stop := r.clock.After(clock.Later(r.cfg.Settings.Grace, killTimeout))
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-leave.Done():
		return context.Cause(leave)
	case <-late:
		return nil // that it lives shows in what is left behind
	}
}

// terminate asks a process to end by TERM, and kills it after the grace, or at
// once in a hurry. Each is a request, as long as it lives. One that is stopped is
// let go on, for it could not hear.
func (r *Run) terminate(hurry context.Context, by string, t target) error {
	kill, asked := event.Asked{By: by, How: roster.Kill, Signal: "KILL"}, false
	if hurry.Err() == nil {
		_, err := r.ask(t, event.Asked{By: by, How: roster.Stop, Signal: "TERM"},
			func() (int, error) { return t.process.Signal(syscall.SIGTERM, process.Tree) })
		if errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if asked = err == nil; asked {
			_, _ = t.process.Signal(process.ContinueSignal, process.Tree) // TERM may have ended it
		}
		// What TERM has not reached, such as a tree that forks without end, KILL may.
		late, stop := r.clock.After(r.cfg.Settings.Grace)
		defer stop()
		select {
		case <-t.process.Done():
			return nil
		case <-late:
		case <-hurry.Done():
		}
	}
	if hurry.Err() != nil { // it was given no time
		kill.How = roster.Signal
	}
	_, err := r.ask(t, kill, func() (int, error) { return t.process.Signal(os.Kill, process.Tree) })
	if asked && errors.Is(err, os.ErrProcessDone) { // of TERM
		return nil
	}
	return err
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
