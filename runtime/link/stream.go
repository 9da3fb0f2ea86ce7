package link

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// stream is a connection through a relay: near is to From, far to To.
type stream struct {
	relay    *relay
	number   int
	near     *net.TCPConn
	context  context.Context // done when it is over
	end      context.CancelFunc
	up, down *pump
	isReset  atomic.Bool // whoever sets it is who has reset the connection

	mu     sync.Mutex
	far    *net.TCPConn // nil until it is connected
	halved bool         // one end is gone, and the other does not know
}

// port is that of the caller.
func (s *stream) port() uint16 { return uint16(s.near.RemoteAddr().(*net.TCPAddr).Port) }

// stream takes a connection. It is in its lanes from then on, so that what waits in
// it is seen before it goes anywhere.
func (r *relay) stream(near *net.TCPConn, number int) *stream {
	s := &stream{relay: r, near: near, number: number}
	s.context, s.end = context.WithCancel(context.Background())
	s.up, s.down = s.pump("up", r.up), s.pump("down", r.down)
	s.up.back, s.down.back = s.down, s.up
	s.up.from, s.down.to = near, near
	s.up.silent = true
	r.up.join(s.up)
	r.down.join(s.down)
	return s
}

// leave is called before an end is closed: what waits there for a lane waits for it
// no longer.
func (s *stream) leave() {
	s.relay.up.leave(s.up)
	s.relay.down.leave(s.down)
}

// abort closes a connection by a reset.
func abort(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// reset ends both ends by a reset. It reports whether nobody else has, or was to.
func (s *stream) reset() bool {
	first := s.isReset.CompareAndSwap(false, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
	abort(s.near)
	if s.far != nil {
		abort(s.far)
	}
	s.end()
	return first
}

// halve resets one end, and keeps the other open and silent until it is reset. It
// reports false if the connection has ended, or is half open already.
func (s *stream) halve(farEnds bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.halved || s.context.Err() != nil {
		return false
	}
	s.halved = true
	s.leave()
	switch {
	case !farEnds:
		abort(s.near)
	case s.far != nil:
		abort(s.far)
	}
	return true
}

// close closes what is still open, by a close and not by a reset.
func (s *stream) close() {
	s.mu.Lock() // or it could come between the steps of a reset
	defer s.mu.Unlock()
	s.leave()
	s.near.Close()
	if s.far != nil {
		s.far.Close()
	}
}

func (s *stream) isHalved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halved
}

// run relays until both directions are over.
func (s *stream) run() {
	defer s.close()
	if s.connect() {
		s.up.connect(s.near, s.far)
		s.down.connect(s.far, s.near)
		var both sync.WaitGroup
		both.Go(s.up.run)
		both.Go(s.down.run)
		both.Wait()
	}
	if s.isHalved() {
		<-s.context.Done()
	}
}

// connect calls the target once the way there is open, and has the caller's
// connection end as the call is answered then: by a reset where nobody listens.
func (s *stream) connect() bool {
	for {
		state, isOpen := s.up.leaves()
		if isOpen {
			break
		}
		s.relay.up.noteHeld(s.up, state)
		if !state.wait(s.context.Done()) {
			return false
		}
	}
	dialer := net.Dialer{Control: prepareCall} // the kernel's own patience is what the caller would meet
	if s.relay.Source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.relay.Source)}
	}
	c, err := dialer.DialContext(s.context, "tcp", s.relay.Target)
	if err != nil {
		s.relay.network.lacks(err)
	}
	if err != nil && !s.answerReset() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && !s.halved:
		s.leave()
		abort(s.near)
	case err == nil && !s.halved && s.context.Err() == nil:
		s.far = c.(*net.TCPConn)
		return true
	case err == nil:
		abort(c.(*net.TCPConn))
	}
	return false
}

// answerReset waits until the lane back lets the reset through that the call was
// answered by. It reports false if the connection is gone.
func (s *stream) answerReset() bool {
	s.down.took(0, io.EOF)
	for state := s.relay.down.now(); state.Cut; state = s.relay.down.now() {
		s.relay.down.noteHeld(s.down, state)
		if !state.wait(s.context.Done()) {
			return false
		}
	}
	return s.context.Err() == nil
}
