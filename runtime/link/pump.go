package link

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pump moves the bytes of a connection one way. Its reader has the kernel move
// them on at once where the lane has no effect; else it queues them for a writer.
//
// Whatever gives something on, be it bytes or the end, does so while the lane is
// as it was when that was decided: see attempt. So nothing leaves after a lane has
// been changed that its change should have held.
type pump struct {
	stream   *stream
	lane     *lane
	back     *pump // the other way
	from, to *net.TCPConn
	name     string // of its random numbers
	mover    *mover

	mu          sync.Mutex
	interrupted bool        // the deadlines of reading and of writing have passed,
	deaf        bool        // and have not been taken back
	failed      atomic.Bool // to takes nothing more

	ended    sync.Once
	heard    chan struct{} // closed when nothing more will be read
	closed   bool          // what was read last is a close
	waiting  queue
	writer   sync.WaitGroup
	starting sync.Once

	drop    dropping
	corrupt corruption
	jitter  *rand.Rand
}

func (s *stream) pump(way string, l *lane, from, to *net.TCPConn) *pump {
	r := s.relay
	p := &pump{stream: s, lane: l, from: from, to: to, heard: make(chan struct{}),
		name: fmt.Sprintf("%s>%s:%s/%d/%s", r.From, r.To, r.Endpoint, s.number, way)}
	p.waiting.init(&r.network.held)
	return p
}

// random makes the random numbers for one purpose, so that the draws for one do
// not depend on those for another.
func (p *pump) random(purpose string) *rand.Rand {
	return p.stream.relay.network.seed(p.name + "/" + purpose)
}

// interrupt has whoever reads or writes look at the lane again. When it returns
// nothing is given on any more as the lane was before.
func (p *pump) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted, p.deaf = true, true
	p.from.SetReadDeadline(time.Unix(1, 0))
	p.to.SetWriteDeadline(time.Unix(1, 0))
}

// look is what the lane does now. Whatever it does later interrupts the reader.
func (p *pump) look() *laneState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf {
		p.deaf = false
		p.from.SetReadDeadline(time.Time{})
	}
	return p.lane.now()
}

// errChanged is the error of what was not done, or not to its end, since the lane
// is not as it was.
var errChanged = errors.New("the lane has changed")

// give has an operation give bytes on, unless the lane changes.
func (p *pump) give(state *laneState, operation func(attempt) (int, error)) (int, error) {
	p.mu.Lock()
	if p.lane.now() != state {
		p.mu.Unlock()
		return 0, errChanged
	}
	if p.interrupted {
		p.interrupted = false
		p.to.SetWriteDeadline(time.Time{})
	}
	p.mu.Unlock()
	n, err := operation(func(do func() (int, error)) (int, error) { return p.attempt(state, do) })
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errChanged
	case err != nil && err != errChanged:
		p.failed.Store(true)
	}
	return n, err
}

// attempt does something that does not wait: syscall.EAGAIN where it would.
type attempt func(do func() (int, error)) (int, error)

func (p *pump) attempt(state *laneState, do func() (int, error)) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lane.now() != state {
		return 0, errChanged
	}
	n, err := do()
	switch {
	case err == syscall.EAGAIN && p.back.failed.Load():
		// Where the bytes came from is reset, and the reset is held up by bytes that
		// find no room: it goes first, as it would without us.
		return n, syscall.ECONNRESET
	case err != nil && err != syscall.EAGAIN:
		p.failed.Store(true) // before the lock is given up: see read
	}
	return n, err
}

func (p *pump) run() {
	p.lane.join(p)
	defer p.lane.leave(p)
	p.mover = newMover(p.stream.relay.network.pipes, p.from, p.to)
	defer p.mover.close()
	defer p.writer.Wait()
	defer p.waiting.close()
	p.read()
}

// read reads until the end.
func (p *pump) read() {
	defer p.hear(false)
	for {
		state := p.look()
		if state.Cut {
			if !state.wait(forever, p.stream.context.Done()) {
				return
			}
			continue
		}
		passes := !state.touchesStream() && p.waiting.drained()
		most := chunk
		if passes {
			most = pipeSize
		}
		switch err := p.mover.fill(most); {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err == io.EOF && !p.back.hasFailed():
			p.hear(true)
			p.waits(piece{end: io.EOF})
			return
		case err == io.EOF: // a reset that was told to who wrote there
			err = syscall.ECONNRESET
			fallthrough
		default:
			p.waits(piece{end: err})
			return
		}
		if passes {
			_, err := p.give(state, p.mover.drain)
			if err != nil && err != errChanged {
				p.breaks()
				return
			}
		}
		if rest := p.mover.rest(); len(rest) > 0 && !p.holds(rest) {
			return
		}
	}
}

// hasFailed tells whether what this pump writes to has been found to be reset. One
// attempt that is under way is waited for.
func (p *pump) hasFailed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed.Load()
}

// hear notes that nothing more will be read.
func (p *pump) hear(isClose bool) {
	p.ended.Do(func() {
		p.closed = isClose
		close(p.heard)
	})
}

// breaks is called when where the bytes went takes no more of them: it is reset.
// That comes back on the way from there, after the bytes that came before.
func (p *pump) breaks() {
	p.hear(false)
	p.back.interrupt()
	gone := p.stream.context.Done()
	select {
	case <-p.back.heard:
	case <-gone:
		return
	}
	switch {
	case p.back.failed.Load(): // nor does the other end
		p.stream.reset()
		return
	case !p.back.closed: // it has read the reset, and hands it on
		return
	}
	for came := time.Now(); ; {
		state := p.back.lane.now()
		wait := time.Until(came.Add(state.Delay))
		if state.Cut {
			wait = forever
		}
		if wait <= 0 {
			p.finish(state, syscall.ECONNRESET)
			return
		}
		if !state.wait(wait, gone) {
			return
		}
	}
}

// holds has bytes that have been read take their time. What the lane does is asked
// after they have come, so that nothing passes that came after a change.
func (p *pump) holds(b []byte) bool {
	state := p.lane.now()
	if p.drop.hits(state, len(b), p.random) {
		p.stream.reset()
		return false
	}
	p.corrupt.hit(state.Corrupt, b, p.random)
	return p.waits(piece{bytes: b})
}

// waits hands a piece to the writer; false if it is not to be written any more.
func (p *pump) waits(next piece) bool {
	p.starting.Do(func() { p.writer.Go(p.write) })
	state := p.lane.now()
	next.came = time.Now()
	if next.delay = state.Delay; state.Jitter > 0 {
		if p.jitter == nil {
			p.jitter = p.random("jitter")
		}
		next.delay += time.Duration((2*p.jitter.Float64() - 1) * float64(state.Jitter))
	}
	return p.waiting.put(next, state)
}

// write writes what waits, each piece at its time.
func (p *pump) write() {
	for {
		next, ok := p.waiting.first()
		if !ok {
			return
		}
		ok = p.writeOne(next)
		p.waiting.pop(ok)
		if !ok {
			return
		}
	}
}

// writeOne writes a piece, and tells whether the next is worth it.
func (p *pump) writeOne(next piece) bool {
	for {
		state, ok := p.await(next)
		if !ok {
			return false
		}
		if next.end != nil {
			if p.finish(state, next.end) {
				return false
			}
			continue
		}
		n := p.share(state, len(next.bytes))
		if state.Rate > 0 {
			took, ok := p.lane.take(state, n, p.stream.context.Done())
			if !ok {
				return false
			}
			if !took {
				continue
			}
		}
		n, err := p.give(state, func(try attempt) (int, error) { return p.mover.write(try, next.bytes[:n]) })
		if state.Rate > 0 {
			p.lane.sent()
		}
		if err != nil && err != errChanged {
			p.breaks()
			return false
		}
		if next.bytes = next.bytes[n:]; len(next.bytes) == 0 {
			return true
		}
	}
}

// share is how much of so many bytes to write at a time: at a rate no more than
// 5 ms of it.
func (p *pump) share(state *laneState, n int) int {
	if state.Rate > 0 {
		return min(n, int(min(max(state.Rate/200, 1), chunk)))
	}
	return n
}

// await waits until a piece may be written, but for the rate; false if it never
// may. Of a delay that is taken off, or becomes shorter, it waits for no more than
// is left.
func (p *pump) await(next piece) (*laneState, bool) {
	for {
		state := p.lane.now()
		wait := time.Until(next.came.Add(min(next.delay, state.Delay+state.Jitter)))
		if state.Cut {
			wait = forever
		}
		if wait <= 0 {
			return state, true
		}
		if !state.wait(wait, p.stream.context.Done()) {
			return nil, false
		}
	}
}

// finish hands the end of the stream on, io.EOF as a close, any other as a reset;
// false if the lane is not as it was.
func (p *pump) finish(state *laneState, end error) bool {
	if p.stream.isHalved() {
		return true
	}
	if end != io.EOF {
		p.stream.reset()
		return true
	}
	_, err := p.attempt(state, func() (int, error) {
		p.to.CloseWrite() // where it fails, it is over already
		return 0, nil
	})
	return err == nil
}

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
	bytes []byte
	came  time.Time
	delay time.Duration
	end   error
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

// pop takes out the first piece, which has been written. If more is in vain, it
// takes out all.
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

// dropping decides whether a connection is to be reset.
type dropping struct {
	wave   int // of faults, that it was drawn for
	random *rand.Rand
	lot    float64 // a fault of a higher probability hits it
	left   int64   // how many bytes may pass before
}

// hits tells whether the connection is to be reset within the next n bytes. The
// lot is drawn once as long as there is any such fault: where there are two, or a
// stronger one, it is hit as often as by each of them by itself.
func (d *dropping) hits(state *laneState, n int, random func(string) *rand.Rand) bool {
	if state.Drop == 0 {
		return false
	}
	if d.wave != state.dropWave {
		d.wave = state.dropWave
		if d.random == nil {
			d.random = random("drop")
		}
		d.lot, d.left = d.random.Float64(), 1+d.random.Int64N(4096)
	}
	if d.lot >= state.Drop {
		return false
	}
	d.left -= int64(n)
	return d.left <= 0
}

// corruption turns over bits.
type corruption struct {
	random      *rand.Rand
	probability float64
	intact      int // bytes until the next that is hit
}

// hit turns over a bit of some bytes. Instead of drawing for each it draws how many
// stay intact.
func (c *corruption) hit(probability float64, b []byte, random func(string) *rand.Rand) {
	if probability != c.probability {
		c.probability = probability
		c.intact = -1
	}
	if probability <= 0 {
		return
	}
	if c.random == nil {
		c.random = random("corrupt")
	}
	for at := 0; ; at++ {
		if c.intact < 0 {
			c.intact = 0
			if probability < 1 {
				c.intact = int(min(math.Log1p(-c.random.Float64())/math.Log1p(-probability), math.MaxInt32))
			}
		}
		if left := len(b) - at; c.intact >= left {
			c.intact -= left
			return
		}
		at += c.intact
		b[at] ^= 1 << c.random.IntN(8)
		c.intact = -1
	}
}
