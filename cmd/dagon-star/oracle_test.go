//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/cmd/dagon-star/live"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/script"
)

const (
	oracleRuns     = 20
	oracleComplete = 300     // as many runs must reach everything
	oracleAttempts = 100_000 // to draw a scenario that reaches something
)

// TestOracle draws scenarios, says from the rules alone what each must come to,
// runs it and compares. DAGON_ORACLE_RUNS is their number, DAGON_ORACLE_SEED
// repeats them, and DAGON_ORACLE_ONLY=SEED:INDEX repeats one.
//
// No scenario depends on a race: a script waits for what matters before it acts,
// and what cannot be decided is not drawn.
func TestOracle(t *testing.T) {
	n, seed, first := oracleRuns, rand.Uint64()>>11, 0
	if v, err := strconv.Atoi(os.Getenv("DAGON_ORACLE_RUNS")); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("DAGON_ORACLE_SEED"), 10, 64); err == nil {
		seed = v
	}
	only := os.Getenv("DAGON_ORACLE_ONLY")
	if only != "" {
		if _, err := fmt.Sscanf(only, "%d:%d", &seed, &first); err != nil {
			t.Fatalf("DAGON_ORACLE_ONLY is %q: SEED:INDEX was expected", only)
		}
		n = 1
	}
	t.Logf("DAGON_ORACLE_SEED=%d", seed)
	o := &oracle{t: t, dir: t.TempDir(), rungs: oracleRungs(seed), reached: map[string]int{}}
	o.items = oracleItems(o.rungs)
	build := exec.Command("go", "build", "-o", filepath.Join(o.dir, "node"), "./testdata/oracle")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or every keeper takes a second to exit

	began := time.Now()
	var workers sync.WaitGroup
	next := make(chan int)
	for range 4 * goruntime.NumCPU() { // most wait for most of their time
		workers.Go(func() {
			for i := range next {
				o.one(seed, i)
			}
		})
	}
	for i := range n {
		next <- first + i
	}
	close(next)
	workers.Wait()
	took := time.Since(began)
	t.Logf("%d scenarios in %v, %v each", n, took.Round(time.Millisecond), (took / time.Duration(max(1, n))).Round(time.Millisecond))
	if only == "" {
		t.Log(o.table(n))
	}
}

// oracle is one test.
type oracle struct {
	t     *testing.T
	dir   string
	rungs []string
	items []string // everything that is to be reached

	mu      sync.Mutex
	reached map[string]int
}

// oracleRungs are those that this machine gives.
func oracleRungs(seed uint64) []string {
	rungs := []string{string(process.Bare), string(process.Bare)} // twice, as it is the fastest
	for _, rung := range []process.Rung{process.Supervised, process.Sealed} {
		if d, err := process.New(process.Options{Run: fmt.Sprintf("oracle-%d-%s", seed, rung), Contain: string(rung)}); err == nil {
			d.Close()
			rungs = append(rungs, string(rung))
		}
	}
	return rungs
}

// oracleItems are everything that scenarios can reach.
func oracleItems(rungs []string) (items []string) {
	for o := oraclePassed; o <= oracleMistake; o++ {
		items = append(items, "outcome "+o.String())
	}
	for _, rung := range slices.Compact(slices.Clone(rungs)) {
		items = append(items, "rung "+rung)
	}
	for to, reactions := range oracleReactions {
		for _, reaction := range reactions {
			if reaction == "-" {
				reaction = "dies"
			}
			items = append(items, "on "+to+": "+reaction)
		}
	}
	for _, reaction := range oracleWords {
		items = append(items, "told to: "+reaction)
	}
	for _, how := range []string{"false, ready: false", "false, ready: true", "true, ready: true"} {
		items = append(items, "killed by the engine, answered: "+how)
	}
	for _, e := range oracleElements {
		items = append(items, "script: "+e.name)
	}
	for _, name := range []string{"boot", "an await that times out", "an await that times out, caught", "an impossible call",
		"an impossible call, caught"} {
		items = append(items, "script: "+name)
	}
	for _, kind := range []string{"defer", "teardown"} {
		for _, name := range oracleDeferred {
			items = append(items, "script: "+kind+", "+name)
		}
	}
	slices.Sort(items)
	return items
}

// draw draws the scenario of an index. Each is drawn until it reaches the item
// whose turn it is, so that all are reached.
func (o *oracle) draw(seed uint64, index int) *oracleScenario {
	turns := rand.New(rand.NewPCG(seed, 0)).Perm(len(o.items))
	item := o.items[turns[index%len(turns)]]
	random := rand.New(rand.NewPCG(seed, 1+uint64(index)))
	for range oracleAttempts {
		if s := drawOracle(random, o.rungs); s.reached[item] {
			return s
		}
	}
	o.t.Errorf("no scenario reaches %q", item)
	return drawOracle(random, o.rungs)
}

// one draws, runs and compares one scenario.
func (o *oracle) one(seed uint64, index int) {
	s := o.draw(seed, index)
	dir := filepath.Join(o.dir, strconv.Itoa(index))
	s.ini = strings.ReplaceAll(s.ini, "NODE", filepath.Join(o.dir, "node"))
	err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "s.star"), []byte(s.script), 0o644),
		os.WriteFile(filepath.Join(dir, "s.ini"), []byte(s.ini), 0o644))
	if err != nil {
		o.t.Error(err)
		return
	}
	began := time.Now()
	got := s.run(dir)
	var wrong []string
	if want := s.outcome; got.outcome != want.String() || got.code != s.outcome.exitCode() {
		wrong = append(wrong, fmt.Sprintf("it is %s, exit code %d: expected %v, %d", got.outcome, got.code, want, s.outcome.exitCode()))
	}
	if s.halted && strings.Contains(got.said+got.shown, oracleWentOn) {
		wrong = append(wrong, "the script went on after its end")
	}
	wrong = append(wrong, s.compareExits(got.events)...)
	if len(wrong) > 0 {
		o.t.Errorf("%s\nexpected because: %s\nit said: %s\n--contain %s, test: %v, %v\n%s\n%s\n%s\n"+
			"again: DAGON_ORACLE_ONLY=%d:%d go test ./cmd/dagon-star -count=1 -run '^TestOracle$'",
			strings.Join(wrong, "\n"), strings.Join(append(s.why, "nothing else was found"), "\n  "), got.said, s.rung, s.test,
			time.Since(began).Round(time.Millisecond), s.script, s.ini, got.shown, seed, index)
	} else {
		os.RemoveAll(dir)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for item := range s.reached {
		o.reached[item]++
	}
}

// oracleResult is what came of a run.
type oracleResult struct {
	outcome string
	code    int
	said    string
	shown   string        // by the command
	events  []event.Event // where it was run by the library
}

// suite reports whether the scenario is run as "test" does. What ends on a signal
// is not: it would be one to this process.
func (s *oracleScenario) suite() bool { return s.test && !s.interrupted }

func (s *oracleScenario) run(dir string) (got oracleResult) {
	runs := filepath.Join(dir, "runs")
	own := s.rung == string(process.Bare) || s.unable // what flags cannot say
	if s.suite() && !own {
		var shown bytes.Buffer
		got.code = run([]string{"test", filepath.Join(dir, "s.star"), "--runs-dir", runs, "--contain", s.rung}, &shown, &shown)
		got.shown, got.outcome = shown.String(), oracleMistake.String()
		var summary report.Summary
		if data, err := os.ReadFile(filepath.Join(runs, "tests.json")); err == nil && json.Unmarshal(data, &summary) == nil &&
			len(summary.Tests) == 1 {
			got.outcome, got.said = summary.Tests[0].Outcome, summary.Tests[0].Reason
		}
		return got
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	c := script.Config{Script: filepath.Join(dir, "s.star"), RunsDir: runs, Output: oracleOutput(func(text string) {
		if strings.TrimSpace(text) == oracleInterrupt {
			cancel(&runtime.InterruptedError{Signal: syscall.SIGTERM})
		}
	})}
	if c.Contain = s.rung; own {
		d, err := process.New(process.Options{Run: "oracle-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir), Contain: s.rung})
		if err != nil {
			return oracleResult{said: err.Error()}
		}
		defer d.Close()
		if c.Contain, c.Driver = "", d; s.unable {
			c.Driver = noMemory{d}
		}
	}
	var shown bytes.Buffer
	if s.suite() {
		t := &suite{command: command{stdout: &shown, stderr: &shown}, config: c, pattern: regexp.MustCompile(""), repeat: 1, parallel: 1,
			hold: &holding{on: new(bool)}, running: live.NewTests(1),
			summary: report.Summary{StartedAt: time.Now(), Counts: map[string]int{}}}
		planned, err := t.plan([]string{c.Script})
		if err != nil {
			return oracleResult{outcome: oracleMistake.String(), code: exitMistake, said: err.Error()}
		}
		t.run(ctx, planned)
		test := t.summary.Tests[0]
		return oracleResult{outcome: test.Outcome, code: t.conclude(ctx), said: test.Reason, shown: shown.String()}
	}
	if s.test {
		c.Test = "test_it"
	}
	result, err := script.Run(ctx, c)
	if err != nil {
		return oracleResult{outcome: oracleMistake.String(), code: exitMistake, said: err.Error()}
	}
	terminal := terminal{w: &shown}
	events, err := event.Collect(result.Events())
	if err != nil {
		return oracleResult{outcome: oracleMistake.String(), code: exitMistake, said: err.Error()}
	}
	for _, e := range events {
		terminal.show(e)
	}
	said := []string{result.Reason}
	for _, f := range result.Beside {
		said = append(said, f.Told())
	}
	return oracleResult{string(result.Outcome), result.ExitCode(), strings.Join(said, "\n  "), shown.String(), events}
}

// oracleOutput is called with each line that a script prints.
type oracleOutput func(string)

func (o oracleOutput) Write(text []byte) (int, error) { o(string(text)); return len(text), nil }

// noMemory is a machine that cannot limit memory.
type noMemory struct{ process.Driver }

func (d noMemory) Can(fault string) error {
	if fault == process.FaultLimitMemory {
		return errors.New("there is no memory controller")
	}
	return d.Driver.Can(fault)
}

// compareExits holds the model to what happened: every incarnation ended as it says.
// After a failure there may be more of them.
func (s *oracleScenario) compareExits(events []event.Event) (wrong []string) {
	if !s.patient || s.outcome == oracleMistake || events == nil {
		return nil
	}
	exits := map[string][]string{}
	for _, e := range events {
		if d, ok := e.Detail.(event.Exited); ok {
			how := d.Signal
			if how == "" {
				how = fmt.Sprint("exit ", d.Code)
			}
			exits[e.Node] = append(exits[e.Node], how)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(exits)) {
		got, want := exits[node], s.exits[node]
		if s.outcome == oracleFailed {
			got = got[:min(len(got), len(want))]
		}
		if !slices.Equal(got, want) {
			wrong = append(wrong, fmt.Sprintf("%s ended by %q, expected %q", node, got, want))
		}
	}
	return wrong
}

// table is how often everything was reached. It fails the test if there were enough
// runs and something was not.
func (o *oracle) table(n int) string {
	var b strings.Builder
	for _, item := range o.items {
		fmt.Fprintf(&b, "%6d  %s\n", o.reached[item], item)
		if o.reached[item] == 0 && n >= oracleComplete {
			o.t.Errorf("%q was not reached by %d scenarios", item, n)
		}
	}
	return "reached:\n" + b.String()
}
