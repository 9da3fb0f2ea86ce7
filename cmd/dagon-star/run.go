package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/verdict"
	"github.com/dagon-star/dagon-star/scenarios/buffy"
	"github.com/dagon-star/dagon-star/script"
)

const runMore = `
A duration is a number of seconds, or such as 250ms or 1m30s.

The first INT, TERM or HUP ends the run in order; a second one kills what still
runs at once.

With --hold-on-failure a run that fails is kept as it is, before its faults are
undone and its deferred calls are made: its nodes, their ports and folders, and
the faults in force are told, and "dagon-star exec" runs a command beside a node.
It goes on to its end on q and Enter, on a signal, and after --hold-timeout. The
time limit stands still meanwhile. A run that fails only as it ends is not held.

Examples:
  dagon-star run default.star topology.ini
  dagon-star run my.star my.ini --param n=5 --param fast=true --seed 7
  dagon-star run my.star --timeout 5s --runs-dir /tmp/runs --quiet
`

// duration is a flag that may be left out.
type duration struct{ to **time.Duration }

func (d duration) String() string {
	if d.to == nil || *d.to == nil {
		return ""
	}
	return (*d.to).String()
}
func (d duration) Type() string { return "duration" }
func (d duration) Set(s string) error {
	v, err := topology.ParseDuration(s)
	if err == nil {
		*d.to = &v
	}
	return err
}

// params are --param NAME=VALUE.
type params struct{ to *map[string]string }

func (p params) String() string { return "" }
func (p params) Type() string   { return "name=value" }
func (p params) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("NAME=VALUE was expected")
	}
	if *p.to == nil {
		*p.to = map[string]string{}
	}
	(*p.to)[name] = value
	return nil
}

// runFlags adds the flags that a run takes from whichever subcommand.
func runFlags(f *pflag.FlagSet, c *script.Config) (seed *string) {
	f.Var(duration{&c.Timeout}, "timeout", "how long an await waits (config.timeout)")
	f.Var(duration{&c.TimeLimit}, "time-limit", "how long the whole run may take (config.time_limit)")
	f.VarP(duration{&c.Drain}, "drain", "t", "the time between done and shutdown (config.drain)")
	f.Var(duration{&c.Grace}, "grace", "how long a node has to end before it is killed (config.grace)")
	f.StringVar(&c.Listen, "listen", "", "HOST:PORT of one control socket for all nodes, instead of a port for each")
	f.StringVar(&c.Contain, "contain", "", "how surely nothing outlives the run: auto, sealed, cgroup or supervised (config.contain)")
	f.Var(params{&c.Params}, "param", "NAME=VALUE for the script's param(), may be repeated")
	seed = f.String("seed", "", "the seed of all that is drawn; without it a new one")
	f.BoolVar(&c.NoReport, "no-report", false, "leave out report.html in the run's folder")
	f.StringVar(&c.RunsDir, "runs-dir", "runs", "where the run's folder is made")
	return seed
}

func runRun(c command) int {
	var config script.Config
	f := newFlags(c, "run", "SCRIPT [TOPOLOGY] [FLAG...]", runMore)
	seed := runFlags(f, &config)
	quiet := f.BoolP("quiet", "q", false, "print nothing but what keeps the run from passing")
	asJSON := f.Bool("json", false, "print the event log instead, a JSON object a line")
	plainFlag(f, &c)
	hold := holdFlags(f)
	if code, done := parse(c, f, 1, 2); done {
		return code
	}
	if code := parseSeed(c, f, *seed, &config); code != exitPassed {
		return code
	}
	var err error
	if config.Script, config.Topology, err = given(f); err != nil {
		return c.mistake(f, err)
	}
	config.Argv = append([]string{"dagon-star", "run"}, c.args...)
	return c.execute(config, shows{*quiet, *asJSON, hold}, func(seed uint64, _ string) []string { return repeat(f, c.args, seed) })
}

func parseSeed(c command, f *pflag.FlagSet, seed string, config *script.Config) int {
	if !f.Changed("seed") {
		return exitPassed
	}
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		fmt.Fprintf(c.stderr, "dagon-star %s: --seed is %q: a whole number from 0 to 18446744073709551615 was expected; "+
			"leave it out for a new one\n", f.Name(), seed)
		return exitMistake
	}
	config.Seed = &n
	return exitPassed
}

// shows says what is printed of a run, and whether it is held for a person to look at.
type shows struct {
	quiet, asJSON bool
	hold          *holding
}

// execute runs a script, with signals and a terminal, and returns the exit code.
func (c command) execute(config script.Config, shows shows, again func(seed uint64, folder string) []string) int {
	own, err := os.Executable()
	if err == nil {
		config.Component = own
	}
	config.Components = buffy.Names()
	config.Repeat = func(seed uint64, folder string) string { return invocation(own, again(seed, folder)) }
	asked := make(chan os.Signal, 4)
	screen := c.screen(!shows.quiet && !shows.asJSON, asked)
	defer screen.Close()
	ctx, hurry, stop := c.interrupts(asked)
	defer stop()
	config.Hurry = hurry
	config.ObserverPatience = -1 // it prints, and a signal ends its wait for who reads that

	switch {
	case shows.asJSON:
		log := event.NewWriter(harmless{c.rawStdout, report.VisibleJSON})
		var gone error
		config.Observer = func(e event.Event) {
			if gone == nil { // a reader that is gone ends no run
				gone = log.Write(e)
			}
		}
	case !shows.quiet:
		config.Observer = (&terminal{w: c.stdout}).show
	}
	screen.follow(&config)
	out := c.stdout
	if shows.asJSON || shows.quiet {
		out = c.stderr
	}
	shows.hold.of(&config, out, "")
	if hold := config.Hold; hold != nil { // who looks has the terminal to themselves
		config.Hold = func(ctx context.Context, r *runtime.Run, v verdict.Verdict) string {
			screen.Close()
			return hold(ctx, r, v)
		}
	}
	actions := newGitHub(os.Getenv)
	resume := actions.quietly(out)
	result, err := script.Run(ctx, config)
	screen.Close()
	if err != nil {
		fmt.Fprintln(c.stderr, err)
		resume()
		return exitMistake // nothing was forked
	}
	line := config.Repeat(result.Seed, result.Folder)
	if !shows.quiet && !shows.asJSON || result.Outcome != runtime.Passed {
		conclude(out, result, line)
	}
	resume()
	told := asTest(config, result, line)
	actions.annotate(out, told)
	if err := actions.summarize("dagon-star run", []report.Test{told}, chartOf); err != nil {
		fmt.Fprintf(c.stderr, "dagon-star: %v\n", err)
	}
	return result.ExitCode()
}

// interrupts makes a context that the first signal ends, and a channel that the
// second closes. One that comes when the run is over changes nothing any more:
// its exit code is to be that of its verdict. From the first on nothing that is printed
// waits for its reader. What comes from asked is as a signal.
func (c command) interrupts(asked <-chan os.Signal) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry := make(chan struct{})
	signals := make(chan os.Signal, 4)
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // as nohup has it
			wanted = append(wanted, s)
		}
	}
	signal.Notify(signals, wanted...)
	// Go ends a program that writes to a closed stdout, unless it has asked to
	// be told; a handler is not inherited by the nodes, as ignoring it would be.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	quit := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		n := 0
		interrupt := func(s os.Signal) {
			c.outlets.end()
			switch n++; n {
			case 1:
				fmt.Fprintf(c.stderr, "dagon-star: %v: shutting down; once more kills what still runs\n", s)
				cancel(&runtime.InterruptedError{Signal: s})
			case 2:
				close(hurry)
			}
		}
		for {
			select {
			case s := <-signals:
				interrupt(s)
			case s := <-asked:
				interrupt(s)
			case <-pipe:
			case <-quit:
				return
			}
		}
	})
	return ctx, hurry, func() {
		close(quit)
		listening.Wait()
		cancel(nil)
	}
}
