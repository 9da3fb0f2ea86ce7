package link

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// Disturbance is harm done to lanes: an effect that is in force until it is healed,
// or what Reset and HalfOpen have done at once.
type Disturbance struct {
	network *Network
	pairs   []Pair
	tallies []*tally // of each pair
	effect  Effect
	silent  []*stream // connections that it has made half open
	watch   *watch    // of the connections that it refuses; nil if there can be none

	touched atomic.Bool
	touches chan struct{}
}

// disturb makes a disturbance of pairs, which have links.
func (n *Network) disturb(pairs []Pair, e Effect) (*Disturbance, error) {
	d := &Disturbance{network: n, effect: e, touches: make(chan struct{})}
	for _, p := range pairs {
		if n.lanes[p] == nil {
			return nil, fmt.Errorf("there is no link between %s and %s; Has reports which pairs have one", p.From, p.To)
		}
		if !slices.Contains(d.pairs, p) {
			d.pairs = append(d.pairs, p)
			d.tallies = append(d.tallies, &tally{of: d})
		}
	}
	return d, nil
}

// Apply puts an effect on lanes, and returns when it acts. A pair without a link is
// an error: see Has.
func (n *Network) Apply(pairs []Pair, e Effect) (*Disturbance, error) {
	d, err := n.disturb(pairs, e)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	if e.Refuse {
		n.watchRefusals(d)
	}
	n.disturbances = append(n.disturbances, d)
	if err := n.settle(d.pairs); err != nil {
		return nil, errors.Join(err, n.remove(d))
	}
	return d, nil
}

// Heal takes the effect off, and resets the connections that are half open. What
// the disturbance has touched is final when Heal returns. To heal once more does
// nothing.
func (d *Disturbance) Heal() error {
	n := d.network
	if d.effect.Cut { // what was made during the cut is known before it is counted
		for _, r := range n.relays {
			if slices.Contains(d.pairs, Pair{r.From, r.To}) {
				r.settle()
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remove(d)
}

// Touched is what the disturbance has touched so far, in all its lanes.
func (d *Disturbance) Touched() (sum Touched) {
	for i := range d.pairs {
		d.addTouched(i, &sum)
	}
	return sum
}

// TouchedPairs are the pairs in whose lanes it has touched anything so far, in the
// order in which they were given.
func (d *Disturbance) TouchedPairs() (pairs []Pair) {
	for i, p := range d.pairs {
		var sum Touched
		if d.addTouched(i, &sum); sum.Any() {
			pairs = append(pairs, p)
		}
	}
	return pairs
}

func (d *Disturbance) addTouched(i int, sum *Touched) {
	d.network.lanes[d.pairs[i]].touched(d.tallies[i], sum)
}

// Touches is closed when the disturbance touches something for the first time.
func (d *Disturbance) Touches() <-chan struct{} { return d.touches }

func (d *Disturbance) noteTouch() {
	if !d.touched.Load() && d.touched.CompareAndSwap(false, true) {
		close(d.touches)
	}
}

// remove takes a disturbance off. The lock is held.
func (n *Network) remove(d *Disturbance) error {
	for _, s := range d.silent {
		s.reset()
	}
	d.silent = nil
	at := slices.Index(n.disturbances, d)
	if at < 0 {
		return nil
	}
	n.unwatchRefusals(d)
	n.disturbances = slices.Delete(n.disturbances, at, at+1)
	return n.settle(d.pairs)
}

// settle has lanes act as the disturbances say. The lock is held.
func (n *Network) settle(pairs []Pair) error {
	var errs []error
	for _, p := range pairs {
		var effects []Effect
		var tallies []*tally
		for _, d := range n.disturbances {
			if i := slices.Index(d.pairs, p); i >= 0 {
				effects = append(effects, d.effect)
				tallies = append(tallies, d.tallies[i])
			}
		}
		l := n.lanes[p]
		l.set(effects, tallies)
		refuse := l.now().Refuse
		for _, r := range n.relays {
			if r.up == l {
				errs = append(errs, r.refuse(refuse))
			}
		}
	}
	return errors.Join(errs...)
}

// Reset resets the connections between the two nodes of each pair, whichever has
// made them; which they were, the disturbance says. There is nothing to heal. A
// pair without a link is an error: see Has.
func (n *Network) Reset(pairs []Pair) (*Disturbance, error) {
	d, err := n.disturb(pairs, Effect{})
	if err != nil {
		return nil, err
	}
	for _, s := range n.streams(d.pairs, true) {
		if s.reset() {
			d.tallies[d.pairOf(s)].add(connectionsReset, 1)
		}
	}
	return d, nil
}

// HalfOpen has the connections between the nodes of each pair end at To alone, by a
// reset, while From's stay open and silent. They are reset when the disturbance is
// healed. A pair without a link is an error: see Has.
func (n *Network) HalfOpen(pairs []Pair) (*Disturbance, error) {
	d, err := n.disturb(pairs, Effect{})
	if err != nil {
		return nil, err
	}
	for _, s := range n.streams(d.pairs, false) {
		i := d.pairOf(s)
		if s.halve(d.pairs[i].To == s.relay.To) {
			d.silent = append(d.silent, s)
			d.tallies[i].add(connectionsSilent, 1)
		}
	}
	return d, nil
}

// pairOf is the first pair that a connection is between. It counts for that alone.
func (d *Disturbance) pairOf(s *stream) int {
	return slices.IndexFunc(d.pairs, s.relay.joins)
}

// streams are the connections between the nodes of each pair, those that are half
// open already among them or not.
func (n *Network) streams(pairs []Pair, halved bool) (all []*stream) {
	for _, r := range n.relays {
		if slices.ContainsFunc(pairs, r.joins) {
			r.settle()
			all = append(all, r.live(halved)...)
		}
	}
	return all
}
