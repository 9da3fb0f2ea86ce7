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
	at      map[Pair]int // in pairs
	tallies []*tally     // of each pair
	effect  Effect
	silent  []*stream // connections that it has made half open
	watch   *watch    // of the connections that it refuses; nil if there can be none
	silence int64     // calls that the watch had not heard of when it began
	unheard atomic.Bool

	touched atomic.Bool
	touches chan struct{}
}

// disturb makes a disturbance of pairs, which have links.
func (n *Network) disturb(pairs []Pair, e Effect) (*Disturbance, error) {
	d := &Disturbance{network: n, effect: e, at: map[Pair]int{}, touches: make(chan struct{})}
	for _, p := range pairs {
		if n.lanes[p] == nil {
			return nil, fmt.Errorf("there is no link between %s and %s; Has reports which pairs have one", p.From, p.To)
		}
		if _, ok := d.at[p]; !ok {
			d.at[p] = len(d.pairs)
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
		var calling []*relay
		for _, p := range d.pairs {
			calling = append(calling, n.between[p]...)
		}
		n.settleCalls(calling)
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
	seen := map[*door]bool{}
	var doors []*door // that some calls are to be refused at, or no longer
	for _, p := range pairs {
		var effects []Effect
		var tallies []*tally
		for _, d := range n.disturbances {
			if i, ok := d.at[p]; ok {
				effects = append(effects, d.effect)
				tallies = append(tallies, d.tallies[i])
			}
		}
		l := n.lanes[p]
		refused := l.now().Refuse
		l.set(effects, tallies)
		if l.now().Refuse != refused {
			for _, r := range n.between[p] {
				if r.door != nil && !seen[r.door] {
					seen[r.door], doors = true, append(doors, r.door)
				}
			}
		}
	}
	if n.closed || len(doors) == 0 {
		return nil
	}
	if err := lacksListeners(doors); err != nil {
		return err
	}
	var errs []error
	for _, d := range doors {
		errs = append(errs, d.adjust())
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
	there, ok := d.at[Pair{s.relay.From, s.relay.To}]
	back, isBack := d.at[Pair{s.relay.To, s.relay.From}]
	if !ok || isBack && back < there {
		return back
	}
	return there
}

// streams are the connections between the nodes of each pair, those that are half
// open already among them or not.
func (n *Network) streams(pairs []Pair, halved bool) (all []*stream) {
	relays := n.across(pairs)
	n.settleCalls(relays)
	for _, r := range relays {
		all = append(all, r.live(halved)...)
	}
	return all
}
