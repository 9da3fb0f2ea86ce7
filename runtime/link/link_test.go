package link_test

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(1, h.Sum64()))
}

// options are those of a test's network.
func options(t testing.TB) link.Options {
	c := clock.New()
	t.Cleanup(c.Close)
	return link.Options{Seed: seeded, Clock: c}
}

// open makes a network with one link from a to b, to a server that handles each
// connection in a goroutine, and returns the address of the link.
func open(t testing.TB, handle func(*net.TCPConn)) (*link.Network, string) {
	t.Helper()
	target := serveAt(t, "127.0.0.1:0", handle)
	address := free(t)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Endpoint: "data", Network: "tcp", Listen: address, Target: target}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, address
}

// serveAt has a server handle each connection in a goroutine, and returns its address.
// It ends with the test, once the connections have.
func serveAt(t testing.TB, at string, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	server, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return server.Addr().String()
}

// host is a host of the loopback that no other process has, and no run: tests of refusals
// hear of all calls to it, and other tests may run at the same time.
func host() string {
	const hosts = 250 // in each of 127.0.2 to 127.0.251
	pid := os.Getpid()
	return fmt.Sprintf("127.0.%d.%d", 2+pid/hosts%hosts, 1+pid%hosts)
}

func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", host()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func echo(c *net.TCPConn) { io.Copy(c, c) }

var (
	there = []link.Pair{{From: "a", To: "b"}}
	back  = []link.Pair{{From: "b", To: "a"}}
	both  = []link.Pair{{From: "a", To: "b"}, {From: "b", To: "a"}}
)

func apply(t testing.TB, n *link.Network, pairs []link.Pair, e link.Effect) *link.Disturbance {
	t.Helper()
	f, err := n.Apply(pairs, e)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func heal(t testing.TB, f *link.Disturbance) {
	t.Helper()
	if err := f.Heal(); err != nil {
		t.Fatal(err)
	}
}

// reset resets connections, and returns how many.
func reset(t testing.TB, n *link.Network, pairs []link.Pair) int {
	t.Helper()
	d, err := n.Reset(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return int(d.Touched().ConnectionsReset)
}

// halfOpen makes connections half open, and returns how many.
func halfOpen(t testing.TB, n *link.Network, pairs []link.Pair) (*link.Disturbance, int) {
	t.Helper()
	d, err := n.HalfOpen(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return d, int(d.Touched().ConnectionsSilent)
}

// ask sends a byte and awaits an echo.
func ask(c *net.TCPConn, within time.Duration) error {
	c.SetDeadline(time.Now().Add(within))
	defer c.SetDeadline(time.Time{})
	if _, err := c.Write([]byte{7}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}
