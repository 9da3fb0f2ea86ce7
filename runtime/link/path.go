package link

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// path is a direction of a flow of datagrams. What happens to a datagram because of
// the lane, its way out included, happens while the lock is held.
type path struct {
	lane  *lane
	write func([]byte)
	name  string
	relay *relay
	more  chan struct{} // holds one where the first that waits may be another
	gone  chan struct{}

	mu      sync.Mutex
	random  *rand.Rand
	flips   corruption
	number  uint64
	passed  []*later // wait to be overtaken by what is sent next: copies of one
	waiting waiting
	bytes   int
	started bool
	writing bool // one that has waited is being written
	closed  bool
}

func (r *relay) path(l *lane, name string, write func([]byte)) *path {
	p := &path{lane: l, write: write, name: name, relay: r, more: make(chan struct{}, 1), gone: make(chan struct{})}
	l.join(p)
	return p
}

func (p *path) clock() *clock.Clock { return p.relay.network.Clock }

func (p *path) close() {
	p.lane.leave(p)
	close(p.gone)
}

// interrupt waits for what happens to a datagram at this time; who waits for the lane
// sees the change by itself.
func (p *path) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
}

func (p *path) letGo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// held is nothing: a cut loses datagrams, and holds none.
func (p *path) held() holding { return holding{} }

// later is a datagram that waits for its time.
type later struct {
	bytes  []byte
	came   time.Duration // of the run
	delay  time.Duration
	due    time.Duration // of the run, as the lane is
	number uint64        // in the order of sending, for those that are due together
	passed bool          // is sent as soon as another has been, or after overtakenBy
	lot    float64       // that had it held back
	waited []*tally      // what has been counted as delayed
}

// countDelayed counts the datagram once for each disturbance.
func (l *later) countDelayed(t *tally) {
	if !slices.Contains(l.waited, t) {
		l.waited = append(l.waited, t)
		t.add(datagramsDelayed, 1)
	}
}

// plan says when a datagram is due in a lane. Where nothing holds datagrams back any
// more, none is held.
func (l *later) plan(state *laneState) {
	l.due = l.came + min(l.delay, state.Delay+state.Jitter)
	if l.passed = l.passed && state.Reorder > 0; l.passed {
		l.due += overtakenBy
	}
}

type waiting []*later

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].due == w[j].due {
		return w[i].number < w[j].number
	}
	return w[i].due < w[j].due
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(*later)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return x
}

// draw draws whether something of a probability happens to a datagram.
func (p *path) draw(probability float64) (lot float64, hits bool) {
	if probability <= 0 {
		return 0, false
	}
	lot = p.numbers("").Float64()
	return lot, lot < probability
}

// numbers are the random numbers for a purpose; only whose disturbance it was has
// some of its own, so that what happens does not depend on it.
func (p *path) numbers(purpose string) *rand.Rand {
	if purpose == "whose" {
		return p.relay.network.Seed(p.name + "/whose")
	}
	if p.random == nil {
		p.random = p.relay.network.Seed(p.name)
	}
	return p.random
}

// send has a datagram take its way.
func (p *path) send(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	state := p.lane.now()
	if state.Cut {
		p.loses(state, causeCut, 0)
		return
	}
	if lot, hits := p.draw(state.Loss); hits {
		p.loses(state, causeLoss, lot)
		return
	}
	twice, doubled := p.draw(state.Duplicate)
	back, held := p.draw(state.Reorder)
	overtaken := p.passed // by this one
	held = held && len(overtaken) == 0
	p.passed = nil
	p.flips.hit(state, b, p.numbers)
	copies := 1
	if doubled {
		copies = 2
	}
	var next *later
	for copy := range copies {
		p.number++
		next = &later{bytes: b, came: p.clock().Now(), number: p.number, passed: held, lot: back}
		lot := 0.5 // no jitter
		if state.Jitter > 0 {
			lot = p.numbers("").Float64()
		}
		next.delay = state.lag(lot)
		next.plan(state)
		switch p.pass(next, state) {
		case isLost:
			p.loses(state, causeOverflow, 0)
			continue
		case isNow:
			p.write(b)
		case isLater:
			state.touch(causeDelay, lot, next.countDelayed)
			if held {
				p.passed = append(p.passed, next)
			}
		}
		if copy == 1 {
			state.touch(causeDuplicate, twice, func(t *tally) { t.add(datagramsDuplicated, 1) })
		}
	}
	p.overtake(overtaken, next, state)
}

// loses counts a datagram that is lost.
func (p *path) loses(state *laneState, why cause, lot float64) {
	state.touch(why, lot, func(t *tally) { t.add(datagramsLost, 1) })
}

// overtake has those that were held leave right after a later one.
func (p *path) overtake(overtaken []*later, next *later, state *laneState) {
	for i, held := range overtaken {
		at := slices.Index(p.waiting, held)
		if at < 0 || state.Reorder == 0 { // it has waited for too long, or is held no more
			continue
		}
		p.number++
		held.came, held.delay, held.number, held.passed = next.came, next.delay, p.number, false
		held.plan(state)
		heap.Fix(&p.waiting, at)
		p.wake()
		if i == 0 { // the others are copies of it
			state.touch(causeReorder, held.lot, func(t *tally) { t.add(datagramsReordered, 1) })
		}
	}
}

// fate is what becomes of a datagram.
type fate int

const (
	isNow   fate = iota // it may be written
	isLater             // it waits
	isLost              // too much waits
)

// pass lets a datagram pass, or has it wait.
func (p *path) pass(next *later, state *laneState) fate {
	most := float64(maxWaiting)
	if state.Rate > 0 {
		most = min(most, state.Rate*(state.Delay+state.Jitter+time.Second).Seconds())
	} else if len(p.waiting) == 0 && !p.writing && !next.passed && next.due <= p.clock().Now() {
		return isNow
	}
	if float64(p.bytes+len(next.bytes)) > most {
		return isLost
	}
	next.bytes = append([]byte(nil), next.bytes...)
	p.bytes += len(next.bytes)
	heap.Push(&p.waiting, next)
	if !p.started {
		p.started = true
		p.relay.network.done.Go(p.deliver)
	}
	p.wake()
	return isLater
}

func (p *path) wake() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// deliver writes what waits, each at its time.
func (p *path) deliver() {
	late := alarm{clock: p.clock()}
	defer late.set(forever)
	for planned := p.lane.now(); ; {
		state := p.lane.now()
		p.mu.Lock()
		if state != planned { // delays may have become shorter
			planned = state
			for _, next := range p.waiting {
				next.plan(state)
			}
			heap.Init(&p.waiting)
		}
		due := forever
		if len(p.waiting) > 0 {
			due = p.waiting[0].due
		}
		if due <= late.clock.Now() {
			next := heap.Pop(&p.waiting).(*later)
			p.writing = true
			p.mu.Unlock()
			p.writeInTurn(next)
			continue
		}
		p.mu.Unlock()
		late.set(due)
		select {
		case <-late.rings:
		case <-p.more:
		case <-state.changed:
		case <-p.gone:
			return
		}
	}
}

// writeInTurn writes a datagram whose time has come, as soon as the rate allows it.
func (p *path) writeInTurn(next *later) {
	paid := (*laneState)(nil) // the state of the lane at whose rate it has been paid for
	for {
		p.mu.Lock()
		state := p.lane.now()
		if p.closed || state.Cut || state.Rate == 0 || state == paid {
			switch {
			case p.closed:
			case state.Cut:
				p.loses(state, causeCut, 0)
			default:
				p.write(next.bytes)
			}
			p.writing = false
			p.bytes -= len(next.bytes)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		took, ok := p.lane.take(state, len(next.bytes), p.gone, func() { p.countRated(state, next) })
		if !ok {
			return // it is closed
		}
		if took {
			paid = state
		}
	}
}

// countRated counts a datagram that waits for the rate.
func (p *path) countRated(state *laneState, next *later) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lane.now() == state && !p.closed {
		state.touch(causeRate, 0, next.countDelayed)
	}
}
