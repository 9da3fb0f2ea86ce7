package report

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// hostile are texts that the grammar of some format could take for its own.
var hostile = []string{"a b", `q"uo'te`, `back\nslash\`, "line\nend", "a --> b", ";#35;{}[]<>()|", "</text>&amp;", "wrap: x", ":wrap: x", "end",
	"\u202eltr", "😀", "\x1b[31m", "\xff\xfe", "%d", "", "loop", "n0->>n1: x", "--", "*/", "]]>"}

// runOf is the run of a log, which is written to a folder of its own.
func runOf(t testing.TB, details ...any) *Run {
	t.Helper()
	var log bytes.Buffer
	w := event.NewWriter(&log)
	node, at := "", time.Duration(0)
	seq := int64(0)
	for _, d := range details {
		switch d := d.(type) {
		case string:
			node = d
		case time.Duration:
			at = d
		case event.Detail:
			at += time.Millisecond
			if err := w.Write(event.Event{Seq: seq, T: at, Node: node, Detail: d}); err != nil {
				t.Fatal(err)
			}
			seq++
			node = ""
		}
	}
	r, err := Open("runs/x", fstest.MapFS{logName: {Data: log.Bytes()}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func started(nodes ...string) event.RunStarted {
	d := event.RunStarted{Format: event.Format, Run: "35a8253709c77d52", Script: "a.star", Seed: 1, Version: "v",
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, n := range nodes {
		d.Nodes = append(d.Nodes, event.NodeSpec{Name: n})
	}
	return d
}

// hostileRun has everything that a format tells, with every hostile text in every place.
func hostileRun(t testing.TB) *Run {
	log := []any{started(hostile...)}
	for i, text := range hostile {
		name := text
		if name == "" {
			name = "x"
		}
		id := int64(i + 1)
		log = append(log,
			event.Await{ID: id, What: text, Nodes: []string{name}, TimeoutS: 1, Where: text},
			name, event.Forked{PID: 10 + i, Incarnation: 1, Argv: []string{text}},
			name, event.State{To: "forked"},
			name, event.Received{Address: "/" + text, Args: event.Args{text}},
			name, event.Sent{Address: text, Args: event.Args{}},
			name, event.Action{What: text, Outcome: "ok"},
			event.FaultPlanned{ID: id, What: text, Nodes: []string{name}, Detail: text, Lasting: true, Where: text},
			event.FaultApplied{ID: id, To: []string{name}},
			event.Invoke{Op: i, Process: i, F: text, Client: text},
			event.Completed{Op: i, Outcome: "fail", Error: text},
			event.FaultHealed{ID: id, Nodes: []string{name}},
			name, event.Refused{Peer: text, Reason: text},
			name, event.Exited{PID: 10 + i, Code: 3, Why: text},
			event.AwaitEnded{ID: id, Outcome: "timeout", WaitedS: 1, Missing: []string{name}},
			event.Finding{Outcome: "failed", Reason: text, Nodes: []string{name}},
		)
	}
	return runOf(t, append(log, event.Verdict{Outcome: "failed", Reason: strings.Join(hostile, " ")}, event.RunFinished{})...)
}

// write writes a run in a form.
func write(t testing.TB, r *Run, format string) string {
	t.Helper()
	f, err := FindFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := f.Write(r, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// program is a program that a test needs: CI has it.
func program(t testing.TB, name string) string {
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	return path
}

// lifecycle is a short run of two nodes, one of which dies.
func lifecycle(t testing.TB) *Run {
	log := []any{started("r", "s")}
	log = append(log, "r", event.Forked{PID: 1, Incarnation: 1}, "r", event.State{To: "forked"},
		"r", event.Received{Address: "/ready", Args: event.Args{"r"}})
	for i := range 5 {
		log = append(log, "r", event.Received{Address: "/count", Args: event.Args{int32(i)}})
	}
	log = append(log, "s", event.Forked{PID: 2, Incarnation: 1}, "s", event.State{To: "forked"}, "s", event.Sent{Address: "/start"},
		event.FaultPlanned{ID: 1, What: "pause", Nodes: []string{"r"}, Lasting: true}, event.FaultApplied{ID: 1, To: []string{"r"}},
		"s", event.Exited{PID: 2, Code: -1, Signal: "SEGV", Why: "nobody had asked"},
		event.Finding{Outcome: "failed", Reason: "s crashed", Nodes: []string{"s"}},
		event.FaultHealed{ID: 1, Nodes: []string{"r"}},
		event.Verdict{Outcome: "failed", Reason: "s crashed"}, event.RunFinished{})
	return runOf(t, log...)
}

func TestMSC(t *testing.T) {
	got := write(t, lifecycle(t), "msc")
	for _, want := range []string{`n0 [label="dagon-star"]`, `n0=>>n1 [label="fork"`, `n1=>n0 [label="count 4 ×5"]`, `n0=>n2 [label="start"]`,
		`n1 box n1 [label="pause r"`, `n2 abox n2 [label="exited by signal SEGV: nobody had asked"`, `n0 rbox n2 [label="failed: s crashed"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if got != write(t, lifecycle(t), "msc") {
		t.Error("it is another one the second time")
	}
}

// TestMSCRenders has mscgen render what may be in a log.
func TestMSCRenders(t *testing.T) {
	mscgen := program(t, "mscgen")
	for _, r := range []*Run{hostileRun(t), lifecycle(t), runOf(t, started())} {
		file := filepath.Join(t.TempDir(), "x.msc")
		text := write(t, r, "msc")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mscgen, "-T", "svg", "-i", file, "-o", file+".svg").CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, text)
		}
	}
}

// TestChartBounds: a chart holds so many arcs and lanes, whatever the log has, and says
// what is left out.
func TestChartBounds(t *testing.T) {
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("node-%d", i))
	}
	log := []any{started(names...)}
	for _, n := range names {
		log = append(log, n, event.Forked{PID: 1, Incarnation: 1}, n, event.State{To: "forked"})
	}
	for i := range 5000 {
		log = append(log, names[i%20], event.Received{Address: fmt.Sprintf("/m%d", i)})
	}
	log = append(log, names[499], event.Exited{Code: 3}, event.Finding{Outcome: "failed", Reason: "x", Nodes: names[499:]},
		event.Verdict{Outcome: "failed", Reason: "x"})
	c, err := newChart(runOf(t, log...), 100, 30)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.arcs) != 100 || len(c.lanes) > 31 || c.before < 4000 {
		t.Errorf("%d arcs, %d lanes, %d before", len(c.arcs), len(c.lanes), c.before)
	}
	if names := strings.Join(c.lanes, " "); !strings.Contains(names, "node-499") {
		t.Errorf("the culprit has no lane: %s", names)
	}
}

// mermaidVersion is the version of Mermaid that .ci/run installs.
const mermaidVersion = "11.17.2"

// TestMermaidParses has Mermaid's own parser read what may be in a log.
func TestMermaidParses(t *testing.T) {
	node := program(t, "node")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(cache, "dagon-star", "mermaid-"+mermaidVersion, "package", "dist", "mermaid.esm.min.mjs")
	if _, err := os.Stat(module); err != nil && os.Getenv("CI") != "true" {
		t.Skip("Mermaid is not installed: ", err)
	}
	const parse = `const { default: mermaid } = await import(process.argv[1]);
let text = ""; for await (const part of process.stdin) text += part;
console.log(JSON.stringify(await mermaid.parse(text)));`
	for _, r := range []*Run{hostileRun(t), lifecycle(t), runOf(t, started())} {
		text := write(t, r, "mermaid")
		if len(text) > 50000 {
			t.Errorf("%d bytes", len(text))
		}
		c := exec.Command(node, "--input-type=module", "-e", parse, module)
		c.Stdin = strings.NewReader(text)
		if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(`"sequence"`)) {
			t.Errorf("%v: %.2000s\n%s", err, out, text)
		}
	}
}
