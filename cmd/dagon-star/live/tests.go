package live

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Tests is what a Screen shows of tests: a line for each that runs. Its methods may be
// called from any goroutine.
type Tests struct {
	mu      sync.Mutex
	total   int
	done    int
	failed  int
	began   time.Time
	running []*TestRun
	ending  bool
}

// NewTests begins with so many tests to be run.
func NewTests(total int) *Tests { return &Tests{total: total, began: time.Now()} }

// TestRun is a test that runs.
type TestRun struct {
	of    *Tests
	title string
	began time.Time
	state State
}

// Begin adds a test that runs now.
func (t *Tests) Begin(title string) *TestRun {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &TestRun{of: t, title: title, began: time.Now()}
	t.running = append(t.running, r)
	return r
}

// Observe takes an event of the test's run.
func (r *TestRun) Observe(e event.Event) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.state.Apply(e)
}

// End says that the test has ended, and whether it has passed, or was skipped.
func (r *TestRun) End(passes bool) {
	t := r.of
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = slices.DeleteFunc(t.running, func(x *TestRun) bool { return x == r })
	if t.done++; !passes {
		t.failed++
	}
}

// Frame is the tests that run, below what was printed of those that have ended.
func (t *Tests) Frame(lines []string, width, height int) []Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	return testsFrame(t, time.Now(), lines, width, height)
}

// Key ends the tests.
func (t *Tests) Key(k Key, _ int) Act {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k != Quit {
		return Nothing
	}
	t.ending = true
	return Interrupt
}

// testsFrame is Frame at a time.
func testsFrame(t *Tests, now time.Time, lines []string, width, height int) []Line {
	if width < 1 || height < 1 {
		return nil
	}
	head := Line{{fmt.Sprintf("%d of %d tests", t.done, t.total), Strong}, {"  " + bar(int64(t.done), int64(max(t.total, 1))), Plain}}
	if t.failed > 0 {
		head = append(head, Span{fmt.Sprintf("  %d did not pass", t.failed), Bad})
	}
	head = append(head, Span{"  " + span(now.Sub(t.began)) + "  q end", Faint})
	if t.ending {
		head = append(head, Span{" at once; they are ending in order", Warn})
	}
	below := []Line{head}
	for _, r := range t.running {
		below = append(below, Line{{fmt.Sprintf("%6s  ", span(now.Sub(r.began))), Plain}, {plain(r.title), Strong}, {doing(&r.state), Plain}})
	}
	below = fitAll(below, width, height)
	var frame []Line
	for _, line := range lines[max(0, len(lines)-(height-len(below))):] {
		frame = append(frame, fit(Line{{plain(line), Plain}}, width))
	}
	return append(frame, below...)
}

// doing is what a run does now: how far it says that it is, and what it waits for.
func doing(s *State) (text string) {
	if n := len(s.Progress); n > 0 {
		p := s.Progress[n-1]
		text += fmt.Sprintf("  %s%s", bar(p.N, p.Total), prefixed(" ", plain(p.What)))
	}
	switch n := len(s.Waits); {
	case n > 0:
		text += "  waits for " + plain(s.Waits[n-1].What)
	case s.Verdict != nil:
		text += "  " + s.Verdict.Outcome
	case s.Ending:
		text += "  ends"
	case s.Began > 0:
		text += fmt.Sprintf("  operations %d", s.Began)
	}
	return text
}

// prefixed is a text with something before it, or nothing.
func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
