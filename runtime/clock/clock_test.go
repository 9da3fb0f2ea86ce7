package clock

import (
	"math"
	"math/rand/v2"
	goruntime "runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOrder: timers fire at their times, in their order, and those that were stopped
// or set again do not.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		var want, got []int
		due := map[int]time.Duration{}
		for i := range 1000 {
			d := time.Duration(1+random.IntN(50)) * 7 * time.Millisecond
			timer := c.AfterFunc(d, func() {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, i)
				if now := c.Now(); now != due[i] {
					t.Errorf("timer %d of %s fired at %s", i, due[i], now)
				}
			})
			switch random.IntN(4) {
			case 0:
				if !timer.Stop() || timer.Stop() {
					t.Error("a timer is stopped once")
				}
				continue
			case 1:
				d += 3 * time.Millisecond
				timer.Reset(d)
			}
			mu.Lock()
			due[i] = d
			mu.Unlock()
			want = append(want, i)
		}
		slices.SortStableFunc(want, func(a, b int) int { return int(due[a] - due[b]) })
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(got, want) {
			t.Errorf("fired in the order %v, want %v", got, want)
		}
	})
}

// TestSuspension: time in which the clock's process did not run does not count, and
// the clock does not go back.
func TestSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := unwound()
		defer c.wake.Stop()
		run := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				c.beat()
				time.Sleep(min(c.fire(), time.Until(end)))
			}
			c.beat()
			c.fire()
		}
		began := time.Now()
		fired := make(chan time.Duration, 1)
		c.AfterFunc(3*time.Second, func() { fired <- time.Since(began) })
		run(time.Second)
		before := c.Now()
		time.Sleep(4 * time.Second)
		if now := c.Now(); now < before || now > before+unconfirmed {
			t.Errorf("4 s later it is %s, and was %s", now, before)
		}
		run(15 * time.Second)
		if got, want := <-fired, 7*time.Second-unconfirmed; got != want {
			t.Errorf("what was due after 3 s fired after %s, want %s", got, want)
		}
		if now, want := c.Now(), 16*time.Second+unconfirmed; now != want {
			t.Errorf("it is %s, want %s", now, want)
		}
		for _, at := range []struct{ run, machine time.Duration }{
			{500 * time.Millisecond, 500 * time.Millisecond},
			{time.Second, time.Second},
			{3 * time.Second, 7*time.Second - unconfirmed},
		} {
			if got := c.Time(at.run).Sub(began); got != at.machine {
				t.Errorf("%s of the run was at %s, want %s", at.run, got, at.machine)
			}
		}
	})
}

// TestClosed: a closed clock tells the time, and fires nothing.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		c.AfterFunc(time.Second, func() { t.Error("it fired") })
		time.Sleep(time.Millisecond)
		c.Close()
		time.Sleep(time.Hour)
		if now := c.Now(); now != time.Hour+time.Millisecond {
			t.Errorf("it is %s", now)
		}
	})
}

// TestBlocked: a function that does not return holds up the clock for a second, and another
// one for less. Time goes on meanwhile, and the clock can be closed.
func TestBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		over := make(chan struct{})
		var mu sync.Mutex
		var got []string
		at := func(ms time.Duration, name string, then func()) {
			c.AfterFunc(ms*time.Millisecond, func() {
				mu.Lock()
				got = append(got, name+" "+c.Now().String())
				mu.Unlock()
				then()
			})
		}
		at(1000, "first", func() {})
		at(1000, "blocks", func() { <-over })
		at(1000, "exits", goruntime.Goexit)
		at(1500, "late", func() {})
		at(2005, "blocks too", func() { <-over })
		at(2010, "late too", func() {})
		at(2600, "in time", func() {})
		time.Sleep(3 * time.Second)
		mu.Lock()
		want := []string{"first 1s", "blocks 1s", "exits 2s", "late 2s", "blocks too 2.005s", "late too 2.015s", "in time 2.6s"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		mu.Unlock()
		close(over)
		synctest.Wait()
		at(0, "blocks the last", func() { time.Sleep(time.Minute) })
		at(0, "never", func() { t.Error("it was called after Close") })
		time.Sleep(time.Millisecond)
		began := time.Now()
		if c.Close(); time.Since(began) > time.Second {
			t.Errorf("it was closed after %s", time.Since(began))
		}
		time.Sleep(time.Hour)
	})
}

// TestAt: a reading of the machine's clock has its instant of the run, which is the same
// whenever it is asked for; of a suspension all readings have the one at which it was.
func TestAt(t *testing.T) {
	const s = time.Second
	c := unwound()
	c.monotonic, c.began = 1000, time.Now().Add(-100*s)
	c.pulse.Store(&pulse{seen: 1 << 62, lost: 30 * s})
	c.suspensions = []suspension{{at: 10 * s, took: 20 * s}, {at: 40 * s, took: 10 * s}}
	for machine, want := range map[time.Duration]time.Duration{
		-5 * s: -5 * s, 0: 0, 9 * s: 9 * s, 10 * s: 10 * s, 20 * s: 10 * s, 30 * s: 10 * s, 31 * s: 11 * s, 60 * s: 40 * s, 65 * s: 40 * s,
		70 * s: 40 * s, 80 * s: 50 * s,
	} {
		if at, ok := c.At(1000 + int64(machine)); !ok || at != want {
			t.Errorf("at %s of the machine it was %s, %t, want %s", machine, at, ok, want)
		}
		if back := c.Time(want).Sub(c.began); machine < 10*s && back != machine {
			t.Errorf("%s of the run is %s of the machine, want %s", want, back, machine)
		}
	}
	if at, _ := c.At(1000 + int64(1000*s)); at < 69*s || at > c.Now() {
		t.Errorf("what is to come is at %s, want now", at)
	}
	for _, far := range []int64{math.MinInt64, math.MaxInt64} {
		if at, _ := c.At(far); at > c.Now() {
			t.Errorf("%d is at %s", far, at)
		}
	}
	if c.monotonic = 0; !func() bool { _, ok := c.At(1000); return !ok }() {
		t.Error("there is no such clock, and an instant")
	}
}

// TestReadTogether: the two clocks of a run are read at one moment, whatever comes between.
func TestReadTogether(t *testing.T) {
	if Monotonic() == 0 {
		t.Skip("processes share no clock here")
	}
	a, m := readTogether()
	for range 100 {
		b, n := readTogether()
		if apart := b.Sub(a) - time.Duration(n-m); apart.Abs() > 100*time.Microsecond {
			t.Errorf("the clocks are %s apart", apart)
		}
	}
}
