package live

import (
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// TestTests is a line a test that runs, and how many there were.
func TestTests(t *testing.T) {
	all := NewTests(4)
	a, b := all.Begin("a.star:test_a"), all.Begin("a.star:test_日本")
	a.Observe(event.Event{Detail: event.Await{ID: 1, What: "ready"}})
	b.Observe(event.Event{Detail: event.Progress{N: 1, Total: 2, What: "rounds"}})
	frame := func(width, height int) (text string) {
		for _, l := range testsFrame(all, all.began.Add(time.Minute), []string{"passed x", "failed y"}, width, height) {
			text += l.String() + "\n"
		}
		return text
	}
	for _, r := range []*TestRun{a, b} {
		r.began = all.began
	}
	want := "failed y\n0 of 4 tests  ---------- 0%  1m00s  q end\n 1m00s  a.star:test_a  waits for ready\n 1m00s  a.star:test_日本  #####----- 50% rounds\n"
	if got := frame(80, 4); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := frame(20, 2); got != "0 of 4 tests  -----…\n 1m00s  a.star:test…\n" {
		t.Errorf("%s", got)
	}
	a.End(true)
	b.End(false)
	if all.Key(Up, 10) != Nothing || all.Key(Quit, 10) != Interrupt {
		t.Error("keys")
	}
	want = "passed x\nfailed y\n2 of 4 tests  #####----- 50%  1 did not pass  1m00s  q end at once; they are ending in order\n"
	if got := frame(120, 5); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
