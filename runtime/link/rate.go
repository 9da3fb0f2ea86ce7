package link

import (
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// rate has all that moves in a lane share its rate.
type rate struct {
	turn  chan struct{} // holds one while somebody waits for the rate
	alarm alarm         // of whoever has the turn
	paid  sync.Mutex    // of free
	free  time.Duration // when what has been sent has taken its time
}

func newRate(c *clock.Clock) rate { return rate{turn: make(chan struct{}, 1), alarm: alarm{clock: c}} }

// behind is how far who sends at a rate may be late and make up for it. It and what
// is sent at a time keep within the 2 % that the rate is kept lower.
const behind = 10 * time.Millisecond

// take waits until n bytes may be sent at the lane's rate, all that moves in the
// lane taken together. They are paid for before they are sent, and at a little less
// than the rate, so that no second has more. waits is called when they have to wait.
// took is false if the lane has changed, ok if what waits is gone.
func (l *lane) take(state *laneState, n int, gone <-chan struct{}, waits func()) (took, ok bool) {
	r := &l.rate
	select {
	case r.turn <- struct{}{}:
	case <-state.changed:
		return false, true
	case <-gone:
		return false, false
	}
	defer func() { <-r.turn }()
	takes := time.Duration(float64(n) / (0.98 * state.Rate) * float64(time.Second))
	l.sent() // who has sent nothing has saved nothing
	for l.now() == state {
		r.paid.Lock()
		at := r.free + takes
		if at <= r.alarm.clock.Now() {
			r.free = at
			r.paid.Unlock()
			return true, true
		}
		r.paid.Unlock()
		waits()
		if !r.alarm.wait(at, state, gone) {
			return false, false
		}
	}
	return false, true
}

// sent notes that what was taken has been sent by now.
func (l *lane) sent() {
	l.rate.paid.Lock()
	defer l.rate.paid.Unlock()
	l.rate.free = max(l.rate.free, l.rate.alarm.clock.Now()-behind)
}
