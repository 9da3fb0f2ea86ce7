package link

import (
	"net/netip"
	"slices"
)

// refusal is a call that was refused by the kernel, since nobody listens.
type refusal struct {
	to   netip.AddrPort // whom the caller called; the port is 0 where the kernel no longer knows
	from uint16         // the caller's port
}

// Unseen reports whether the disturbance refuses connections, and some of them may
// not be counted: the kernel tells of them on Linux alone, and it leaves some out if
// more sockets end than are read. ConnectionsRefused is then too low, or 0.
// Once it is healed, one that has touched nothing is unseen also where calls have failed
// meanwhile whose callers keep their sockets, or call again with them: the kernel counts
// such calls on the machine, and does not tell whom they called.
func (d *Disturbance) Unseen() bool {
	return d.effect.Refuse && (d.watch == nil || d.watch.lost.Load() || d.unheard.Load())
}

// watchRefusals has a disturbance know of refusals while it is in force. The lock is
// held.
func (n *Network) watchRefusals(d *Disturbance) {
	if n.watch == nil {
		if n.watch, _ = newWatch(n.refused); n.watch != nil { // without one the disturbance is unseen
			defer n.forgetAnswered()
		}
	}
	d.watch = n.watch
	if d.watch != nil {
		d.silence = d.watch.leastSilence()
	}
}

// forgetAnswered forgets the ports of connections that are over: a new watch hears no more
// of them, and a call that is refused may come from one of those ports.
func (n *Network) forgetAnswered() {
	for _, r := range n.relays {
		r.mu.Lock()
		clear(r.answered)
		for s := range r.streams {
			r.answered[s.port()] = true
		}
		r.mu.Unlock()
	}
}

// unwatchRefusals has all refusals so far be counted, and ends the watch if it serves
// no other disturbance. The lock is held.
func (n *Network) unwatchRefusals(d *Disturbance) {
	if n.watch == nil || !d.effect.Refuse {
		return
	}
	if i := slices.IndexFunc(n.relays, func(r *relay) bool {
		_, ok := d.at[Pair{r.From, r.To}]
		return ok && r.isRefusing()
	}); i >= 0 {
		d.hearAll(n.relays[i].address)
	}
	if !slices.ContainsFunc(n.disturbances, func(o *Disturbance) bool { return o != d && o.effect.Refuse }) {
		n.endWatch()
	}
}

// quietLooks is how often is looked for calls that are not heard of: one that others
// have just made, and that is heard of in a moment, is not one.
const quietLooks = 4

// hearAll has the refusals so far be counted. address is one that refuses calls.
func (d *Disturbance) hearAll(address netip.AddrPort) {
	if d.watch == nil {
		return
	}
	for range quietLooks {
		d.watch.settle(address)
		calls, known := d.watch.silence()
		if d.touched.Load() || known && calls <= d.silence {
			return
		}
	}
	d.unheard.Store(true)
}

func (n *Network) endWatch() {
	if n.watch != nil {
		n.watch.close()
		n.watch = nil
	}
}

// refused counts a refusal for the lane that it was in, if the relay is not open
// because of a disturbance.
func (n *Network) refused(call refusal) {
	var in *lane
	for _, r := range n.addresses[call.to.Addr()] {
		if call.to.Port() != 0 && call.to.Port() != r.address.Port() {
			continue
		}
		if !r.isRefusing() || call.to.Port() == 0 && r.hasAnswered(call.from) {
			return // the end of a connection that was made before
		}
		if in != nil && in != r.up {
			return // lanes share a host, and the port is not known
		}
		in = r.up
	}
	if in != nil {
		in.countRefused()
	}
}

// countRefused counts a refused connection for all disturbances that refuse it.
func (l *lane) countRefused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now().touch(causeRefuse, 0, func(t *tally) { t.add(connectionsRefused, 1) })
}
