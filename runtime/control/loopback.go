package control

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// Ports of their own share one socket, which listens on every address of the
// loopback: each has another address, and the one that a connection was made to tells
// whose it is.

// listenOnLoopback opens a port of the loopback's socket; nil where this machine can
// have no such socket.
func (s *Server) listenOnLoopback(node string, incarnation int) (*Port, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loopback == nil && !s.alone {
		l, err := listenOnAll(s.o.Spared)
		if s.alone = err != nil; !s.alone {
			k := &socket{s: s, listener: l, ports: map[netip.Addr]*Port{}}
			k.ports[common] = &Port{socket: k, addr: l.Addr(), done: make(chan struct{})}
			if err := s.start(k); err != nil {
				return nil, err
			}
			s.loopback = k
		}
	}
	switch k := s.loopback; {
	case s.closed:
		return nil, net.ErrClosed
	case s.alone:
		return nil, nil
	default:
		return k.add(node, incarnation)
	}
}

// common is the address that is no node's own.
var common = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// loopbackAddresses is how many addresses a loopback's socket gives: those of
// 127.1.0.0 and on that end neither in 0 nor in 255, some for each incarnation.
const loopbackAddresses = 254 * 256 * 254

func loopbackAddress(n int) netip.Addr {
	n %= loopbackAddresses
	return netip.AddrFrom4([4]byte{127, byte(1 + n/(254*256)), byte(n / 254 % 256), byte(1 + n%254)})
}

// add gives an address to a port. The Server's lock is held.
func (k *socket) add(node string, incarnation int) (*Port, error) {
	if len(k.ports) > loopbackAddresses {
		return nil, fmt.Errorf("all %d addresses of the loopback are in use", loopbackAddresses)
	}
	for {
		address := loopbackAddress(k.given)
		k.given++
		if k.ports[address] != nil {
			continue
		}
		port := k.listener.Addr().(*net.TCPAddr).Port
		p := &Port{socket: k, node: node, incarnation: incarnation, done: make(chan struct{}),
			addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, uint16(port)))}
		k.ports[address] = p
		return p, nil
	}
}

// remove takes a port's address back.
func (k *socket) remove(p *Port) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if address := addressOf(p.addr); k.ports[address] == p {
		delete(k.ports, address)
		close(p.done)
	}
}

func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// turnAway resets a connection to an address of the loopback that is no port's, as
// the kernel does where nobody listens.
func (s *Server) turnAway(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	nc.Close()
	nobody := &Conn{s: s, port: &Port{}, peer: nc.RemoteAddr().String()}
	s.refused(nobody, "", fmt.Sprintf("it connected to %s, which is no address of a node that runs", nc.LocalAddr()))
}

// highestPort is the highest that there is.
const highestPort = 1<<16 - 1

// listenOnAll listens on one port of all addresses of the loopback: not on one that
// is spared, nor, if that can be, on one that the kernel gives to callers, for those
// are what others on this machine want.
func listenOnAll(spared []int) (*osc.Listener, error) {
	above := callersPorts() + 1
	for range 64 {
		port := 0
		if above <= highestPort {
			port = above + rand.IntN(highestPort+1-above)
		}
		if slices.Contains(spared, port) {
			continue
		}
		l, err := listenOnDevice("lo", port)
		if err == nil && slices.Contains(spared, l.Addr().(*net.TCPAddr).Port) {
			l.Close()
			continue
		}
		if err == nil {
			deepen(l, unreadBytes)
			return osc.NewListener(l), nil
		}
		if port == 0 {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no port from %d to %d is free", above, highestPort)
}
