package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Outcome is what a run came to.
type Outcome string

// The outcomes of a run.
const (
	Passed       Outcome = "passed"
	Failed       Outcome = "failed"
	Inconclusive Outcome = "inconclusive" // nothing failed, and nothing was shown
	Interrupted  Outcome = "interrupted"  // by a signal, or by the caller's context
)

// Verdict is a run's outcome, with its reason where it is not Passed and the
// place in the script that it comes from.
type Verdict struct {
	Outcome Outcome
	Reason  string
	Where   string // file:line:col
}

// Result is what is left of a run.
type Result struct {
	Verdict
	ID       string
	Folder   string
	Duration time.Duration
	Events   []event.Event
	Nodes    []NodeInfo
	// Teardown is what went wrong while tearing down, apart from the verdict.
	Teardown []string
	// LeftBehind are the processes that even SIGKILL did not end in time.
	LeftBehind []int
}

// unkillable is how long a killed process may take to be gone before the run
// ends without it. Only one stuck in the kernel takes longer.
const unkillable = 10 * time.Second

// shutdownOrder is the documented order in which the groups shut down.
var shutdownOrder = [...]topology.Role{topology.Leader, topology.Worker, topology.Sender, topology.Receiver}

// ShutdownTopology ends every node that still runs: those that have not
// reported their end are asked to shut down, in the documented order and
// within the grace in all; those that have get the grace to exit; what runs
// then gets TERM, the grace again, and KILL. A node that needed KILL although
// it had reported its end fails the run. It returns early when ctx is done or
// the run's work is aborted: End does the rest.
func (r *Run) ShutdownTopology(ctx context.Context) error {
	r.mu.Lock()
	ended, ending := context.Cause(r.work), r.ending
	r.mu.Unlock()
	if ended != nil && !ending {
		return ended
	}
	r.stopAll(ctx, context.Background())
	return context.Cause(ctx)
}

// stopAll ends what runs. It leaves it when leave is done, and kills it at once
// when hurry is.
func (r *Run) stopAll(leave, hurry context.Context) {
	r.stopping.Lock()
	defer r.stopping.Unlock()
	grace := r.cfg.Settings.Grace
	deadline := time.Now().Add(grace)
	for _, role := range shutdownOrder {
		asked := r.names(func(n *node) bool {
			return n.spec.Role == role && n.alive() && !n.finished() && n.conn != nil && n.stopAsked
		})
		group := r.names(func(n *node) bool {
			return n.spec.Role == role && n.alive() && !n.finished() && n.conn != nil && !n.stopAsked
		})
		if leave.Err() != nil || hurry.Err() != nil {
			break
		}
		if err := r.Shutdown(group); err != nil {
			r.noteTeardown(err.Error())
		}
		for _, name := range append(group, asked...) { // one by one, so that one's failing does not cut the others short
			r.await(leave, hurry, r.Reached([]string{name}, StateDoneShutdown), time.Until(deadline))
		}
	}
	ending := r.names(func(n *node) bool { return n.alive() && n.finished() })
	r.await(leave, hurry, r.Reached(ending, StateExited), grace)
	if leave.Err() != nil {
		return
	}
	var stopped sync.WaitGroup
	for _, name := range r.names((*node).alive) {
		r.mu.Lock()
		n := r.nodes[name]
		p, gone := n.process, n.gone
		n.stopAsked, n.signalled = true, true
		r.mu.Unlock()
		if p != nil {
			stopped.Go(func() { r.stop(leave, hurry, n, p, gone) })
		}
	}
	stopped.Wait()
}

// stopOne ends one node: it is asked to, then gets TERM, and KILL after the
// grace. Once ctx is done it is left to the end of the run.
func (r *Run) stopOne(ctx context.Context, t target) {
	name, grace := []string{t.spec.Name}, r.cfg.Settings.Grace
	never := context.Background()
	r.mu.Lock()
	connected := t.conn != nil
	r.mu.Unlock()
	if connected {
		if err := r.Shutdown(name); err == nil {
			r.await(ctx, never, r.Reached(name, StateDoneShutdown), grace)
			r.await(ctx, never, r.Reached(name, StateExited), grace)
		}
	}
	select {
	case <-t.gone:
	default:
		r.stop(ctx, never, t.node, t.process, t.gone)
	}
}

// stop ends one node's process by signals.
func (r *Run) stop(leave, hurry context.Context, n *node, p process.Process, gone <-chan struct{}) {
	ended := make(chan struct{})
	r.tasks.Go(func() {
		defer close(ended)
		killed, err := process.Stop(hurry, p, r.cfg.Settings.Grace)
		<-gone
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case err != nil:
			r.teardown = append(r.teardown, fmt.Sprintf("%s: %v", n.spec.Name, err))
		case killed && hurry.Err() != nil:
		case killed && n.reached == StateDoneShutdown:
			r.violations = append(r.violations, fmt.Sprintf(
				"%s reported done_shutdown, but then ignored TERM for %s and had to be killed", n.spec.Name, r.cfg.Settings.Grace))
		case killed:
			r.teardown = append(r.teardown, fmt.Sprintf(
				"%s ignored TERM for %s and had to be killed", n.spec.Name, r.cfg.Settings.Grace))
		}
	})
	timer := time.NewTimer(r.cfg.Settings.Grace + unkillable)
	defer timer.Stop()
	select {
	case <-ended:
	case <-leave.Done():
	case <-timer.C:
	}
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

func (r *Run) names(which func(*node) bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, n := range r.order {
		if which(n) {
			names = append(names, n.spec.Name)
		}
	}
	return names
}

func (r *Run) noteTeardown(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.teardown = append(r.teardown, text)
}

// End ends the run, whatever ended its work: the deferred calls, then all that
// still runs, then the verdict is written. deferred may be nil; its errors are
// told as ones of the tear-down, its context is done in a hurry, and it may change
// the verdict. A passed verdict becomes a failed one where the work was aborted,
// where a node exited otherwise than it should while it was shut down, or needed
// KILL although it had reported its end, where something of the run could not be
// ended, or where the event log or that of a node could not be written. Else
// nothing of the run is left after End, and the error tells only that its log could
// not be written to the end.
func (r *Run) End(v Verdict, deferred func(context.Context, *Verdict) []error) (*Result, error) {
	r.mu.Lock()
	if r.ending {
		r.mu.Unlock()
		return nil, ErrEnded
	}
	r.ending = true
	for _, w := range slices.Clone(r.watches) {
		r.finish(w, "cancelled", ErrEnded)
	}
	r.mu.Unlock()
	r.stopOnDone()
	if r.timeLimit != nil {
		r.timeLimit.Stop()
	}

	// A hurry ends what is waited for, here and in the deferred calls.
	ctx, stop := context.WithCancel(r.ended)
	defer stop()
	if r.cfg.Hurry != nil {
		var hurried sync.WaitGroup
		defer hurried.Wait()
		defer stop()
		hurried.Go(func() {
			select {
			case <-r.cfg.Hurry:
				stop()
			case <-ctx.Done():
			}
		})
	}
	r.healAll()
	if deferred != nil {
		for _, err := range deferred(ctx, &v) {
			r.noteTeardown(err.Error())
		}
	}
	r.stopAll(context.Background(), ctx)
	return r.conclude(v)
}

// conclude writes the end of the log and gives everything back.
func (r *Run) conclude(v Verdict) (*Result, error) {
	left := r.leftBehind()
	if buried, ok := r.drivers.process.(process.Burier); ok && r.drivers.owned && len(left) > 0 {
		// Whoever should have ended them may have been stopped or be stuck itself.
		r.tasks.Go(buried.Bury)
		never := context.Background()
		r.await(never, never, r.Reached(r.names((*node).alive), StateExited), unkillable)
		left = r.leftBehind()
	}
	if len(left) == 0 {
		r.tasks.Wait()
	} else {
		r.drivers.owned = false // closing it would wait for them
		r.mu.Lock()
		r.violations = append(r.violations, fmt.Sprintf("processes %v were killed and have not ended", left))
		r.mu.Unlock()
	}
	folder := r.folder
	r.folder = nil // open while the log is written
	released := r.release()
	r.folder = folder

	r.mu.Lock()
	for _, err := range released {
		to := &r.teardown
		if lost := new(LogError); errors.As(err, &lost) {
			to = &r.violations
		}
		*to = append(*to, err.Error())
	}
	if v.Outcome == Passed {
		switch {
		case r.cause != nil:
			v.Outcome, v.Reason = Failed, r.cause.Error()
			var interrupted *InterruptedError
			if errors.As(r.cause, &interrupted) || errors.Is(r.cause, context.Canceled) {
				v.Outcome = Interrupted
			}
		case len(r.violations) > 0:
			v.Outcome, v.Reason = Failed, strings.Join(r.violations, "\n")
		case r.unwritten != nil:
			v.Outcome, v.Reason = Failed, r.unwritten.Error()
		}
	} else {
		r.teardown = append(r.teardown, r.violations...)
	}
	r.record("", event.Verdict{Outcome: string(v.Outcome), Reason: v.Reason, Where: v.Where})
	duration := r.Elapsed()
	r.record("", event.RunFinished{DurationS: duration.Truncate(time.Microsecond).Seconds(), LeftBehind: left, Teardown: r.teardown})
	if v.Outcome == Passed && r.unwritten != nil { // whoever reads the log finds no end
		v.Outcome, v.Reason = Failed, r.unwritten.Error()
		r.events[len(r.events)-2].Detail = event.Verdict{Outcome: string(v.Outcome), Reason: v.Reason, Where: v.Where}
	}
	r.closed = true
	r.news.Broadcast()
	result := &Result{Verdict: v, ID: r.id, Folder: folder.Path, Duration: duration, Events: r.events,
		Nodes: r.infos(), Teardown: r.teardown, LeftBehind: left}
	err := r.unwritten
	r.mu.Unlock()
	r.observed.Wait()
	return result, errors.Join(err, folder.Close())
}

func (r *Run) leftBehind() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := []int{}
	for _, n := range r.order {
		if n.alive() {
			left = append(left, n.pid)
		}
	}
	return left
}

// phoneHome is the address that a node on this machine reaches the control
// socket by: one that listens everywhere is reached on the loopback, by IPv4,
// which all programs speak.
func phoneHome(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// lastOfEach keeps the last of each variable, as an environment with two of a
// name means different things to different programs.
func lastOfEach(env []string) []string {
	last := map[string]int{}
	for i, v := range env {
		last[key(v)] = i
	}
	out := make([]string, 0, len(last))
	for i, v := range env {
		if last[key(v)] == i {
			out = append(out, v)
		}
	}
	return out
}
