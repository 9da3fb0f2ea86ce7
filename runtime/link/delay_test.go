package link_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

func median(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }

// TestDelay: a delay is never early, and its median is near what was asked for,
// over an undelayed control. The control sleeps as long between its rounds, so
// that both meet the same load of the machine.
func TestDelay(t *testing.T) {
	n, address := open(t, echo)
	c := dial(t, address)
	round := func() time.Duration {
		began := time.Now()
		if err := ask(c, time.Minute); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	for _, test := range []struct {
		pairs         []link.Pair
		delay, jitter time.Duration
	}{
		{there, 20 * time.Millisecond, 0},
		{back, 20 * time.Millisecond, 0},
		{both, 5 * time.Millisecond, 0},
		{both, 50 * time.Millisecond, 0},
		{both, 30 * time.Millisecond, 20 * time.Millisecond},
	} {
		var plain, delayed []time.Duration
		asked, least := time.Duration(len(test.pairs))*test.delay, time.Duration(len(test.pairs))*(test.delay-test.jitter)
		measure := func() time.Duration {
			began := time.Now()
			for range test.pairs {
				time.Sleep(test.delay)
			}
			round()
			plain = append(plain, time.Since(began)-asked)
			f := apply(t, n, test.pairs, link.Effect{Delay: test.delay, Jitter: test.jitter})
			took := round()
			if took < least {
				t.Errorf("%+v: an echo after %v", test, took)
			}
			delayed = append(delayed, took)
			heal(t, f)
			return median(delayed) - median(plain) - asked
		}
		far := func(over time.Duration) bool {
			return over > 25*time.Millisecond || over < -25*time.Millisecond-test.jitter
		}
		// On a machine that is busy with other things a few rounds tell nothing.
		over := time.Duration(0)
		for rounds := 0; rounds < 15 || far(over) && rounds < 150; rounds++ {
			over = measure()
		}
		t.Logf("%+v: median %v over the control", test, over)
		if far(over) {
			t.Errorf("%+v: %v too much, the control %v", test, over, median(plain))
		}
	}
	// Of a stream under way as much arrives as without, only later, and in order.
	f := apply(t, n, there, link.Effect{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond})
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	go c.Write(data)
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("under jitter: %v, equal %v", err, bytes.Equal(got, data))
	}
	heal(t, f)
	// What waits is let go when the delay is taken off, or made shorter.
	f = apply(t, n, there, link.Effect{Delay: time.Hour})
	if err := ask(c, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an hour's delay: %v", err)
	}
	heal(t, f)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := ask(c, time.Minute); err != nil {
		t.Error(err)
	}
}

// TestMemory: what waits in many connections takes about as much memory as it is
// long, and not more than a bound, and who writes more is held up.
func TestMemory(t *testing.T) {
	const connections, messages = 100, 1000
	n, address := open(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	heap := func() int64 { // which may become less, too
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	f := apply(t, n, there, link.Effect{Delay: time.Hour})
	var writing sync.WaitGroup
	for range connections {
		c := dial(t, address)
		writing.Go(func() {
			for range messages {
				c.Write([]byte{1})
			}
		})
	}
	writing.Wait()
	if took := heap() - before; took > connections*messages*256 {
		t.Errorf("%d messages of a byte in %d connections take %d bytes", messages, connections, took)
	}
	c := dial(t, address)
	c.SetWriteDeadline(time.Now().Add(2 * time.Second)) // what the kernel holds comes to it
	k, err := io.CopyN(c, zeros{}, 1<<30)
	if took := heap() - before; !errors.Is(err, os.ErrDeadlineExceeded) || took > 64<<20 {
		t.Errorf("%d bytes were written, %v; %d are held", k, err, took)
	}
	heal(t, f)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
