package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/cmd/dagon-star/live"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/verdict"
	"github.com/dagon-star/dagon-star/scenarios/buffy"
	"github.com/dagon-star/dagon-star/script"
)

const testMore = `
PATH is a script, or a folder of them; where there is no such file, a shipped one,
such as systems. Every function test_* of a script is a
test, in a run of its own: setup() is called before it where the script has one,
and teardown() at the end of the run, however it ended; a test that passed fails
where its teardown does. A function that load() gives the script is as its own.
cases, a dict of lists by the names of functions, has a function called once for
each case. A script without such functions is one test itself, if its top level
does something; or one for each key of its verdicts, a dict from parameters to the
verdict that the run is to come to with them, and to nothing else beside it:

  verdicts = {"": "failed: acknowledged .* lost", "sync=true": "passed"}

requires, a list of programs, has the tests of a script skipped where one of them is
not there.

A test that the machine cannot do is skipped. What became of the tests is in
tests.json in the folder of the runs; --rerun-failed reads it, and runs those that
did not pass and those that were not run, each with its seed and all with the flags
of that time, such as --param; a flag that is given again has the new value.

Exit codes: 0 all passed, 1 some failed, 3 some were inconclusive, or all were
skipped, 2 a bad script, ini or flag, found before the first run.

Examples:
  dagon-star test scenarios
  dagon-star test cluster.star --run 'test_kill\[TERM' --repeat 50 --fail-fast
  dagon-star test my.star --topology my.ini --parallel 4 --junit junit.xml
  dagon-star test --rerun-failed --verbose
`

// suite is one invocation of "test".
type suite struct {
	command
	config   script.Config // of every run
	pattern  *regexp.Regexp
	repeat   int
	parallel int
	shuffle  bool
	failFast bool
	verbose  bool
	hold     *holding
	given    []string // flags, for the line that repeats a test

	running *live.Tests

	mu      sync.Mutex
	summary report.Summary
	stop    bool // no further test begins
}

// testRun is one run of a test.
type testRun struct {
	file, name string
	seed       uint64
	source     string // that the test is written in, at a line; "" where that is no file
	line       int
}

func (r testRun) title() string { return report.Test{File: r.file, Name: r.name}.Title() }

func runTest(c command) int {
	t := &suite{command: c, summary: report.Summary{Format: report.SummaryFormat, StartedAt: time.Now(), Counts: map[string]int{}}}
	f := newFlags(c, "test", "PATH... [FLAG...]", testMore)
	seed := runFlags(f, &t.config)
	f.StringVar(&t.config.Topology, "topology", "", "the ini for every script; else that of the script's name beside "+
		"it, or topology.ini beside it")
	run := f.String("run", "", "only tests whose name, FILE:TEST[CASE], this regular expression matches")
	f.IntVar(&t.repeat, "repeat", 1, "run each test so often, each time with a seed one higher")
	f.IntVar(&t.parallel, "parallel", 1, "how many tests run at the same time")
	f.BoolVar(&t.shuffle, "shuffle", false, "run the tests in random order, that of the seed")
	f.BoolVar(&t.failFast, "fail-fast", false, "begin no further test once one has not passed")
	again := f.Bool("rerun-failed", false, "only tests that did not pass the last time, or were not run, each with the seed that it had")
	junit := f.String("junit", "", "write a JUnit file")
	asJSON := f.String("json", "", "write the summary as JSON there too")
	f.BoolVarP(&t.verbose, "verbose", "v", false, "print what happens in each run")
	plainFlag(f, &t.command)
	t.hold = holdFlags(f)
	if code, done := parse(c, f, 0, 1<<20); done {
		return code
	}
	mistake := func(err error) int {
		fmt.Fprintln(c.stderr, err)
		return exitMistake
	}
	record := filepath.Join(t.config.RunsDir, "tests.json")
	var last report.Summary
	var err error
	if *again {
		if last, err = lastTime(f, record); err != nil {
			return mistake(err)
		}
		// What is given now comes after what was given then, and so in its place.
		both := c
		both.args = slices.Concat(last.Flags, c.args)
		if code, done := parse(both, f, 0, 0); done {
			return code
		}
	}
	if code := parseSeed(c, f, *seed, &t.config); code != exitPassed {
		return code
	}
	if t.pattern, err = regexp.Compile(*run); err != nil {
		return mistake(fmt.Errorf("dagon-star test: --run: %w", err))
	}
	if t.repeat < 1 || t.parallel < 1 {
		return mistake(errors.New("dagon-star test: --repeat and --parallel are at least 1"))
	}
	if *t.hold.on && t.parallel > 1 {
		return mistake(errors.New("dagon-star test: --hold-on-failure holds one test at a time: --parallel 1 was expected with it"))
	}
	if t.summary.Seed = script.NewSeed(); t.config.Seed != nil {
		t.summary.Seed = *t.config.Seed
	}
	t.given = flagsGiven(f, t.config)
	t.summary.Flags = slices.DeleteFunc(slices.Clone(t.given), func(flag string) bool {
		return strings.HasPrefix(flag, "--runs-dir=") // it is where the summary is
	})
	if own, err := os.Executable(); err == nil {
		t.config.Component = own
	}
	t.config.Components = buffy.Names()
	t.config.Argv = append([]string{"dagon-star", "test"}, c.args...)

	if filepath.Ext(t.config.Topology) == ".star" {
		return mistake(fmt.Errorf("dagon-star test: --topology: %s is a script, and an ini was expected", t.config.Topology))
	}

	var planned []testRun
	switch {
	case *again:
		t.summary.Seed = last.Seed
		planned, err = failed(last)
	case f.NArg() == 0:
		return mistake(errors.New("dagon-star test: no PATH was given: a script or a folder of scripts was expected"))
	default:
		planned, err = t.plan(f.Args())
	}
	if err != nil {
		return mistake(err)
	}
	if len(planned) == 0 {
		return mistake(errors.New("dagon-star test: there is no test to run"))
	}
	asked := make(chan os.Signal, 4)
	t.running = live.NewTests(len(planned))
	screen := t.show(!*t.hold.on, t.running, asked) // who looks at what is held has the terminal
	defer screen.Close()
	ctx, hurry, stop := t.interrupts(asked)
	defer stop()
	t.config.Hurry = hurry
	actions := newGitHub(os.Getenv)
	resume := actions.quietly(t.stdout)
	if screen != nil {
		screen.Open()
	}
	t.run(ctx, planned)
	screen.Close()
	code := t.conclude(ctx)
	resume()
	actions.annotate(t.stdout, t.summary.Tests...)
	if err := actions.summarize("dagon-star test", t.summary.Tests, chartOf); err != nil {
		fmt.Fprintf(c.stderr, "dagon-star test: %v\n", err)
	}
	outputs := map[string]func(io.Writer) error{record: t.writeJSON}
	if *asJSON != "" {
		outputs[*asJSON] = t.writeJSON
	}
	if *junit != "" {
		outputs[*junit] = func(w io.Writer) error { return report.WriteJUnit(w, t.summary) }
	}
	for name, write := range outputs {
		if err := writeFile(name, write); err != nil {
			fmt.Fprintf(c.stderr, "dagon-star test: %v\n", err)
			code = max(code, 1)
		}
	}
	return code
}

// plan finds all tests of the paths, and everything that is wrong with them.
func (t *suite) plan(paths []string) (planned []testRun, err error) {
	files, err := scriptsIn(paths, t.config.RunsDir)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, file := range files {
		c := t.config
		c.Script = file
		tests, err := script.TestPlaces(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, test := range tests {
			if r := (testRun{file: file, name: test.Name, source: test.File, line: test.Line}); t.pattern.MatchString(r.title()) {
				planned = append(planned, r)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	once := planned
	planned = nil
	for n := range t.repeat {
		for _, r := range once {
			r.seed = t.summary.Seed + uint64(n)
			planned = append(planned, r)
		}
	}
	if t.shuffle {
		random := rand.New(rand.NewPCG(t.summary.Seed, 0))
		random.Shuffle(len(planned), func(i, j int) { planned[i], planned[j] = planned[j], planned[i] })
	}
	return planned, nil
}

// run runs the tests, as many at a time as there may be. The summary has them in
// the order of the plan.
func (t *suite) run(ctx context.Context, planned []testRun) {
	done := make([]*report.Test, len(planned))
	next := make(chan int)
	var all sync.WaitGroup
	for range min(t.parallel, len(planned)) {
		all.Go(func() {
			for i := range next {
				t.mu.Lock()
				stop := t.stop || ctx.Err() != nil
				t.mu.Unlock()
				if !stop {
					done[i] = t.one(ctx, planned[i])
				}
			}
		})
	}
	for i := range planned {
		next <- i
	}
	close(next)
	all.Wait()
	for i, test := range done {
		if r := planned[i]; test == nil {
			test = t.record(r)
			test.Outcome = report.NotRun
			t.summary.Counts[report.NotRun]++
		}
		t.summary.Tests = append(t.summary.Tests, *test)
	}
	t.summary.DurationS = time.Since(t.summary.StartedAt).Seconds()
}

// lastLines is how many lines of a run are shown of a test that has not passed.
const lastLines = 12

// one runs one test, and prints a line of it; more where it has not passed.
func (t *suite) one(ctx context.Context, r testRun) *report.Test {
	c := t.config
	c.Script, c.Test, c.Seed = r.file, r.name, &r.seed
	var shown bytes.Buffer
	terminal := terminal{w: &shown}
	if t.verbose && t.parallel == 1 {
		terminal.w = t.stdout
	}
	began := time.Now()
	running := t.running.Begin(r.title())
	var last []string
	c.Repeat = func(uint64, string) string { return t.again(r) }
	c.ObserverPatience = -1 // as in execute
	c.Observer = func(e event.Event) {
		running.Observe(e)
		terminal.show(e)
		for line := range strings.Lines(shown.String()) {
			last = append(last, line)
		}
		shown.Reset()
		last = last[max(0, len(last)-lastLines):]
	}
	t.hold.of(&c, t.stdout, r.title())
	result, err := script.Run(ctx, c)
	test := t.record(r)
	var told strings.Builder // beside the line
	switch {
	case script.IsUnsupported(err):
		test.Outcome, test.Reason = report.Skipped, err.Error()
	case err != nil && ctx.Err() != nil:
		test.Outcome, test.Reason = string(runtime.Interrupted), context.Cause(ctx).Error()
	case err != nil:
		test.Outcome, test.Reason = report.Broken, err.Error()
	default:
		test.Outcome, test.Reason, test.Where, test.Folder = string(result.Outcome), result.Reason, result.Where, relative(result.Folder)
		if result.Bug {
			test.Outcome = internal
		}
		test.Output = strings.Join(last, "")
		for _, f := range result.Beside {
			test.Beside = append(test.Beside, f.Told())
		}
		if result.Outcome != runtime.Passed && test.Outcome != report.Skipped {
			told.WriteString(test.Output)
			conclude(&told, result, test.Repeat)
			told.WriteByte('\n')
		} else {
			for _, text := range test.Beside {
				fmt.Fprintf(&told, "beside: %s\n", text)
			}
		}
	}
	test.DurationS = time.Since(began).Round(time.Millisecond).Seconds()

	t.mu.Lock()
	defer t.mu.Unlock()
	t.summary.Counts[test.Outcome]++
	passes := test.Outcome == string(runtime.Passed) || test.Outcome == report.Skipped
	t.stop = t.stop || t.failFast && !passes
	running.End(passes)
	fmt.Fprintf(t.stdout, "%-12s %8.3fs  %s", test.Outcome, test.DurationS, r.title())
	if t.repeat > 1 {
		fmt.Fprintf(t.stdout, "  seed %d", r.seed)
	}
	if test.Outcome == report.Skipped || test.Outcome == report.Broken {
		fmt.Fprintf(t.stdout, ": %s", test.Reason)
	}
	fmt.Fprintln(t.stdout)
	for line := range strings.Lines(told.String()) {
		fmt.Fprintf(t.stdout, "    %s", line)
	}
	return test
}

// record is what is known of a test before it is run.
func (t *suite) record(r testRun) *report.Test {
	return &report.Test{File: r.file, Name: r.name, Seed: r.seed, Source: r.source, Line: r.line, Repeat: t.again(r)}
}

// internal is the outcome of a test in which a bug of ours showed.
const internal = "internal error"

// again is the command line that repeats one test.
func (t *suite) again(r testRun) string {
	return invocation(t.config.Component, repeatTest(r, t.given))
}

// conclude prints the summary, and returns the exit code.
func (t *suite) conclude(ctx context.Context) int {
	fmt.Fprintf(t.stdout, "\n%s in %s, seed %d\n", countsText(t.summary.Counts), seconds(t.summary.DurationS), t.summary.Seed)
	if t.summary.Tests == nil {
		t.summary.Tests = []report.Test{}
	}
	return suiteCode(t.summary.Counts, len(t.summary.Tests), context.Cause(ctx))
}

// countsText tells how many tests came to which outcome, the better ones first.
func countsText(counts map[string]int) string {
	var words []string
	for _, outcome := range []string{string(runtime.Passed), string(runtime.Failed), string(runtime.Inconclusive),
		string(runtime.Interrupted), report.Broken, internal, report.Skipped, report.NotRun} {
		if n := counts[outcome]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	return strings.Join(words, ", ")
}

// suiteCode is the exit code of tests by their outcomes: that of the worst, in the
// order of verdicts. interrupted is why the tests were ended, or nil.
func suiteCode(counts map[string]int, tests int, interrupted error) int {
	switch {
	case counts[internal] > 0:
		return 70
	case counts[string(runtime.Failed)] > 0, counts[report.Broken] > 0:
		return 1
	case interrupted != nil:
		return verdict.Conclude([]verdict.Finding{verdict.Of(interrupted)}).ExitCode()
	case counts[string(runtime.Inconclusive)] > 0, counts[report.Skipped] == tests:
		return 3
	}
	return exitPassed
}

func (t *suite) writeJSON(w io.Writer) error {
	data, err := exact.MarshalIndent(t.summary, "  ")
	if err == nil {
		_, err = w.Write(append(data, '\n'))
	}
	return err
}
