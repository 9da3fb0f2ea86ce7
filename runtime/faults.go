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

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// Faults are the names of what can be done to a node's process and to the links
// between nodes, for Can.
func Faults() []string {
	return append([]string{"kill", "signal", "pause", "resume", "restart",
		process.FaultLimitCPU, process.FaultLimitMemory, process.FaultLimitFiles}, LinkFaults()...)
}

// Can returns why this machine cannot do a fault, one of Faults; nil where it can.
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

// Can returns why the run cannot do a fault; see the function of that name.
func (r *Run) Can(fault string) error {
	if slices.Contains(LinkFaults(), fault) && r.network == nil {
		return &UnsupportedError{Fault: fault, Reason: "nodes reach each other directly: [dagon] links = proxy gives them links"}
	}
	return Can(r.drivers.process, fault)
}

// Fault is a fault that stays in force until it is healed, its nodes' processes
// end, or the run does.
type Fault = fault.Life

// Step is something that was planned, and is to be done or given up.
type Step = fault.Step

// act does something to the process of one target, and returns how many processes
// it reached. Of one that has ended the error is os.ErrProcessDone.
type act func(context.Context, node.Incarnation) (reached int, err error)

// deed does a fault to the processes of nodes.
type deed struct {
	run     *Run
	what    string
	targets []node.Incarnation // as they were when the fault was planned
	dead    []string           // that had no process when the fault was planned
	act     act
	after   func(context.Context) error  // what is left to do once all were reached, or nil
	lift    func(node.Incarnation) error // undoes it, or nil
	limits  process.Limits               // of a limit
	life    *Fault
	touched int64
}

// target finds the targets of a fault among nodes. Those that have exited are
// left out, and one that was never forked is an error. check says why something
// cannot be done to one of the others, and may be nil. The lock is held.
func (d *deed) target(names []string, check func(*node.Node) error) (plan fault.Plan, err error) {
	r := d.run
	if r.ending {
		return plan, ErrEnded
	}
	plan = fault.Plan{What: d.what, Nodes: []string{}, Where: r.place()}
	for _, name := range names {
		n, err := r.node(name)
		switch {
		case err != nil:
			return plan, err
		case n.State == "":
			return plan, &StateError{Node: name, Text: fmt.Sprintf("cannot %s it: it has not been forked", d.what)}
		case slices.Contains(plan.Nodes, name):
			continue
		}
		plan.Nodes = append(plan.Nodes, name)
		t, ok := n.Present()
		if !ok {
			d.dead = append(d.dead, name)
			continue
		}
		if check != nil {
			if err := check(n); err != nil {
				return plan, err
			}
		}
		d.targets = append(d.targets, t)
	}
	return plan, nil
}

// Apply does the fault to all its targets at the same time. One that has ended
// meanwhile is dead, and no error.
func (d *deed) Apply(ctx context.Context) (fault.Reach, error) {
	reached := make([]int, len(d.targets))
	errs := make([]error, len(d.targets))
	var all sync.WaitGroup
	for i, t := range d.targets {
		all.Go(func() { reached[i], errs[i] = d.act(ctx, t) })
	}
	all.Wait()
	reach := fault.Reach{To: []string{}, Dead: d.dead}
	for i, t := range d.targets {
		d.touched += int64(reached[i])
		switch err := errs[i]; {
		case errors.Is(err, os.ErrProcessDone):
			reach.Dead, errs[i] = append(reach.Dead, t.Node.Spec.Name), nil
		case err != nil:
			errs[i] = fmt.Errorf("%s: %w", t.Node.Spec.Name, err)
		default:
			reach.To = append(reach.To, t.Node.Spec.Name)
		}
	}
	err := errors.Join(errs...)
	if err == nil && d.after != nil {
		err = d.after(ctx)
	}
	return reach, err
}

// Heal undoes the fault. A process that has ended needs none.
func (d *deed) Heal(nodes []string) error {
	var errs []error
	for _, t := range d.targets {
		if d.lift == nil || !slices.Contains(nodes, t.Node.Spec.Name) {
			continue
		}
		if err := d.lift(t); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("%s: cannot undo %s: %w", t.Node.Spec.Name, d.what, err))
		}
	}
	return errors.Join(errs...)
}

// Touched counts the processes that it reached.
func (d *deed) Touched() event.Touched { return event.Touched{Processes: d.touched} }

// plan plans a fault of processes. refine may complete the plan.
func (r *Run) plan(d *deed, names []string, check func(*node.Node) error, refine func(*fault.Plan)) (*Step, error) {
	d.run = r
	r.j.Lock()
	defer r.j.Unlock()
	plan, err := d.target(names, check)
	if err != nil {
		return nil, err
	}
	refine(&plan)
	step := r.faults.Plan(plan, d)
	d.life = step.Life()
	return step, nil
}

// Signal plans to send a signal to nodes: to the process that was forked alone,
// or to the whole tree. Which ends it asks for, roster.End says.
func (r *Run) Signal(names []string, s syscall.Signal, to process.Reach) (*Step, error) {
	return r.signal("signal", names, s, to)
}

// Kill plans to send a signal to the whole trees of nodes. After KILL it is done
// when they are gone.
func (r *Run) Kill(names []string, s syscall.Signal) (*Step, error) {
	return r.signal("kill", names, s, process.Tree)
}

func (r *Run) signal(what string, names []string, s syscall.Signal, to process.Reach) (*Step, error) {
	name := process.SignalName(s)
	asked := event.Asked{By: "script", How: roster.Signal, Signal: name}
	d := &deed{what: what, act: func(_ context.Context, t node.Incarnation) (int, error) { return t.Signal(asked, s, to) }}
	if roster.MayCrash(name) {
		d.act = func(_ context.Context, t node.Incarnation) (int, error) { return 0, t.Blow(asked, s, to, d.life.Touch) }
	}
	if s == syscall.SIGKILL {
		d.after = func(context.Context) error { return d.awaitGone() }
	}
	return r.plan(d, names, nil, func(p *fault.Plan) { p.Detail, p.Harmless = name, !roster.Harmful(name) })
}

// awaitGone waits until the exits of all targets have been logged.
func (d *deed) awaitGone() error {
	late, stop := d.run.clock.After(node.KillTimeout)
	defer stop()
	for _, t := range d.targets {
		select {
		case <-t.Gone():
		case <-late:
			return &StateError{Node: t.Node.Spec.Name, Text: "it was killed, and has not ended"}
		}
	}
	return nil
}

// Pause plans to stop the whole trees of nodes until the fault is healed.
func (r *Run) Pause(names []string) (*Step, error) {
	d := &deed{what: "pause",
		act:  func(_ context.Context, t node.Incarnation) (int, error) { return t.Process.Pause() },
		lift: func(t node.Incarnation) error { return t.Process.Resume() },
	}
	return r.plan(d, names, func(n *node.Node) error {
		if n.Paused != 0 {
			return &StateError{Node: n.Name, State: n.State, Text: "cannot pause it: it is paused already"}
		}
		return nil
	}, func(p *fault.Plan) { p.Lasting = true })
}

// Resume plans to let paused nodes go on.
func (r *Run) Resume(names []string) (*Step, error) {
	var heal *Step
	d := &deed{what: "resume", act: func(context.Context, node.Incarnation) (int, error) { return 0, nil },
		after: func(ctx context.Context) error { return heal.Do(ctx) }}
	return r.plan(d, names, func(n *node.Node) error {
		if n.Paused == 0 {
			return &StateError{Node: n.Name, State: n.State, Text: "cannot resume it: it is not paused"}
		}
		return nil
	}, func(p *fault.Plan) {
		p.Harmless = true
		heal = r.unpause(p.Nodes)
	})
}

// unpause plans to let nodes go on. The lock is held.
func (r *Run) unpause(names []string) *Step {
	return r.faults.Heal(func(f *Fault, node string) bool { return f.What == "pause" && slices.Contains(names, node) })
}

// Limit plans to limit what the trees of nodes may use, until the fault is
// healed. Of two limits of a kind the later one holds.
func (r *Run) Limit(names []string, l process.Limits) (*Step, error) {
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
	limit := func(t node.Incarnation) (int, error) {
		r.j.Lock()
		all := r.limits(t.Node.Spec.Name)
		r.j.Unlock()
		return t.Process.Limit(all)
	}
	d := &deed{what: "limit", limits: l,
		act:  func(_ context.Context, t node.Incarnation) (int, error) { return limit(t) },
		lift: func(t node.Incarnation) error { _, err := limit(t); return err },
	}
	return r.plan(d, names, nil, func(p *fault.Plan) { p.Detail, p.Lasting = strings.Join(what, " "), true })
}

// limits are those in force on a node together. The lock is held.
func (r *Run) limits(name string) (all process.Limits) {
	for _, doer := range r.faults.InForce("limit", name) {
		l := doer.(*deed).limits
		if l.CPU > 0 {
			all.CPU = l.CPU
		}
		if l.Memory > 0 {
			all.Memory = l.Memory
		}
		if l.Files > 0 {
			all.Files = l.Files
		}
	}
	return all
}
