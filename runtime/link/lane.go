package link

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// lane is a direction between two nodes.
type lane struct {
	state atomic.Pointer[laneState]

	mu      sync.Mutex
	members map[member]bool

	rate rate
}

// member is one direction of a connection or of a flow of datagrams. It has a lock
// of its own. Whatever it does because of the lane, it does and counts while it
// holds that lock and the lane is as it was when that was decided.
type member interface {
	// interrupt has whoever waits in the member look at the lane again. When it
	// returns nothing is done any more as the lane was before.
	interrupt()
	// held is what has come and has not gone on.
	held() holding
	// letGo has the lane do nothing any more to what is in the member, nor count it.
	letGo()
}

// laneState is what a lane does until changed is closed.
type laneState struct {
	Effect            // of all disturbances together
	effects  []Effect // of each,
	tallies  []*tally // and what it has touched
	dropWave int      // counts the times at which connections began to be dropped
	changed  chan struct{}
}

func newLane(c *clock.Clock) *lane {
	l := &lane{members: map[member]bool{}, rate: newRate(c)}
	l.state.Store(&laneState{changed: make(chan struct{})})
	return l
}

func (l *lane) now() *laneState { return l.state.Load() }

// set changes what the lane does, and returns when every member has heard. Nothing
// is counted any more for a disturbance that has ended.
func (l *lane) set(effects []Effect, tallies []*tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.now()
	after := &laneState{effects: effects, tallies: tallies, dropWave: before.dropWave, changed: make(chan struct{})}
	for _, e := range effects {
		after.Effect = after.Effect.plus(e)
	}
	if after.Drop > 0 && before.Drop == 0 {
		after.dropWave++
	}
	// What waits at the end of a cut has been held by it, and nothing else has: while
	// it was in force nothing could leave.
	for i, t := range before.tallies {
		if before.effects[i].Cut && !slices.Contains(tallies, t) {
			t.addHolding(l.holding())
		}
	}
	l.state.Store(after)
	close(before.changed)
	for m := range l.members {
		m.interrupt()
	}
}

// holding is what waits in all members. The lock is held.
func (l *lane) holding() (sum holding) {
	for m := range l.members {
		h := m.held()
		sum = holding{sum.bytes + h.bytes, sum.closes + h.closes, sum.silent + h.silent}
	}
	return sum
}

// touched adds to sum what is in a tally, and what is held at this time.
func (l *lane) touched(t *tally, sum *Touched) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.addTo(sum)
	if state := l.now(); state.Cut {
		if i := slices.Index(state.tallies, t); i >= 0 && state.effects[i].Cut {
			l.holding().addTo(sum)
		}
	}
}

func (l *lane) join(m member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[m] = true
}

// leave is called before what the member waits for is closed. What a cut held of it
// until now stays counted.
func (l *lane) leave(m member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.members[m] {
		return
	}
	if state := l.now(); state.Cut {
		h := m.held()
		state.touch(causeCut, 0, func(t *tally) { t.addHolding(h) })
	}
	m.letGo()
	delete(l.members, m)
}

// noteHeld has the cuts of a state know that they hold something, if they do.
func (l *lane) noteHeld(m member, state *laneState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now() == state && l.members[m] && m.held().any() {
		state.touch(causeCut, 0, func(t *tally) { t.of.noteTouch() })
	}
}

// touch calls count for each disturbance that did its part in what happened.
func (s *laneState) touch(why cause, lot float64, count func(*tally)) {
	touchedBy(why, s.effects, lot, func(i int) { count(s.tallies[i]) })
}

// wait waits until the lane changes. It reports false if what waits is gone.
func (s *laneState) wait(gone <-chan struct{}) bool {
	select {
	case <-s.changed:
		return true
	case <-gone:
		return false
	}
}
