package link

import (
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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

// path is a direction of a flow.
type path struct {
	lane   *lane
	write  func([]byte)
	name   string
	relay  *relay
	random *rand.Rand // of the one goroutine that sends
	flips  corruption
	number uint64
	held   []*later // wait to be overtaken by what is sent next: copies of one

	mu      sync.Mutex
	waiting waiting
	bytes   int
	started bool
	writing bool          // one that has waited is being written
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
	came   time.Time
	delay  time.Duration
	due    time.Time // as the lane is
	number uint64    // in the order of sending, for those that are due together
	passed bool      // is sent as soon as another has been, or after overtakenBy
}

// plan says when a datagram is due in a lane.
func (l *later) plan(state *laneState) {
	l.due = l.came.Add(min(l.delay, state.Delay+state.Jitter))
	if l.passed {
		l.due = l.due.Add(overtakenBy)
	}
}

type waiting []*later

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].due.Equal(w[j].due) {
		return w[i].number < w[j].number
	}
	return w[i].due.Before(w[j].due)
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(*later)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return x
}

// draw tells whether something of a probability befalls a datagram.
func (p *path) draw(probability float64) bool {
	return probability > 0 && p.numbers("").Float64() < probability
}

func (p *path) numbers(string) *rand.Rand {
	if p.random == nil {
		p.random = p.relay.network.seed(p.name)
	}
	return p.random
}

// send has a datagram take its way. It is called from one goroutine.
func (p *path) send(b []byte) {
	state := p.lane.now()
	if state.Cut || p.draw(state.Loss) {
		return
	}
	copies := 1
	if p.draw(state.Duplicate) {
		copies = 2
	}
	overtaken := p.held // by this one
	held := p.draw(state.Reorder) && len(overtaken) == 0
	p.held = nil
	p.flips.hit(state.Corrupt, b, p.numbers)
	var next *later
	for range copies {
		p.number++
		next = &later{bytes: b, came: time.Now(), delay: state.Delay, number: p.number, passed: held}
		if state.Jitter > 0 {
			next.delay += time.Duration((2*p.numbers("").Float64() - 1) * float64(state.Jitter))
		}
		next.plan(state)
		if p.pass(next, state) {
			p.write(b)
		} else if held {
			p.held = append(p.held, next)
		}
	}
	p.overtake(overtaken, next, state)
}

// overtake has those that were held leave right after a later one.
func (p *path) overtake(overtaken []*later, next *later, state *laneState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, held := range overtaken {
		if at := slices.Index(p.waiting, held); at >= 0 { // it has not waited for too long
			p.number++
			held.came, held.delay, held.number, held.passed = next.came, next.delay, p.number, false
			held.plan(state)
			heap.Fix(&p.waiting, at)
			p.wake()
		}
	}
}

// pass tells whether a datagram may be written at once; else it waits, or is lost
// where too much does.
func (p *path) pass(next *later, state *laneState) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := float64(maxWaiting)
	if state.Rate > 0 {
		most = min(most, state.Rate*(state.Delay+state.Jitter+time.Second).Seconds())
	} else if len(p.waiting) == 0 && !p.writing && !next.passed && time.Until(next.due) <= 0 {
		return true
	}
	if float64(p.bytes+len(next.bytes)) > most {
		return false
	}
	next.bytes = append([]byte(nil), next.bytes...)
	p.bytes += len(next.bytes)
	heap.Push(&p.waiting, next)
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

// deliver writes what waits, each at its time.
func (p *path) deliver() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for planned := p.lane.now(); ; {
		state := p.lane.now()
		p.mu.Lock()
		if state != planned { // delays may have become shorter
			planned = state
			for _, next := range p.waiting {
				next.plan(state)
			}
			heap.Init(&p.waiting)
		}
		wait := time.Duration(forever)
		if len(p.waiting) > 0 {
			wait = time.Until(p.waiting[0].due)
		}
		if wait <= 0 {
			next := heap.Pop(&p.waiting).(*later)
			p.writing = true
			p.mu.Unlock()
			if p.paid(len(next.bytes)) {
				p.write(next.bytes)
			}
			p.mu.Lock()
			p.writing = false
			p.bytes -= len(next.bytes)
			p.mu.Unlock()
			continue
		}
		p.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.more:
		case <-state.changed:
		case <-p.gone:
			return
		}
	}
}

// paid waits until so many bytes may be sent at the rate; false if they are lost.
func (p *path) paid(n int) bool {
	for {
		state := p.lane.now()
		if state.Cut {
			return false
		}
		if state.Rate == 0 {
			return true
		}
		if took, ok := p.lane.take(state, n, p.gone); took || !ok {
			return took
		}
	}
}
