package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// relay is an open route.
type relay struct {
	Route
	network  *Network
	up, down *lane // from From to To, and back

	mu        sync.Mutex
	listener  *osc.Listener  // of streams
	packets   net.PacketConn // of datagrams
	streams   map[*stream]bool
	accepted  int
	isRefused bool
	isClosed  bool
}

func (r *relay) open() error {
	if r.Network == "udp" {
		return r.openPackets()
	}
	listener, err := osc.Listen(r.Listen)
	if err != nil {
		return err
	}
	r.listener = listener
	r.network.done.Go(func() { r.accept(listener) })
	return nil
}

// accept takes the connections of one listener.
func (r *relay) accept(listener *osc.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of files, or aborted before it was taken: there may be others, and
			// nothing tells when there are files again.
			time.Sleep(time.Millisecond)
			continue
		}
		s := &stream{relay: r, near: c.(*net.TCPConn)}
		s.context, s.end = context.WithCancel(context.Background())
		r.mu.Lock()
		if r.isClosed {
			r.mu.Unlock()
			s.reset()
			return
		}
		r.accepted++
		s.number = r.accepted
		r.streams[s] = true
		r.network.done.Add(1)
		r.mu.Unlock()
		go func() {
			defer r.network.done.Done()
			defer s.end()
			s.run()
			r.mu.Lock()
			delete(r.streams, s)
			r.mu.Unlock()
		}()
	}
}

// settle returns when all the connections that callers have are known.
func (r *relay) settle() {
	r.mu.Lock()
	takes := r.Network == "tcp" && !r.isRefused && !r.isClosed
	listener := r.listener
	r.mu.Unlock()
	if takes {
		listener.Settle() // where it fails, there is nothing to be accepted
	}
}

// refuse has new connections refused, or taken again.
func (r *relay) refuse(refused bool) error {
	if refused {
		r.settle() // what waits to be accepted would be reset
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Network != "tcp" || r.isClosed || refused == r.isRefused {
		return nil
	}
	var err error
	if refused {
		err = r.listener.Close()
	} else {
		err = r.open()
	}
	if err == nil {
		r.isRefused = refused
	}
	return err
}

// live are the connections that are open, at both ends or, halved, at one.
func (r *relay) live(halved bool) (all []*stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.streams {
		if s.context.Err() == nil && (halved || !s.isHalved()) {
			all = append(all, s)
		}
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
	for _, s := range r.live(true) {
		s.reset()
	}
	return errors.Join(errs...)
}

// stream is a connection through a relay: near is to From, far to To.
type stream struct {
	relay   *relay
	number  int
	near    *net.TCPConn
	context context.Context // done when it is over
	end     context.CancelFunc

	mu     sync.Mutex
	far    *net.TCPConn // nil until it is connected
	halved bool         // one end is gone, and the other does not know
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

// close closes what is still open, by a close and not by a reset.
func (s *stream) close() {
	s.mu.Lock() // or it could come between the steps of a reset
	defer s.mu.Unlock()
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
		r := s.relay
		up, down := s.pump("up", r.up, s.near, s.far), s.pump("down", r.down, s.far, s.near)
		up.back, down.back = down, up
		var both sync.WaitGroup
		both.Go(up.run)
		both.Go(down.run)
		both.Wait()
	}
	if s.isHalved() {
		<-s.context.Done()
	}
}

// connect calls the target once the way there is open, and has the caller's
// connection end as the call is answered then: by a reset where nobody listens.
func (s *stream) connect() bool {
	for state := s.relay.up.now(); state.Cut; state = s.relay.up.now() {
		if !state.wait(forever, s.context.Done()) {
			return false
		}
	}
	var dialer net.Dialer // the kernel's own patience is what the caller would meet
	if s.relay.Source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.relay.Source)}
	}
	c, err := dialer.DialContext(s.context, "tcp", s.relay.Target)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && !s.halved:
		abort(s.near)
	case err == nil && !s.halved && s.context.Err() == nil:
		s.far = c.(*net.TCPConn)
		return true
	case err == nil:
		abort(c.(*net.TCPConn))
	}
	return false
}
