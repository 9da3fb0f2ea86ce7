// Package script runs Starlark scripts against topologies. It is the one entry
// for Go programs that embed dagon-star:
//
//	result, err := script.Run(ctx, script.Config{Script: "cluster.star", Topology: "cluster.ini"})
//	if err != nil { … }             // a bad script or ini: nothing was started
//	if result.Outcome != runtime.Passed { … }
//
// A script drives servers that know nothing of it: by actions on nodes, each with an
// outcome, by a history of the operations that clients did, and by checkers of that. All
// of it is in the vocabulary of every script, which "dagon-star docs" tells. A program
// adds builtins of its own by Config.Builtins: an action by Act, a checker by OpsOf and
// Checked, anything that waits by Wait.
//
// Every run keeps its recipe, from which it can be run again: see ReadRecipe.
//
// Run ends every process that it has started before it returns. It prints
// nothing but to Config.Output and touches no signal handler. A program that
// begins its main, or its TestMain, with
//
//	if script.Keeper() {
//		return
//	}
//
// lets Run execute it once more as the keeper of a run's processes, which makes
// sure that none of them outlives it even when it is killed: see package
// runtime/process. One that does not is never executed again.
package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/userfile"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Config says what to run. Script or Source must be set; all else may be left
// out.
type Config struct {
	// Script is a file, or where there is none of that name a scenario that is
	// shipped with dagon-star. With Source it only names the script in
	// messages, and its folder is where load() begins.
	Script string
	Source []byte
	// Topology is an ini in the same way. Left out, it is the ini of the
	// script's name beside it, else topology.ini beside it; with Source, a
	// topology without nodes.
	Topology       string
	TopologySource []byte
	// Test is the test that is run, one of Tests; "" runs the script's top level
	// alone.
	Test string

	Params map[string]string // for param()
	Seed   *uint64           // nil: that of the ini, else a new one

	// What comes in place of the ini's settings; nil leaves them.
	Timeout, TimeLimit, Drain, Grace *time.Duration
	Listen, Contain                  string // "" leaves it

	RunsDir string // where the run's folder is made; "" is "runs"
	// Component is the dagon-star binary that component = sections run, and
	// Components the names of what it has, if they are to be checked.
	Component  string
	Components []string
	Version    string   // of the program, for the log; "" is that of this module
	Argv       []string // its command line, for the log and the recipe
	// Repeat returns the command line that repeats the run, of which it is given the seed
	// and the folder; for the log and the report. It may be nil.
	Repeat func(seed uint64, folder string) string
	// NoReport leaves out report.html in the run's folder.
	NoReport bool

	Output   io.Writer           // what print prints, a line each, may be nil
	Builtins starlark.StringDict // more names for scripts: an embedder's own builtins
	Driver   process.Driver      // starts the processes; nil: this machine's
	// Observer is called with every event, in order, from one goroutine. ObserverPatience
	// bounds how long Run waits for it at the end: see runtime.Config.
	Observer         func(event.Event)
	ObserverPatience time.Duration
	// Started, if there is one, is called with the run before its script begins.
	Started func(*runtime.Run)
	// Hurry, when closed, makes the end of the run skip every grace.
	Hurry <-chan struct{}
	// Hold, where it is not nil, is called with a run that has failed, and with its verdict
	// so far, before anything is undone, deferred or ended: the system stays as it is until
	// Hold returns, for why it goes on. See runtime.Run.Hold. A run that fails only as it
	// ends, as by a deferred call, is not held.
	Hold func(ctx context.Context, run *runtime.Run, v verdict.Verdict) (why string)

	kept *kept // by Recipe.Config: the texts of the files
}

// Result is what a run came to: Outcome, Reason, Where, Cause, Beside and ExitCode
// are those of its verdict.Verdict. Cause is for errors.As: a *runtime.ExitError, a
// *runtime.TimeoutError, a *builtins.FailError, …; nil where no error decided.
type Result struct {
	runtime.Result
	// Backtrace is the script's stack where it failed, a line each, the
	// innermost last; "" where it failed at its top level. Where a bug showed it
	// has Go's stack too.
	Backtrace string
	Seed      uint64
}

// Keeper lets this program contain the processes of its runs; it belongs at the
// very top of main or TestMain. See process.Keeper.
func Keeper() bool { return process.Keeper() }

// Run runs a script against a topology until it ends, or ctx is done. The error
// tells that it could not be started: Mistakes in the script or the ini, found
// before anything is forked, or a folder that cannot be made. A run that
// started has a Result, whatever became of it.
func Run(ctx context.Context, c Config) (*Result, error) {
	plan, err := prepare(c)
	if err != nil {
		return nil, err
	}
	if c.Test == "" && plan.main.file != nil && !plan.main.acts() && len(plan.tests()) > 0 {
		plan.add(Mistake{File: plan.main.name, Text: "it has tests, and does nothing else: dagon-star test runs them"})
	}
	if mistakes := plan.found(); len(mistakes) > 0 {
		return nil, mistakes
	}
	var reading sync.WaitGroup
	reading.Go(plan.readFiles)
	defer reading.Wait()
	var repeat func(string) string
	if c.Repeat != nil {
		repeat = func(folder string) string { return c.Repeat(plan.seed, folder) }
	}
	run, err := runtime.Start(ctx, runtime.Config{
		Script: plan.main.name, Topology: plan.topology, Settings: plan.topology.Settings, Seed: plan.seed,
		Params: plan.config.Params, Version: plan.version, Argv: c.Argv, Repeat: repeat, RunsDir: c.RunsDir, Component: c.Component,
		Driver: c.Driver, Observer: c.Observer, ObserverPatience: c.ObserverPatience, Hurry: c.Hurry,
	})
	if err != nil {
		return nil, err
	}
	if c.Started != nil {
		c.Started(run)
	}
	host := builtins.NewHost(run, builtins.Options{
		Params: plan.config.Params, Print: printer(c.Output), Embed: c.Builtins, FaultIn: plan.faultIn,
		Hurry: c.Hurry,
	})
	defer host.Close()
	result := &Result{Seed: plan.seed}
	reading.Wait()
	result.find(run, host, plan.execute(run, host))
	for _, name := range host.UnusedParams() {
		run.Notice(fmt.Sprintf("--param %s was given, and the script never asked for it", name))
	}
	if own := run.Verdict(); c.Hold != nil && own.Outcome == runtime.Failed && plan.judge(own).Outcome == runtime.Failed {
		run.Hold(ctx, func(ctx context.Context) string { return c.Hold(ctx, run, plan.judge(own)) })
	}
	ended, err := run.End(append(host.Deferred(), func(context.Context) {
		if first := plan.unused(run.Faults()); first != nil {
			run.Notice(fmt.Sprintf("the script has %s at %s, and no fault was applied", first.fault, first.at))
		}
	})...)
	if ended == nil {
		return nil, err
	}
	result.Result = *ended
	var callback *runtime.CallbackError
	if errors.As(result.Cause, &callback) {
		result.Backtrace += string(callback.Stack)
	}
	if err != nil {
		result.Beside = append(result.Beside, verdict.Finding{Outcome: verdict.Passed, Reason: err.Error(), During: verdict.AtEnd})
	}
	if !c.NoReport {
		if err := writePage(result.Folder); err != nil { // it bears on no verdict
			result.Beside = append(result.Beside, verdict.Finding{Outcome: verdict.Passed, Reason: err.Error(), During: verdict.AtEnd})
		}
	}
	result.Verdict = plan.judge(result.Verdict)
	if result.Outcome == runtime.Passed {
		result.Backtrace = ""
	}
	return result, nil
}

// writePage writes the report of a run into its folder.
func writePage(folder string) error {
	r, err := report.Open(folder, os.DirFS(folder))
	if err == nil {
		err = userfile.Write(filepath.Join(folder, report.PageName), func(w io.Writer) error { return report.WriteHTML(r, w) })
	}
	if err != nil {
		return fmt.Errorf("the report could not be written: %w", err)
	}
	return nil
}

// judge is a verdict of the run as the script's own table of verdicts sees it.
func (p *plan) judge(v verdict.Verdict) verdict.Verdict {
	if p.test == nil || p.test.variant == nil {
		return v
	}
	return p.test.variant.expected.Judge(v)
}

// execute runs the script to its end.
func (p *plan) execute(run *runtime.Run, host *builtins.Host) error {
	for _, notice := range p.notices {
		run.Notice(notice)
	}
	if err := p.writeRecipe(run); err != nil {
		return fmt.Errorf("cannot write the recipe: %w", err)
	}
	names, _ := host.Predeclared() // the plan has the notices
	loaded := map[string]starlark.StringDict{}
	return host.Main(func(thread *starlark.Thread) error {
		thread.Load = func(thread *starlark.Thread, _ string) (starlark.StringDict, error) {
			return nil, errors.New("load: outside of a file")
		}
		globals, err := p.initialize(host, thread, p.main, names, loaded)
		if err != nil || p.test == nil || p.test.variant != nil {
			return err
		}
		return p.runTest(host, thread, globals)
	})
}

// initialize runs one file: its globals come out of it. Those of the main
// script stay as they are, those of modules are frozen, as several may share
// them.
func (p *plan) initialize(host *builtins.Host, thread *starlark.Thread, m *module, names starlark.StringDict,
	loaded map[string]starlark.StringDict) (starlark.StringDict, error) {
	thread.Load = func(of *starlark.Thread, name string) (starlark.StringDict, error) {
		next := m.loads[name]
		if globals, ok := loaded[next.key]; ok {
			return globals, nil
		}
		inner, err := host.Thread(of, next.name)
		if err != nil {
			return nil, err
		}
		globals, err := p.initialize(host, inner, next, names, loaded)
		if err != nil {
			return nil, err
		}
		globals.Freeze()
		loaded[next.key] = globals
		return globals, nil
	}
	return m.program.Init(thread, names)
}

// find adds what ended the script's main part to the findings: the cause for which
// the run's work was aborted, else the script's error, and a bug in any case.
func (r *Result) find(run *runtime.Run, host *builtins.Host, err error) {
	where := builtins.Where(err)
	var evaluated *starlark.EvalError
	if errors.As(err, &evaluated) {
		if where == "" { // a builtin that a task called
			where = host.FailedAt()
		}
		r.Backtrace = backtrace(evaluated)
	}
	var bug *builtins.PanicError
	if errors.As(err, &bug) {
		r.Backtrace += string(bug.Stack)
	}
	found := func(err error) {
		f := verdict.Of(err)
		f.Where = where
		run.Find(f)
	}
	cause := context.Cause(run.Context())
	var stuck *builtins.StuckError
	switch {
	case errors.As(err, &stuck):
		found(stuck)
	case cause != nil && (errors.Is(cause, runtime.ErrTimeLimit) || errors.As(cause, new(*runtime.InterruptedError))):
		f := verdict.Of(cause)
		if call, at := host.EndedIn(); call != "" {
			f.Reason += "; the script was in " + call
			where = at
		}
		f.Where = where
		run.Find(f)
	case cause != nil:
		found(cause)
	}
	if err != nil && !builtins.Follows(err, cause) {
		found(err)
	}
}

// backtrace are the places in files that led to an error, a line each, the
// innermost last; "" where there is only one.
func backtrace(err *starlark.EvalError) string {
	var lines []string
	for _, frame := range err.CallStack {
		if frame.Pos.Filename() != "<builtin>" {
			lines = append(lines, fmt.Sprintf("  %s: in %s\n", frame.Pos, frame.Name))
		}
	}
	if len(lines) < 2 {
		return ""
	}
	if left := len(lines) - 2*backtraceEnds; left > 1 { // a recursion without end has a hundred thousand
		cut := []string{fmt.Sprintf("  … %d more\n", left)}
		lines = slices.Concat(lines[:backtraceEnds], cut, lines[len(lines)-backtraceEnds:])
	}
	return strings.Join(lines, "")
}

// backtraceEnds is how many places are kept at each end of a long backtrace.
const backtraceEnds = 10

// Wait lets the other tasks of a script run while fn does, and returns its
// error: it is how an embedder's own builtin waits. fn's context is done when
// the run's work has been ended; fn must return soon after that.
func Wait(thread *starlark.Thread, fn func(context.Context) error) error {
	return builtins.Wait(thread, fn)
}

// RunOf is the run that a thread belongs to, for an embedder's own builtins;
// nil outside of one.
func RunOf(thread *starlark.Thread) *runtime.Run { return builtins.RunOf(thread) }

func printer(w io.Writer) func(string) {
	if w == nil {
		return nil
	}
	return func(text string) { fmt.Fprintln(w, text) } // a closed terminal ends no run
}

// Act does an action on a node, for an embedder's own builtins, as http and exec do: see
// builtins.Act.
func Act(thread *starlark.Thread, node, what string, timeout time.Duration, do func(context.Context) error) error {
	return builtins.Act(thread, node, what, timeout, do)
}

// Checked ends an embedder's own checker, as check_set ends: see builtins.Checked.
func Checked(thread *starlark.Thread, r *history.Result) (starlark.Value, error) {
	return builtins.Checked(thread, r)
}

// OpsOf are the operations that a script has given an embedder's own checker: what ops()
// returns; false where it is another value.
func OpsOf(v starlark.Value) (history.Ops, bool) { return builtins.OpsOf(v) }
