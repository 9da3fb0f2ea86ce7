// Command dagon-star boots a distributed topology, runs load through it, and
// shuts it down in order, as a Starlark script says.
//
//	dagon-star run default.star topology.ini
//
// See "dagon-star help" for the subcommands and "dagon-star docs" for the
// script's vocabulary. This package is the only place of the project that
// prints, exits, and touches signal handlers.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/script"
)

// The exit codes of what is no run; those of a run are script.Result's.
const (
	exitPassed    = 0
	exitUnwritten = 1 // all went well, and what was to be printed could not be written
	exitMistake   = 2 // a bad script, ini or flag, found before the first fork
)

// command is one invocation: what it was given, and where it writes.
type command struct {
	args []string // after the subcommand's name
	// What is for a person goes through harmless to stdout and stderr; what is for
	// a program goes as it is to rawStdout and rawStderr.
	stdout, stderr       io.Writer
	rawStdout, rawStderr io.Writer
	outlets              *outlets
	plain                bool // lines are printed on a terminal too
}

// harmless writes texts as report.Visible makes them, or report.VisibleJSON: nothing
// that a node, a script or a file's name has in it acts on the terminal.
type harmless struct {
	w       io.Writer
	visible func(string) string
}

func (h harmless) Write(p []byte) (int, error) {
	if _, err := io.WriteString(h.w, h.visible(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// subcommand is one word of the command line.
type subcommand struct {
	name    string
	usage   string // its arguments
	summary string // one line
	run     func(command) int
}

func subcommands() []subcommand {
	return []subcommand{
		{"run", "SCRIPT [TOPOLOGY]", "run a script against a topology", runRun},
		{"test", "PATH...", "run every test_* function of the scripts, each in a run of its own", runTest},
		{"rerun", "RUN", "run the recipe of a run again", runRerun},
		{"exec", "NODE CMD...", "run a command beside a node of a run that is under way", runExec},
		{"diff", "RUN RUN", "tell where two runs differ: their recipes, their faults, their verdicts", runDiff},
		{"report", "RUN", "the run as a page, as text, as a trace", runReport},
		{"runs", "", "the folder of runs, as a list; what of it is to go", runRuns},
		{"check", "SCRIPT [TOPOLOGY]", "find every mistake that can be found without forking anything", runCheck},
		{"boot", "-f PATH -n NAME -h HOST -p PORT", "boot one component, the oldest documented call", runBoot},
		{"component", "NAME [FLAG...]", "a built-in component, as its own process", runComponent},
		{"doctor", "", "what this machine can do, and what earlier runs left", runDoctor},
		{"docs", "[NAME]", "the vocabulary of scripts and the keys of the ini", runDocs},
		{"version", "", "the version of this program", runVersion},
	}
}

func main() {
	if script.Keeper() {
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole command, apart from ending the process. What it was to print is part
// of it: it does not succeed where that cannot be written.
func run(args []string, stdout, stderr io.Writer) int {
	all := newOutlets()
	out, errs := &outlet{all: all, w: stdout}, &outlet{all: all, w: stderr}
	c := command{stdout: harmless{out, report.Visible}, stderr: harmless{errs, report.Visible},
		rawStdout: out, rawStderr: errs, outlets: all}
	code := c.run(args)
	if err := out.Lost(); err != nil {
		fmt.Fprintf(c.stderr, "dagon-star: not all of the output could be written: %v\n", err)
		if code == exitPassed {
			code = exitUnwritten
		}
	}
	return code
}

// run runs the subcommand that the arguments name.
func (c command) run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(c.stderr, help())
		return exitMistake
	}
	name := args[0]
	c.args = args[1:]
	switch name {
	case "help", "--help", "-h":
		if len(c.args) > 0 && c.args[0] != "help" {
			return c.run([]string{c.args[0], "--help"})
		}
		fmt.Fprint(c.stdout, help())
		return exitPassed
	case "--version":
		name = "version"
	}
	known := subcommands()
	if i := slices.IndexFunc(known, func(s subcommand) bool { return s.name == name }); i >= 0 {
		return known[i].run(c)
	}
	fmt.Fprintf(c.stderr, "dagon-star: unknown subcommand %q\n\n%s", name, help())
	return exitMistake
}

func help() string {
	var b strings.Builder
	b.WriteString("dagon-star boots, drives and tears down distributed topologies, as a Starlark script says.\n\nUsage:\n")
	for _, s := range subcommands() {
		fmt.Fprintf(&b, "  %-52s %s\n", strings.TrimSpace("dagon-star "+s.name+" "+s.usage), s.summary)
	}
	b.WriteString(`
Examples:
  dagon-star run default.star topology.ini       the shipped sample system, from built-in components
  dagon-star run my.star my.ini --param n=5      your own
  dagon-star run my.star --json | jq .kind       the event log on stdout
  dagon-star rerun latest                        the last run again, though files may have changed
  dagon-star check my.star my.ini                mistakes, without running anything
  dagon-star docs await_ready                    one builtin

SCRIPT and TOPOLOGY are files, or the names of shipped scenarios. TOPOLOGY left
out is the ini of the script's name beside it, else topology.ini beside it.

Exit codes: 0 passed, 1 failed, 2 bad script, ini or flags, 3 inconclusive or skipped,
70 a bug in dagon-star, 128+N ended by signal N.

"dagon-star SUBCOMMAND --help" tells the flags of one.
`)
	return b.String()
}

// newFlags makes the flag set of a subcommand, whose --help shows its usage,
// its flags and what follows them.
func newFlags(c command, name, usage, more string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard) // parse says it, in our words
	flags.Usage = func() {
		fmt.Fprintf(c.stdout, "Usage:\n  dagon-star %s %s\n", name, usage)
		if flags.HasFlags() {
			fmt.Fprintf(c.stdout, "\nFlags:\n%s", flags.FlagUsages())
		}
		fmt.Fprint(c.stdout, more)
	}
	return flags
}

// given are the script and the topology of a command line, "" where there is none.
// It is an error where each is in the other's place, or there are two of one.
func given(f *pflag.FlagSet) (script, topology string, err error) {
	script, topology = f.Arg(0), f.Arg(1)
	switch {
	case filepath.Ext(script) == ".ini":
		err = fmt.Errorf("%s is an ini, and a script was expected in its place: dagon-star %s SCRIPT %[1]s", script, f.Name())
		if filepath.Ext(topology) == ".star" {
			err = fmt.Errorf("the script comes before the ini: dagon-star %s %s %s", f.Name(), topology, script)
		}
	case filepath.Ext(topology) == ".star":
		err = fmt.Errorf("%s is a script, and an ini was expected in its place: one script is run; dagon-star test runs several", topology)
	}
	return script, topology, err
}

// parse parses the flags; where the command is over after that, done is true
// and code is its exit code.
func parse(c command, flags *pflag.FlagSet, least, most int) (code int, done bool) {
	err := flags.Parse(c.args)
	if errors.Is(err, pflag.ErrHelp) {
		return exitPassed, true
	}
	if n := flags.NArg(); err == nil && (n < least || n > most) {
		expected := fmt.Sprint(least)
		if most != least {
			expected = fmt.Sprintf("%d to %d", least, most)
		}
		err = fmt.Errorf("got %d arguments, expected %s", n, expected)
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "dagon-star %s: %v\nsee \"dagon-star %[1]s --help\"\n", flags.Name(), err)
		return exitMistake, true
	}
	return 0, false
}

// mistake tells what is wrong with a command line, and returns the exit code.
func (c command) mistake(f *pflag.FlagSet, err error) int {
	fmt.Fprintf(c.stderr, "dagon-star %s: %v\n", f.Name(), err)
	return exitMistake
}
