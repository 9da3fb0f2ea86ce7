// Package link is the network between the nodes of a run, and the harm that can
// be done to it.
//
// Every directed pair of nodes that are tied together has a relay at an address
// of its own: what one node has to call to reach an endpoint of the other. So a
// relay knows both ends, and needs no privilege. It carries streams and
// datagrams; without a fault it lets the kernel move the bytes of a stream.
//
// Bytes move in lanes: the lane from a to b is what flows that way, whichever of
// the two has called the other. Effects are put on lanes; those of several faults
// add up, as Effect says.
package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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

// Effect is what befalls a lane. Of several on one lane the delays are added, the
// lowest rate holds, and of probabilities each is drawn by itself; a lane that
// one of them cuts or refuses is.
type Effect struct {
	// Cut stops the bytes of a stream, and loses none: they go on when it ends,
	// and so does a close. A new connection is made and stays silent. A datagram
	// is lost.
	Cut bool
	// Refuse has new connections refused. It acts on the relay of From, whoever
	// else calls.
	Refuse bool
	// Delay is added to the time each byte takes, with up to Jitter more or less;
	// the bytes of a stream stay in their order. When it ends or becomes shorter,
	// what waits waits no longer than what comes then. A call is not delayed.
	Delay, Jitter time.Duration
	// Rate is how many bytes may pass in a second, of all connections and
	// datagrams together; 0 is no limit. A datagram that would wait for over a
	// second is lost.
	Rate float64
	// Corrupt is the probability of a byte to have one of its bits turned over,
	// after all checks that a network would make.
	Corrupt float64
	// Drop is the probability of a connection to be reset somewhere in the next
	// 4 KiB that it carries. It is drawn once for each.
	Drop float64
	// Loss, Duplicate and Reorder are probabilities of a datagram.
	Loss, Duplicate, Reorder float64
}

// more adds the effect of one more fault.
func (e Effect) more(o Effect) Effect {
	e.Cut, e.Refuse = e.Cut || o.Cut, e.Refuse || o.Refuse
	e.Delay, e.Jitter = e.Delay+o.Delay, e.Jitter+o.Jitter
	if o.Rate > 0 && (e.Rate == 0 || o.Rate < e.Rate) {
		e.Rate = o.Rate
	}
	either := func(p, q float64) float64 { return p + q - p*q }
	e.Corrupt, e.Drop = either(e.Corrupt, o.Corrupt), either(e.Drop, o.Drop)
	e.Loss, e.Duplicate, e.Reorder = either(e.Loss, o.Loss), either(e.Duplicate, o.Duplicate), either(e.Reorder, o.Reorder)
	return e
}

// touchesStream tells whether the bytes of a stream cannot be left to the kernel.
func (e Effect) touchesStream() bool {
	return e.Cut || e.Delay > 0 || e.Jitter > 0 || e.Rate > 0 || e.Corrupt > 0 || e.Drop > 0
}

// Network is the network of a run. Its methods may be called from any goroutine.
type Network struct {
	seed   func(name string) *rand.Rand
	relays []*relay
	lanes  map[Pair]*lane
	pipes  *pipes
	held   atomic.Int64   // bytes that wait in connections
	done   sync.WaitGroup // all goroutines

	mu     sync.Mutex
	faults []*Disturbance
	closed bool
}

// Open opens the relays of routes. seed makes the stream of random numbers of a
// name; each direction of each connection has a name of its own.
func Open(routes []Route, seed func(name string) *rand.Rand) (*Network, error) {
	n := &Network{seed: seed, lanes: map[Pair]*lane{}, pipes: &pipes{}}
	for _, route := range routes {
		for _, pair := range []Pair{{route.From, route.To}, {route.To, route.From}} {
			if n.lanes[pair] == nil {
				n.lanes[pair] = newLane()
			}
		}
		r := &relay{Route: route, network: n, streams: map[*stream]bool{}, up: n.lanes[Pair{route.From, route.To}], down: n.lanes[Pair{route.To, route.From}]}
		if err := r.open(); err != nil {
			n.Close()
			return nil, fmt.Errorf("cannot open the link from %s to %s: %w", route.From, route.To, err)
		}
		n.relays = append(n.relays, r)
	}
	return n, nil
}

// Has tells whether bytes can move between two nodes.
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

// Disturbance is an effect in force.
type Disturbance struct {
	network *Network
	pairs   []Pair
	effect  Effect
	silent  []*stream // connections that it has made half open
}

// Apply puts an effect on lanes, and returns when it acts. Pairs between which no
// bytes can move are passed over.
func (n *Network) Apply(pairs []Pair, e Effect) (*Disturbance, error) {
	f := &Disturbance{network: n, pairs: pairs, effect: e}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	n.faults = append(n.faults, f)
	if err := n.settle(pairs); err != nil {
		return nil, errors.Join(err, n.remove(f))
	}
	return f, nil
}

// Heal takes the effect off. To heal once more does nothing.
func (d *Disturbance) Heal() error {
	n := d.network
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remove(d)
}

// remove takes a fault off. The lock is held.
func (n *Network) remove(f *Disturbance) error {
	n.faults = slices.DeleteFunc(n.faults, func(o *Disturbance) bool { return o == f })
	for _, s := range f.silent {
		s.reset()
	}
	f.silent = nil
	return n.settle(f.pairs)
}

// settle has lanes act as the faults say. The lock is held.
func (n *Network) settle(pairs []Pair) error {
	var errs []error
	for _, p := range pairs {
		l := n.lanes[p]
		if l == nil {
			continue
		}
		var sum Effect
		for _, f := range n.faults {
			for _, q := range f.pairs {
				if q == p {
					sum = sum.more(f.effect)
				}
			}
		}
		l.set(sum)
		for _, r := range n.relays {
			if r.up == l {
				errs = append(errs, r.refuse(sum.Refuse))
			}
		}
	}
	return errors.Join(errs...)
}

// Reset resets the connections between the two nodes of each pair, whichever has
// made them, and returns how many.
func (n *Network) Reset(pairs []Pair) (count int) {
	for _, s := range n.streams(pairs, true) {
		s.reset()
		count++
	}
	return count
}

// HalfOpen has the connections between the nodes of each pair end at To alone,
// by a reset, while From's stay open and silent. They are reset when the fault is
// healed.
func (n *Network) HalfOpen(pairs []Pair) (f *Disturbance, count int) {
	f = &Disturbance{network: n}
	for _, s := range n.streams(pairs, false) {
		for _, p := range pairs {
			if p == (Pair{s.relay.From, s.relay.To}) || p == (Pair{s.relay.To, s.relay.From}) {
				s.halve(p.To == s.relay.To)
				f.silent = append(f.silent, s)
				break
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, f)
	return f, len(f.silent)
}

// streams are the connections between the nodes of each pair, those that are half
// open already among them or not.
func (n *Network) streams(pairs []Pair, halved bool) (all []*stream) {
	for _, r := range n.relays {
		for _, p := range pairs {
			if p == (Pair{r.From, r.To}) || p == (Pair{r.To, r.From}) {
				r.settle()
				all = append(all, r.live(halved)...)
				break
			}
		}
	}
	return all
}

// Close ends all relays and their connections, and waits for them.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	var errs []error
	for _, r := range n.relays {
		errs = append(errs, r.close())
	}
	n.done.Wait()
	n.pipes.close()
	return errors.Join(errs...)
}

// lane is a direction between two nodes.
type lane struct {
	state atomic.Pointer[laneState]

	mu    sync.Mutex
	pumps map[*pump]bool

	turn chan struct{} // holds one while somebody waits for the rate
	paid sync.Mutex    // of free
	free time.Time     // when what has been sent has taken its time
}

// laneState is what a lane does until changed is closed.
type laneState struct {
	Effect
	dropWave int // counts the times at which connections began to be dropped
	changed  chan struct{}
}

func newLane() *lane {
	l := &lane{pumps: map[*pump]bool{}, turn: make(chan struct{}, 1)}
	l.state.Store(&laneState{changed: make(chan struct{})})
	return l
}

func (l *lane) now() *laneState { return l.state.Load() }

// set changes what the lane does, and returns when everything that moves in it
// has heard.
func (l *lane) set(e Effect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.now()
	after := &laneState{Effect: e, dropWave: before.dropWave, changed: make(chan struct{})}
	if e.Drop > 0 && before.Drop == 0 {
		after.dropWave++
	}
	l.state.Store(after)
	close(before.changed)
	for p := range l.pumps {
		p.interrupt()
	}
}

func (l *lane) join(p *pump) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pumps[p] = true
}

func (l *lane) leave(p *pump) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pumps, p)
}

// forever is longer than any run.
const forever = 1<<63 - 1

// wait waits for a duration, or until the lane changes; false if what waits is gone.
func (s *laneState) wait(d time.Duration, gone <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.changed:
	case <-gone:
		return false
	}
	return true
}

// behind is how far who sends at a rate may be late and make up for it. It and what
// is sent at a time keep within the 2 % that the rate is kept lower.
const behind = 10 * time.Millisecond

// take waits until n bytes may be sent at the lane's rate, all that moves in the
// lane taken together. They are paid for before they are sent, and at a little less
// than the rate, so that no second has more. took is false if the lane has changed,
// ok if what waits is gone.
func (l *lane) take(state *laneState, n int, gone <-chan struct{}) (took, ok bool) {
	select {
	case l.turn <- struct{}{}:
	case <-state.changed:
		return false, true
	case <-gone:
		return false, false
	}
	defer func() { <-l.turn }()
	takes := time.Duration(float64(n) / (0.98 * state.Rate) * float64(time.Second))
	l.sent() // who has sent nothing has saved nothing
	for l.now() == state {
		l.paid.Lock()
		at := l.free.Add(takes)
		wait := time.Until(at)
		if wait <= 0 {
			l.free = at
			l.paid.Unlock()
			return true, true
		}
		l.paid.Unlock()
		if !state.wait(wait, gone) {
			return false, false
		}
	}
	return false, true
}

// sent notes that what was taken has been sent by now.
func (l *lane) sent() {
	l.paid.Lock()
	defer l.paid.Unlock()
	if late := time.Now().Add(-behind); l.free.Before(late) {
		l.free = late
	}
}
