package link_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

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
	t.Run("ended by us", func(t *testing.T) { // is no close that waits
		for _, end := range []func(*link.Network) (*link.Disturbance, error){
			func(n *link.Network) (*link.Disturbance, error) { return n.Reset(both) },
			func(n *link.Network) (*link.Disturbance, error) { return n.HalfOpen(there) },
		} {
			x := newExchange(t)
			delay := apply(t, x.network, both, link.Effect{Delay: time.Hour})
			d, err := end(x.network)
			if err != nil || !d.Touched().Any() {
				t.Fatalf("%v, %+v", err, d.Touched())
			}
			x.near.Write(make([]byte, 10)) // into nothing
			heal(t, d)
			x.near.Read(make([]byte, 1))
			heal(t, delay)
			touches(t, "the delay", delay, link.Touched{})
		}
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
		n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "tcp", Listen: address, Target: free(t)}}, options(t))
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
