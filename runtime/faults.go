package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/link"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// Faults are the names of what can be done to a node's process and to the links
// between nodes, for Can.
func Faults() []string {
	return append([]string{"kill", "signal", "pause", "resume", "restart",
		process.FaultLimitCPU, process.FaultLimitMemory, process.FaultLimitFiles}, LinkFaults()...)
}

// Can tells why this machine cannot do a fault, one of Faults; nil where it can.
// Without a driver it is this machine's own that is asked. Links ask nothing of
// a machine.
func Can(driver process.Driver, fault string) error {
	if slices.Contains(LinkFaults(), fault) {
		return nil
	}
	if !slices.Contains(Faults(), fault) {
		return fmt.Errorf("no fault is named %q: one of %s was expected", fault, strings.Join(Faults(), ", "))
	}
	switch fault {
	case "kill", "restart":
		fault = process.FaultSignal
	case "resume":
		fault = process.FaultPause
	}
	can := process.Can
	if driver != nil {
		can = driver.Can
	}
	if err := can(fault); err != nil {
		return &UnsupportedError{Fault: fault, Reason: err.Error()}
	}
	return nil
}

// Can tells why the run cannot do a fault; see the function of that name.
func (r *Run) Can(fault string) error {
	if slices.Contains(LinkFaults(), fault) && r.network == nil {
		return &UnsupportedError{Fault: fault, Reason: "nodes reach each other directly: [dagon] links = proxy gives them links"}
	}
	return Can(r.drivers.process, fault)
}

// Fault is a fault that stays in force until it is healed, its nodes' processes
// end, or the run does.
type Fault struct {
	run    *Run
	ID     int64 // as in the log
	What   string
	limits process.Limits
	links  *link.Disturbance // of links; nil for one of processes
	nodes  []*node           // in force on them; the run's lock
}

// Nodes are the names of the nodes on which the fault is in force.
func (f *Fault) Nodes() []string {
	f.run.mu.Lock()
	defer f.run.mu.Unlock()
	return nodeNames(f.nodes)
}

// Heal plans to undo the fault. To heal it once more does nothing.
func (f *Fault) Heal() Planned {
	r := f.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.links != nil {
		return r.healLinks(f)
	}
	return r.heal(f, slices.Clone(f.nodes))
}

// Planned does what has been planned, and returns when it is done: a Fault, where
// it is one that stays in force. What nodes and links it befalls was settled when
// it was planned, and its intent is in the log since then: plans are made in the
// order of the calls, whatever is still being done. It must be called, once. What
// changes what is in force waits for all of its kind that was planned before it.
type Planned func(context.Context) (*Fault, error)

// turn is a place in the queue of those that change what is in force.
type turn struct{ before, mine chan struct{} }

// queue takes the next place. The lock is held.
func (r *Run) queue() turn {
	t := turn{r.lastTurn, make(chan struct{})}
	r.lastTurn = t.mine
	return t
}

func (t turn) wait() {
	if t.before != nil {
		<-t.before
	}
}

func (t turn) end() { close(t.mine) }

func nodeNames(nodes []*node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.spec.Name
	}
	return names
}

// target is one node of a fault, as it was when the fault was planned.
type target struct {
	*node
	process process.Process
	gone    chan struct{}
}

// plan logs the intent to do something to nodes. Those that have exited are
// left out, and one that was never forked is an error. mark is called for each
// of the others under the run's lock, so that what the fault brings about finds
// it marked, and planned at last.
func (r *Run) plan(what string, names []string, detail string, mark func(*node) error, planned func(id int64)) (id int64, targets []target, dead []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return 0, nil, nil, ErrEnded
	}
	var nodes []*node
	for _, name := range names {
		n, err := r.node(name)
		switch {
		case err != nil:
			return 0, nil, nil, err
		case n.state == "":
			return 0, nil, nil, &StateError{Node: name, Text: fmt.Sprintf("cannot %s it: it has not been forked", what)}
		case slices.Contains(nodes, n):
			continue
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if n.process == nil || n.state == StateExited {
			dead = append(dead, n.spec.Name)
			continue
		}
		if err := mark(n); err != nil {
			return 0, nil, nil, err
		}
		targets = append(targets, target{n, n.process, n.gone})
	}
	r.lastID++
	r.record("", event.Fault{ID: r.lastID, What: what, Nodes: nodeNames(nodes), Detail: detail})
	if planned != nil {
		planned(r.lastID)
	}
	return r.lastID, targets, dead, nil
}

// apply does a planned fault to all its targets at the same time, and logs that
// it has been done.
func (r *Run) apply(id int64, targets []target, dead []string, do func(target) error) error {
	began := time.Now()
	if err := r.each(targets, do); err != nil {
		return err
	}
	r.applied(id, began, dead)
	return nil
}

func (r *Run) applied(id int64, began time.Time, dead []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record("", event.Applied{ID: id, TookS: time.Since(began).Truncate(time.Microsecond).Seconds(), Dead: dead})
}

// each does something to all targets at the same time. One that has ended
// meanwhile is no error.
func (r *Run) each(targets []target, do func(target) error) error {
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() {
			if err := do(t); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs[i] = fmt.Errorf("%s: %w", t.spec.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Signal plans to send a signal to nodes: to the process that was forked alone,
// or to the whole tree. A node that dies of it, or that exits after one that asks
// it to end (TERM, INT, QUIT, KILL), does so as it was asked.
func (r *Run) Signal(names []string, s syscall.Signal, to process.Reach) (Planned, error) {
	return r.signal("signal", names, s, to)
}

// Kill plans to send a signal to the whole trees of nodes. After KILL it is done
// when they are gone.
func (r *Run) Kill(names []string, s syscall.Signal) (Planned, error) {
	return r.signal("kill", names, s, process.Tree)
}

func (r *Run) signal(what string, names []string, s syscall.Signal, to process.Reach) (Planned, error) {
	id, targets, dead, err := r.plan(what, names, process.SignalName(s), func(n *node) error {
		n.sent = append(n.sent, s)
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (*Fault, error) {
		if err := r.apply(id, targets, dead, func(t target) error { _, err := t.process.Signal(s, to); return err }); err != nil || s != syscall.SIGKILL {
			return nil, err
		}
		timer := time.NewTimer(unkillable)
		defer timer.Stop()
		for _, t := range targets {
			select {
			case <-t.gone:
			case <-timer.C:
				return nil, &StateError{Node: t.spec.Name, Text: "it was killed, and has not ended"}
			}
		}
		return nil, nil
	}, nil
}

// Pause plans to stop the whole trees of nodes until the fault is healed.
func (r *Run) Pause(names []string) (Planned, error) {
	return r.enforce(&Fault{run: r, What: "pause"}, names, "", func(n *node) error {
		if r.pausing(n) != nil {
			return &StateError{Node: n.spec.Name, State: n.state, Text: "cannot pause it: it is paused already"}
		}
		return nil
	}, func(t target) error { _, err := t.process.Pause(); return err })
}

// Resume plans to let paused nodes go on.
func (r *Run) Resume(names []string) (Planned, error) {
	var heals []Planned
	id, _, dead, err := r.plan("resume", names, "", func(n *node) error {
		if r.pausing(n) == nil {
			return &StateError{Node: n.spec.Name, State: n.state, Text: "cannot resume it: it is not paused"}
		}
		return nil
	}, func(int64) {
		for _, name := range names {
			heals = append(heals, r.unpause(r.nodes[name]))
		}
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*Fault, error) {
		began := time.Now()
		var errs []error
		for _, heal := range heals {
			_, err := heal(ctx)
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		r.applied(id, began, dead)
		return nil, nil
	}, nil
}

// pausing is the fault that keeps a node paused, or nil. The lock is held.
func (r *Run) pausing(n *node) *Fault {
	for _, f := range r.faults {
		if f.What == "pause" && slices.Contains(f.nodes, n) {
			return f
		}
	}
	return nil
}

// unpause plans to let a node go on. The lock is held.
func (r *Run) unpause(n *node) Planned {
	if f := r.pausing(n); f != nil {
		return r.heal(f, []*node{n})
	}
	return func(context.Context) (*Fault, error) { return nil, nil }
}

// Limit plans to limit what the trees of nodes may use, until the fault is
// healed. Of two limits of a kind the later one holds.
func (r *Run) Limit(names []string, l process.Limits) (Planned, error) {
	var what []string
	for _, limit := range []struct {
		set        bool
		kind, text string
	}{
		{l.CPU > 0, process.FaultLimitCPU, fmt.Sprintf("cpu=%g", l.CPU)},
		{l.Memory > 0, process.FaultLimitMemory, fmt.Sprintf("memory=%d", l.Memory)},
		{l.Files > 0, process.FaultLimitFiles, fmt.Sprintf("files=%d", l.Files)},
	} {
		if !limit.set {
			continue
		}
		if err := r.Can(limit.kind); err != nil {
			return nil, err
		}
		what = append(what, limit.text)
	}
	f := &Fault{run: r, What: "limit", limits: l}
	return r.enforce(f, names, strings.Join(what, " "), func(*node) error { return nil }, func(t target) error {
		r.mu.Lock()
		all := r.limits(t.node)
		r.mu.Unlock()
		_, err := t.process.Limit(all)
		return err
	})
}

// limits are those in force on a node. The lock is held.
func (r *Run) limits(n *node) (all process.Limits) {
	for _, f := range r.faults {
		if f.What != "limit" || !slices.Contains(f.nodes, n) {
			continue
		}
		if f.limits.CPU > 0 {
			all.CPU = f.limits.CPU
		}
		if f.limits.Memory > 0 {
			all.Memory = f.limits.Memory
		}
		if f.limits.Files > 0 {
			all.Files = f.limits.Files
		}
	}
	return all
}

// enforce plans a fault that stays in force. It is in the books before it is
// done, so that it is undone however the run ends.
func (r *Run) enforce(f *Fault, names []string, detail string, check func(*node) error, do func(target) error) (Planned, error) {
	var t turn
	id, targets, dead, err := r.plan(f.What, names, detail, func(n *node) error {
		f.nodes = append(f.nodes, n)
		return check(n)
	}, func(id int64) {
		f.ID, t = id, r.queue()
		r.faults = append(r.faults, f)
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*Fault, error) {
		t.wait()
		err := r.apply(id, targets, dead, do)
		t.end()
		if err != nil {
			_, healed := f.Heal()(ctx)
			return nil, errors.Join(err, healed)
		}
		return f, nil
	}, nil
}

// heal plans to undo a fault for some of its nodes: it is not in force on them
// any more for whoever asks. The lock is held.
func (r *Run) heal(f *Fault, nodes []*node) Planned {
	var from []target
	for _, n := range nodes {
		if slices.Contains(f.nodes, n) && n.process != nil {
			from = append(from, target{n, n.process, n.gone})
		}
	}
	f.nodes = slices.DeleteFunc(f.nodes, func(n *node) bool { return slices.Contains(nodes, n) })
	r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool { return len(f.nodes) == 0 })
	t := r.queue()
	return func(context.Context) (*Fault, error) {
		t.wait()
		defer t.end()
		var errs []error
		var healed []string
		for _, n := range from {
			err := r.lift(f, n)
			if err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, fmt.Errorf("%s: cannot undo %s: %w", n.spec.Name, f.What, err))
				continue
			}
			healed = append(healed, n.spec.Name)
		}
		if len(healed) > 0 {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.record("", event.Healed{ID: f.ID, Nodes: healed})
		}
		return nil, errors.Join(errs...)
	}
}

// lift takes a fault off a process.
func (r *Run) lift(f *Fault, from target) error {
	if f.What == "pause" {
		return from.process.Resume()
	}
	r.mu.Lock()
	limits := r.limits(from.node)
	r.mu.Unlock()
	_, err := from.process.Limit(limits)
	return err
}

// healAll undoes every fault that is in force.
func (r *Run) healAll() {
	r.mu.Lock()
	heals := []Planned{r.healLinks(nil)}
	for _, f := range slices.Backward(slices.Clone(r.faults)) {
		heals = append(heals, r.heal(f, slices.Clone(f.nodes)))
	}
	r.mu.Unlock()
	for _, heal := range heals {
		if _, err := heal(r.ended); err != nil {
			r.noteTeardown(err.Error())
		}
	}
}

// endFaults takes a node that has exited off the faults that were in force on
// it. The lock is held.
func (r *Run) endFaults(n *node) {
	for _, f := range r.faults {
		if slices.Contains(f.nodes, n) {
			f.nodes = slices.DeleteFunc(f.nodes, func(o *node) bool { return o == n })
			r.record("", event.Healed{ID: f.ID, Nodes: []string{n.spec.Name}})
		}
	}
	r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool { return len(f.nodes) == 0 })
}

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
// says nothing of their being ready; and early when the context is.
func (r *Run) Restart(names []string, o RestartOptions) (Planned, error) {
	detail := "stop"
	if o.Kill {
		detail = "kill"
	}
	id, targets, dead, err := r.plan("restart", names, detail, func(n *node) error {
		n.sent = append(n.sent, syscall.SIGKILL) // however it ends, it was asked to
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*Fault, error) { return nil, r.restart(ctx, id, targets, dead, o) }, nil
}

func (r *Run) restart(ctx context.Context, id int64, targets []target, dead []string, o RestartOptions) error {
	again := make([]string, 0, len(targets)+len(dead))
	for _, t := range targets {
		again = append(again, t.spec.Name)
	}
	again = append(again, dead...)
	began := time.Now()
	err := r.each(targets, func(t target) error {
		if o.Kill {
			if _, err := t.process.Signal(syscall.SIGKILL, process.Tree); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		} else {
			r.mu.Lock()
			resume := r.unpause(t.node) // or it could not hear
			r.mu.Unlock()
			if _, err := resume(ctx); err != nil {
				return err
			}
			r.stopOne(ctx, t)
		}
		select {
		case <-t.gone:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if err != nil {
		return err
	}
	for _, name := range again {
		r.mu.Lock()
		options := r.nodes[name].options
		r.mu.Unlock()
		if o.Fork != nil {
			options = *o.Fork
		}
		if err := r.Fork(name, options); err != nil {
			return err
		}
	}
	r.applied(id, began, dead)
	return nil
}
