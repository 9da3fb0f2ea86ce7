package link

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// run moves bytes until the end.
func (p *pump) run() {
	p.mover = newMover(p)
	defer p.mover.close()
	defer p.writer.Wait()
	defer p.waiting.close()
	p.readAll()
}

// readAll reads until the end.
func (p *pump) readAll() {
	defer p.hear(false)
	for {
		state := p.look()
		if state.Cut {
			if !p.awaitHeal(state) {
				return
			}
			continue
		}
		passes := !state.actsOnStreams() && p.waiting.drained()
		most := chunk
		if passes {
			most = largeSize
		}
		switch err := p.mover.fill(most); {
		case err == nil:
		case err == errChanged, errors.Is(err, os.ErrDeadlineExceeded):
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
		if rest, isUrgent := p.mover.rest(); len(rest) > 0 && !p.waits(piece{bytes: rest, isUrgent: isUrgent}) {
			return
		}
	}
}

// awaitHeal waits until the lane changes, and takes nothing meanwhile; but the cuts
// hear of the first that comes. It reports false if the connection is gone.
func (p *pump) awaitHeal(state *laneState) bool {
	for !p.held().any() && errors.Is(p.mover.await(), os.ErrDeadlineExceeded) {
		// The interruption may be of the change that made the state.
		if p.look() != state {
			return true
		}
	}
	p.lane.noteHeld(p, state)
	return state.wait(p.stream.context.Done())
}

// waits hands a piece that has been read to the writer; false if it is not to be
// written any more.
func (p *pump) waits(next piece) bool {
	p.starting.Do(func() { p.writer.Go(p.write) })
	state, ok := p.arrives(&next)
	if !ok {
		p.stream.reset()
		return false
	}
	return p.waiting.put(next, state)
}

// arrives does to a piece what the lane does to what arrives. What the lane does is
// asked after the piece has come, so that nothing passes that came after a change.
// It reports false if the connection is to be reset.
func (p *pump) arrives(next *piece) (*laneState, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.lane.now()
	next.came = p.clock().Now()
	if p.over {
		return state, true
	}
	if next.end == nil {
		if p.drop.hits(state, len(next.bytes), p.random) {
			if p.stream.isReset.CompareAndSwap(false, true) {
				state.touch(causeDrop, p.drop.lot, func(t *tally) { t.add(connectionsReset, 1) })
			}
			return state, false
		}
		p.corrupt.hit(state, next.bytes, p.random)
	}
	lot := 0.5 // no jitter
	if state.Jitter > 0 {
		if p.jitter == nil {
			p.jitter = p.random("jitter")
		}
		lot = p.jitter.Float64()
	}
	next.delay = state.lag(lot)
	state.touch(causeDelay, lot, func(t *tally) {
		if next.end != nil {
			t.add(closesDelayed, 1)
		} else {
			next.countDelayed(t, len(next.bytes))
		}
	})
	return state, true
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

// writeOne writes a piece, and reports whether the next is worth it.
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
			took, ok := p.lane.take(state, n, p.stream.context.Done(), func() { p.countRated(state, &next, n) })
			if !ok {
				return false
			}
			if !took {
				continue
			}
		}
		n, err := p.give(state, func(try attempt) (int, error) { return p.mover.write(try, next.bytes[:n], next.isUrgent) })
		if state.Rate > 0 {
			p.lane.sent()
		}
		if err != nil && err != errChanged {
			p.breaks()
			return false
		}
		next.written += n
		if next.bytes = next.bytes[n:]; len(next.bytes) == 0 {
			return true
		}
	}
}

// countRated counts the next n bytes of a piece as those that wait for the rate.
func (p *pump) countRated(state *laneState, next *piece, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lane.now() == state && !p.over {
		state.touch(causeRate, 0, func(t *tally) { next.countDelayed(t, next.written+n) })
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
		due := next.came + min(next.delay, state.Delay+state.Jitter)
		if state.Cut {
			p.lane.noteHeld(p, state)
			due = forever
		}
		if due <= p.alarm.clock.Now() {
			return state, true
		}
		if !p.alarm.wait(due, state, p.stream.context.Done()) {
			return nil, false
		}
	}
}
