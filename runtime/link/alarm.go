package link

import (
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// forever is later than any run.
const forever time.Duration = 1<<63 - 1

// alarm wakes one goroutine at instants of the run. It has one timer, however often it
// is set.
type alarm struct {
	clock *clock.Clock
	timer *clock.Timer
	rings chan struct{} // holds one once the time has come
}

// set has it ring at an instant instead of any other. It may ring for an earlier one
// still, so who hears it looks at the time.
func (a *alarm) set(at time.Duration) {
	switch {
	case at == forever:
		if a.timer != nil {
			a.timer.Stop()
		}
	case a.timer == nil:
		a.rings = make(chan struct{}, 1)
		a.timer = a.clock.AfterFunc(at-a.clock.Now(), func() {
			select {
			case a.rings <- struct{}{}:
			default:
			}
		})
	default:
		select {
		case <-a.rings:
		default:
		}
		a.timer.Set(at)
	}
}

// wait waits until an instant, or until the lane changes, or for less. It reports false
// if what waits is gone.
func (a *alarm) wait(at time.Duration, state *laneState, gone <-chan struct{}) bool {
	a.set(at)
	select {
	case <-a.rings:
		return true
	case <-state.changed:
		a.set(forever)
		return true
	case <-gone:
		a.set(forever)
		return false
	}
}
