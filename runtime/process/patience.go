//go:build unix

package process

import "time"

// Waits for what others do are bounded in time in which this process ran: where it
// or the machine was suspended, nobody was late.
const (
	// beatEvery is how often one that waits looks whether it runs.
	beatEvery = 100 * time.Millisecond
	// longestBeat is what counts of a beat at most: this process was suspended in what
	// is beyond it.
	longestBeat = 300 * time.Millisecond
)

// patience is what a wait has taken so far. The zero value is that of one that has
// not begun.
type patience struct {
	seen  time.Time     // the last beat
	spent time.Duration // in which this process ran
}

// beat counts the time since the last beat, and reports whether this process ran in all
// of it.
func (p *patience) beat(now time.Time) (ran bool) {
	if p.seen.IsZero() {
		p.seen = now
	}
	took := now.Sub(p.seen)
	p.seen = now
	p.spent += min(took, longestBeat)
	return took <= longestBeat
}

// receive receives from a channel as the arrow does, or is late after a while in which
// nothing came. It is not late straight after a suspension: whoever sends what came meanwhile
// is given a beat to do so.
func receive[T any](from <-chan T, within time.Duration) (v T, ok, late bool) {
	var p patience
	p.beat(time.Now())
	timer := time.NewTimer(min(beatEvery, within))
	defer timer.Stop()
	for {
		select {
		case v, ok = <-from:
			return v, ok, false
		case <-timer.C:
		}
		if ran := p.beat(time.Now()); ran && p.spent >= within {
			break
		}
		timer.Reset(beatEvery)
	}
	select {
	case v, ok = <-from:
		return v, ok, false
	default:
		return v, false, true
	}
}

// waiter waits a little, and longer each time.
type waiter struct {
	patience
	pause time.Duration
	times int
}

// leastWaits is how often is waited at least: on a busy machine a time may pass in
// which little has been looked at. An idle one takes 0.2 s for so many.
const leastWaits = 16

// wait returns false once the time within has passed, and it was called leastWaits
// times.
func (w *waiter) wait(within time.Duration) bool {
	w.beat(time.Now())
	w.times++
	w.pause = min(max(2*w.pause, 100*time.Microsecond), 20*time.Millisecond)
	time.Sleep(w.pause)
	ran := w.beat(time.Now())
	return w.spent < within || w.times < leastWaits || !ran
}
