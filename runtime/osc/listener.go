package osc

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Listener is a listener that can tell when it has caught up: a peer may
// connect, speak and be gone in less time than it takes to accept it.
type Listener struct {
	net.Listener
	mu      sync.Mutex
	markers map[[2]string]chan struct{} // by the ends of our own connection
	closed  chan struct{}
	once    sync.Once
}

// Listen listens on a TCP address; on one of IPv4 not on IPv6 as well, which for
// 0.0.0.0 net.Listen does.
func Listen(address string) (*Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host).To4() != nil {
		network = "tcp4"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return NewListener(l), nil
}

// NewListener makes a Listener of one that listens on TCP, which it then owns.
func NewListener(l net.Listener) *Listener {
	return &Listener{Listener: l, markers: map[[2]string]chan struct{}{}, closed: make(chan struct{})}
}

// ends are the two ends of a connection as they are called where it was accepted. At
// a listener on many addresses, one peer may have connections to each by one port.
func ends(peer, own net.Addr) [2]string { return [2]string{peer.String(), own.String()} }

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		select {
		case <-l.closed:
			if err == nil {
				c.Close()
			}
			return nil, net.ErrClosed
		default:
		}
		if err != nil {
			return nil, err
		}
		between := ends(c.RemoteAddr(), c.LocalAddr())
		l.mu.Lock()
		settled, marker := l.markers[between]
		delete(l.markers, between)
		l.mu.Unlock()
		if !marker {
			return c, nil
		}
		c.Close()
		close(settled)
	}
}

// Settle returns when every connection that was made before the call has been
// returned by Accept, which another goroutine keeps calling: it makes one of
// its own, which comes after them all. It is net.ErrClosed where the listener
// is closed meanwhile, and an error where Accept has not come to it within 5 s, as it
// cannot where the process has no files left.
func (l *Listener) Settle() error {
	settled := make(chan struct{})
	l.mu.Lock()
	c, err := net.DialTimeout("tcp", l.Addr().String(), settleWithin)
	if err == nil {
		l.markers[ends(c.LocalAddr(), c.RemoteAddr())] = settled
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	defer c.Close()
	// It is waited in parts, for time in which this process does not run, as one that is
	// stopped, to count as one of them at most: Accept does not run then either.
	part := time.NewTicker(settleWithin / settleParts)
	defer part.Stop()
	for range settleParts {
		select {
		case <-settled:
			return nil
		case <-l.closed:
			return net.ErrClosed
		case <-part.C:
		}
	}
	l.mu.Lock()
	delete(l.markers, ends(c.LocalAddr(), c.RemoteAddr()))
	l.mu.Unlock()
	return fmt.Errorf("%s: connections that wait are not accepted", l.Addr())
}

// settleWithin bounds how long Settle waits, in so many parts.
const (
	settleWithin = 5 * time.Second
	settleParts  = 50
)

// Close stops listening. Connections that were not accepted are reset. A process
// that is just being forked may hold the socket until it executes its program: on
// Linux it does not listen any more meanwhile, and its address is free.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		deafen(l.Listener)
	})
	return l.Listener.Close()
}
