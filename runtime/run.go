// Package runtime is the engine: it runs one topology once.
//
// A Run is one event log, one roster and the drivers that fill them. Every
// fact becomes an event under one lock, in the order in which the engine saw
// it; the roster is a fold over the events; a Condition is a question to the
// roster, asked again when there is news of its nodes, with a deadline. There is no second
// bookkeeping beside the log.
//
// What concerns one node is in package node, and what can be waited for in package
// await. Here is what concerns several nodes or the whole run: who is forked with whom,
// the order in which nodes end, faults, and the end. A Run makes the others, connects
// them, and finds the nodes that its callers name.
//
// Something is done to a node from outside of it by HTTP, Dial, Exec and ReadFile, whose
// errors say by a *probe.Error what became of that: see package probe. What clients do to
// the system under test is its History: by Invoke and Complete, or told by nodes; package
// history has the checkers.
//
// The package knows nothing of scripts: package script drives a Run from
// Starlark, and a Go program can drive one itself:
//
//	run, err := runtime.Start(ctx, runtime.Config{Topology: t, Settings: t.Settings})
//	...
//	err = run.Fork("leader", runtime.ForkOptions{})
//	err = run.Wait(run.Reached([]string{"leader"}, runtime.StateReady))
//	...
//	result, err := run.End(nil)
//
// End must be called: it is what ends every process, whatever happened.
package runtime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/address"
	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/link"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Config says what a run is made of.
type Config struct {
	// Script and its topology's name, for the log and the folder's name.
	Script   string
	Topology *topology.Topology
	// Settings of the run: those of the topology, with what the command line
	// or an embedding program has put in their place. Seed may be nil.
	Settings topology.Settings
	Seed     uint64
	Params   map[string]string
	Version  string   // of the program that runs it, for the log
	Argv     []string // its command line, for the log
	// Repeat returns the command line that repeats the run, whose folder it is given, for
	// the log. It may be nil.
	Repeat func(folder string) string
	// RunsDir is where the run's folder is made; "" is "runs".
	RunsDir string
	// Component is the dagon-star program that component= sections run.
	Component string
	// Driver starts the processes; nil is this machine's, contained as
	// Settings.Contain says. A driver that is given is not closed by the run.
	Driver process.Driver
	// Observer is called with every event, in order, from one goroutine that
	// End waits for. It may be slow: it holds up nothing, and what it has not come to
	// is on the disk. If it panics, the run fails: see CallbackError.
	Observer func(event.Event)
	// ObserverPatience is how long End waits for the Observer to return from one event,
	// when the run is over; 0 is 10 s. Less than 0 is for ever, for an Observer that a
	// person holds up, such as one that prints to a pager. Once Hurry is closed it is 1 s.
	ObserverPatience time.Duration
	// Hurry, when closed, makes the end of the run skip every grace: what
	// still runs is killed at once.
	Hurry <-chan struct{}
}

// Run is one run of a topology. Its methods may be called from any goroutine.
type Run struct {
	cfg     Config
	id      string
	clock   *clock.Clock
	folder  *folder.Folder
	drivers struct {
		process process.Driver
		owned   bool
		control *control.Server
	}
	addresses *address.Addresses
	actions   actions
	network   *link.Network // nil where nodes reach each other directly

	work, ended context.Context // of the script, and of the end of the run
	abortWork   context.CancelCauseFunc
	forks       context.Context // of what a fork waits for: done when the run begins to end
	endForks    context.CancelCauseFunc
	endEnded    context.CancelFunc
	timeLimit   *clock.Timer
	stopOnDone  func() bool    // of the caller's context
	tasks       sync.WaitGroup // the goroutines that watch processes
	forking     sync.WaitGroup // who starts processes
	healing     sync.WaitGroup // who undoes all faults at the end
	stopping    sync.Mutex     // one tear-down at a time
	observation *observation   // nil where nobody observes
	sampler     sampler

	j      *journal.Journal
	logs   *output.Logs
	faults *fault.Book
	means  *node.Means           // of all nodes
	nodes  map[string]*node.Node // made by open, under the lock, and not changed after it
	order  []*node.Node          // of the file

	// Under the journal's lock.
	place      func() string // where the script is
	cause      error         // why the work was aborted, or nil
	ending     bool
	late       context.CancelCauseFunc // ends what is called at the end; nil until it ends
	curtailed  bool                    // late is to be called when the grace has passed
	findings   []verdict.Finding
	required   int64 // faults that have to touch something
	ledger     fault.Ledger
	operations operations
}

// Start makes the run's folder and log and opens its control socket. Nothing
// is forked. The run's work ends when ctx does, with its cause; processes are
// ended by End alone.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	if cfg.Topology == nil {
		return nil, errors.New("runtime: Config.Topology is nil")
	}
	if cfg.Settings.Timeout == 0 { // no await could be met
		cfg.Settings.Timeout = topology.DefaultSettings().Timeout
	}
	r := &Run{cfg: cfg, id: randomHex(8), clock: clock.New(), nodes: map[string]*node.Node{},
		operations: operations{Recorder: history.NewRecorder()}, place: func() string { return "" }}
	var names []string
	for _, spec := range cfg.Topology.Nodes {
		names = append(names, spec.Name)
	}
	r.j = journal.New(journal.Options{
		Roster:  roster.New(names, func(name string) bool { return cfg.Topology.Node(name).MayExit }),
		Elapsed: r.Elapsed, Timeout: cfg.Settings.Timeout, Fold: r.fold,
		AfterFunc: func(d time.Duration, f func()) journal.Timer { return r.clock.AfterFunc(d, f) },
		Ended:     r.watchEnded, Failed: r.abort, Settle: r.hearOut, Note: func(name string) string { return r.nodes[name].ReadyNote() },
		Tail: func(name string, incarnation int) []string { return r.nodes[name].Tail(incarnation) },
	})
	r.logs = output.NewLogs(r.Elapsed)
	r.faults = fault.NewBook(r.j)
	r.work, r.abortWork = context.WithCancelCause(context.WithoutCancel(ctx))
	r.forks, r.endForks = context.WithCancelCause(r.work)
	r.actions.ended, r.actions.end = context.WithCancelCause(context.WithoutCancel(ctx))
	r.ended, r.endEnded = context.WithCancel(context.WithoutCancel(ctx))

	swept := make(chan folder.SweepResult, 1)
	r.tasks.Go(func() { swept <- folder.Sweep() })
	if err := r.open(); err != nil {
		r.release()
		if r.folder != nil {
			r.folder.Close()
		}
		r.tasks.Wait()
		return nil, err
	}
	if cfg.Observer != nil {
		r.observe(r.folder.Events.Name(), cfg.Observer)
	}
	for _, notice := range (<-swept).Notices() {
		r.Notice(notice)
	}
	if limit := cfg.Settings.TimeLimit; limit > 0 {
		r.timeLimit = r.clock.AfterFunc(limit, func() {
			r.j.Lock()
			defer r.j.Unlock()
			passed := fmt.Errorf("%w: %s", ErrTimeLimit, limit)
			if r.ending {
				r.curtail(passed)
			}
			r.abort(passed)
		})
	}
	r.stopOnDone = context.AfterFunc(ctx, func() { r.interrupt(interruption(ctx)) })
	r.sample()
	return r, nil
}

// open acquires what the run needs; release gives it back. The folder comes
// last, so that a run that cannot be started leaves none.
func (r *Run) open() (err error) {
	linked := r.cfg.Settings.Links == topology.LinksProxy
	if r.addresses, err = address.Claim(r.cfg.Topology, linked); err != nil {
		return err
	}
	if linked {
		if r.network, err = link.Open(r.addresses.Routes(r.cfg.Topology), link.Options{
			Seed: r.stream, Clock: r.clock, Lacks: func(err error) { // what the nodes saw of it was none of their doing
				r.Notice(err.Error())
				r.Find(verdict.Finding{Outcome: verdict.Inconclusive, Reason: err.Error(), Cause: err})
			},
		}); err != nil {
			return err
		}
	}
	if r.drivers.process = r.cfg.Driver; r.drivers.process == nil {
		if r.drivers.process, err = process.New(process.Options{Run: r.id, Contain: r.cfg.Settings.Contain}); err != nil {
			return err
		}
		r.drivers.owned = true
	}
	r.drivers.control = control.New((*handler)(r), control.Options{Clock: r.clock, Spared: r.endpointPorts()})
	r.means = &node.Means{
		Run: r.id, Journal: r.j, Clock: r.clock, Processes: r.drivers.process, Control: r.drivers.control,
		Topology: r.cfg.Topology, Addresses: r.addresses, Folder: r.NodeFolder, Component: r.cfg.Component,
		Timeout: r.cfg.Settings.Timeout, Grace: r.cfg.Settings.Grace,
		Ended: r.ended, Tasks: &r.tasks, Operation: r.operate, Gone: r.gone, Unasked: r.unasked,
	}
	if err := r.listen(); err != nil {
		return err
	}
	addresses, err := r.addresses.Write()
	if err == nil {
		err = r.WriteFile(addressesName, append(addresses, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot write the addresses of the run: %w", err)
	}
	return nil
}

// listen opens the control socket and the log, and makes the nodes. Who calls at once is
// answered when there are nodes, and when the log has begun.
func (r *Run) listen() (err error) {
	r.j.Lock()
	defer r.j.Unlock()
	defer func() {
		if err != nil {
			r.j.Close(err) // there is no log for what callers say
		}
	}()
	if r.cfg.Settings.Listen != "" {
		if r.means.Shared, err = r.drivers.control.Listen(r.cfg.Settings.Listen); err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		if a, ok := r.means.Shared.(*net.TCPAddr); ok {
			r.means.NeedToken = !a.IP.IsLoopback()
		}
	}
	runs := r.cfg.RunsDir
	if runs == "" {
		runs = "runs"
	}
	if r.folder, err = folder.Make(runs, r.cfg.Script, r.id, r.clock.Time(0)); err != nil {
		return err
	}
	f := r.folder
	r.j.Write(event.NewWriter(f.Events), func() (journal.File, error) { return f.ReadEvents(), nil })
	r.means.Env = []string{folder.Variable + "=" + r.folder.Path}
	for _, spec := range r.cfg.Topology.Nodes {
		path := r.logPath(spec.Name)
		n := r.means.New(spec, r.logs.Create(path), path)
		r.nodes[spec.Name] = n
		r.order = append(r.order, n)
	}
	repeat := ""
	if r.cfg.Repeat != nil {
		repeat = r.cfg.Repeat(f.Path)
	}
	r.j.Append("", event.RunStarted{
		Format: event.Format, Run: r.id, Script: r.cfg.Script, Topology: r.cfg.Topology.Path, Seed: r.cfg.Seed,
		Params: r.cfg.Params, Version: r.cfg.Version, Argv: r.cfg.Argv, Repeat: repeat, StartedAt: r.clock.Time(0).UTC(), Nodes: r.specs(),
	})
	r.recordContainment()
	for _, notice := range r.cfg.Topology.Notices {
		r.j.Append("", event.Notice{Text: notice.Error()})
	}
	if shared := r.means.Shared; shared != nil {
		r.j.Append("", event.Listening{Address: shared.String()})
	}
	return nil
}

// specs are the nodes of the topology, for the log.
func (r *Run) specs() (specs []event.NodeSpec) {
	for _, spec := range r.cfg.Topology.Nodes {
		specs = append(specs, event.NodeSpec{Name: spec.Name, Role: string(spec.Role)})
	}
	return specs
}

// endpointPorts are the ports of all endpoints.
func (r *Run) endpointPorts() (ports []int) {
	for _, spec := range r.cfg.Topology.Nodes {
		for _, e := range spec.Endpoints {
			ports = append(ports, r.addresses.Port(spec.Name, e.Name))
		}
	}
	return ports
}

// release closes what open opened, but for the folder, whose log is written still, and
// reports what failed to close.
func (r *Run) release() []error {
	var errs []error
	r.actions.close()
	if r.drivers.control != nil {
		errs = append(errs, r.drivers.control.Close())
	}
	if r.drivers.owned {
		if err := r.drivers.process.Close(); err != nil {
			errs = append(errs, &containError{err})
		}
	}
	for _, n := range r.order {
		errs = append(errs, n.CloseLog())
	}
	r.logs.Wait()
	if r.network != nil {
		errs = append(errs, r.network.Close())
	}
	if r.addresses != nil {
		errs = append(errs, r.addresses.Close())
	}
	r.abortWork(ErrEnded)
	r.endForks(ErrEnded)
	r.endEnded()
	r.clock.Close()
	for _, left := range r.clock.Left() {
		errs = append(errs, &CallbackError{Callback: callbackName("a function that the run's clock was given", left), Text: "did not return"})
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// containError is the failing of what keeps the processes of a run.
type containError struct{ error }

// Containment tells how surely nothing of the run outlives it.
func (r *Run) Containment() process.Containment { return r.drivers.process.Containment() }

func (r *Run) recordContainment() {
	c := r.Containment()
	contained := event.Contained{Rung: string(c.Rung)}
	for _, refusal := range c.Refused {
		contained.Refused = append(contained.Refused, event.Refusal{Rung: string(refusal.Rung), Reason: refusal.Reason})
	}
	r.j.Append("", contained)
}

// ID is the run's id, DAGON_RUN in the environment of its nodes.
func (r *Run) ID() string { return r.id }

// Folder is the run's folder.
func (r *Run) Folder() string { return r.folder.Path }

// NodeFolder is a node's working folder.
func (r *Run) NodeFolder(name string) string { return filepath.Join(r.folder.Path, "nodes", name) }

func (r *Run) logPath(name string) string {
	return filepath.Join(r.folder.Path, "logs", name+".log")
}

// Settings are the run's settings.
func (r *Run) Settings() topology.Settings { return r.cfg.Settings }

// Topology is what the run runs.
func (r *Run) Topology() *topology.Topology { return r.cfg.Topology }

// Seed is the seed of everything that is drawn in the run.
func (r *Run) Seed() uint64 { return r.cfg.Seed }

// Elapsed is the time since the run's start, on its clock.
func (r *Run) Elapsed() time.Duration { return r.clock.Now() }

// Within returns a context that is done, for a cause, when a time has passed on the run's
// clock, which stands still while this process is stopped. The function gives it back.
func (r *Run) Within(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithCancelCause(ctx)
	timer := r.clock.AfterFunc(d, func() { cancel(cause) })
	return bounded, func() {
		timer.Stop()
		cancel(nil)
	}
}

// Clock is the run's clock. Its timers end with the run. A function that it calls, and
// that has not returned by then, fails the run.
func (r *Run) Clock() *clock.Clock { return r.clock }

// Context is done when something other than the script has ended the run's
// work: an unasked exit, a signal, the time limit, Abort. Its cause says what.
// Once the run has begun to end it is another: that of the end, which is done
// when the deferred calls have had their time.
func (r *Run) Context() context.Context {
	r.j.Lock()
	defer r.j.Unlock()
	if r.ending {
		return r.ended
	}
	return r.work
}

// Abort ends the run's work: every wait ends with cause, at once. The first
// cause stays. It does nothing once the run has begun to end.
func (r *Run) Abort(cause error) {
	r.j.Lock()
	defer r.j.Unlock()
	r.abort(cause)
}

func (r *Run) abort(cause error) {
	if r.cause != nil || r.ending {
		return
	}
	r.cause = cause
	r.abortWork(cause)
	r.j.CancelWatches(cause)
	r.faults.GiveUp(cause)
}

// fold records what an event tells. The lock is held.
func (r *Run) fold(e event.Event) {
	r.ledger.Apply(e)
	r.operations.Apply(e)
}

// gone closes what a node's incarnation has begun, which has ended. The lock is held.
func (r *Run) gone(node string) {
	r.faults.Exited(node)
	r.abandonOperations(node)
}

// watchEnded is the error that watches end with at once, or nil. The lock is held.
func (r *Run) watchEnded() error {
	switch {
	case r.j.Closed():
		return ErrEnded
	case r.cause != nil && !r.ending:
		return r.cause
	}
	return nil
}

// Progress logs how far the run has come with something: n of total.
func (r *Run) Progress(n, total int64, what string) {
	r.j.Lock()
	defer r.j.Unlock()
	r.j.Append("", event.Progress{N: n, Total: total, What: what})
}

// Print logs a line that the script printed.
func (r *Run) Print(text string) {
	r.j.Lock()
	defer r.j.Unlock()
	r.j.Append("", event.Print{Text: text, Where: r.place()})
}

// Locate says where the script that drives the run is, as file:line:col, for the events
// that it causes: faults that it plans, and what it prints. place is called with the
// run's lock held, and must not block.
func (r *Run) Locate(place func() string) {
	r.j.Lock()
	defer r.j.Unlock()
	r.place = place
}

// Notice logs something that a person should know.
func (r *Run) Notice(text string) {
	r.j.Lock()
	defer r.j.Unlock()
	r.j.Append("", event.Notice{Text: text})
}

// Events goes through the events so far, of which only the last are in memory. An
// error, where the log cannot be read back, is the last of the sequence.
func (r *Run) Events() iter.Seq2[event.Event, error] { return r.j.Events(0, math.MaxInt64) }

// Faults are what the log tells so far of the lives of faults, in the order in which
// they began.
func (r *Run) Faults() fault.Ledger {
	r.j.Lock()
	defer r.j.Unlock()
	return r.ledger.Clone()
}

// WriteFile writes a file of the run's folder, such as its recipe, so that
// whoever reads it finds all of it or the file as it was before.
func (r *Run) WriteFile(name string, data []byte) error {
	path := filepath.Join(r.folder.Path, name)
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
