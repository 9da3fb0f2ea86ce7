//go:build unix

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/joshdk/go-junit"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/script"
)

// TestMain makes programs of the test binary: dagon-star itself, and a child
// that behaves as it is told, and programs that know nothing of a run.
func TestMain(m *testing.M) {
	if script.Keeper() {
		return
	}
	testscript.Main(m, map[string]func(){
		"dagon-star": main,
		"child":      func() { os.Exit(child(os.Args[1:])) },
		"foreign":    func() { os.Exit(foreignProgram(os.Args[1:])) },
		"server":     func() { os.Exit(server(os.Args[1:])) },
	})
}

func scriptParams(t *testing.T) testscript.Params {
	return testscript.Params{
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sequence":   sequence,
			"lives":      faultLives,
			"payloads":   samePayloads,
			"gone":       gone,
			"chart":      documentedChart,
			"valid":      isValid,
			"orphans":    orphans,
			"mktopology": makeTopology,
			"waitline":   waitLine,
			"signal":     signalBackground,
			"computed":   computed,
			"shows":      showsNothing,
			"junit":      readsJUnit,
			"readme":     readmeBlock,
		},
		RequireUniqueNames: true,
		Condition: func(cond string) (bool, error) {
			// [has:oscsend] is true where the program is installed; under CI it
			// must be, so that nothing is passed over in silence.
			if cond == "rung:cgroup" { // control groups are root's
				return goruntime.GOOS == "linux" && os.Geteuid() == 0, nil
			}
			if fault, ok := strings.CutPrefix(cond, "can:"); ok {
				return runtime.Can(nil, fault) == nil, nil
			}
			program, ok := strings.CutPrefix(cond, "has:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			var err error
			if program == "python3-liblo" { // a module of Debian's own interpreter
				err = exec.Command("/usr/bin/python3", "-c", "import liblo").Run()
			} else {
				_, err = exec.LookPath(program)
			}
			return err == nil || os.Getenv("CI") == "true", nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("CI", os.Getenv("CI"))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or every node takes a second to exit
			env.Setenv("HOME", env.WorkDir)
			scenarios, err := filepath.Abs("../../scenarios")
			env.Setenv("SCENARIOS", scenarios)
			schemas, schemasErr := filepath.Abs("../../runtime/report/testdata")
			env.Setenv("SCHEMAS", schemas)
			return cmp.Or(err, schemasErr)
		},
	}
}

// TestScripts runs whole runs: testdata/*.txtar.
func TestScripts(t *testing.T) {
	p := scriptParams(t)
	p.Dir = "testdata"
	testscript.Run(t, p)
}

// TestSequence holds the documented sequence for topologies of all shapes.
func TestSequence(t *testing.T) {
	for _, senders := range []int{1, 3} {
		for _, leaders := range []int{0, 1} {
			for _, workers := range []int{1, 2, 20} {
				t.Run(fmt.Sprintf("%dsenders-%dleaders-%dworkers", senders, leaders, workers), func(t *testing.T) {
					p := scriptParams(t)
					p.Files = []string{"testdata/shapes/sequence.txtar"}
					setup := p.Setup
					p.Setup = func(env *testscript.Env) error {
						env.Setenv("SENDERS", strconv.Itoa(senders))
						env.Setenv("LEADERS", strconv.Itoa(leaders))
						env.Setenv("WORKERS", strconv.Itoa(workers))
						return setup(env)
					}
					testscript.Run(t, p)
				})
			}
		}
	}
}

// makeTopology writes an ini of the sample system: mktopology FILE SENDERS
// LEADERS WORKERS.
func makeTopology(ts *testscript.TestScript, neg bool, args []string) {
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		return n
	}
	senders, leaders, workers := number(args[1]), number(args[2]), number(args[3])
	var b strings.Builder
	b.WriteString("[giles-receiver]\ncomponent = giles-receiver\nlisten.data = auto\nlisten = <SELF:data>\n")
	var targets []string
	if leaders > 0 {
		fmt.Fprintf(&b, "[leader]\ncomponent = double-divide\nleader = true\nworker-count = %d\nlisten.control = auto\n"+
			"listen.data = auto\nlisten.source = auto\n"+
			"leader-control-address = <SELF:control>\nleader-data-address = <SELF:data>\nsource = <SELF:source>\n"+
			"sink = <giles-receiver:data>\n", workers)
		targets = []string{"<leader:source>"}
	}
	for i := range workers {
		fmt.Fprintf(&b, "[worker-%d]\ncomponent = double-divide\nlisten.data = auto\ndata-address = <SELF:data>\n"+
			"sink = <giles-receiver:data>\n", i)
		if leaders > 0 {
			b.WriteString("leader-control-address = <leader:control>\nleader-data-address = <leader:data>\n")
			continue
		}
		targets = append(targets, fmt.Sprintf("<worker-%d:source>", i))
		b.WriteString("listen.source = auto\nsource = <SELF:source>\n")
		if workers > 1 {
			fmt.Fprintf(&b, "next = <worker-%d:data>\n", (i+1)%workers)
		}
	}
	for i := range senders {
		fmt.Fprintf(&b, "[giles-sender-%d]\ncomponent = giles-sender\nsender = true\nmessages = 1000\nbuffy = %s\n", i,
			strings.Join(targets, ","))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

// faultLives checks the lives of all faults in the logs of runs, which are given by
// patterns: each was planned, applied, touched something, and healed where it stays
// in force, or the script was told that it could not be; and each run had some.
func faultLives(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		folders, err := filepath.Glob(ts.MkAbs(arg))
		ts.Check(err)
		if len(folders) == 0 {
			ts.Fatalf("there is no run %s", arg)
		}
		for _, folder := range folders {
			struck := 0
			var faults fault.Ledger
			for _, e := range readLogOf(ts, folder) {
				faults.Apply(e)
			}
			for _, r := range faults.Records() {
				lasts := slices.Contains([]string{"pause", "limit"}, r.What) || len(r.Links) > 0 && r.What != "net.reset"
				switch {
				case r.Scheduled && r.Fired, r.Abandoned != nil && r.Abandoned.By == "script", r.Harmless:
				case r.Struck() && r.Healed == lasts:
					struck++
				case r.What == "restart" && r.Applied && len(r.Dead) > 0:
				default:
					ts.Fatalf("%s: %+v", folder, r)
				}
			}
			if struck == 0 {
				ts.Fatalf("%s: no fault touched anything", folder)
			}
		}
	}
}

func readLog(ts *testscript.TestScript) []event.Event {
	return readLogOf(ts, ts.MkAbs("runs/latest"))
}

func readLogOf(ts *testscript.TestScript, folder string) []event.Event {
	f, err := os.Open(filepath.Join(folder, "events.jsonl"))
	ts.Check(err)
	defer f.Close()
	events, err := event.Read(f)
	ts.Check(err)
	validate(ts, "events", filepath.Join(folder, "events.jsonl"))
	if !event.Finished(events) {
		ts.Fatalf("the event log has no run_finished")
	}
	return events
}

// sequence checks the event log of a run of default.star: the documented
// sequence, whatever order is free in it, and nothing wrong while tearing down.
func sequence(ts *testscript.TestScript, neg bool, args []string) {
	events := readLog(ts)
	ts.Check(documented(events, false))
	for _, e := range events {
		if d, ok := e.Detail.(event.Finding); ok {
			ts.Fatalf("a finding: %+v", d)
		}
	}
	if len(args) == 1 {
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		running := map[string]bool{}
		for _, e := range events {
			running[e.Node] = running[e.Node] || e.Kind() == event.KindForked
		}
		delete(running, "")
		if len(running) != want {
			ts.Fatalf("%d nodes, want %d", len(running), want)
		}
	}
}

// documented tells where the log of a run of default.star that passed is not
// the documented sequence, whatever order is free in it. Where control
// connections were cut, a node that ended as it was told to may not have been
// heard to say so.
func documented(events []event.Event, cut bool) (wrong error) {
	must := func(ok bool, format string, args ...any) {
		if !ok && wrong == nil {
			wrong = fmt.Errorf(format, args...)
		}
	}
	group := func(node string) int { // in the order of forking
		for i, prefix := range []string{"giles-receiver", "leader", "worker", "giles-sender"} {
			if strings.HasPrefix(node, prefix) {
				return i
			}
		}
		must(false, "a node named %q", node)
		return 0
	}
	shutdownOrder := []int{3, 0, 1, 2} // receivers last, leaders first
	at := map[string]int64{}           // "node what" -> seq
	waiting := ""                      // forked and not ready
	lastFork, lastShutdown := 0, 0
	running := map[string]bool{}
	ended := func(node string) bool { return at[node+" /done_shutdown"] > 0 || cut && at[node+" exited"] > 0 }
	phase := func() string {
		for key := range at {
			if strings.HasSuffix(key, " ←/shutdown") {
				return "shutdown"
			}
		}
		return ""
	}
	for _, e := range events {
		key := ""
		switch d := e.Detail.(type) {
		case event.Forked:
			must(waiting == "", "%s was forked while %s was not ready", e.Node, waiting)
			must(group(e.Node) >= lastFork, "%s was forked after a later group", e.Node)
			lastFork, waiting = group(e.Node), e.Node
			running[e.Node] = true
			key = "forked"
		case event.Received:
			key = d.Address
			if d.Address == "/ready" {
				must(waiting == e.Node, "%s was ready, %q was awaited", e.Node, waiting)
				waiting = ""
			}
			if d.Address == "/done" {
				must(phase() == "", "%s was done after the first shutdown", e.Node)
			}
		case event.Sent:
			key = "←" + d.Address
			switch d.Address {
			case "/start":
				must(group(e.Node) == 3, "%s is no sender and was started", e.Node)
				for n := range running {
					must(at[n+" /ready"] > 0, "%s was started before %s was ready", e.Node, n)
				}
				must(waiting == "", "%s was started before %s was ready", e.Node, waiting)
			case "/shutdown":
				turn := shutdownOrder[group(e.Node)]
				must(turn >= lastShutdown, "%s was shut down after a later group", e.Node)
				lastShutdown = turn
				for n := range running {
					if shutdownOrder[group(n)] < turn {
						must(ended(n), "%s was told to shut down before %s had", e.Node, n)
					}
				}
				for n := range running {
					if g := group(n); g == 0 || g == 3 {
						must(at[n+" /done"] > 0, "shutdown began before %s was done", n)
					}
				}
			}
		case event.Exited:
			must(d.Expected && d.Code == 0, "%s exited %d, expected %v", e.Node, d.Code, d.Expected)
			key = "exited"
		case event.Verdict:
			must(d.Outcome == "passed", "the verdict is %s: %s", d.Outcome, d.Reason)
		case event.RunFinished:
			must(len(d.LeftBehind) == 0, "left behind %v", d.LeftBehind)
		}
		if key != "" && key != "/count" { // which is said again and again
			must(at[e.Node+" "+key] == 0, "%s: %s twice", e.Node, key)
			at[e.Node+" "+key] = e.Seq
		}
	}
	for n := range running {
		for _, key := range []string{"/ready", "←/shutdown", "exited"} {
			must(at[n+" "+key] > 0, "%s: no %s", n, key)
		}
		must(ended(n), "%s: no /done_shutdown", n)
		must((at[n+" ←/start"] > 0) == (group(n) == 3), "%s: start", n)
	}
	return wrong
}

// samePayloads checks that what the senders sent is what the receiver received.
func samePayloads(ts *testscript.TestScript, neg bool, args []string) {
	read := func(pattern string) []string {
		all, err := payloads(ts.MkAbs(pattern))
		ts.Check(err)
		return all
	}
	sent := read(cmp.Or(append(args, "")[0], "runs/latest/nodes/*/sent.txt"))
	received := read("runs/latest/nodes/*/received.txt")
	if len(sent) == 0 || !slices.Equal(sent, received) {
		ts.Fatalf("%d payloads were sent and %d received, or other ones", len(sent), len(received))
	}
}

// payloads are those that files of Giles Sender or Receiver have, sorted.
func payloads(pattern string) ([]string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			_, payload, _ := strings.Cut(lines.Text(), ", ")
			all = append(all, payload)
		}
	}
	slices.Sort(all)
	return all, nil
}

// gone checks that no process of the run's nodes is left, nor of their groups.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	for _, e := range readLog(ts) {
		if d, ok := e.Detail.(event.Forked); ok && groupAlive(d.PID) {
			ts.Fatalf("processes of the group of %s, %d, are left", e.Node, d.PID)
		}
	}
}

// orphans waits until the nodes of a killed orchestrator are gone, and checks
// that its log reads back as that of an unfinished run.
func orphans(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.Open(ts.MkAbs("runs/latest/events.jsonl"))
	ts.Check(err)
	defer f.Close()
	events, err := event.Read(f)
	ts.Check(err)
	if event.Finished(events) {
		ts.Fatalf("the run came to its end")
	}
	for _, e := range events {
		d, ok := e.Detail.(event.Forked)
		if !ok {
			continue
		}
		for deadline := time.Now().Add(30 * time.Second); groupAlive(d.PID); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				ts.Fatalf("%s, %d, outlived its orchestrator", e.Node, d.PID)
			}
		}
	}
}

// groupAlive reports whether a process group has a process that is no zombie.
func groupAlive(pgid int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(pgid) && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

// waitLine waits until a file that another process writes has a line with a
// text: waitline FILE TEXT. Nothing tells when it has, so it looks again.
func waitLine(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), args[1]) {
			return
		}
	}
	ts.Fatalf("no line with %q in %s", args[1], args[0])
}

// computed waits until the only background command has computed for so long, and longer
// than what comes before it takes: computed 500ms. The system does not tell when it has,
// so it looks again. What Linux alone tells is not waited for elsewhere.
func computed(ts *testscript.TestScript, neg bool, args []string) {
	least, err := time.ParseDuration(args[0])
	ts.Check(err)
	for _, c := range ts.BackgroundCmds() {
		for used := time.Duration(0); used < least; time.Sleep(5 * time.Millisecond) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
			if err != nil && goruntime.GOOS != "linux" {
				return
			}
			ts.Check(err)
			_, rest, _ := strings.Cut(string(stat), ") ") // what is behind its name: proc_pid_stat(5)
			ticks, err := strconv.Atoi(strings.Fields(rest)[11])
			ts.Check(err)
			used = time.Duration(ticks) * 10 * time.Millisecond
		}
	}
}

// signalBackground sends a signal to the only background command: signal INT.
func signalBackground(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP,
		"QUIT": syscall.SIGQUIT, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(signals[args[0]]))
	}
}

// showsNothing runs a script against t.ini, and fails unless it is inconclusive
// for a reason that the pattern matches.
func showsNothing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: shows SCRIPT PATTERN")
	}
	ts.Check(ts.Exec("sh", "-c", `dagon-star run "$0" t.ini; test $? = 3`, args[0]))
	out := ts.ReadFile("stdout")
	if !strings.Contains(out, "\ninconclusive ") || !regexp.MustCompile(args[1]).MatchString(out) {
		ts.Fatalf("no %q", args[1])
	}
}

// readsJUnit has somebody else's parser read a JUnit file, and compares how many
// tests it has, and how many failures, errors and skipped ones.
func readsJUnit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: junit FILE TESTS FAILURES ERRORS SKIPPED")
	}
	suites, err := junit.IngestFile(ts.MkAbs(args[0]))
	ts.Check(err)
	var sum junit.Totals
	for _, s := range suites {
		sum.Tests += s.Totals.Tests
		sum.Failed += s.Totals.Failed
		sum.Error += s.Totals.Error
		sum.Skipped += s.Totals.Skipped
		for _, t := range s.Tests {
			if t.Classname == "" || t.Duration <= 0 && t.Status != junit.StatusSkipped {
				ts.Fatalf("%s: %+v", t.Name, t)
			}
			if t.Status == junit.StatusFailed && !strings.Contains(fmt.Sprint(t.Error), "repeat: ") {
				ts.Fatalf("%s: %v does not tell how to repeat it", t.Name, t.Error)
			}
		}
	}
	if got := fmt.Sprint(sum.Tests, sum.Failed, sum.Error, sum.Skipped); got != strings.Join(args[1:], " ") {
		ts.Fatalf("tests, failures, errors and skipped are %s", got)
	}
}

// readmeBlock writes the code block of the README that has a text to a file:
// readme TEXT FILE.
func readmeBlock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: readme TEXT FILE")
	}
	readme, err := os.ReadFile("../../README.md")
	ts.Check(err)
	for i, block := range strings.Split(string(readme), "\n```") {
		if _, code, ok := strings.Cut(block, "\n"); ok && i%2 == 1 && strings.Contains(code, args[0]) {
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(code+"\n"), 0o644))
			return
		}
	}
	ts.Fatalf("the README has no code block with %q", args[0])
}
