package link_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// quiet is how long a test watches that nothing comes.
const quiet = 100 * time.Millisecond

// TestPartition cuts a stream in its middle, again and again: while it is cut
// nothing comes but what had left the link, and in the end all has come.
func TestPartition(t *testing.T) {
	const size = 64 << 20
	sum := make(chan [32]byte, 1)
	var got atomic.Int64
	pass := make(chan int64) // a number of bytes that the reader is to have read
	passed := make(chan bool)
	n, address := open(t, func(c *net.TCPConn) {
		h := sha256.New()
		buf := make([]byte, 64<<10)
		read := func() error {
			k, err := c.Read(buf)
			h.Write(buf[:k])
			got.Add(int64(k))
			return err
		}
		for until := range pass {
			for got.Load() < until {
				if read() != nil {
					return
				}
			}
			passed <- true
			<-pass                         // it is cut now
			for silent := 0; silent < 2; { // what had left the link; a deadline may have passed before the reading
				c.SetReadDeadline(time.Now().Add(quiet))
				if read() != nil {
					silent++
				}
			}
			before := got.Load()
			c.SetReadDeadline(time.Now().Add(2 * quiet))
			if read() == nil || got.Load() != before || before >= size {
				t.Errorf("of a lane that is cut %d bytes came after a silence", got.Load()-before)
			}
			c.SetReadDeadline(time.Time{})
			passed <- true
		}
		for read() == nil {
		}
		sum <- [32]byte(h.Sum(nil))
	})
	c := dial(t, address)
	sent := sha256.New()
	var sending sync.WaitGroup
	sending.Go(func() {
		r := seeded("payload")
		buf := make([]byte, 256<<10)
		for range size / len(buf) {
			for i := 0; i < len(buf); i += 8 {
				buf[i] = byte(r.Uint64())
			}
			sent.Write(buf)
			if _, err := c.Write(buf); err != nil {
				t.Error(err)
				return
			}
		}
		c.CloseWrite()
	})
	// Cut where the kernel moves the bytes, and where they wait.
	for i := range int64(8) {
		pass <- i * size / 16
		<-passed
		var under *link.Disturbance
		if i%2 == 1 {
			under = apply(t, n, there, link.Effect{Delay: time.Millisecond})
		}
		f := apply(t, n, there, link.Effect{Cut: true})
		pass <- 0
		<-passed
		heal(t, f)
		if under != nil {
			heal(t, under)
		}
	}
	close(pass)
	sending.Wait()
	if got := <-sum; !bytes.Equal(got[:], sent.Sum(nil)) {
		t.Error("other bytes have come than were sent")
	}
}

// TestCutHoldsClose: a close comes after the heal, and a new connection is made
// and stays silent until then.
func TestCutHoldsClose(t *testing.T) {
	closed := make(chan error, 10)
	n, address := open(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		closed <- err
	})
	c := dial(t, address)
	if err := ask(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	f := apply(t, n, both, link.Effect{Cut: true})
	c.CloseWrite()
	late := dial(t, address)
	if err := ask(late, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	select {
	case err := <-closed:
		t.Fatalf("the close has come: %v", err)
	default:
	}
	heal(t, f)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(late, make([]byte, 1)); err != nil {
		t.Errorf("after the heal: %v", err)
	}
	if err := ask(late, time.Minute); err != nil {
		t.Errorf("after the heal: %v", err)
	}
	if k, err := c.Read(make([]byte, 1)); k != 0 || err != io.EOF {
		t.Errorf("its own end: %d, %v", k, err)
	}
}

// TestOneWay: a lane that is cut leaves the other one.
func TestOneWay(t *testing.T) {
	for _, pairs := range [][]link.Pair{there, back} {
		got := make(chan int, 1000)
		tell := make(chan bool)
		n, address := open(t, func(c *net.TCPConn) {
			go func() {
				for range tell {
					c.Write([]byte{1})
				}
				c.CloseWrite()
			}()
			buf := make([]byte, 1)
			for {
				k, err := c.Read(buf)
				if err != nil {
					return
				}
				got <- k
			}
		})
		c := dial(t, address)
		c.Write([]byte{1})
		<-got
		f := apply(t, n, pairs, link.Effect{Cut: true})
		c.Write([]byte{1})
		tell <- true
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if pairs[0] == back[0] {
			c.SetReadDeadline(time.Now().Add(quiet))
		}
		_, err := c.Read(make([]byte, 1))
		came := false
		select {
		case <-got:
			came = true
		case <-time.After(map[bool]time.Duration{true: quiet, false: time.Minute}[pairs[0] == there[0]]):
		}
		if cutThere := pairs[0] == there[0]; came == cutThere || (err == nil) != cutThere {
			t.Errorf("%v cut: there came %v, back %v", pairs, came, err)
		}
		heal(t, f)
		close(tell)
		c.SetReadDeadline(time.Time{})
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
}
