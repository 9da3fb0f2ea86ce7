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
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/internal/openfiles"
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

// Options are what a network needs of the run that it is of.
type Options struct {
	// Seed makes the stream of random numbers of a name; each direction of each
	// connection has a name of its own.
	Seed func(name string) *rand.Rand
	// Clock is the run's.
	Clock *clock.Clock
	// Lacks, unless it is nil, is told the first time that a call or a datagram finds
	// no files left. It may be called from any goroutine.
	Lacks func(error)
}

// Network is the network of a run. Its methods may be called from any goroutine.
type Network struct {
	Options
	relays    []*relay
	between   map[Pair][]*relay       // by From and To
	addresses map[netip.Addr][]*relay // of streams, by the host that is called
	doors     []*door
	hatches   []*hatch
	lanes     map[Pair]*lane
	buffers   *buffers
	held      atomic.Int64   // bytes that wait in connections
	done      sync.WaitGroup // all goroutines
	lacking   sync.Once

	mu           sync.Mutex
	disturbances []*Disturbance // that have an effect, and are in force
	closed       bool
	watch        *watch // of refused connections, while some disturbance refuses them
}

// Open opens the relays of routes. Those that listen at one port, each at a host of its
// own, have the files in common that they take before they are used.
func Open(routes []Route, o Options) (*Network, error) {
	n := &Network{Options: o, between: map[Pair][]*relay{}, addresses: map[netip.Addr][]*relay{}, lanes: map[Pair]*lane{}, buffers: &buffers{}}
	doors, hatches := map[uint16]*door{}, map[uint16]*hatch{}
	for _, route := range routes {
		for _, pair := range []Pair{{route.From, route.To}, {route.To, route.From}} {
			if n.lanes[pair] == nil {
				n.lanes[pair] = newLane(o.Clock)
			}
		}
		at, err := netip.ParseAddrPort(route.Listen)
		if err != nil {
			n.Close()
			return nil, fmt.Errorf("cannot open the link from %s to %s: %w", route.From, route.To, err)
		}
		there := Pair{route.From, route.To}
		r := &relay{Route: route, network: n, address: at, up: n.lanes[there], down: n.lanes[Pair{route.To, route.From}]}
		n.relays = append(n.relays, r)
		n.between[there] = append(n.between[there], r)
		if route.Network == "udp" {
			h := hatches[at.Port()]
			if h == nil {
				h = &hatch{network: n, port: at.Port(), relays: map[netip.Addr]*relay{}}
				hatches[at.Port()], n.hatches = h, append(n.hatches, h)
			}
			h.relays[at.Addr()] = r
			continue
		}
		n.addresses[at.Addr()] = append(n.addresses[at.Addr()], r)
		d := doors[at.Port()]
		if d == nil {
			d = &door{network: n, port: at.Port(), relays: map[netip.Addr]*relay{}}
			doors[at.Port()], n.doors = d, append(n.doors, d)
		}
		d.relays[at.Addr()], r.door = r, d
	}
	err := openDoors(n.doors)
	for _, h := range n.hatches {
		if err == nil {
			err = h.open()
		}
	}
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("cannot open links: %w", err)
	}
	return n, nil
}

// lacks tells of an error once, if it is that there are no files left.
func (n *Network) lacks(err error) {
	if n.Lacks == nil || !isOutOfFiles(err) {
		return
	}
	n.lacking.Do(func() {
		why := ""
		if _, limit, known := openfiles.Count(); known && errors.Is(err, syscall.EMFILE) {
			why = fmt.Sprintf(": the process has open all of the %d files that it may (ulimit -n)", limit)
		}
		n.Lacks(fmt.Errorf("links cannot take or make connections, which need two files each%s: %w", why, err))
	})
}

// Has reports whether bytes can move between two nodes.
func (n *Network) Has(p Pair) bool { return n.lanes[p] != nil }

// Connections is how many connections of streams the network has at this time. Each takes
// two files.
func (n *Network) Connections() (count int) {
	for _, r := range n.relays {
		r.mu.Lock()
		count += len(r.streams)
		r.mu.Unlock()
	}
	return count
}

// across are the relays between the two nodes of each pair, whichever calls, each once.
func (n *Network) across(pairs []Pair) (all []*relay) {
	seen := map[Pair]bool{}
	for _, p := range pairs {
		for _, way := range []Pair{p, {p.To, p.From}} {
			if !seen[way] {
				seen[way] = true
				all = append(all, n.between[way]...)
			}
		}
	}
	return all
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
	for _, d := range n.doors {
		errs = append(errs, d.close())
	}
	for _, h := range n.hatches {
		errs = append(errs, h.close())
	}
	for _, r := range n.relays {
		errs = append(errs, r.close())
	}
	n.done.Wait()
	return errors.Join(errs...)
}
