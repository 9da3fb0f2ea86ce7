package fault

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// What a relay of datagrams bounds.
const (
	maxFlows    = 1024                  // callers; the oldest gives way
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
	r.packets = c
	r.network.done.Go(func() { r.receive(c) })
	return nil
}

// flow is what one caller sends and is sent.
type flow struct {
	up, down *path
	far      *net.UDPConn
}

func (f *flow) close() {
	f.far.Close()
	f.up.close()
	f.down.close()
}

// receive takes the datagrams of callers.
func (r *relay) receive(c *net.UDPConn) {
	flows := map[netip.AddrPort]*flow{}
	var order []netip.AddrPort
	defer func() {
		for _, f := range flows {
			f.close()
		}
	}()
	buf := make([]byte, maxDatagram)
	for number := 0; ; {
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
			if len(order) == maxFlows {
				flows[order[0]].close()
				delete(flows, order[0])
				order = order[1:]
			}
			flows[caller] = f
			order = append(order, caller)
		}
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
	f.up = r.path(r.up, name+"/up", func(b []byte) { far.Write(b) })
	f.down = r.path(r.down, name+"/down", func(b []byte) { c.WriteToUDPAddrPort(b, caller) })
	r.network.done.Go(func() {
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

// path is a direction of a flow.
type path struct {
	lane   *lane
	write  func([]byte)
	name   string
	relay  *relay
	random *rand.Rand // of the one goroutine that sends
	paid   time.Time
	number uint64

	mu      sync.Mutex
	waiting waiting
	bytes   int
	started bool
	more    chan struct{} // holds one where the first that waits may be another
	gone    chan struct{}
}

func (r *relay) path(l *lane, name string, write func([]byte)) *path {
	return &path{lane: l, write: write, name: name, relay: r, more: make(chan struct{}, 1), gone: make(chan struct{})}
}

func (p *path) close() { close(p.gone) }

// later is a datagram that waits for its time.
type later struct {
	bytes  []byte
	due    time.Time
	number uint64 // in the order of sending, for those that are due together
	passed bool   // is sent as soon as another has been
}

type waiting []later

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].due.Equal(w[j].due) {
		return w[i].number < w[j].number
	}
	return w[i].due.Before(w[j].due)
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(later)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = later{}
	*w = (*w)[:last]
	return x
}

func (p *path) draw() *rand.Rand {
	if p.random == nil {
		p.random = p.relay.network.seed(p.name)
	}
	return p.random
}

// send has a datagram take its way. It is called from one goroutine.
func (p *path) send(b []byte) {
	state := p.lane.now()
	if state.Cut || state.Loss > 0 && p.draw().Float64() < state.Loss {
		return
	}
	copies := 1
	if state.Duplicate > 0 && p.draw().Float64() < state.Duplicate {
		copies = 2
	}
	held := state.Reorder > 0 && p.draw().Float64() < state.Reorder
	if state.Corrupt > 0 {
		for i := range b {
			if p.draw().Float64() < state.Corrupt {
				b[i] ^= 1 << p.draw().IntN(8)
			}
		}
	}
	for range copies {
		due := time.Now()
		if state.Delay > 0 || state.Jitter > 0 {
			delay := state.Delay
			if state.Jitter > 0 {
				delay += time.Duration((2*p.draw().Float64() - 1) * float64(state.Jitter))
			}
			due = due.Add(max(delay, 0))
		}
		if state.Rate > 0 {
			if due.Before(p.paid) {
				due = p.paid
			}
			due = due.Add(time.Duration(float64(len(b)) / (0.98 * state.Rate) * float64(time.Second)))
			p.paid = due
		}
		if held {
			due = due.Add(overtakenBy)
		}
		if p.pass(b, due, held) {
			p.write(b)
			p.release()
		}
	}
}

// pass tells whether a datagram may be written at once; else it waits.
func (p *path) pass(b []byte, due time.Time, held bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 && !held && time.Until(due) <= 0 {
		return true
	}
	if p.bytes+len(b) > maxWaiting {
		return false
	}
	p.number++
	p.bytes += len(b)
	heap.Push(&p.waiting, later{bytes: append([]byte(nil), b...), due: due, number: p.number, passed: held})
	if !p.started {
		p.started = true
		p.relay.network.done.Go(p.deliver)
	}
	p.wake()
	return false
}

func (p *path) wake() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// release lets go what was to be overtaken: another has been written.
func (p *path) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.waiting {
		if p.waiting[i].passed {
			p.waiting[i].passed = false
			p.waiting[i].due = p.waiting[i].due.Add(-overtakenBy)
			heap.Fix(&p.waiting, i)
			p.wake()
			return
		}
	}
}

// deliver writes what waits, each at its time.
func (p *path) deliver() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p.mu.Lock()
		wait := time.Hour
		if len(p.waiting) > 0 {
			wait = time.Until(p.waiting[0].due)
		}
		if wait <= 0 {
			next := heap.Pop(&p.waiting).(later)
			p.bytes -= len(next.bytes)
			p.mu.Unlock()
			if !p.lane.now().Cut {
				p.write(next.bytes)
				if !next.passed {
					p.release()
				}
			}
			continue
		}
		p.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.more:
		case <-p.gone:
			return
		}
	}
}
