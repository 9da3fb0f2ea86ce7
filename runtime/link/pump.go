package link

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// pump moves the bytes of a connection one way. Its reader gives them on at once where
// the lane has no effect; else it queues them for a writer.
//
// Whatever takes bytes or gives them on, or takes or gives on the end, does so
// while the lane is as it was when that was decided: see take and attempt. So
// what comes after a lane has been changed stays in the kernel until the reader has
// heard of the change, and nothing leaves that the change should have held.
type pump struct {
	stream *stream
	lane   *lane
	back   *pump  // the other way
	name   string // of its random numbers
	mover  *mover

	mu          sync.Mutex
	from, to    *net.TCPConn // nil until it is connected
	silent      bool         // the connection has not been let through to the far end yet
	interrupted bool         // the deadlines of reading and of writing have passed,
	deaf        bool         // and have not been taken back
	failed      atomic.Bool  // to takes nothing more
	over        bool         // nothing more is given on
	given       int64        // bytes given on,
	gaveEnd     bool         // and the end

	looked  *laneState // what the lane did when the reader looked last
	reading sync.Mutex // of what follows; locked after mu
	taken   int64      // bytes taken,
	tookEnd bool       // and the end

	ended    sync.Once
	heard    chan struct{} // closed when nothing more will be read
	closed   bool          // what was read last is a close
	waiting  queue
	writer   sync.WaitGroup
	alarm    alarm // the writer's
	starting sync.Once

	drop    dropping
	corrupt corruption
	jitter  *rand.Rand
}

func (s *stream) pump(way string, l *lane) *pump {
	r := s.relay
	p := &pump{stream: s, lane: l, heard: make(chan struct{}),
		name: fmt.Sprintf("%s>%s:%s/%d/%s", r.From, r.To, r.Endpoint, s.number, way)}
	p.waiting.init(&r.network.held)
	p.alarm.clock = p.clock()
	return p
}

func (p *pump) clock() *clock.Clock { return p.stream.relay.network.Clock }

// random makes the random numbers for one purpose, so that the draws for one do
// not depend on those for another.
func (p *pump) random(purpose string) *rand.Rand {
	return p.stream.relay.network.Seed(p.name + "/" + purpose)
}

// leaves reports whether the connection may be made at the far end now. If so, it is
// silent no longer.
func (p *pump) leaves() (*laneState, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.lane.now()
	p.silent = state.Cut
	return state, !state.Cut
}

func (p *pump) connect(from, to *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from, p.to = from, to
}

// interrupt has whoever reads or writes look at the lane again. When it returns
// nothing is taken or given on any more as the lane was before.
func (p *pump) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted, p.deaf = true, true
	if p.from != nil {
		p.from.SetReadDeadline(time.Unix(1, 0))
	}
	if p.to != nil {
		p.to.SetWriteDeadline(time.Unix(1, 0))
	}
	p.reading.Lock() // one attempt that is under way is waited for
	defer p.reading.Unlock()
}

// held is what has come from one end and has not gone on to the other.
func (p *pump) held() (h holding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return h
	}
	if p.silent {
		h.silent = 1
	}
	p.reading.Lock()
	defer p.reading.Unlock()
	h.bytes = p.taken - p.given
	ends := p.tookEnd
	if p.from != nil && !ends {
		n, isEnd := arrived(p.from)
		h.bytes += int64(n)
		ends = isEnd
	}
	if ends && !p.gaveEnd {
		h.closes = 1
	}
	return h
}

// look is what the lane does now. Whatever it does later interrupts the reader.
func (p *pump) look() *laneState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf {
		p.deaf = false
		p.from.SetReadDeadline(time.Time{})
	}
	p.looked = p.lane.now()
	return p.looked
}

// errChanged is the error of what was not done, or not to its end, since the lane
// is not as it was.
var errChanged = errors.New("the lane has changed")

// attempt does something that does not wait: syscall.EAGAIN where it would.
type attempt func(do func() (int, error)) (int, error)

// take attempts to take bytes, unless the lane is not as it was when the reader
// looked.
func (p *pump) take(do func() (int, error)) (int, error) {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.lane.now() != p.looked {
		return 0, errChanged
	}
	n, err := do()
	p.countTaken(n, err)
	return n, err
}

// countTaken counts what was taken; neither bytes nor EAGAIN is the end. The lock of
// reading is held.
func (p *pump) countTaken(n int, err error) {
	switch {
	case n > 0:
		p.taken += int64(n)
	case err != syscall.EAGAIN:
		p.tookEnd = true
	}
}

// took counts what was taken without an attempt.
func (p *pump) took(n int, err error) {
	p.reading.Lock()
	defer p.reading.Unlock()
	p.countTaken(n, err)
}

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

func (p *pump) attempt(state *laneState, do func() (int, error)) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lane.now() != state {
		return 0, errChanged
	}
	n, err := do()
	if n > 0 {
		p.given += int64(n)
	}
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

// hasFailed reports whether what this pump writes to has been found to be reset. One
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

// letGo notes that what has not been given on never will be.
func (p *pump) letGo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// owesReset notes that a reset is to be given on, though a close has been.
func (p *pump) owesReset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gaveEnd = false
}

// breaks is called when where the bytes went takes no more of them: it is reset.
// That comes back on the way from there, after the bytes that came before.
func (p *pump) breaks() {
	p.hear(false)
	p.letGo()
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
	p.back.owesReset()
	late := alarm{clock: p.clock()}
	for came := late.clock.Now(); ; {
		state := p.back.lane.now()
		due := came + state.Delay
		if state.Cut {
			p.back.lane.noteHeld(p.back, state)
			due = forever
		}
		if due <= late.clock.Now() {
			if p.back.finish(state, syscall.ECONNRESET) {
				return
			}
			continue
		}
		if !late.wait(due, state, gone) {
			return
		}
	}
}

// finish hands the end of the stream on, io.EOF as a close, any other as a reset;
// false if the lane is not as it was.
func (p *pump) finish(state *laneState, end error) bool {
	if p.stream.isHalved() {
		return true
	}
	_, err := p.attempt(state, func() (int, error) {
		p.gaveEnd = true
		if end == io.EOF {
			p.to.CloseWrite() // where it fails, it is over already
		}
		return 0, nil
	})
	if err == errChanged {
		return false
	}
	if end != io.EOF {
		p.stream.reset()
	}
	return true
}
