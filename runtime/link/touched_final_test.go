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
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

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
		effect := []link.Effect{{Cut: true}, {Delay: time.Millisecond, Jitter: time.Millisecond}, {Rate: 50 << 20},
			{Corrupt: 0.01}}[random.IntN(4)]
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
