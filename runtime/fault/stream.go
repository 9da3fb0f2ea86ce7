package fault

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// relay is an open route.
type relay struct {
	Route
	network  *Network
	up, down *lane // from From to To, and back

	mu        sync.Mutex
	listener  net.Listener   // of streams; nil while they are refused
	packets   net.PacketConn // of datagrams
	streams   map[*stream]bool
	accepted  int
	isRefused bool
	isClosed  bool
}

func (r *relay) open() error {
	r.streams = map[*stream]bool{}
	if r.Network == "udp" {
		return r.openPackets()
	}
	listener, err := net.Listen("tcp", r.Listen)
	if err != nil {
		return err
	}
	r.listener = listener
	r.network.done.Go(func() { r.accept(listener) })
	return nil
}

// accept takes the connections of one listener.
func (r *relay) accept(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of files, or aborted before it was taken: there may be others.
			timer := time.NewTimer(time.Millisecond)
			<-timer.C
			continue
		}
		s := &stream{relay: r, near: c.(*net.TCPConn), gone: make(chan struct{})}
		r.mu.Lock()
		if r.isClosed {
			r.mu.Unlock()
			abort(s.near)
			return
		}
		r.accepted++
		s.number = r.accepted
		r.streams[s] = true
		r.network.done.Add(1)
		r.mu.Unlock()
		go func() {
			defer r.network.done.Done()
			s.run()
			r.mu.Lock()
			delete(r.streams, s)
			r.mu.Unlock()
		}()
	}
}

// refuse has new connections refused, or taken again.
func (r *relay) refuse(refused bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Network != "tcp" || r.isClosed || refused == r.isRefused {
		return nil
	}
	r.isRefused = refused
	if refused {
		return r.listener.Close()
	}
	return r.open()
}

func (r *relay) live() (all []*stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.streams {
		all = append(all, s)
	}
	return all
}

func (r *relay) close() error {
	r.mu.Lock()
	r.isClosed = true
	var errs []error
	if r.listener != nil && !r.isRefused {
		errs = append(errs, r.listener.Close())
	}
	if r.packets != nil {
		errs = append(errs, r.packets.Close())
	}
	r.mu.Unlock()
	for _, s := range r.live() {
		s.reset()
	}
	return errors.Join(errs...)
}

// stream is a connection through a relay: near is to From, far to To.
type stream struct {
	relay  *relay
	number int
	near   *net.TCPConn

	mu     sync.Mutex
	far    *net.TCPConn // nil until it is connected
	halved bool         // one end is gone, and the other does not know
	gone   chan struct{}
	isGone bool
}

// abort closes a connection by a reset.
func abort(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// reset ends both ends by a reset.
func (s *stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	abort(s.near)
	if s.far != nil {
		abort(s.far)
	}
	s.end()
}

func (s *stream) end() {
	if !s.isGone {
		s.isGone = true
		close(s.gone)
	}
}

// halve resets one end, and keeps the other open and silent until it is reset.
func (s *stream) halve(farEnds bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halved = true
	switch {
	case !farEnds:
		abort(s.near)
	case s.far != nil:
		abort(s.far)
	}
}

// run relays until both directions are over.
func (s *stream) run() {
	defer s.near.Close()
	if !s.connect() {
		return
	}
	r := s.relay
	up := &pump{stream: s, lane: r.up, from: s.near, to: s.far, name: fmt.Sprintf("%s>%s:%s/%d/up", r.From, r.To, r.Endpoint, s.number)}
	down := &pump{stream: s, lane: r.down, from: s.far, to: s.near, name: fmt.Sprintf("%s>%s:%s/%d/down", r.From, r.To, r.Endpoint, s.number)}
	var both sync.WaitGroup
	both.Go(up.run)
	both.Go(down.run)
	both.Wait()
	s.mu.Lock()
	halved := s.halved
	s.mu.Unlock()
	if halved {
		<-s.gone
	}
	s.far.Close()
}

// connect calls the target once the way there is open, as a call would be
// answered then.
func (s *stream) connect() bool {
	for {
		state := s.relay.up.now()
		if state.Cut {
			select {
			case <-state.changed:
				continue
			case <-s.gone:
				return false
			}
		}
		dialer := net.Dialer{Timeout: time.Minute}
		if s.relay.Source != "" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.relay.Source)}
		}
		c, err := dialer.Dial("tcp", s.relay.Target)
		if err != nil { // nobody listens: the caller is told so as far as it still can be
			abort(s.near)
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.isGone {
			abort(c.(*net.TCPConn))
			return false
		}
		s.far = c.(*net.TCPConn)
		return true
	}
}

// chunk is what is read at a time in a lane that has an effect, and queue how
// much of it waits for its time at the most: a lane that is slow holds up who
// writes, as a network does.
const (
	chunk = 32 << 10
	queue = 8 << 20
)

// piece is bytes that wait for their time; without bytes the end of the stream,
// by a close or by a reset.
type piece struct {
	bytes []byte
	due   time.Time
	end   error
}

// pump moves bytes one way.
type pump struct {
	stream   *stream
	lane     *lane
	from, to *net.TCPConn
	name     string // of its random numbers

	mu      sync.Mutex
	changed bool
	mover   *mover // while the kernel moves the bytes

	random *rand.Rand
	dropAt int64 // how many more bytes may pass before the connection is reset; 0 is any
	drawn  bool  // whether it is to be dropped
	last   time.Time
	intact int       // bytes until the next that is corrupted; -1 where it has to be drawn
	paid   time.Time // until when the rate has been used

	pieces  chan piece
	waiting sync.WaitGroup // the writer
	held    held
}

// held counts bytes that wait.
type held struct {
	mu    sync.Mutex
	space *sync.Cond
	bytes int
	over  bool
}

// interrupt has a reader that is under way look at its lane again.
func (p *pump) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = true
	p.from.SetReadDeadline(time.Unix(1, 0))
	if p.mover != nil {
		p.to.SetWriteDeadline(time.Unix(1, 0))
	}
}

// look is what the lane does now. Whatever it does later interrupts.
func (p *pump) look() *laneState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed {
		p.changed = false
		p.from.SetReadDeadline(time.Time{})
	}
	return p.lane.now()
}

func (p *pump) run() {
	p.lane.join(p)
	defer p.lane.leave(p)
	p.held.space = sync.NewCond(&p.held.mu)
	p.intact = -1
	defer func() {
		if p.pieces != nil {
			close(p.pieces)
			p.waiting.Wait()
		}
	}()
	mover, err := newMover(p.from, p.to)
	if err != nil {
		p.stream.reset()
		return
	}
	defer mover.close()
	for {
		state := p.look()
		switch {
		case state.Cut:
			select {
			case <-state.changed:
			case <-p.stream.gone:
				return
			}
			continue
		case !state.touchesStream() && p.drained():
			err := p.move(mover, state)
			if rest := mover.rest(); len(rest) > 0 && !p.delay(rest) {
				return
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
			switch {
			case err == nil:
			case p.lane.now() == state:
				p.finish(err)
				return
			default: // an end that came after the change
				p.end(err)
				return
			}
			continue
		}
		buf := make([]byte, p.size(state))
		n, err := p.from.Read(buf)
		if n > 0 && !p.delay(buf[:n]) {
			return
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			p.end(err)
			return
		}
	}
}

// move has the kernel move bytes until the lane changes, or the stream ends.
// What came after a change is not given on.
func (p *pump) move(m *mover, state *laneState) error {
	p.mu.Lock()
	p.mover = m
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.mover = nil
		p.to.SetWriteDeadline(time.Time{})
		p.mu.Unlock()
	}()
	for p.lane.now() == state {
		if err := m.fill(); err != nil {
			return err
		}
		if p.lane.now() != state {
			break
		}
		if err := m.drain(); err != nil {
			return err
		}
	}
	return nil
}

// delay has bytes that have been read take their time. What the lane does is
// asked after they have come, so that nothing passes that came after a change.
func (p *pump) delay(b []byte) bool {
	state := p.lane.now()
	if state.Drop > 0 && p.drops(state.Drop, len(b)) {
		p.stream.reset()
		return false
	}
	p.corrupt(state.Corrupt, b)
	return p.put(piece{bytes: b, due: p.due(state)})
}

// end has the end of the stream take its time.
func (p *pump) end(err error) {
	p.put(piece{due: p.due(p.lane.now()), end: err})
}

// due is when what has come now is to go on.
func (p *pump) due(state *laneState) time.Time {
	due := time.Now()
	if state.Delay > 0 || state.Jitter > 0 {
		delay := state.Delay
		if state.Jitter > 0 {
			delay += time.Duration((2*p.draw().Float64() - 1) * float64(state.Jitter))
		}
		due = due.Add(max(delay, 0))
	}
	if due.Before(p.last) {
		due = p.last
	}
	p.last = due
	return due
}

// size is how much to read at a time: at a rate no more than 5 ms of it.
func (p *pump) size(state *laneState) int {
	if state.Rate > 0 {
		return int(min(max(state.Rate/200, 1), chunk))
	}
	return chunk
}

func (p *pump) draw() *rand.Rand {
	if p.random == nil {
		p.random = p.stream.relay.network.seed(p.name)
	}
	return p.random
}

// drops tells whether the connection is to be reset within the next n bytes.
func (p *pump) drops(probability float64, n int) bool {
	if !p.drawn {
		p.drawn = true
		if p.draw().Float64() < probability {
			p.dropAt = 1 + p.draw().Int64N(4096)
		}
	}
	if p.dropAt == 0 {
		return false
	}
	p.dropAt -= int64(n)
	return p.dropAt <= 0
}

// corrupt turns over a bit of some bytes.
func (p *pump) corrupt(probability float64, b []byte) {
	if probability <= 0 {
		p.intact = -1
		return
	}
	for at := 0; ; at++ {
		if p.intact < 0 { // as many bytes stay intact as it would take to draw a hit
			p.intact = 0
			if probability < 1 {
				p.intact = int(min(math.Log1p(-p.draw().Float64())/math.Log1p(-probability), math.MaxInt32))
			}
		}
		if left := len(b) - at; p.intact >= left {
			p.intact -= left
			return
		}
		at += p.intact
		b[at] ^= 1 << p.draw().IntN(8)
		p.intact = -1
	}
}

// put hands a piece to the writer, and waits for room.
func (p *pump) put(next piece) bool {
	if p.pieces == nil {
		p.pieces = make(chan piece, queue/512)
		p.waiting.Go(p.write)
	}
	h := &p.held
	h.mu.Lock()
	for h.bytes > queue && !h.over {
		h.space.Wait()
	}
	h.bytes += len(next.bytes)
	over := h.over
	h.mu.Unlock()
	if over {
		return false
	}
	p.pieces <- next
	return true
}

// drained tells whether nothing waits any more; it waits for what does.
func (p *pump) drained() bool {
	h := &p.held
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.bytes > 0 && !h.over {
		h.space.Wait()
	}
	return true
}

// write writes pieces, each at its time.
func (p *pump) write() {
	broken := false
	for next := range p.pieces {
		if !broken {
			broken = !p.writeOne(next)
		}
		h := &p.held
		h.mu.Lock()
		h.bytes -= len(next.bytes)
		h.over = h.over || broken
		h.space.Broadcast()
		h.mu.Unlock()
	}
}

// writeOne writes a piece, and tells whether the next is worth it.
func (p *pump) writeOne(next piece) bool {
	if !p.await(next) {
		return false
	}
	if next.end != nil {
		p.finish(next.end)
		return false
	}
	if _, err := p.to.Write(next.bytes); err != nil {
		p.finish(err)
		return false
	}
	return true
}

// await waits until a piece may be written; false if it never may.
func (p *pump) await(next piece) bool {
	for paid := false; ; {
		state := p.lane.now()
		at := next.due
		switch {
		case state.Cut:
			select {
			case <-state.changed:
				continue
			case <-p.stream.gone:
				return false
			}
		case state.Rate > 0 && !paid:
			// Paid for before it is sent, and at a little less than the rate, so
			// that no second has more.
			if at.Before(p.paid) {
				at = p.paid
			}
			at = at.Add(time.Duration(float64(len(next.bytes)) / (0.98 * state.Rate) * float64(time.Second)))
		}
		if wait := time.Until(at); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-state.changed:
				timer.Stop()
				continue
			case <-p.stream.gone:
				timer.Stop()
				return false
			}
		}
		if p.lane.now() == state {
			if p.paid = time.Now(); at.After(p.paid) {
				p.paid = at
			}
			return true
		}
		paid = true
	}
}

// finish hands the end of the stream on: io.EOF is a close, any other a reset. One
// that comes from where the bytes went waits until the way back is open.
func (p *pump) finish(err error) {
	s := p.stream
	s.mu.Lock()
	halved := s.halved
	s.mu.Unlock()
	if halved {
		return
	}
	if errors.Is(err, io.EOF) {
		p.to.CloseWrite()
		return
	}
	back := s.relay.down
	if p.lane == back {
		back = s.relay.up
	}
	for {
		state := back.now()
		if !state.Cut {
			s.reset()
			return
		}
		select {
		case <-state.changed:
		case <-s.gone:
			return
		}
	}
}
