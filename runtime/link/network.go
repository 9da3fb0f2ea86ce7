// Package link is the network between the nodes of a run, and the harm that can
// be done to it.
//
// Every directed pair of nodes that are tied together has a relay at an address
// of its own: what one node has to call to reach an endpoint of the other. So a
// relay knows both ends, and needs no privilege. It carries streams, the urgent bytes
// in them included, and datagrams.
//
// Bytes move in lanes. The lane from a to b is what flows that way, whichever of
// the two has called the other. A disturbance puts an Effect on lanes until it is
// healed; how several on one lane add up, Effect says.
//
// A disturbance counts what it has touched, in each lane by itself: see Touched. A
// partition between nodes that never send a byte touches nothing. An act and its
// count are one step: it is taken under the lock of the connection or flow that it
// happens to, and a lane changes only while it holds these locks in turn. So the
// counts of a disturbance are final when Heal returns. What a cut holds is not
// counted as it comes: it is what lies in the relay when the cut ends, since
// nothing could leave before.
package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Route is a relay: how From reaches an endpoint of To.
type Route struct {
	From, To string // nodes
	Endpoint string
	Network  string // "tcp" or "udp"
	Listen   string // host:port of the relay
	Target   string // host:port of the endpoint
	Source   string // the host that the relay calls the target from; "" is any
}

// Pair is a direction in which bytes move, from one node to another.
type Pair struct{ From, To string }

func (p Pair) String() string { return p.From + " → " + p.To }

// Network is the network of a run. Its methods may be called from any goroutine.
type Network struct {
	seed    func(name string) *rand.Rand
	relays  []*relay
	lanes   map[Pair]*lane
	buffers *buffers
	held    atomic.Int64   // bytes that wait in connections
	done    sync.WaitGroup // all goroutines

	mu           sync.Mutex
	disturbances []*Disturbance // that have an effect, and are in force
	closed       bool
	watch        *watch // of refused connections, while some disturbance refuses them
}

// Open opens the relays of routes. seed makes the stream of random numbers of a
// name; each direction of each connection has a name of its own.
func Open(routes []Route, seed func(name string) *rand.Rand) (*Network, error) {
	n := &Network{seed: seed, lanes: map[Pair]*lane{}, buffers: &buffers{}}
	for _, route := range routes {
		for _, pair := range []Pair{{route.From, route.To}, {route.To, route.From}} {
			if n.lanes[pair] == nil {
				n.lanes[pair] = newLane()
			}
		}
		r := &relay{Route: route, network: n, streams: map[*stream]bool{}, answered: map[uint16]bool{}, up: n.lanes[Pair{route.From, route.To}], down: n.lanes[Pair{route.To, route.From}]}
		if err := r.open(); err != nil {
			n.Close()
			return nil, fmt.Errorf("cannot open the link from %s to %s: %w", route.From, route.To, err)
		}
		n.relays = append(n.relays, r)
	}
	return n, nil
}

// Has reports whether bytes can move between two nodes.
func (n *Network) Has(p Pair) bool { return n.lanes[p] != nil }

// Networks are the kinds of endpoint, "tcp" and "udp", that a pair is tied by.
func (n *Network) Networks(p Pair) map[string]bool {
	found := map[string]bool{}
	for _, r := range n.relays {
		if r.From == p.From && r.To == p.To || r.From == p.To && r.To == p.From {
			found[r.Network] = true
		}
	}
	return found
}

// ErrClosed is the error of a network that is closed.
var ErrClosed = errors.New("the network is closed")

// Close ends all relays and their connections, and waits for them.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	n.endWatch()
	n.mu.Unlock()
	var errs []error
	for _, r := range n.relays {
		errs = append(errs, r.close())
	}
	n.done.Wait()
	return errors.Join(errs...)
}
