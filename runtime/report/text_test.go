package report

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// TestTextBounds: the text has at most forty lines of bounded width, the failure first, of
// however many nodes, faults, waits and findings the log tells, and whatever they are named.
func TestTextBounds(t *testing.T) {
	huge := strings.Repeat("x y\n", 5000)
	d := started()
	log := []any{nil}
	for i := range 1000 {
		name := fmt.Sprintf("%s %d", strings.Repeat("node\n", 50), i)
		d.Nodes = append(d.Nodes, event.NodeSpec{Name: name})
		id := int64(i + 1)
		log = append(log, name, event.Forked{PID: i, Incarnation: 1}, name, event.State{To: "forked"},
			event.Await{ID: id, What: huge, Nodes: []string{name}, TimeoutS: 1},
			event.FaultPlanned{ID: id, What: "pause", Nodes: []string{name}, Lasting: true, Detail: huge},
			event.FaultApplied{ID: id, To: []string{name}})
	}
	for i := range 100 {
		log = append(log, event.Finding{Outcome: "inconclusive", Reason: fmt.Sprint(i, huge)})
	}
	log = append(log, event.Finding{Outcome: "failed", Reason: huge, Where: huge, Nodes: []string{d.Nodes[7].Name}},
		event.Verdict{Outcome: "failed", Reason: huge, Where: huge})
	log[0] = d
	for _, r := range []*Run{runOf(t, log...), hostileRun(t), lifecycle(t), runOf(t, started())} {
		text := write(t, r, "text")
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) > 40 {
			t.Errorf("%d lines", len(lines))
		}
		if !strings.HasPrefix(lines[0], r.Outcome+" at ") {
			t.Errorf("the first line is %.100s", lines[0])
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > mostLine {
				t.Errorf("%d characters: %.80s", n, line)
			}
		}
	}
}
