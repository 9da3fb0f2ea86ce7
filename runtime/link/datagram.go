package link

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
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

// openPackets opens a relay of datagrams.
func (r *relay) openPackets() error {
	address, err := netip.ParseAddrPort(r.Listen)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return err
	}
	c.SetReadBuffer(maxWaiting) // what the kernel allows of it: bursts are not to be lost here
	r.packets = c
	r.network.done.Go(func() { r.receive(c) })
	return nil
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

// receive takes the datagrams of callers.
func (r *relay) receive(c *net.UDPConn) {
	flows := map[netip.AddrPort]*flow{}
	defer func() {
		for _, f := range flows {
			f.close()
		}
	}()
	buf := make([]byte, maxDatagram)
	for number, received := 0, 0; ; received++ {
		n, caller, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as that nobody was there to take an answer
			continue
		}
		f := flows[caller]
		if f == nil {
			if f, err = r.flow(c, caller, number); err != nil {
				continue // lost, as a datagram may be
			}
			number++
			if len(flows) == maxFlows {
				oldest := slices.MinFunc(slices.Collect(maps.Keys(flows)), func(a, b netip.AddrPort) int { return flows[a].used - flows[b].used })
				flows[oldest].close()
				delete(flows, oldest)
			}
			flows[caller] = f
		}
		f.used = received
		f.up.send(buf[:n])
	}
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
