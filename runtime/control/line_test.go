package control

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// TestPausedFrame: the time that a frame has stands still while its node does.
func TestPausedFrame(t *testing.T) {
	const within = 20 * time.Millisecond
	_, l, address := server(t, Options{FrameTimeout: within})
	big := frame(t, osc.SizePrefix, "/big", strings.Repeat("x", 1000))
	c := dial(t, address)
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	l.wait(t, "ready x")
	l.pause(0, time.Hour)
	c.Write(big[:500])
	for range 5 { // as often as it would have been late
		l.wait(t, "asked of x")
		l.forget("asked of x")
	}
	c.Write(big[500:])
	l.wait(t, "received x /big")
	l.pause(0, 0)
	c.Write(big[:500])
	l.wait(t, "disconnected x: half a frame, and no more within 20ms")
}

// TestStoppedFrame: so it does while the node's process is stopped without being paused; and
// so does the time that it has to take what it is sent.
func TestStoppedFrame(t *testing.T) {
	const within = 50 * time.Millisecond
	_, l, address := server(t, Options{FrameTimeout: within, WriteTimeout: within})
	stop := func(is bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.isStopped = is
	}
	big := frame(t, osc.SizePrefix, "/big", strings.Repeat("x", 1000))
	c := dial(t, address)
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	l.wait(t, "ready x")
	conn := l.conns["x"]
	stop(true)
	began := conn.s.o.Clock.Now()
	c.Write(big[:500])
	sent := make(chan error, 1)
	go func() {
		for sent <- nil; ; { // more than the sockets between take
			if err := conn.Send(osc.NewMessage("/much", strings.Repeat("x", 60_000))); err != nil {
				sent <- err
				return
			}
		}
	}()
	<-sent
	for conn.s.o.Clock.Now() < began+4*within { // as often as it would have been late
		passed, _ := conn.s.o.Clock.After(within)
		<-passed
	}
	select {
	case err := <-sent:
		t.Fatalf("a node that is stopped: %v", err)
	default:
	}
	c.Write(big[500:])
	l.wait(t, "received x /big")
	stop(false)
	const late = "it did not take what it was sent, /much, within 50ms"
	if err := <-sent; err == nil || !strings.HasPrefix(err.Error(), late) {
		t.Errorf("who does not read: %v", err)
	}
	l.wait(t, "disconnected x: "+late)
}

// TestLateFrame: what had arrived when a deadline passed counts, however late it is
// read.
func TestLateFrame(t *testing.T) {
	l := newLedger()
	held := &holding{ledger: l, entered: make(chan struct{}), proceed: make(chan struct{})}
	s := New(held, Options{FrameTimeout: time.Millisecond})
	defer s.Close()
	a, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	big := frame(t, osc.SizePrefix, "/big", strings.Repeat("x", 40_000))
	c := dial(t, a.String())
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	l.wait(t, "ready x")
	// It has a message to hold it up, and half a frame that has begun when it goes on.
	c.Write(frame(t, osc.SizePrefix, "/hold"))
	<-held.entered
	c.Write(big)
	close(held.proceed)
	l.wait(t, "received x /big")
}

// holding is a Handler that is held up by /hold.
type holding struct {
	*ledger
	entered, proceed chan struct{}
}

func (h *holding) Received(c *Conn, all []*osc.Message) {
	h.ledger.Received(c, all)
	if all[0].Address == "/hold" {
		close(h.entered)
		<-h.proceed
	}
}

// TestSettle: what had been said before a call of Settle has been heard after it, on
// connections that are known and on those that had only just been made; one that says
// nothing is not waited for.
func TestSettle(t *testing.T) {
	s, l, address := server(t, Options{})
	p, err := s.ListenFor("127.0.0.1", "own", 1)
	if err != nil {
		t.Fatal(err)
	}
	dial(t, address) // it never says anything
	known := dial(t, address)
	known.Write(frame(t, osc.SizePrefix, "/ready", "known"))
	l.wait(t, "ready known")
	l.mu.Lock()
	conn := l.conns["known"]
	l.mu.Unlock()
	for i := range 200 {
		text := fmt.Sprint("message ", i)
		known.Write(frame(t, osc.SizePrefix, "/x", text))
		s.Settle(context.Background(), []*Conn{conn}, nil, false)
		if !strings.Contains(l.all(), text) {
			t.Fatalf("it had said %s", text)
		}
		name, at := fmt.Sprint("new-", i), address
		if i%2 == 0 {
			at = p.Addr().String()
		}
		c := dial(t, at)
		c.Write(frame(t, osc.SizePrefix, "/ready", name))
		s.Settle(context.Background(), nil, []*Port{p}, true)
		if !strings.Contains(l.all(), "ready "+name+" ") {
			t.Fatalf("%s had said its name", name)
		}
		c.Close()
		l.mu.Lock()
		ended := l.conns[name]
		l.mu.Unlock()
		s.Settle(context.Background(), []*Conn{ended}, nil, false)
		if !strings.Contains(l.all(), "disconnected "+name+": closed") {
			t.Fatalf("%s had closed", name)
		}
	}
}

// TestBefore: the connections of a node to a port are known in the order in which they
// were made.
func TestBefore(t *testing.T) {
	s, l, address := server(t, Options{})
	var conns []*Conn
	for i := range 3 {
		dial(t, address).Write(frame(t, osc.SizePrefix, "/ready", "x", fmt.Sprint("run", i)))
		l.wait(t, fmt.Sprintf("ready x run=\"run%d\"", i))
		l.mu.Lock()
		conns = append(conns, l.conns["x"])
		l.mu.Unlock()
	}
	dial(t, address).Write(frame(t, osc.SizePrefix, "/ready", "y"))
	l.wait(t, "ready y")
	dial(t, address)
	s.Settle(context.Background(), nil, nil, true)
	l.mu.Lock()
	y := l.conns["y"]
	l.mu.Unlock()
	for i, c := range append(conns, y) {
		if i == 3 {
			i = 0
		}
		if got := len(c.before(func(o *Conn) bool { return o.claims == c.Name() })); got != i {
			t.Errorf("%d before number %d of %s", got, i, c.Name())
		}
	}
}

// TestRefusedByThemselves: what holds no message that can be read is refused by itself
// and told, with a bound, and what is with it is heard.
func TestRefusedByThemselves(t *testing.T) {
	_, l, address := server(t, Options{MaxRefused: 4})
	c := dial(t, address)
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	odd := []byte("/odd\x00\x00\x00\x00,z\x00\x00")
	fine := frame(t, osc.SizePrefix, "/fine")[4:]
	bundle := []byte("#bundle\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	for _, element := range [][]byte{fine, odd, fine} {
		bundle = append(append(bundle, 0, 0, 0, byte(len(element))), element...)
	}
	for _, packet := range [][]byte{odd, []byte("nonsense"), bundle, {}, []byte("/bare\x00\x00\x00"), odd, odd, odd} {
		c.Write(osc.AppendFrame(nil, osc.SizePrefix, packet))
	}
	c.Write(frame(t, osc.SizePrefix, "/last"))
	l.wait(t, "received x /last")
	l.wait(t, "more messages of it were refused")
	want := `ready x run="" incarnation=0 token="" for=""/0
refused "x": /odd: unknown type tag 'z'
refused "x": no address: a message must begin with /
received x /fine []
refused "x": element 2 of a bundle: /odd: unknown type tag 'z'
received x /fine []
refused "x": an empty packet
received x /bare []
received x /last []
refused "x": and 3 more messages of it were refused in this second`
	if got := l.all(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTellRefused: that many more messages were refused is told when it is asked for, of the
// node that is meant alone, once; and what is counted after it is told when the second is
// over.
func TestTellRefused(t *testing.T) {
	s, l, address := server(t, Options{MaxRefused: 1})
	odd := osc.AppendFrame(nil, osc.SizePrefix, []byte("/odd\x00\x00\x00\x00,z\x00\x00"))
	conns := map[string]net.Conn{}
	say := func(name string, refused int) {
		conns[name].Write(append(bytes.Repeat(odd, refused), frame(t, osc.SizePrefix, "/said")...))
		l.wait(t, "received "+name+" /said")
		l.forget("/said")
	}
	for _, name := range []string{"x", "y"} {
		conns[name] = dial(t, address)
		conns[name].Write(frame(t, osc.SizePrefix, "/ready", name))
		l.wait(t, "ready "+name)
	}
	var told []int
	say("y", 3)
	for _, n := range []int{6, 0, 2} {
		say("x", n)
		s.TellRefused("x")
		s.TellRefused("nobody")
		l.mu.Lock()
		told = append(told, refusals(l.lines, "x"))
		l.mu.Unlock()
	}
	say("x", 4)
	s.Close()
	told = append(told, refusals(l.lines, "x"))
	if want := []int{6, 6, 8, 12}; !slices.Equal(told, want) || refusals(l.lines, "y") != 3 {
		t.Errorf("of x %v were told, want %v:\n%s", told, want, l.all())
	}
}

// refusals is how many messages of a node the lines of a ledger tell of as refused.
func refusals(lines []string, node string) (all int) {
	for _, line := range lines {
		if reason, ok := strings.CutPrefix(line, fmt.Sprintf("refused %q: ", node)); ok {
			n := 1
			fmt.Sscanf(reason, "and %d more ", &n)
			all += n
		}
	}
	return all
}

// TestFirstBundle: of a bundle that begins with a /ready that is believed, what holds no
// message that can be read is refused by itself, as of any other; one that does not begin
// so is not.
func TestFirstBundle(t *testing.T) {
	_, l, address := server(t, Options{})
	ready := frame(t, osc.SizePrefix, "/ready", "x")[4:]
	odd := []byte("/odd\x00\x00\x00\x00,z\x00\x00")
	fine := frame(t, osc.SizePrefix, "/fine")[4:]
	bundle := func(elements ...[]byte) []byte {
		b := []byte("#bundle\x00\x00\x00\x00\x00\x00\x00\x00\x01")
		for _, e := range elements {
			b = append(append(b, 0, 0, 0, byte(len(e))), e...)
		}
		return osc.AppendFrame(nil, osc.SizePrefix, b)
	}
	dial(t, address).Write(bundle(ready, odd, fine))
	l.wait(t, "received x /fine")
	dial(t, address).Write(bundle(odd, ready, fine))
	l.wait(t, "element 1 of a bundle")
	want := `ready x run="" incarnation=0 token="" for=""/0
refused "x": element 2 of a bundle: /odd: unknown type tag 'z'
received x /fine []
refused "": malformed: element 1 of a bundle: /odd: unknown type tag 'z'`
	if got := l.all(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBatches: many messages that are there at once are passed on together, in order.
func TestBatches(t *testing.T) {
	const n = 10_000
	l := newLedger()
	b := &batches{ledger: l}
	s := New(b, Options{})
	defer s.Close()
	a, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, a.String())
	all := frame(t, osc.SizePrefix, "/ready", "x")
	for i := range n {
		all = append(all, frame(t, osc.SizePrefix, "/x", int32(i))...)
	}
	c.Write(all)
	l.wait(t, fmt.Sprintf("received x /x [%d]", n-1))
	lines := strings.Split(l.all(), "\n")
	for i, line := range lines[1:] {
		if line != fmt.Sprintf("received x /x [%d]", i) {
			t.Fatalf("message %d is %s", i, line)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.calls > n/10 {
		t.Errorf("%d messages in %d calls", n, b.calls)
	}
}

type batches struct {
	*ledger
	calls int
}

func (b *batches) Received(c *Conn, all []*osc.Message) {
	b.ledger.Received(c, all)
	b.mu.Lock()
	b.calls++
	b.mu.Unlock()
}
