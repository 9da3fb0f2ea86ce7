package main

import (
	"errors"
	"syscall"
	"testing"

	"github.com/dagon-star/dagon-star/runtime"
)

// TestSuiteCode: the exit code of tests is that of the worst, cell by cell.
func TestSuiteCode(t *testing.T) {
	worst := []struct {
		outcome string
		code    int
	}{{"passed", 0}, {"skipped", 0}, {"inconclusive", 3}, {"interrupted", 143}, {"failed", 1}, {"broken", 1}, {"internal error", 70}}
	for i, a := range worst {
		for j, b := range worst {
			var interrupted error
			if a.outcome == "interrupted" || b.outcome == "interrupted" {
				interrupted = &runtime.InterruptedError{Signal: syscall.SIGTERM}
			}
			want := worst[max(i, j)].code
			if a.outcome == "skipped" && b.outcome == "skipped" { // all of them
				want = 3
			}
			counts := map[string]int{}
			counts[a.outcome]++
			counts[b.outcome]++
			if got := suiteCode(counts, 2, interrupted); got != want {
				t.Errorf("%s and %s: %d, want %d", a.outcome, b.outcome, got, want)
			}
		}
	}
	if got := suiteCode(map[string]int{"not run": 1}, 1, &runtime.InterruptedError{Err: errors.New("x")}); got != 130 {
		t.Errorf("not run: %d", got)
	}
}
