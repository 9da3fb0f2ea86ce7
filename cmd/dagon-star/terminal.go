package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/script"
)

// terminal shows the events that a person cares about, a line each. Of the counts
// that a node reports one after the other it shows the last, before the node's
// next line. Of messages that come again and again it shows the first, and then how
// many there were. The log has all of them.
type terminal struct {
	w      io.Writer
	width  int            // of the names so far
	counts map[string]any // the last that a node has reported, until it is shown
	floods map[message]*flood
	hidden []message        // those with messages that were counted and not shown
	probed map[string]bool  // the nodes of which more than a message tells that they are ready, or nothing
	faults map[int64]string // what those are that were planned or scheduled, by their ids

	began    int            // operations
	outcomes map[string]int // of those that have completed
}

func (t *terminal) remember(id int64, what string) {
	if t.faults == nil {
		t.faults = map[int64]string{}
	}
	t.faults[id] = what
}

func (t *terminal) show(e event.Event) {
	what, m := "", message{}
	switch d := e.Detail.(type) {
	case event.Contained:
		what = contained(d)
	case event.Asked:
		if d.How == roster.Stop || d.How == roster.Kill {
			what = "← " + d.Signal
		}
	case event.FaultPlanned:
		t.remember(d.ID, d.What)
		what = "fault: " + faulted(d)
	case event.FaultApplied:
		if len(d.Dead) > 0 {
			what = "already dead: " + strings.Join(d.Dead, " ")
		}
	case event.FaultTouched:
		if d.Processes == 0 { // what happens to processes shows
			what = t.faults[d.ID] + " " + fault.TouchedText(d.Touched)
		}
	case event.FaultHealed:
		what = "healed: " + t.faults[d.ID] + " " + strings.Join(d.Nodes, " ")
	case event.Scheduled:
		t.remember(d.ID, d.What)
	case event.Abandoned:
		what = "not applied: " + t.faults[d.ID] + ": " + d.Reason
	case event.Forked:
		what = fmt.Sprintf("forked, pid %d", d.PID)
		if t.probed == nil {
			t.probed = map[string]bool{}
		}
		t.probed[e.Node] = len(d.Ready) > 0
		if d.Incarnation > 1 {
			what += fmt.Sprintf(", incarnation %d", d.Incarnation)
		}
	case event.Setup:
		what = "set up"
		if d.Code != 0 || d.Error != "" {
			what = "setup failed"
		}
	case event.Wiped:
		what = "wiped"
	case event.Probe:
		if d.Ready {
			what = "ready"
		}
	case event.Received:
		if d.Address == "/count" && len(d.Args) == 2 {
			if t.counts == nil {
				t.counts = map[string]any{}
			}
			t.counts[e.Node] = d.Args[1]
		} else if d.Address != "/ready" {
			m = message{e.Node, strings.TrimPrefix(d.Address, "/")}
			what = report.MessageText(e.Node, d.Address, d.Args)
		} else if !t.probed[e.Node] {
			what = "ready"
		}
	case event.Sent:
		m = message{e.Node, "← " + strings.TrimPrefix(d.Address, "/")}
		what = "← " + report.MessageText(e.Node, d.Address, d.Args)
	case event.Refused:
		what = fmt.Sprintf("refused %s: %s", d.Peer, d.Reason)
	case event.Exited:
		what = fmt.Sprintf("exited %d", d.Code)
		if d.Signal != "" {
			what = "exited by signal " + d.Signal
		}
		if n := len(d.Left); n == 1 {
			what += ", and left a process, which was killed"
		} else if n > 1 {
			what += fmt.Sprintf(", and left %d processes, which were killed", n)
		}
		if d.OutOfMemory > 0 {
			what += fmt.Sprintf(", out of the memory it is limited to: the kernel killed %d of its processes", d.OutOfMemory)
		}
	case event.Invoke:
		t.began++
	case event.Completed:
		if t.outcomes == nil {
			t.outcomes = map[string]int{}
		}
		t.outcomes[d.Outcome]++
	case event.Verdict:
		what = t.operations()
	case event.Released:
		what = fmt.Sprintf("goes on after %s: %s", seconds(d.HeldS), d.Why)
	case event.Print:
		what = d.Text
	case event.Notice:
		what = "note: " + d.Text
	case event.AwaitEnded:
		if d.Outcome == "timeout" {
			what = fmt.Sprintf("gave up waiting after %s", seconds(d.WaitedS))
			if len(d.Missing) > 0 {
				what += " for " + some(d.Missing)
			}
		}
	}
	if what == "" && e.Kind() != event.KindVerdict && e.Kind() != event.KindRunFinished {
		return
	}
	if m.address != "" && t.held(e, m, what) {
		return
	}
	t.tellAllHidden(e)
	if what == "" {
		return
	}
	if count, ok := t.counts[e.Node]; ok {
		delete(t.counts, e.Node)
		t.line(e, fmt.Sprintf("count %v", count))
	}
	t.line(e, what)
}

// operations is what has become of the operations of the run, "" where there is none.
func (t *terminal) operations() string {
	if t.began == 0 {
		return ""
	}
	text := fmt.Sprintf("operations: %d", t.began)
	left := t.began
	for _, outcome := range []string{"ok", "fail", "info"} {
		text += fmt.Sprintf(", %d %s", t.outcomes[outcome], outcome)
		left -= t.outcomes[outcome]
	}
	if left > 0 {
		text += fmt.Sprintf(", %d not completed", left)
	}
	return text
}

func (t *terminal) line(e event.Event, what string) {
	t.width = max(t.width, len(e.Node))
	for line := range strings.Lines(what + "\n") {
		fmt.Fprintf(t.w, "%8.3fs  %-*s  %s", e.T.Seconds(), t.width, e.Node, line)
	}
}

// faulted says what is done to whom.
func faulted(d event.FaultPlanned) string {
	text := strings.Join(append([]string{d.What}, d.Nodes...), " ")
	if d.Detail != "" {
		text += " (" + d.Detail + ")"
	}
	return text
}

// contained says which rung of the containment ladder a run is on, and why it
// is on none above it.
func contained(d event.Contained) string {
	rung := process.Rung(d.Rung)
	text := fmt.Sprintf("containment: %s, %s", rung, rung.Promise())
	for _, r := range d.Refused {
		text += fmt.Sprintf("\n  not %s: %s", r.Rung, r.Reason)
	}
	return text
}

// some names the first of nodes, and how many more there are.
func some(nodes []string) string {
	const most = 5
	if more := len(nodes) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(nodes[:most], " "), more)
	}
	return strings.Join(nodes, " ")
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

// conclude prints what a run came to.
func conclude(w io.Writer, r *script.Result, again string) {
	outcome := string(r.Outcome)
	if r.Outcome != runtime.Passed && r.Where != "" {
		outcome += " at " + r.Where
	}
	fmt.Fprintf(w, "\n%s after %s", outcome, r.Duration.Round(time.Millisecond))
	if r.Outcome != runtime.Passed {
		fmt.Fprintf(w, ": %s", r.Reason)
	}
	fmt.Fprintln(w)
	if r.Backtrace != "" {
		fmt.Fprintf(w, "called from:\n%s", r.Backtrace)
	}
	for _, f := range r.Beside {
		fmt.Fprintf(w, "  beside: %s\n", f.Told())
	}
	fmt.Fprintf(w, "  run:    %s\n", relative(r.Folder))
	if page := filepath.Join(r.Folder, report.PageName); r.Outcome != runtime.Passed {
		if _, err := os.Stat(page); err == nil {
			fmt.Fprintf(w, "  report: %s\n", relative(page))
		}
	}
	fmt.Fprintf(w, "  repeat: %s\n", again)
}

// relative is a path as it is shortest to write.
func relative(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	if strings.HasPrefix(rel, "-") { // it is no flag
		rel = "." + string(filepath.Separator) + rel
	}
	return rel
}
