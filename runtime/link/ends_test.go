package link_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// TestReset: both ends see a reset, and a new connection is none the worse.
func TestReset(t *testing.T) {
	seen := make(chan error, 10)
	n, address := open(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		seen <- err
	})
	c := dial(t, address)
	if err := ask(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	if count := reset(t, n, back); count != 1 {
		t.Errorf("%d connections were reset", count)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client: %v", err)
	}
	if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server: %v", err)
	}
	if err := ask(dial(t, address), time.Minute); err != nil {
		t.Error(err)
	}
}

// TestEnds: a close and a reset of either end reach the other as what they are.
func TestEnds(t *testing.T) {
	for _, effect := range []link.Effect{{}, {Delay: time.Millisecond}} {
		seen := make(chan error, 10)
		n, address := open(t, func(c *net.TCPConn) {
			b := make([]byte, 1)
			if _, err := io.ReadFull(c, b); err != nil {
				seen <- err
				return
			}
			if b[0] == 'r' {
				c.SetLinger(0)
			}
		})
		f := apply(t, n, both, effect)
		for _, test := range []struct {
			send byte
			want error
		}{{'r', syscall.ECONNRESET}, {'c', io.EOF}} {
			c := dial(t, address)
			c.Write([]byte{test.send})
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, test.want) {
				t.Errorf("%+v, the server's %c: %v", effect, test.send, err)
			}
		}
		c := dial(t, address)
		c.SetLinger(0)
		c.Close()
		if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%+v, the client's reset: %v", effect, err)
		}
		c = dial(t, address)
		c.Close()
		if err := <-seen; !errors.Is(err, io.EOF) {
			t.Errorf("%+v, the client's close: %v", effect, err)
		}
		heal(t, f)
	}
}

func TestRefuse(t *testing.T) {
	n, address := open(t, echo)
	c := dial(t, address)
	if err := ask(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	f := apply(t, n, there, link.Effect{Refuse: true})
	g := apply(t, n, there, link.Effect{Refuse: true})
	heal(t, g)
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	if err := ask(c, time.Minute); err != nil {
		t.Errorf("the one that is there: %v", err)
	}
	heal(t, f)
	heal(t, f)
	if err := ask(dial(t, address), time.Minute); err != nil {
		t.Errorf("after the heal: %v", err)
	}
	if count := reset(t, n, there); count != 2 {
		t.Errorf("after the heal %d connections are known, not the old and the new one", count)
	}
}

// TestJustConnected: what is done to connections is done also to those that the relay
// has had no time to take; and what spares connections spares them.
func TestJustConnected(t *testing.T) {
	const connections = 30
	n, address := open(t, echo)
	for range 20 {
		for name, test := range map[string]struct {
			do   func() int
			want error
		}{
			"refuse": {func() int {
				heal(t, apply(t, n, there, link.Effect{Refuse: true}))
				return connections
			}, nil},
			"reset": {func() int { return reset(t, n, there) }, syscall.ECONNRESET},
			"half open": {func() int {
				f, count := halfOpen(t, n, there)
				if _, again := halfOpen(t, n, there); again != 0 {
					t.Errorf("half open a second time: %d connections", again)
				}
				heal(t, f)
				return count
			}, syscall.ECONNRESET},
		} {
			var calls []*net.TCPConn
			for range connections {
				calls = append(calls, dial(t, address))
			}
			if count := test.do(); count != connections {
				t.Errorf("%s: %d of %d connections", name, count, connections)
			}
			for _, c := range calls {
				if err := ask(c, time.Minute); !errors.Is(err, test.want) {
					t.Errorf("%s: %v, want %v", name, err, test.want)
				}
				c.Close()
			}
			reset(t, n, there)
			if count := reset(t, n, there); count != 0 {
				t.Errorf("%s: after a reset there are %d connections", name, count)
			}
		}
	}
}

// TestNobody: where nobody listens the caller sees its connection end.
func TestNobody(t *testing.T) {
	address := free(t)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "tcp", Listen: address, Target: free(t)}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := net.Dial("tcp", address)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// TestEndsUnderWay: a reset that comes in the middle of a stream is one for the
// other end, never a close, and what was sent before it arrives, as it would
// without a link: there both are in the peer's buffer.
func TestEndsUnderWay(t *testing.T) {
	answer := bytes.Repeat([]byte("answer"), 1000)
	_, address := open(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.Write(answer)
		// With bytes unread a close is a reset.
	})
	data := make([]byte, 200<<10)
	for range 300 {
		c := dial(t, address)
		if _, err := c.Write(data); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		} else if err != nil {
			continue // the reset was there before the answer could be read
		}
		got, err := io.ReadAll(c)
		if !errors.Is(err, syscall.ECONNRESET) || !bytes.Equal(got, answer) {
			t.Fatalf("%d bytes of %d came, and then %v", len(got), len(answer), err)
		}
		c.Close()
	}
}

// TestResetPassesOpenLane: a reset moves as bytes do, so one from the far end passes
// though the way there is cut.
func TestResetPassesOpenLane(t *testing.T) {
	end := make(chan bool)
	n, address := open(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.Write([]byte{1})
		<-end
		c.SetLinger(0)
	})
	for _, test := range []struct {
		pairs []link.Pair
		want  error
	}{{there, syscall.ECONNRESET}, {back, os.ErrDeadlineExceeded}} {
		c := dial(t, address)
		if err := ask(c, time.Minute); err != nil {
			t.Fatal(err)
		}
		f := apply(t, n, test.pairs, link.Effect{Cut: true})
		end <- true
		within := time.Minute
		if test.want != syscall.ECONNRESET {
			within = quiet
		}
		c.SetReadDeadline(time.Now().Add(within))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, test.want) {
			t.Errorf("with %v cut: %v", test.pairs, err)
		}
		heal(t, f)
		c.SetReadDeadline(time.Time{})
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && test.want != syscall.ECONNRESET {
			t.Errorf("after the heal: %v", err)
		}
	}
}
