package link

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// relay is an open route.
type relay struct {
	Route
	network  *Network
	up, down *lane          // from From to To, and back
	address  netip.AddrPort // of Listen, where it is of streams

	mu        sync.Mutex
	listener  *osc.Listener  // of streams
	packets   net.PacketConn // of datagrams
	streams   map[*stream]bool
	accepted  int
	answered  map[uint16]bool // ports of callers
	isRefused bool
	isClosed  bool
}

// joins reports whether the relay is between the two nodes of a pair.
func (r *relay) joins(p Pair) bool {
	return p == Pair{r.From, r.To} || p == Pair{r.To, r.From}
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
	if !r.address.IsValid() { // it stays the same
		r.address = listener.Addr().(*net.TCPAddr).AddrPort()
	}
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
			// Out of files, or aborted before it was taken: there may be others, and no
			// event says when there are files again.
			time.Sleep(time.Millisecond)
			continue
		}
		r.mu.Lock()
		if r.isClosed {
			r.mu.Unlock()
			abort(c.(*net.TCPConn))
			return
		}
		if raw, err := c.(*net.TCPConn).SyscallConn(); err == nil {
			keepUrgent(raw)
		}
		r.accepted++
		s := r.stream(c.(*net.TCPConn), r.accepted)
		r.streams[s] = true
		r.answered[uint16(s.near.RemoteAddr().(*net.TCPAddr).Port)] = true
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
