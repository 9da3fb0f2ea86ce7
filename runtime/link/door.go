package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/dagon-star/dagon-star/runtime/internal/openfiles"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// door is where the callers of one or more relays of streams come in: all those that
// have a port in common, each at a host of its own. While it is wide, one listener
// takes the calls to all hosts of the loopback, and the host that was called tells
// which relay is meant. So a link that nobody uses costs no file. When some relays
// refuse calls, which only the kernel can do, and only where nobody listens, it is
// narrow: each of the others has a listener of its own.
type door struct {
	network *Network
	port    uint16
	relays  map[netip.Addr]*relay // by host

	mu       sync.Mutex
	wide     *osc.Listener // nil while it is narrow
	isNarrow bool          // it can be nothing else
}

// listen opens a listener. One that is shared may stand beside others at its port that
// are: the one of the host that is called goes before the one of all hosts.
func listen(address string, isShared, isWide bool) (*osc.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if isShared {
			if err := sharePort(c); err != nil {
				return err
			}
		}
		if isWide {
			return onlyLoopback(c)
		}
		return nil
	}}
	config.SetMultipathTCP(false)
	network := "tcp"
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Is4() {
		network = "tcp4"
	}
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return osc.NewListener(l), nil
}

// isAlone reports whether the door is of one relay.
func (d *door) isAlone() bool { return len(d.relays) == 1 }

// openDoors opens doors: wide those of several relays, if the kernel can do that. If
// it cannot, what that takes of files is looked at before any is taken.
func openDoors(doors []*door) error {
	var narrow []*door
	for _, d := range doors {
		d.isNarrow = d.isAlone()
		if !d.isNarrow {
			err := d.widen()
			if err != nil && !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
			d.isNarrow = err != nil
		}
		if d.isNarrow {
			narrow = append(narrow, d)
		}
	}
	if err := lacksListeners(narrow); err != nil {
		return err
	}
	for _, d := range narrow {
		if err := d.adjust(); err != nil {
			return err
		}
	}
	return nil
}

// widen has one listener take all calls.
func (d *door) widen() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wide != nil {
		return nil
	}
	l, err := listen(netip.AddrPortFrom(netip.IPv4Unspecified(), d.port).String(), true, true)
	if err != nil {
		return err
	}
	d.wide = l
	d.network.done.Go(func() { d.accept(l) })
	return nil
}

// adjust has the relays refuse calls, or take them, as their lanes say. Where it fails
// some take them that should not. The lock of the network is held.
func (d *door) adjust() error {
	var refused, taking []*relay
	for _, r := range d.relays {
		if r.up.now().Refuse {
			refused = append(refused, r)
		} else {
			taking = append(taking, r)
		}
	}
	if len(refused) == 0 && !d.isNarrow {
		if err := d.widen(); err != nil {
			return err
		}
		var over []*osc.Listener
		for _, r := range d.relays {
			r.setRefused(false)
			over = append(over, r.unlisten()...)
		}
		retire(over)
		return nil
	}
	for _, r := range taking {
		if err := r.listen(); err != nil {
			return err
		}
		r.setRefused(false)
	}
	for _, r := range refused {
		r.setRefused(true)
	}
	var over []*osc.Listener
	d.mu.Lock()
	if d.wide != nil {
		over, d.wide = append(over, d.wide), nil
	}
	d.mu.Unlock()
	for _, r := range refused {
		over = append(over, r.unlisten()...)
	}
	retire(over)
	return nil
}

// retire closes listeners once they have given out all connections that they have. What
// waits to be accepted would be reset else.
func retire(over []*osc.Listener) {
	var quiet []*osc.Listener
	for _, l := range over {
		// It also takes a while, in which calls get through that the kernel is just giving to
		// listeners that are mute already. One that finds its listener closed is lost, and is
		// made again a second later.
		l.Settle() // where it fails, there is nothing to be accepted
		if raw, err := l.Listener.(*net.TCPListener).SyscallConn(); err != nil || mute(raw) != nil {
			l.Close()
		} else {
			quiet = append(quiet, l)
		}
	}
	for _, l := range quiet {
		raw, err := l.Listener.(*net.TCPListener).SyscallConn()
		for began := time.Now(); err == nil && unaccepted(raw) > 0 && time.Since(began) < settleWithin; {
			runtime.Gosched()
		}
		l.Listener.Close() // and not of l, which would close what has just been accepted
	}
}

// needs are the relays that are to have a listener of their own, and have none.
func (d *door) needs() (all []*relay) {
	refuses := d.isNarrow
	for _, r := range d.relays {
		if r.up.now().Refuse {
			refuses = true
		} else if r.listener == nil {
			all = append(all, r)
		}
	}
	if !refuses {
		return nil
	}
	return all
}

// lacksListeners is an error if the process cannot open the listeners that some doors
// need. The lock of the network is held.
func lacksListeners(doors []*door) error {
	var need []*relay
	for _, d := range doors {
		need = append(need, d.needs()...)
	}
	if open, limit, known := openfiles.Count(); known && len(need) > limit-open {
		return fmt.Errorf("links that do not refuse calls take a listener each, such as the one from %s to %s: "+
			"%d are needed, and of the %d files that the process may have open (ulimit -n) %d are left",
			need[0].From, need[0].To, len(need), limit, max(limit-open, 0))
	}
	return nil
}

// settleWithin is how long it may take to hear of what has come. The kernel takes
// microseconds where it has a processor.
const settleWithin = 5 * time.Second

// settleCalls returns when all the connections that callers have are known. It settles each
// listener of several relays once.
func (n *Network) settleCalls(relays []*relay) {
	seen := map[*osc.Listener]bool{}
	for _, r := range relays {
		if r.door == nil {
			continue
		}
		l := r.takes()
		if l != nil && !seen[l] {
			seen[l] = true
			l.Settle() // where it fails, there is nothing to be accepted
		}
	}
}

// accept takes the connections of one listener.
func (d *door) accept(listener *osc.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			d.network.lacks(err)
			// Out of files, or aborted before it was taken: there may be others, and no
			// event says when there are files again.
			time.Sleep(time.Millisecond)
			continue
		}
		near := c.(*net.TCPConn)
		r := d.relays[near.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()]
		if r == nil || !r.take(near) {
			abort(near)
		}
	}
}

func (d *door) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wide == nil {
		return nil
	}
	defer func() { d.wide = nil }()
	return d.wide.Close()
}
