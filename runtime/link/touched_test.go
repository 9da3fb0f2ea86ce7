package link_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// touches fails unless a disturbance has touched just that, in these pairs.
func touches(t *testing.T, what string, d *link.Disturbance, want link.Touched, pairs ...link.Pair) {
	t.Helper()
	if got := d.Touched(); got != want {
		t.Errorf("%s: touched %+v, want %+v", what, got, want)
	}
	if got := d.TouchedPairs(); !slices.Equal(got, pairs) {
		t.Errorf("%s: touched the pairs %v, want %v", what, got, pairs)
	}
	told := false
	select {
	case <-d.Touches():
		told = true
	default:
	}
	if told != want.Any() {
		t.Errorf("%s: touched %+v, and told %v", what, want, told)
	}
}

func await(t *testing.T, what string, d *link.Disturbance) {
	t.Helper()
	select {
	case <-d.Touches():
	case <-time.After(time.Minute):
		t.Fatalf("%s: nobody is told of a touch", what)
	}
}

// exchange is a connection through a link with both of its ends.
type exchange struct {
	network    *link.Network
	address    string
	near, far  *net.TCPConn
	ends       chan *net.TCPConn
	mayRelease chan bool
}

func newExchange(t *testing.T) *exchange {
	t.Helper()
	x := &exchange{ends: make(chan *net.TCPConn), mayRelease: make(chan bool)}
	x.network, x.address = open(t, func(c *net.TCPConn) {
		select {
		case x.ends <- c:
			<-x.mayRelease
		case <-x.mayRelease:
		}
	})
	t.Cleanup(func() { close(x.mayRelease) }) // before open waits for who serves
	x.near = dial(t, x.address)
	x.far = <-x.ends
	return x
}

// way is the end that sends into the lane of a pair, and the one that it comes to.
func (x *exchange) way(p link.Pair) (from, to *net.TCPConn) {
	if p == there[0] {
		return x.near, x.far
	}
	return x.far, x.near
}

func send(t *testing.T, c *net.TCPConn, n int) {
	t.Helper()
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c *net.TCPConn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTouchedStream: what each effect touches of a connection, in each direction; a
// disturbance of the other direction and one of an idle lane touch nothing.
func TestTouchedStream(t *testing.T) {
	const n = 1000
	for _, test := range []struct {
		name   string
		effect link.Effect
		want   link.Touched
		held   bool // what is sent comes after the heal alone
	}{
		{"cut", link.Effect{Cut: true}, link.Touched{BytesHeld: n}, true},
		{"delay", link.Effect{Delay: time.Millisecond}, link.Touched{BytesDelayed: n}, false},
		{"long delay", link.Effect{Delay: time.Hour}, link.Touched{BytesDelayed: n}, true},
		{"delay and jitter", link.Effect{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}, link.Touched{BytesDelayed: n}, false},
		{"rate", link.Effect{Rate: 10000}, link.Touched{}, false}, // see below
		{"high rate", link.Effect{Rate: 1 << 40}, link.Touched{}, false},
		{"delay at a rate", link.Effect{Delay: time.Millisecond, Rate: 100000}, link.Touched{BytesDelayed: n}, false},
		{"corrupt", link.Effect{Corrupt: 1}, link.Touched{BytesCorrupted: n}, false},
		{"corrupt nothing", link.Effect{Corrupt: 1e-12}, link.Touched{}, false},
		{"drop nothing", link.Effect{Drop: 1e-12}, link.Touched{}, false},
		{"refuse", link.Effect{Refuse: true}, link.Touched{}, false},
		{"loss", link.Effect{Loss: 1, Duplicate: 1, Reorder: 1}, link.Touched{}, false}, // of datagrams
		{"nothing", link.Effect{}, link.Touched{}, false},
	} {
		for _, p := range both {
			t.Run(test.name+" "+p.String(), func(t *testing.T) {
				x := newExchange(t)
				from, to := x.way(p)
				other := both[1-slices.Index(both, p)]
				idle := apply(t, x.network, both, test.effect)
				heal(t, idle)
				touches(t, "idle", idle, link.Touched{})
				away := apply(t, x.network, []link.Pair{other}, test.effect)
				d := apply(t, x.network, []link.Pair{p}, test.effect)
				e := apply(t, x.network, both, test.effect)
				send(t, from, n)
				want := test.want
				if test.held {
					await(t, "held", d)
					await(t, "held", e)
				} else {
					receive(t, to, n)
				}
				if test.name == "rate" {
					if want = d.Touched(); want.BytesDelayed < n/2 || want.BytesDelayed > n {
						t.Errorf("at a rate %+v", want)
					}
				}
				pairs := []link.Pair{p}
				if !want.Any() {
					pairs = nil
				}
				if test.name == "long delay" { // the reader may take them in two pieces
					for d.Touched() != want {
						time.Sleep(time.Millisecond)
					}
				}
				touches(t, "in force", d, want, pairs...)
				touches(t, "on both ways", e, want, pairs...)
				heal(t, d)
				heal(t, e)
				heal(t, away)
				if test.held {
					receive(t, to, n)
				}
				send(t, from, n)
				receive(t, to, n)
				heal(t, d)
				touches(t, "in the end", d, want, pairs...)
				touches(t, "on both ways in the end", e, want, pairs...)
				touches(t, "the other way", away, link.Touched{})
			})
		}
	}
}

// TestTouchedAtOnce: what arrives during a cut was held, though the cut is healed
// before anybody could see it; and by each of several cuts that were in force.
func TestTouchedAtOnce(t *testing.T) {
	x := newExchange(t)
	for i := range 200 {
		p := both[i%2]
		from, to := x.way(p)
		before := apply(t, x.network, both, link.Effect{Cut: true})
		heal(t, before)
		first := apply(t, x.network, both, link.Effect{Cut: true})
		send(t, from, 10)
		second := apply(t, x.network, []link.Pair{p}, link.Effect{Cut: true})
		heal(t, first)
		send(t, from, 5)
		heal(t, second)
		receive(t, to, 15)
		touches(t, "before", before, link.Touched{})
		touches(t, "the first", first, link.Touched{BytesHeld: 10}, p)
		touches(t, "the second", second, link.Touched{BytesHeld: 15}, p)
	}
}

// TestTouchedQueue: a cut holds what waits in the relay when it comes.
func TestTouchedQueue(t *testing.T) {
	x := newExchange(t)
	delay := apply(t, x.network, there, link.Effect{Delay: time.Hour})
	send(t, x.near, 100)
	for delay.Touched().BytesDelayed < 100 {
		time.Sleep(time.Millisecond)
	}
	cut := apply(t, x.network, both, link.Effect{Cut: true})
	await(t, "what was there", cut)
	touches(t, "the cut", cut, link.Touched{BytesHeld: 100}, there...)
	heal(t, delay)
	select {
	case <-time.After(quiet):
	}
	heal(t, cut)
	receive(t, x.far, 100)
	touches(t, "the delay", delay, link.Touched{BytesDelayed: 100}, there...)
	touches(t, "the cut", cut, link.Touched{BytesHeld: 100}, there...)
}

// TestTouchedEnds: closes, resets and new connections during a cut, and what a cut
// held of a connection that is reset meanwhile.
func TestTouchedEnds(t *testing.T) {
	t.Run("close", func(t *testing.T) {
		x := newExchange(t)
		d := apply(t, x.network, both, link.Effect{Cut: true})
		x.near.CloseWrite()
		await(t, "a close", d)
		heal(t, d)
		touches(t, "a close", d, link.Touched{ClosesHeld: 1}, there...)
		x.far.Read(make([]byte, 1))
		d = apply(t, x.network, both, link.Effect{Cut: true})
		heal(t, d)
		touches(t, "a close long ago", d, link.Touched{})
		d = apply(t, x.network, both, link.Effect{Cut: true})
		send(t, x.far, 10)
		x.far.CloseWrite()
		heal(t, d)
		touches(t, "bytes and a close", d, link.Touched{BytesHeld: 10, ClosesHeld: 1}, back...)
	})
	t.Run("delayed close", func(t *testing.T) {
		x := newExchange(t)
		d := apply(t, x.network, both, link.Effect{Delay: time.Millisecond})
		x.near.CloseWrite()
		x.far.Read(make([]byte, 1))
		heal(t, d)
		touches(t, "a close", d, link.Touched{ClosesDelayed: 1}, there...)
	})
	t.Run("reset of an end", func(t *testing.T) {
		x := newExchange(t)
		d := apply(t, x.network, both, link.Effect{Cut: true})
		x.far.SetLinger(0)
		x.far.Close()
		await(t, "a reset", d)
		heal(t, d)
		touches(t, "a reset", d, link.Touched{ClosesHeld: 1}, back...)
	})
	t.Run("new", func(t *testing.T) {
		x := newExchange(t)
		for i := range 20 {
			d, e := apply(t, x.network, both, link.Effect{Cut: true}), apply(t, x.network, back, link.Effect{Cut: true})
			c := dial(t, x.address)
			want := link.Touched{ConnectionsSilent: 1}
			if i%2 == 0 {
				send(t, c, 3)
				want.BytesHeld = 3
			}
			if i%4 == 0 {
				await(t, "a new connection", d)
			}
			heal(t, d)
			heal(t, e)
			touches(t, "a new connection", d, want, there...)
			touches(t, "a new connection, and the way back", e, link.Touched{})
			receive(t, <-x.ends, int(want.BytesHeld))
		}
	})
	t.Run("reset by us", func(t *testing.T) {
		x := newExchange(t)
		cut := apply(t, x.network, both, link.Effect{Cut: true})
		send(t, x.near, 7)
		d, err := x.network.Reset(both)
		if err != nil {
			t.Fatal(err)
		}
		touches(t, "the reset", d, link.Touched{ConnectionsReset: 1}, there...)
		touches(t, "the cut", cut, link.Touched{BytesHeld: 7}, there...)
		heal(t, cut)
		touches(t, "the cut, healed", cut, link.Touched{BytesHeld: 7}, there...)
		if d, err = x.network.Reset(both); err != nil {
			t.Fatal(err)
		}
		touches(t, "another reset", d, link.Touched{})
		heal(t, d)
	})
	t.Run("half open", func(t *testing.T) {
		x := newExchange(t)
		d, err := x.network.HalfOpen(back)
		if err != nil {
			t.Fatal(err)
		}
		touches(t, "half open", d, link.Touched{ConnectionsSilent: 1}, back...)
		again, err := x.network.HalfOpen(there)
		if err != nil {
			t.Fatal(err)
		}
		touches(t, "half open again", again, link.Touched{})
		heal(t, d)
		touches(t, "healed", d, link.Touched{ConnectionsSilent: 1}, back...)
	})
	t.Run("drop", func(t *testing.T) {
		x := newExchange(t)
		d, e := apply(t, x.network, there, link.Effect{Drop: 1}), apply(t, x.network, both, link.Effect{Drop: 1})
		touches(t, "no byte", d, link.Touched{})
		x.near.Write(make([]byte, 8<<10))
		if _, err := x.near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
		touches(t, "the drop", d, link.Touched{ConnectionsReset: 1}, there...)
		touches(t, "the other drop", e, link.Touched{ConnectionsReset: 1}, there...)
	})
	t.Run("nobody listens", func(t *testing.T) {
		address := free(t)
		n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "tcp", Listen: address, Target: free(t)}}, seeded)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		d := apply(t, n, both, link.Effect{Delay: time.Millisecond, Corrupt: 1, Drop: 1, Rate: 1})
		if c, err := net.Dial("tcp", address); err == nil {
			c.Read(make([]byte, 1))
			c.Close()
		}
		heal(t, d)
		touches(t, "a call to nobody", d, link.Touched{})
	})
}

// TestNoLink: who names a pair without a link is told.
func TestNoLink(t *testing.T) {
	n, _ := open(t, echo)
	pairs := []link.Pair{{From: "a", To: "c"}}
	_, applied := n.Apply(pairs, link.Effect{Cut: true})
	_, reset := n.Reset(pairs)
	_, halved := n.HalfOpen(pairs)
	if n.Has(pairs[0]) || applied == nil || reset == nil || halved == nil {
		t.Errorf("%v, %v, %v", applied, reset, halved)
	}
}

// TestTouchedFinal: whatever moves meanwhile, nothing is added once a heal has
// returned, what a cut held and what had passed before is all that was sent, and no
// more is held or delayed than was sent.
func TestTouchedFinal(t *testing.T) {
	x := newExchange(t)
	random := seeded("final")
	var sent [2]int64
	var moving sync.WaitGroup
	stop := make(chan bool)
	pump := func(i int, from, to *net.TCPConn, random *rand.Rand) {
		moving.Go(func() {
			for {
				select {
				case <-stop:
					from.CloseWrite()
					return
				default:
				}
				n, err := from.Write(make([]byte, 1+random.IntN(20000)))
				sent[i] += int64(n)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		moving.Go(func() { io.Copy(io.Discard, to) })
	}
	pump(0, x.near, x.far, seeded("there"))
	pump(1, x.far, x.near, seeded("back"))
	type healed struct {
		d     *link.Disturbance
		final link.Touched
	}
	var all []healed
	for range 300 {
		effect := []link.Effect{{Cut: true}, {Delay: time.Millisecond, Jitter: time.Millisecond}, {Rate: 50 << 20}, {Corrupt: 0.01}}[random.IntN(4)]
		d := apply(t, x.network, both[random.IntN(2):], effect)
		if random.IntN(2) == 0 {
			d.Touched()
		}
		if len(all) > 0 && random.IntN(3) == 0 { // on top of each other
			e := apply(t, x.network, both, link.Effect{Cut: true})
			heal(t, e)
			all = append(all, healed{e, e.Touched()})
		}
		time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
		heal(t, d)
		all = append(all, healed{d, d.Touched()})
	}
	close(stop)
	moving.Wait()
	var most int64 = sent[0] + sent[1]
	var any link.Touched
	for _, h := range all {
		if got := h.d.Touched(); got != h.final {
			t.Errorf("after the heal %+v, later %+v", h.final, got)
		}
		if h.final.BytesHeld > most || h.final.BytesDelayed > most || h.final.BytesCorrupted > most || h.final.BytesHeld < 0 {
			t.Errorf("%+v of %d bytes", h.final, most)
		}
		any.BytesHeld += h.final.BytesHeld
		any.BytesDelayed += h.final.BytesDelayed
		any.BytesCorrupted += h.final.BytesCorrupted
	}
	if any.BytesHeld == 0 || any.BytesDelayed == 0 || any.BytesCorrupted == 0 {
		t.Errorf("of a busy connection were touched %+v", any)
	}
}

// TestHeldAndPassed: of what was sent by the end of a cut, what it held and what had
// passed is all, wherever in the relay the cut met the bytes.
func TestHeldAndPassed(t *testing.T) {
	for i := range 100 {
		x := newExchange(t)
		var under *link.Disturbance
		if i%2 == 1 {
			under = apply(t, x.network, there, link.Effect{Delay: 200 * time.Microsecond})
		}
		var sending sync.WaitGroup
		total := 0
		sizes := seeded("sizes " + strconv.Itoa(i))
		sending.Go(func() {
			for range 20 {
				n := 1 + sizes.IntN(1000)
				total += n
				x.near.Write(make([]byte, n))
			}
		})
		passed := make(chan int)
		go func() {
			buf, all := make([]byte, 64<<10), 0
			for {
				n, err := x.far.Read(buf)
				if all += n; err != nil {
					passed <- all
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						return
					}
					x.far.SetReadDeadline(time.Time{})
				}
			}
		}()
		time.Sleep(time.Duration(seeded("when "+strconv.Itoa(i)).IntN(300)) * time.Microsecond)
		d := apply(t, x.network, there, link.Effect{Cut: true})
		sending.Wait()
		x.far.SetReadDeadline(time.Now().Add(quiet / 10)) // what had left the relay
		before := int64(<-passed)
		now := d.Touched().BytesHeld
		for deadline := time.Now().Add(time.Minute); now+before < int64(total) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			now = d.Touched().BytesHeld // the sender's kernel may have kept some
		}
		heal(t, d)
		if held := d.Touched().BytesHeld; held != now || held+before != int64(total) {
			t.Errorf("of %d bytes %d had passed and %d were held, and %d before the heal", total, before, held, now)
		}
		if under != nil {
			heal(t, under)
		}
		x.near.CloseWrite()
		if all := <-passed; all != total {
			t.Errorf("%d of %d came", all, total)
		}
	}
}

// TestTouchedChance: with two disturbances each counts what its own draw hit, the
// same where the seed is the same, and what happens does not depend on who did it.
func TestTouchedChance(t *testing.T) {
	const n = 100000
	run := func(effects ...link.Effect) (got []byte, counts []link.Touched) {
		x := newExchange(t)
		var all []*link.Disturbance
		for _, e := range effects {
			all = append(all, apply(t, x.network, there, e))
		}
		go x.near.Write(make([]byte, n))
		got = receive(t, x.far, n)
		for _, d := range all {
			heal(t, d)
			counts = append(counts, d.Touched())
		}
		return got, counts
	}
	const p, q = 0.01, 0.03
	together, counts := run(link.Effect{Corrupt: p}, link.Effect{Corrupt: q}, link.Effect{Delay: time.Microsecond})
	again, same := run(link.Effect{Corrupt: p}, link.Effect{Corrupt: q}, link.Effect{Delay: time.Microsecond})
	joint, one := run(link.Effect{Corrupt: p + q - p*q})
	if !slices.Equal(together, again) || !reflect.DeepEqual(counts, same) {
		t.Errorf("with the same seed %+v and %+v", counts, same)
	}
	if !slices.Equal(together, joint) {
		t.Error("with one disturbance other bytes are hit than with two that come to the same")
	}
	flipped := int64(0)
	for _, b := range joint {
		if b != 0 {
			flipped++
		}
	}
	a, b := counts[0].BytesCorrupted, counts[1].BytesCorrupted
	if one[0].BytesCorrupted != flipped || a+b < flipped || a > flipped || b > flipped {
		t.Errorf("%d bytes are flipped; counted %d alone, %d and %d", flipped, one[0].BytesCorrupted, a, b)
	}
	if near := func(got int64, p float64) bool { return got > int64(p*n*0.8) && got < int64(p*n*1.2) }; !near(a, p) || !near(b, q) {
		t.Errorf("%d and %d of %d are hit, at %v and %v", a, b, n, p, q)
	}
	if counts[2] != (link.Touched{BytesDelayed: n}) {
		t.Errorf("the delay: %+v", counts[2])
	}
}
