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
	"github.com/dagon-star/dagon-star/runtime/fault"
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
	links  *fault.Fault // of links; nil for one of processes
	nodes  []*node      // in force on them; the run's lock
}

// Nodes are the names of the nodes on which the fault is in force.
func (f *Fault) Nodes() []string {
	f.run.mu.Lock()
	defer f.run.mu.Unlock()
	return nodeNames(f.nodes)
}

// Heal undoes the fault. To heal it once more does nothing.
func (f *Fault) Heal() error {
	f.run.faulting.Lock()
	defer f.run.faulting.Unlock()
	if f.links != nil {
		return f.run.undisturb(f)
	}
	return f.run.heal(f, f.Nodes())
}

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
// it marked.
func (r *Run) plan(what string, names []string, detail string, mark func(*node) error) (id int64, targets []target, dead []string, err error) {
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
		if mark != nil {
			if err := mark(n); err != nil {
				return 0, nil, nil, err
			}
		}
		targets = append(targets, target{n, n.process, n.gone})
	}
	r.lastID++
	r.record("", event.Fault{ID: r.lastID, What: what, Nodes: nodeNames(nodes), Detail: detail})
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

// Signal sends a signal to nodes: to the process that was forked alone, or to
// the whole tree. A node that dies of it, or that exits after one that asks it
// to end (TERM, INT, QUIT, KILL), does so as it was asked.
func (r *Run) Signal(names []string, s syscall.Signal, to process.Reach) error {
	return r.signal("signal", names, s, to)
}

// Kill sends a signal to the whole trees of nodes. After KILL it returns when
// they are gone.
func (r *Run) Kill(names []string, s syscall.Signal) error {
	return r.signal("kill", names, s, process.Tree)
}

func (r *Run) signal(what string, names []string, s syscall.Signal, to process.Reach) error {
	id, targets, dead, err := r.plan(what, names, process.SignalName(s), func(n *node) error {
		n.sent = append(n.sent, s)
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.apply(id, targets, dead, func(t target) error { return t.process.Signal(s, to) }); err != nil || s != syscall.SIGKILL {
		return err
	}
	timer := time.NewTimer(unkillable)
	defer timer.Stop()
	for _, t := range targets {
		select {
		case <-t.gone:
		case <-timer.C:
			return &StateError{Node: t.spec.Name, Text: "it was killed, and has not ended"}
		}
	}
	return nil
}

// Pause stops the whole trees of nodes until the fault is healed.
func (r *Run) Pause(names []string) (*Fault, error) {
	r.faulting.Lock()
	defer r.faulting.Unlock()
	id, targets, dead, err := r.plan("pause", names, "", func(n *node) error {
		if r.pausing(n) != nil {
			return &StateError{Node: n.spec.Name, State: n.state, Text: "cannot pause it: it is paused already"}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.enforce(&Fault{run: r, ID: id, What: "pause"}, targets, dead, func(t target) error { return t.process.Pause() })
}

// Resume lets paused nodes go on.
func (r *Run) Resume(names []string) error {
	r.faulting.Lock()
	defer r.faulting.Unlock()
	id, targets, dead, err := r.plan("resume", names, "", func(n *node) error {
		if r.pausing(n) == nil {
			return &StateError{Node: n.spec.Name, State: n.state, Text: "cannot resume it: it is not paused"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.apply(id, targets, dead, func(t target) error { return r.unpause(t.node) })
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

func (r *Run) unpause(n *node) error {
	r.mu.Lock()
	f := r.pausing(n)
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	return r.heal(f, []string{n.spec.Name})
}

// Limit limits what the trees of nodes may use, until the fault is healed. Of
// two limits of a kind the later one holds.
func (r *Run) Limit(names []string, l process.Limits) (*Fault, error) {
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
	r.faulting.Lock()
	defer r.faulting.Unlock()
	id, targets, dead, err := r.plan("limit", names, strings.Join(what, " "), nil)
	if err != nil {
		return nil, err
	}
	f := &Fault{run: r, ID: id, What: "limit", limits: l}
	return r.enforce(f, targets, dead, func(t target) error {
		r.mu.Lock()
		all := r.limits(t.node)
		r.mu.Unlock()
		return t.process.Limit(all)
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

// enforce applies a fault that stays in force. It is in the books before it is
// done, so that it is undone however the run ends.
func (r *Run) enforce(f *Fault, targets []target, dead []string, do func(target) error) (*Fault, error) {
	r.mu.Lock()
	for _, t := range targets {
		if t.alive() && t.node.process == t.process {
			f.nodes = append(f.nodes, t.node)
		}
	}
	r.faults = append(r.faults, f)
	r.mu.Unlock()
	if err := r.apply(f.ID, targets, dead, do); err != nil {
		return nil, errors.Join(err, r.heal(f, f.Nodes()))
	}
	return f, nil
}

// heal undoes a fault for some of its nodes, and logs it.
func (r *Run) heal(f *Fault, names []string) error {
	var errs []error
	var healed []string
	for _, name := range names {
		r.mu.Lock()
		n := r.nodes[name]
		p := n.process
		in := slices.Contains(f.nodes, n)
		f.nodes = slices.DeleteFunc(f.nodes, func(o *node) bool { return o == n })
		limits := r.limits(n)
		r.mu.Unlock()
		if !in || p == nil {
			continue
		}
		var err error
		if f.What == "pause" {
			err = p.Resume()
		} else {
			err = p.Limit(limits)
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("%s: cannot undo %s: %w", name, f.What, err))
			continue
		}
		healed = append(healed, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(healed) > 0 {
		r.record("", event.Healed{ID: f.ID, Nodes: healed})
	}
	r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool { return len(f.nodes) == 0 })
	return errors.Join(errs...)
}

// healAll undoes every fault that is in force.
func (r *Run) healAll() {
	r.faulting.Lock()
	defer r.faulting.Unlock()
	if err := r.healLinks(); err != nil {
		r.noteTeardown(err.Error())
	}
	r.mu.Lock()
	faults := slices.Clone(r.faults)
	r.mu.Unlock()
	for _, f := range slices.Backward(faults) {
		if err := r.heal(f, f.Nodes()); err != nil {
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

// Restart ends nodes, all at the same time, and then forks each as a new
// incarnation. One that has exited is forked. It returns when they run, which
// says nothing of their being ready; and early when ctx is done.
func (r *Run) Restart(ctx context.Context, names []string, o RestartOptions) error {
	detail := "stop"
	if o.Kill {
		detail = "kill"
	}
	id, targets, dead, err := r.plan("restart", names, detail, func(n *node) error {
		n.sent = append(n.sent, syscall.SIGKILL) // however it ends, it was asked to
		return nil
	})
	if err != nil {
		return err
	}
	again := make([]string, 0, len(targets)+len(dead))
	for _, t := range targets {
		again = append(again, t.spec.Name)
	}
	again = append(again, dead...)
	began := time.Now()
	err = r.each(targets, func(t target) error {
		if o.Kill {
			if err := t.process.Signal(syscall.SIGKILL, process.Tree); err != nil {
				return err
			}
		} else {
			r.faulting.Lock()
			err := r.unpause(t.node) // or it could not hear
			r.faulting.Unlock()
			if err != nil {
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
