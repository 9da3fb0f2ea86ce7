package runtime

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// RestartOptions say how a node is restarted.
type RestartOptions struct {
	// Kill ends the node by KILL. Otherwise it is asked to shut down, if it is
	// connected, then gets TERM, and KILL only after the grace.
	Kill bool
	// Fork is what the new incarnation is forked with; nil is as the last one.
	Fork *ForkOptions
}

// Restart plans to end nodes, all at the same time, and then to fork each as a
// new incarnation. One that has exited is forked. It is done when they run, which
// says nothing of their being ready; and early when the context is. How an end of
// a node is judged, roster.End says: one that is not asked for fails the run.
func (r *Run) Restart(names []string, o RestartOptions) (*Step, error) {
	d := &deed{what: "restart"}
	d.act = func(ctx context.Context, t node.Incarnation) (reached int, err error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(r.forks, func() { cancel(context.Cause(r.forks)) })() // the end of the run has its own way
		if o.Kill {
			reached, err = t.Signal(event.Asked{By: "fault", How: roster.Signal, Signal: "KILL"}, syscall.SIGKILL, process.Tree)
		} else {
			reached, err = r.stopOne(ctx, t)
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return reached, err
		}
		select {
		case <-t.Gone():
			return reached, err
		case <-ctx.Done():
			return reached, context.Cause(ctx)
		}
	}
	detail := "stop"
	if o.Kill {
		detail = "kill"
	}
	return r.plan(d, names, nil, func(p *fault.Plan) {
		p.Detail = detail
		again := ForkOptions{}
		if o.Fork != nil {
			again = *o.Fork
		}
		again.Where = p.Where
		d.after = func(ctx context.Context) error { return r.ForkAll(ctx, p.Nodes, again) }
	})
}

// stopOne ends one node: it is asked to, then gets TERM, and KILL after the
// grace. Once ctx is done it is left to the end of the run. It returns how many
// processes it was told of, 1 where a message was enough.
func (r *Run) stopOne(ctx context.Context, t node.Incarnation) (reached int, err error) {
	name, grace := []string{t.Node.Spec.Name}, r.cfg.Settings.Grace
	never := context.Background()
	r.j.Lock()
	resume := r.unpause(name) // or it could not hear
	connected := t.Node.Conn() != nil
	r.j.Unlock()
	if err := resume.Do(ctx); err != nil {
		return 0, err
	}
	if !t.Process.Alive() {
		return 0, os.ErrProcessDone
	}
	if connected {
		if err := t.Node.Shutdown("fault"); err == nil {
			r.await(ctx, never, r.Reached(name, StateDoneShutdown), grace)
			r.await(ctx, never, r.Reached(name, StateExited), grace)
		}
	}
	select {
	case <-t.Gone():
		return 1, nil
	default:
	}
	if ctx.Err() != nil {
		return 1, context.Cause(ctx)
	}
	err = t.Stop(ctx, never, "fault")
	if connected && errors.Is(err, os.ErrProcessDone) { // of what it was asked meanwhile
		err = nil
	}
	return 1, err
}
