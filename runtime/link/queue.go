package link

import (
	"sync"
	"sync/atomic"
	"time"
)

// What a direction of a connection holds at the most: a lane that is slow holds up
// who writes, as a network does.
const (
	chunk   = 32 << 10  // bytes read at a time in a lane that has an effect
	deep    = 8 << 20   // bytes that wait in one direction of a connection
	shallow = 64 << 10  // the same, where the whole network holds
	plenty  = 256 << 20 // more than this
)

// piece is bytes that wait for their time; without bytes the end of the stream,
// by a close or by a reset.
type piece struct {
	bytes    []byte
	isUrgent bool          // it is one byte, and that is urgent
	came     time.Duration // of the run
	delay    time.Duration
	end      error
	written  int      // bytes of it that have been written, and are no longer in bytes
	waited   []waited // what has been counted as delayed
}

// waited is up to where the bytes of a piece are counted as delayed in a tally.
type waited struct {
	in *tally
	to int
}

// countDelayed counts the bytes of a piece up to one of them, and none twice.
func (p *piece) countDelayed(in *tally, to int) {
	for i := range p.waited {
		if w := &p.waited[i]; w.in == in {
			in.add(bytesDelayed, int64(to-max(w.to, p.written)))
			w.to = max(w.to, to)
			return
		}
	}
	in.add(bytesDelayed, int64(to-p.written))
	p.waited = append(p.waited, waited{in, to})
}

// size is what it takes of memory, about.
func (p piece) size() int { return len(p.bytes) + 128 }

// queue is what waits in one direction of a connection.
type queue struct {
	all *atomic.Int64 // bytes that wait in the whole network

	mu      sync.Mutex
	changed *sync.Cond
	pieces  []piece
	bytes   int
	isOver  bool // nothing more is put in,
	isDead  bool // or taken out
}

func (q *queue) init(all *atomic.Int64) {
	q.all = all
	q.changed = sync.NewCond(&q.mu)
}

// bound is how many bytes may wait in a lane: at a rate, what passes in a quarter
// of a second after the delay.
func (q *queue) bound(state *laneState) int {
	bound := deep
	if state.Rate > 0 {
		bound = int(min(deep, shallow+state.Rate*(state.Delay+state.Jitter+time.Second/4).Seconds()))
	}
	if q.all.Load() > plenty {
		bound = min(bound, shallow)
	}
	return bound
}

// put waits for room; false if nothing is taken out any more.
func (q *queue) put(next piece, state *laneState) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pieces) > 0 && q.bytes+next.size() > q.bound(state) && !q.isDead {
		q.changed.Wait()
	}
	if q.isDead {
		return false
	}
	q.pieces = append(q.pieces, next)
	q.count(next.size())
	return true
}

func (q *queue) count(bytes int) {
	q.bytes += bytes
	q.all.Add(int64(bytes))
	q.changed.Broadcast()
}

// first waits for the piece that is next; false if there will be none.
func (q *queue) first() (piece, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pieces) == 0 {
		if q.isOver {
			return piece{}, false
		}
		q.changed.Wait()
	}
	return q.pieces[0], true
}

// pop takes out the first piece, which has been written. If no more can be written,
// it takes out all.
func (q *queue) pop(more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := q.pieces[0].size()
	q.pieces[0] = piece{}
	if q.pieces = q.pieces[1:]; len(q.pieces) == 0 {
		q.pieces = nil
	}
	if !more {
		q.isDead, q.pieces, size = true, nil, q.bytes
	}
	q.count(-size)
}

// drained waits until nothing waits any more.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pieces) > 0 {
		q.changed.Wait()
	}
	return true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOver = true
	q.changed.Broadcast()
}
