package link

import (
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// TestAlarm: an alarm is never early for who looks at the time, rings for the instant
// that was set last, and needs nothing more however often it is set.
func TestAlarm(t *testing.T) {
	c := clock.New()
	defer c.Close()
	a := &alarm{clock: c}
	a.set(forever) // before there is a timer
	state := &laneState{changed: make(chan struct{})}
	for i := range 50 {
		a.set(c.Now() + time.Hour)
		due := c.Now() + time.Duration(i)*50*time.Microsecond
		for c.Now() < due {
			if !a.wait(due, state, nil) {
				t.Fatal("gone")
			}
		}
	}
	if n := testing.AllocsPerRun(1000, func() { a.set(c.Now() + time.Hour) }); n > 0 {
		t.Errorf("%v allocations each time that it is set", n)
	}
	gone := make(chan struct{})
	close(gone)
	if a.wait(forever, state, gone) {
		t.Error("what is gone waits on")
	}
	close(state.changed)
	if !a.wait(c.Now()+time.Hour, state, nil) {
		t.Error("a change is not heard")
	}
}
