package link_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

func TestHalfOpen(t *testing.T) {
	seen := make(chan error, 10)
	n, address := open(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		seen <- err
	})
	c := dial(t, address)
	if err := ask(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	f, count := halfOpen(t, n, there)
	if count != 1 {
		t.Errorf("%d connections", count)
	}
	if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server: %v", err)
	}
	if err := ask(c, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client: %v", err)
	}
	if err := ask(dial(t, address), time.Minute); err != nil {
		t.Errorf("another: %v", err)
	}
	heal(t, f)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client after the heal: %v", err)
	}
}

// TestHalfOpenHeals: what a heal ends, ends by a reset, though the relay has nothing
// to do any more but to wait for it.
func TestHalfOpenHeals(t *testing.T) {
	n, address := open(t, echo)
	for range 300 {
		c := dial(t, address)
		if err := ask(c, time.Minute); err != nil {
			t.Fatal(err)
		}
		f, _ := halfOpen(t, n, there)
		c.Write([]byte{7})
		runtime.Gosched()
		heal(t, f)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("after the heal: %v", err)
		}
		c.Close()
	}
}

// TestHalfOpenBeforeConnected: a connection that waits at a cut ends at the far end
// before it has come there, and stays silent at the near one.
func TestHalfOpenBeforeConnected(t *testing.T) {
	n, address := open(t, echo)
	cut := apply(t, n, both, link.Effect{Cut: true})
	c := dial(t, address)
	var f *link.Disturbance
	for count := 0; count == 0; runtime.Gosched() { // the relay takes it some time after it is made
		f, count = halfOpen(t, n, there)
	}
	heal(t, cut)
	if err := ask(c, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while it is half open: %v", err)
	}
	heal(t, f)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the heal: %v", err)
	}
}
