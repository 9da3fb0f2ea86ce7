package clock

import (
	"math/rand/v2"
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
// the clock does not go back. A function that blocks holds the clock up as a
// suspension does.
func TestSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		began := time.Now()
		fired := make(chan time.Duration, 1)
		c.AfterFunc(3*time.Second, func() { fired <- time.Since(began) })
		c.AfterFunc(time.Second, func() {
			before := c.Now()
			time.Sleep(4 * time.Second)
			if now := c.Now(); now < before || now > before+unconfirmed {
				t.Errorf("4 s later it is %s, and was %s", now, before)
			}
		})
		time.Sleep(20 * time.Second)
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
