package report_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
)

// logOf makes a log of the details of events, one every step; a node stands before its
// detail.
func logOf(t testing.TB, step time.Duration, what ...any) []byte {
	var b bytes.Buffer
	w := event.NewWriter(&b)
	node, seq := "", int64(0)
	for _, v := range what {
		switch v := v.(type) {
		case string:
			node = v
		case event.Detail:
			if err := w.Write(event.Event{Seq: seq, T: time.Duration(seq) * step, Node: node, Detail: v}); err != nil {
				t.Fatal(err)
			}
			node = ""
			seq++
		}
	}
	return b.Bytes()
}

// started is the beginning of a run of nodes.
func started(nodes ...string) event.RunStarted {
	s := event.RunStarted{Format: event.Format, Run: "ab", Script: "break.star", Seed: 7, Repeat: "dagon-star run break.star --seed 7",
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, event.NodeSpec{Name: n, Role: "worker"})
	}
	return s
}

const recipe = `{"script":{"name":"break.star","text":"boot()\nkill(a)\nawait_done(b)\ncheck(False)\n"},"topology":{"name":"break.ini","text":"[a]\n[b]\n"}}`

// folder is a run's folder.
func folder(log []byte, more ...string) fstest.MapFS {
	files := fstest.MapFS{"events.jsonl": {Data: log}, "recipe.json": {Data: []byte(recipe)}}
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = &fstest.MapFile{Data: []byte(more[i+1])}
	}
	return files
}

// failedLog is a run of two nodes of which one is killed, and the other in vain awaited.
func failedLog(t testing.TB) []byte {
	at := func(line int) string { return fmt.Sprintf("break.star:%d:1", line) }
	what := []any{started("a", "b")}
	for i, n := range []string{"a", "b"} {
		what = append(what, n, event.Forked{PID: 10 + i, Incarnation: 1, Argv: []string{n}, Where: at(1)}, n, event.State{To: "forked"},
			n, event.Received{Address: "/ready", Args: event.Args{n}}, n, event.State{From: "forked", To: "ready"})
	}
	for i := range 40 {
		what = append(what, "b", event.Received{Address: "/count", Args: event.Args{int32(i)}})
	}
	what = append(what, event.FaultPlanned{ID: 1, What: "kill", Nodes: []string{"a"}, Detail: "KILL", Where: at(2)},
		event.FaultApplied{ID: 1, To: []string{"a"}}, "a", event.Exited{PID: 10, Code: -1, Signal: "KILL", Expected: true},
		"a", event.State{From: "ready", To: "exited"},
		event.FaultPlanned{ID: 2, What: "pause", Nodes: []string{"b"}, Lasting: true, Where: at(2)}, event.FaultApplied{ID: 2, To: []string{"b"}},
		event.Await{ID: 1, What: "done", Nodes: []string{"b"}, TimeoutS: 1, Where: at(3)}, "b", event.Received{Address: "/last_words", Args: event.Args{"x"}},
		event.AwaitEnded{ID: 1, Outcome: "timeout", WaitedS: 1, Missing: []string{"b"}},
		event.Finding{Outcome: "failed", Reason: "b was not done within 1 s", Where: at(3), Nodes: []string{"b"}},
		event.Verdict{Outcome: "failed", Reason: "b was not done within 1 s", Where: at(3)}, event.RunFinished{})
	return logOf(t, 10*time.Millisecond, what...)
}

// longLog is a log of nodes that send messages, so many events in all, of which one at
// the end is a failure.
func longLog(t testing.TB, nodes, events int) []byte {
	names := make([]string, nodes)
	what := make([]any, 0, 2*events)
	for i := range names {
		names[i] = fmt.Sprintf("node-%04d", i)
	}
	what = append(what, started(names...))
	for i, n := range names {
		what = append(what, n, event.Forked{PID: 1000 + i, Incarnation: 1, Argv: []string{n}, Where: "break.star:1:1"}, n, event.State{To: "forked"},
			n, event.State{From: "forked", To: "ready"})
	}
	what = append(what, event.Await{ID: 1, What: "done", Nodes: names[:1], TimeoutS: 60, Where: "break.star:3:1"})
	for i := 0; len(what)/2 < events-4; i++ {
		n := names[(i*7919)%nodes]
		what = append(what, n, event.Received{Address: []string{"/count", "/progress", "/dealt", "/acknowledged"}[i/nodes%4], Args: event.Args{n, int32(i)}})
	}
	what = append(what, event.AwaitEnded{ID: 1, Outcome: "timeout", WaitedS: 60, Missing: names[:1]},
		event.Finding{Outcome: "failed", Reason: names[0] + " was not done", Where: "break.star:3:1", Nodes: names[:1]},
		event.Verdict{Outcome: "failed", Reason: names[0] + " was not done", Where: "break.star:3:1"}, event.RunFinished{})
	return logOf(t, 60*time.Microsecond, what...)
}

func write(t testing.TB, files fs.FS, w io.Writer) {
	t.Helper()
	r, err := report.Open("runs/x", files)
	if err == nil {
		err = report.WriteHTML(r, w)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFirstScreen: what answers the five questions is in the page before its script, which
// need not run.
func TestFirstScreen(t *testing.T) {
	var page bytes.Buffer
	write(t, folder(failedLog(t), "logs/b.log", "0.100000 --- incarnation 1\n0.200000 out going\n"), &page)
	screen, _, _ := strings.Cut(page.String(), `<p id="status"`)
	for _, want := range []string{"failed</span> break.star", "b was not done within 1 s", ">0.580 s</a>", "break.star:3:1", "<code>await_done(b)</code>",
		"pause b at 0.540 s, in force", "1 in force, 1 before", "<code>going</code>", "last_words", "dagon-star run break.star --seed 7", "b: ready, paused"} {
		if !strings.Contains(screen, want) {
			t.Errorf("the first screen has no %q", want)
		}
	}
}

// TestHostilePage: what nodes write and are called is text, and cannot end a block.
func TestHostilePage(t *testing.T) {
	const evil = "</script><script>alert(1)</script>\x1b[31m\u202egnp.\xff"
	log := logOf(t, time.Millisecond, started(evil, `a "b" c`), evil, event.Forked{PID: 1, Incarnation: 1, Argv: []string{evil}},
		evil, event.Received{Address: "/" + evil, Args: event.Args{evil}}, event.Print{Text: evil},
		event.Finding{Outcome: "failed", Reason: evil, Nodes: []string{evil}}, event.Verdict{Outcome: "failed", Reason: evil})
	log = append(log, `{"seq":6,"t":0.006,"kind":"received","node":"x","addr`...)
	var page bytes.Buffer
	write(t, folder(log, "logs/a \"b\" c.log", "0.1 out "+strings.Repeat(evil, 1<<16)+"\n"), &page)
	for _, bad := range []string{"<script>alert", "\x1b", "\u202e", "\xff"} {
		if bytes.Contains(page.Bytes(), []byte(bad)) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// TestPageSize: the report of 50 nodes and 20,000 events is under 1 MB.
func TestPageSize(t *testing.T) {
	var page bytes.Buffer
	write(t, folder(longLog(t, 50, 20000)), &page)
	if t.Logf("%d bytes", page.Len()); page.Len() >= 1e6 {
		t.Errorf("the page has %d bytes", page.Len())
	}
}
