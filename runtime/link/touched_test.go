package link_test

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
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
	x.far.SetReadDeadline(time.Now().Add(quiet))
	if _, err := x.far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while it is cut: %v", err)
	}
	heal(t, cut)
	receive(t, x.far, 100)
	touches(t, "the delay", delay, link.Touched{BytesDelayed: 100}, there...)
	touches(t, "the cut", cut, link.Touched{BytesHeld: 100}, there...)
}
