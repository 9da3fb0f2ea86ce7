package link_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(1, h.Sum64()))
}

// open makes a network with one link from a to b, to a server that handles each
// connection in a goroutine, and returns the address of the link.
func open(t testing.TB, handle func(*net.TCPConn)) (*link.Network, string) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
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
	address := free(t)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Endpoint: "data", Network: "tcp", Listen: address, Target: server.Addr().String()}}, seeded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
		serving.Wait()
	})
	return n, address
}

func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.77.1.1:0")
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

// TestCorrupt: about as many bytes have one bit turned over as was asked for, and
// the same ones where the seed is the same.
func TestCorrupt(t *testing.T) {
	const size, rate = 1 << 20, 0.001 // about a thousand are hit
	var first []byte
	for range 2 {
		got := make(chan []byte, 1)
		n, address := open(t, func(c *net.TCPConn) {
			all, _ := io.ReadAll(c)
			got <- all
		})
		apply(t, n, there, link.Effect{Corrupt: rate})
		c := dial(t, address)
		c.Write(make([]byte, size))
		c.CloseWrite()
		all := <-got
		flipped := 0
		for _, b := range all {
			switch b {
			case 0:
			case 1, 2, 4, 8, 16, 32, 64, 128:
				flipped++
			default:
				t.Fatalf("a byte is %b", b)
			}
		}
		if len(all) != size || flipped < 700 || flipped > 1400 {
			t.Errorf("%d of %d bytes, %d flipped", len(all), size, flipped)
		}
		if first != nil && !bytes.Equal(first, all) {
			t.Error("another time other bytes")
		}
		first = all
	}
}

// TestDrop: of many connections about as many are reset as was asked for, each
// within 4 KiB, and the same ones where the seed is the same.
func TestDrop(t *testing.T) {
	const count = 100
	var first string
	for range 2 {
		n, address := open(t, echo)
		f := apply(t, n, there, link.Effect{Drop: 0.4})
		dropped, which := 0, ""
		for range count {
			c := dial(t, address)
			var err error
			for sent := 0; sent < 4096+512 && err == nil; sent += 512 {
				c.Write(make([]byte, 512))
				_, err = io.ReadFull(c, make([]byte, 512))
			}
			if which += "."; err != nil {
				dropped++
				which = which[:len(which)-1] + "x"
			}
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			c.Close()
		}
		if dropped < 25 || dropped > 55 || first != "" && first != which {
			t.Errorf("%d of %d were dropped: %s, before %s", dropped, count, which, first)
		}
		first = which
		heal(t, f)
		if err := ask(dial(t, address), time.Minute); err != nil {
			t.Error(err)
		}
	}
}

// TestDropAgain: what one fault has spared the next one may hit.
func TestDropAgain(t *testing.T) {
	n, address := open(t, echo)
	c := dial(t, address)
	f := apply(t, n, there, link.Effect{Drop: 1e-9})
	if err := ask(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	heal(t, f)
	apply(t, n, there, link.Effect{Drop: 1})
	c.Write(make([]byte, 8<<10))
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
}

// TestNobody: where nobody listens the caller sees its connection end.
func TestNobody(t *testing.T) {
	address := free(t)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "tcp", Listen: address, Target: free(t)}}, seeded)
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

// TestMemory: what waits in many connections takes about as much memory as it is
// long, and not more than a bound, and who writes more is held up.
func TestMemory(t *testing.T) {
	const connections, messages = 100, 1000
	n, address := open(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
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

// TestDatagrams measures what becomes of numbered datagrams.
func TestDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	type arrival struct {
		number int
		at     time.Time
	}
	arrived := make(chan arrival, 10000)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer server.Close()
	serving.Go(func() {
		buf := make([]byte, 100)
		for {
			k, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			number, _ := strconv.Atoi(string(buf[:k]))
			arrived <- arrival{number, time.Now()}
			server.WriteTo(buf[:k], from)
		}
	})
	listen := "127.77.1.2:" + strconv.Itoa(server.LocalAddr().(*net.UDPAddr).Port)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "udp", Listen: listen, Target: server.LocalAddr().String()}}, seeded)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := net.Dial("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// send sends count datagrams, and returns what of them has come. So many at a
	// time are followed by a mark, sent until it comes, that no buffer is full on the
	// way, which is no fault; and so are all, once the effect is over.
	next := 1
	send := func(e link.Effect, count int) (got []int, took []time.Duration) {
		t.Helper()
		f := apply(t, n, there, e)
		sent := map[int]time.Time{}
		mark := func() {
			mark := next
			next++
			deadline := time.After(time.Minute)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for fmt.Fprint(c, mark); ; {
				select {
				case a := <-arrived:
					if a.number == mark {
						return
					}
					if at, ok := sent[a.number]; ok {
						got = append(got, a.number)
						took = append(took, a.at.Sub(at))
					}
				case <-tick.C:
					fmt.Fprint(c, mark)
				case <-deadline:
					t.Fatal("a mark has not come")
				}
			}
		}
		for i := range count {
			if i%50 == 49 && !e.Cut {
				mark()
			}
			sent[next] = time.Now()
			fmt.Fprint(c, next)
			next++
		}
		time.Sleep(e.Delay + e.Jitter + quiet)
		if e.Cut { // nothing tells that all has been dropped
			time.Sleep(5 * quiet)
		}
		heal(t, f)
		mark()
		return got, took
	}
	const count = 2000
	if got, _ := send(link.Effect{}, count); len(got) != count || !slices.IsSorted(got) {
		t.Errorf("without an effect %d of %d came", len(got), count)
	}
	if got, _ := send(link.Effect{Cut: true}, 100); len(got) != 0 {
		t.Errorf("of a cut lane %d came", len(got))
	}
	if got, _ := send(link.Effect{Loss: 0.3}, count); len(got) < count*65/100 || len(got) > count*75/100 {
		t.Errorf("of a loss of 0.3 %d of %d came", len(got), count)
	}
	if got, _ := send(link.Effect{Duplicate: 0.3}, count); len(got) < count*125/100 || len(got) > count*135/100 {
		t.Errorf("with duplicates of 0.3 %d of %d came", len(got), count)
	}
	for _, test := range []struct{ probability, least, most float64 }{{0.1, 0.05, 0.15}, {1, 0.45, 0.5}} { // each other one passes the one before
		got, _ := send(link.Effect{Reorder: test.probability}, count)
		overtaken := 0
		for i := 1; i < len(got); i++ {
			if got[i] < got[i-1] {
				overtaken++
			}
		}
		if len(got) != count || float64(overtaken) < test.least*count || float64(overtaken) > test.most*count {
			t.Errorf("with %v reordered %d of %d came, %d after a later one", test.probability, len(got), count, overtaken)
		}
	}
	for try := 1; ; try++ { // a machine that is busy with other things is late
		_, plain := send(link.Effect{}, 200)
		got, took := send(link.Effect{Delay: 30 * time.Millisecond}, 200)
		if len(got) != 200 || slices.Min(took) < 30*time.Millisecond {
			t.Errorf("delayed: %d came, after %v at the least", len(got), slices.Min(took))
		}
		over := median(took) - median(plain) - 30*time.Millisecond
		if over <= 25*time.Millisecond {
			break
		}
		if try == 10 {
			t.Errorf("delayed by %v too much, undelayed %v", over, median(plain))
			break
		}
	}
	// The way back is the other lane.
	f := apply(t, n, back, link.Effect{Cut: true})
	last := strconv.Itoa(next)
	fmt.Fprint(c, last)
	<-arrived
	c.SetReadDeadline(time.Now().Add(quiet))
	for buf := make([]byte, 100); ; {
		k, err := c.Read(buf) // of those before some may be left
		if err != nil {
			break
		}
		if string(buf[:k]) == last {
			t.Error("an answer has come back")
		}
	}
	heal(t, f)
}
