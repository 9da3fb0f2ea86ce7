package link_test

import (
	"net"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// flow is a caller and a server of datagrams, with a link between them.
type flow struct {
	network *link.Network
	near    net.Conn
	server  net.PacketConn
	caller  net.Addr // as the server sees it
}

func newFlow(t *testing.T) *flow {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	listen := host() + ":" + strconv.Itoa(server.LocalAddr().(*net.UDPAddr).Port)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "udp", Listen: listen, Target: server.LocalAddr().String()}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	near, err := net.Dial("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	f := &flow{network: n, near: near, server: server}
	near.Write([]byte("first"))
	if _, f.caller, err = server.ReadFrom(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *flow) send(p link.Pair, text string) {
	if p == there[0] {
		f.near.Write([]byte(text))
	} else {
		f.server.WriteTo([]byte(text), f.caller)
	}
}

// receive is the next datagram of a direction, or "" after a silence.
func (f *flow) receive(p link.Pair, within time.Duration) string {
	b := make([]byte, 100)
	var n int
	if p == there[0] {
		f.server.SetReadDeadline(time.Now().Add(within))
		n, _, _ = f.server.ReadFrom(b)
	} else {
		f.near.SetReadDeadline(time.Now().Add(within))
		n, _ = f.near.Read(b)
	}
	return string(b[:n])
}

// exchange sends count datagrams in one direction, and returns when want of them
// have come, and a disturbance of all has counted them.
func (f *flow) exchange(t *testing.T, p link.Pair, count, want int, counted func() int64) (got []string) {
	t.Helper()
	for i := range count {
		f.send(p, strconv.Itoa(i))
	}
	for len(got) < want {
		next := f.receive(p, time.Minute)
		if next == "" {
			t.Fatalf("%d of %d datagrams came", len(got), want)
		}
		got = append(got, next)
	}
	for deadline := time.Now().Add(time.Minute); counted() < int64(count-want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d are counted", counted())
		}
	}
	return got
}

// TestTouchedDatagrams: what each effect touches of datagrams, in each direction.
func TestTouchedDatagrams(t *testing.T) {
	const n = 40
	for _, test := range []struct {
		name    string
		effects []link.Effect // one on top of the other
		comes   int           // how many of n
		want    []link.Touched
	}{
		{"cut", []link.Effect{{Cut: true}}, 0, []link.Touched{{DatagramsLost: n}}},
		{"two cuts", []link.Effect{{Cut: true}, {Cut: true}}, 0, []link.Touched{{DatagramsLost: n}, {DatagramsLost: n}}},
		{"a cut over a loss", []link.Effect{{Loss: 1}, {Cut: true}}, 0, []link.Touched{{}, {DatagramsLost: n}}},
		{"loss", []link.Effect{{Loss: 1}}, 0, []link.Touched{{DatagramsLost: n}}},
		{"two losses", []link.Effect{{Loss: 1}, {Loss: 1}}, 0, []link.Touched{{DatagramsLost: n}, {DatagramsLost: n}}},
		{"a loss of nothing", []link.Effect{{Loss: 1e-12}}, n, []link.Touched{{}}},
		{"a loss over a duplicate", []link.Effect{{Duplicate: 1}, {Loss: 1}}, 0, []link.Touched{{}, {DatagramsLost: n}}},
		{"duplicate", []link.Effect{{Duplicate: 1}}, 2 * n, []link.Touched{{DatagramsDuplicated: n}}},
		{"reorder", []link.Effect{{Reorder: 1}}, n, []link.Touched{{DatagramsReordered: n / 2}}},
		{"duplicate and reorder", []link.Effect{{Duplicate: 1}, {Reorder: 1}}, 2 * n,
			[]link.Touched{{DatagramsDuplicated: n}, {DatagramsReordered: n / 2}}},
		{"delay", []link.Effect{{Delay: time.Millisecond}}, n, []link.Touched{{DatagramsDelayed: n}}},
		{"delays", []link.Effect{{Delay: time.Millisecond}, {Delay: time.Millisecond}}, n,
			[]link.Touched{{DatagramsDelayed: n}, {DatagramsDelayed: n}}},
		{"a delay at a rate", []link.Effect{{Delay: time.Millisecond, Rate: 10000}}, n, []link.Touched{{DatagramsDelayed: n}}},
		{"high rate", []link.Effect{{Rate: 1 << 40}}, n, []link.Touched{{}}},
		{"corrupt nothing", []link.Effect{{Corrupt: 1e-12}}, n, []link.Touched{{}}},
		{"of streams", []link.Effect{{Drop: 1, Refuse: true}}, n, []link.Touched{{}}},
	} {
		for _, p := range both {
			t.Run(test.name+" "+p.String(), func(t *testing.T) {
				f := newFlow(t)
				var all []*link.Disturbance
				for i, e := range test.effects {
					pairs := both
					if i == 0 {
						pairs = []link.Pair{p}
					}
					all = append(all, apply(t, f.network, pairs, e))
					touches(t, "idle", all[i], link.Touched{})
				}
				last := all[len(all)-1]
				lost := func() int64 { return last.Touched().DatagramsLost }
				f.exchange(t, p, n, test.comes, lost)
				for i, d := range all {
					heal(t, d)
					var pairs []link.Pair
					if test.want[i].Any() {
						pairs = []link.Pair{p}
					}
					touches(t, strconv.Itoa(i), d, test.want[i], pairs...)
				}
				f.exchange(t, p, n, n, func() int64 { return 0 })
				for i, d := range all {
					if got := d.Touched(); got != test.want[i] {
						t.Errorf("%d: in the end touched %+v", i, got)
					}
				}
			})
		}
	}
}

// TestTouchedRate: at a rate each datagram passes, or is lost by it, and those that
// pass have waited; a higher rate does nothing more.
func TestTouchedRate(t *testing.T) {
	f := newFlow(t)
	high := apply(t, f.network, both, link.Effect{Rate: 1 << 20})
	low := apply(t, f.network, there, link.Effect{Rate: 100})
	for i := range 200 {
		f.send(there[0], strconv.Itoa(1000+i))
	}
	for low.Touched().DatagramsLost < 170 || low.Touched().DatagramsDelayed == 0 { // about 25 find room
		time.Sleep(time.Millisecond)
	}
	heal(t, low)
	got := low.Touched()
	came := 0
	for f.receive(there[0], quiet) != "" {
		came++
	}
	if int64(came)+got.DatagramsLost != 200 || got.DatagramsDelayed == 0 || got.DatagramsDelayed > int64(came) {
		t.Errorf("%d came, touched %+v", came, got)
	}
	touches(t, "the higher rate", high, link.Touched{})
}

// TestTouchedReorder: one that was held back and that nothing overtook is not
// reordered, and is let go when the disturbance is healed.
func TestTouchedReorder(t *testing.T) {
	f := newFlow(t)
	d := apply(t, f.network, there, link.Effect{Reorder: 1})
	f.send(there[0], "alone")
	if got := f.receive(there[0], time.Minute); got != "alone" {
		t.Errorf("%q came", got)
	}
	heal(t, d)
	touches(t, "nothing came after it", d, link.Touched{})
	for range 100 {
		d = apply(t, f.network, there, link.Effect{Reorder: 1})
		f.send(there[0], "1")
		heal(t, d)
		f.send(there[0], "2")
		if a, b := f.receive(there[0], time.Minute), f.receive(there[0], time.Minute); a != "1" || b != "2" {
			t.Fatalf("after the heal came %q, %q", a, b)
		}
		touches(t, "healed before another came", d, link.Touched{})
	}
}

// TestTouchedDatagramChance: two probabilities are drawn by themselves, and the same
// with the same seed.
func TestTouchedDatagramChance(t *testing.T) {
	const n = 2000
	run := func() (counts [2]link.Touched, came int) {
		f := newFlow(t)
		d, e := apply(t, f.network, there, link.Effect{Loss: 0.2}), apply(t, f.network, there, link.Effect{Loss: 0.5, Corrupt: 0.001})
		for i := range n {
			f.send(there[0], strconv.Itoa(i))
			if i%20 == 0 {
				for f.receive(there[0], time.Millisecond) != "" {
					came++
				}
			}
		}
		for f.receive(there[0], quiet) != "" {
			came++
		}
		heal(t, d)
		heal(t, e)
		return [2]link.Touched{d.Touched(), e.Touched()}, came
	}
	counts, came := run()
	again, _ := run()
	if !reflect.DeepEqual(counts, again) {
		t.Errorf("with the same seed %+v and %+v", counts, again)
	}
	a, b := counts[0].DatagramsLost, counts[1].DatagramsLost
	lost := int64(n - came)
	if a < n*15/100 || a > n*25/100 || b < n*45/100 || b > n*55/100 || a+b < lost || max(a, b) > lost {
		t.Errorf("%d of %d were lost, %d and %d of them by each", lost, n, a, b)
	}
}
