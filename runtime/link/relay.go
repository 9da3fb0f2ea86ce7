package link

import (
	"net"
	"net/netip"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// relay is an open route.
type relay struct {
	Route
	network  *Network
	door     *door          // of streams
	up, down *lane          // from From to To, and back
	address  netip.AddrPort // of Listen

	mu        sync.Mutex
	listener  *osc.Listener  // of streams, where the door is narrow and calls are taken
	packets   net.PacketConn // of datagrams; nil until there is one
	streams   map[*stream]bool
	accepted  int
	answered  map[uint16]bool // ports of callers, of connections that were open since there is a watch
	isRefused bool
	isClosed  bool
}

// listen opens the relay's own listener, if it is not open.
func (r *relay) listen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil || r.isClosed {
		return nil
	}
	l, err := listen(r.Listen, !r.door.isAlone(), false)
	if err != nil {
		return err
	}
	r.listener = l
	r.network.done.Go(func() { r.door.accept(l) })
	return nil
}

// unlisten gives up the relay's own listener, if it has one.
func (r *relay) unlisten() (over []*osc.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		over, r.listener = append(over, r.listener), nil
	}
	return over
}

// takes is the listener that takes the relay's calls; nil if they are refused.
func (r *relay) takes() *osc.Listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isRefused || r.isClosed || r.listener != nil {
		return r.listener
	}
	r.door.mu.Lock()
	defer r.door.mu.Unlock()
	return r.door.wide
}

// take takes a connection. It reports false if the relay is closed.
func (r *relay) take(near *net.TCPConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosed {
		return false
	}
	if raw, err := near.SyscallConn(); err == nil {
		keepUrgent(raw)
	}
	if r.streams == nil {
		r.streams, r.answered = map[*stream]bool{}, map[uint16]bool{}
	}
	r.accepted++
	s := r.stream(near, r.accepted)
	r.streams[s] = true
	r.answered[s.port()] = true
	r.network.done.Go(func() {
		defer s.end()
		s.run()
		r.mu.Lock()
		delete(r.streams, s)
		r.mu.Unlock()
	})
	return true
}

func (r *relay) setRefused(refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isRefused = refused
}

// isRefusing reports whether a disturbance has new connections refused.
func (r *relay) isRefusing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isRefused
}

// hasAnswered reports whether a connection has come from a port.
func (r *relay) hasAnswered(port uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered[port]
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

func (r *relay) close() (err error) {
	r.mu.Lock()
	r.isClosed = true
	switch {
	case r.listener != nil:
		err = r.listener.Close()
	case r.packets != nil:
		err = r.packets.Close()
	}
	r.mu.Unlock()
	for _, s := range r.live(true) {
		s.reset()
	}
	return err
}
