package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// What a relay of datagrams bounds.
const (
	maxFlows    = 1024                  // callers; the one that was silent for longest gives way
	maxDatagram = 64 << 10              // bytes (UDP's own limit)
	maxWaiting  = 4 << 20               // bytes that wait for their time in a direction; what comes then is lost
	overtakenBy = 50 * time.Millisecond // how long one that is to be overtaken waits for another
)

// openPackets opens a relay's own socket of datagrams. If it is shared, there is
// another one at its port that takes those to other hosts.
func (r *relay) openPackets(isShared bool) (*receiver, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if isShared {
			return sharePort(c)
		}
		return nil
	}}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosed {
		return nil, net.ErrClosed
	}
	c, err := config.ListenPacket(context.Background(), "udp", r.Listen)
	if err != nil {
		return nil, err
	}
	packets := c.(*net.UDPConn)
	packets.SetReadBuffer(maxWaiting) // what the kernel allows of it: bursts are not to be lost here
	r.packets = packets
	return &receiver{relay: r, socket: packets, flows: map[netip.AddrPort]*flow{}}, nil
}

// flow is what one caller sends and is sent.
type flow struct {
	up, down *path
	far      *net.UDPConn
	used     int // when the caller sent last, in datagrams of all
}

func (f *flow) close() {
	f.far.Close()
	f.up.close()
	f.down.close()
}

// receiver takes the datagrams of a relay's callers.
type receiver struct {
	relay  *relay
	socket *net.UDPConn

	mu               sync.Mutex
	flows            map[netip.AddrPort]*flow
	number, received int // of flows, and of datagrams
}

// run receives until the socket is closed.
func (v *receiver) run() {
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, f := range v.flows {
			f.close()
		}
		v.flows = nil
	}()
	buf := make([]byte, maxDatagram)
	for {
		n, caller, err := v.socket.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil { // one may be that nobody was there to take an answer
			v.take(buf[:n], caller)
		}
	}
}

// take takes a datagram of a caller.
func (v *receiver) take(b []byte, caller netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.flows == nil { // it is closed
		return
	}
	f := v.flows[caller]
	if f == nil {
		var err error
		if f, err = v.relay.flow(v.socket, caller, v.number); err != nil {
			v.relay.network.lacks(err)
			return // lost, as a datagram may be
		}
		v.number++
		if len(v.flows) == maxFlows {
			oldest := slices.MinFunc(slices.Collect(maps.Keys(v.flows)), func(a, b netip.AddrPort) int { return v.flows[a].used - v.flows[b].used })
			v.flows[oldest].close()
			delete(v.flows, oldest)
		}
		v.flows[caller] = f
	}
	f.used = v.received
	v.received++
	f.up.send(b)
}

func (r *relay) flow(c *net.UDPConn, caller netip.AddrPort, number int) (*flow, error) {
	target, err := net.ResolveUDPAddr("udp", r.Target)
	if err != nil {
		return nil, err
	}
	var source *net.UDPAddr
	if r.Source != "" {
		source = &net.UDPAddr{IP: net.ParseIP(r.Source)}
	}
	far, err := net.DialUDP("udp", source, target)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s>%s:%s/%d", r.From, r.To, r.Endpoint, number)
	f := &flow{far: far}
	f.up = r.path(r.up, name+"/up", func(b []byte) {
		if _, err := far.Write(b); errors.Is(err, syscall.ECONNREFUSED) {
			far.Write(b) // it was an earlier one that nobody has taken
		}
	})
	f.down = r.path(r.down, name+"/down", func(b []byte) { c.WriteToUDPAddrPort(b, caller) })
	r.network.done.Go(func() {
		far.SetReadBuffer(maxWaiting)
		buf := make([]byte, maxDatagram)
		for {
			n, err := far.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				f.down.send(buf[:n])
			}
		}
	})
	return f, nil
}

// hatch is where the first datagrams of one or more relays come in: all those that have
// a port in common, each at a host of its own. One socket takes what comes to any host
// of the loopback. The first datagram to a relay has it open a socket of its own, which
// takes all that come later; so a link that nobody uses costs no file.
type hatch struct {
	network *Network
	port    uint16
	relays  map[netip.Addr]*relay // by host
	wide    *net.UDPConn          // nil where each relay has a socket from the start
}

func (h *hatch) open() error {
	if len(h.relays) > 1 {
		err := h.widen()
		if err == nil || !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for _, r := range h.relays {
		v, err := r.openPackets(false)
		if err != nil {
			return err
		}
		h.network.done.Go(v.run)
	}
	return nil
}

// widen has one socket take all datagrams.
func (h *hatch) widen() error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return errors.Join(onlyLoopback(c), tellHost(c))
	}}
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), h.port)
	c, err := config.ListenPacket(context.Background(), "udp4", all.String())
	if err != nil {
		return err
	}
	h.wide = c.(*net.UDPConn)
	h.wide.SetReadBuffer(maxWaiting)
	raw, err := h.wide.SyscallConn()
	if err == nil {
		err = sharePort(raw) // with those of the relays; it was bound alone
	}
	if err != nil {
		return errors.Join(err, h.wide.Close())
	}
	h.network.done.Go(func() { h.receive(raw) })
	return nil
}

// receive takes what comes to relays that have no socket yet.
func (h *hatch) receive(c syscall.RawConn) {
	receivers := map[*relay]*receiver{}
	buf := make([]byte, maxDatagram)
	for {
		// What has come here before a relay had its own socket goes before what has come
		// there: that is read once nothing is left here.
		var opened []*receiver
		n, caller, host, err := receiveFrom(c, buf, true)
		for ; err == nil; n, caller, host, err = receiveFrom(c, buf, false) {
			r := h.relays[host]
			if r == nil {
				continue
			}
			if receivers[r] == nil {
				v, err := r.openPackets(true)
				if err != nil {
					h.network.lacks(err)
					continue // lost, as a datagram may be
				}
				receivers[r], opened = v, append(opened, v)
			}
			receivers[r].take(buf[:n], caller)
		}
		for _, v := range opened {
			h.network.done.Go(v.run)
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (h *hatch) close() error {
	if h.wide == nil {
		return nil
	}
	return h.wide.Close()
}
