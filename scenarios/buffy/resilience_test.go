package buffy

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// peer is one that the components talk to, as a test plays it.
type peer struct {
	t testing.TB
	c net.Conn
	r *osc.Reader
}

// call connects to a component.
func call(t testing.TB, address string) *peer {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(time.Minute)) // so that a test that fails ends
	return &peer{t, c, osc.NewReader(c, osc.MaxFrame)}
}

func (p *peer) say(address string, args ...any) {
	p.t.Helper()
	if _, err := p.c.Write(frame(p.t, address, args...)); err != nil {
		p.t.Fatal(err)
	}
}

// hear is the next message, or nil at the end.
func (p *peer) hear() *osc.Message {
	p.t.Helper()
	packet, err := p.r.Next()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := osc.Parse(packet)
	if err != nil {
		p.t.Fatal(err)
	}
	return v.Message()
}

// expect hears a message and compares it.
func (p *peer) expect(address string, args ...any) {
	p.t.Helper()
	m := p.hear()
	if m == nil || m.Address != address || fmt.Sprint(m.Arguments...) != fmt.Sprint(args...) {
		p.t.Fatalf("heard %v, want %s %v", m, address, args)
	}
}

// hand is a worker that the test plays.
type hand struct {
	name          string
	control, data *peer
}

// signIn signs a worker in.
func signIn(t testing.TB, control, data, name string, session int64) *hand {
	h := &hand{name, call(t, control), call(t, data)}
	h.control.say("/hello", name, "at-"+name, session)
	h.data.say("/hello", name, "at-"+name, session)
	return h
}

// link hears who is next in a ring, and says that it has connected.
func (h *hand) link(next string, whole bool) {
	h.control.t.Helper()
	m := h.control.hear()
	if m == nil || m.Address != "/next" || m.Arguments[0] != next || m.Arguments[2] != whole {
		h.control.t.Fatalf("%s heard %v, want that %s is next, of all: %v", h.name, m, next, whole)
	}
	h.control.say("/linked", h.name, m.Arguments[1])
}

// ledBy starts a leader of two workers that the test plays.
func ledBy(d *dagon, args ...string) (control, data, source string) {
	control, data, source = free(d.t), free(d.t), free(d.t)
	d.start(context.Background(), "double-divide", "l",
		append([]string{"-l", "--worker-count=2", "-c", control, "-d", data, "--source=" + source}, args...)...)
	return control, data, source
}

func TestLeaderDealsAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	control, data, source := ledBy(d)
	a := signIn(t, control, data, "a", 1)
	a.data.expect("/acks", "l")
	b := signIn(t, control, data, "b", 2)
	b.data.expect("/acks", "l")
	a.link("at-b", true)
	b.link("at-a", true)
	d.await("l", "/topology_ready")

	asks, silent := call(t, source), call(t, source)
	asks.say("/acks", "s")
	asks.say("/data", "one", int64(1))
	asks.say("/data", "two", int64(2))
	b.data.expect("/data", "one", int64(1))
	a.data.expect("/data", "two", int64(2))
	a.data.say("/ack", int64(2))
	asks.expect("/ack", int64(2))

	// b is gone with message 1: a is alone, and gets it
	b.control.c.Close()
	b.data.c.Close()
	a.link("at-a", false)
	a.data.expect("/data", "one", int64(1))

	// b is back before 1 is acknowledged: it is dealt again, once the ring is formed
	b = signIn(t, control, data, "b", 3)
	b.data.expect("/acks", "l")
	b.link("at-a", true)
	a.link("at-b", true)
	all := make(chan *osc.Message, 2)
	for _, h := range []*hand{a, b} {
		go func() {
			if packet, err := h.data.r.Next(); err == nil {
				if v, err := osc.Parse(packet); err == nil {
					all <- v.Message()
				}
			}
		}()
	}
	if m := <-all; m.Arguments[0] != "one" {
		t.Fatalf("%v was dealt again", m)
	}
	// one without an id is given one
	silent.say("/data", "three")
	three := <-all
	if three.Arguments[0] != "three" || len(three.Arguments) != 2 {
		t.Fatalf("%v was dealt", three)
	}
	// nothing ends before all is acknowledged, from whomever that comes
	asks.say("/end", "s")
	silent.say("/end", "silent")
	b.data.say("/ack", three.Arguments[1])
	b.data.say("/ack", int64(99)) // of nothing
	b.data.say("/ack", int64(1))
	asks.expect("/ack", int64(1))
	a.data.expect("/end", "l")
	b.data.expect("/end", "l")

	// a worker that says it may have lost something has the end said again
	a.control.say("/hello", "a", "at-a", int64(1))
	a.link("at-b", true)
	b.link("at-a", true)
	a.data.expect("/end", "l")
	b.data.expect("/end", "l")

	// who has not asked is told nothing
	d.send("l", "/shutdown")
	if code := d.exit("l"); code != 0 {
		t.Errorf("exit code %d: %s", code, d.output("l"))
	}
	if m := silent.hear(); m != nil {
		t.Errorf("who did not ask heard %v", m)
	}
}

// TestWindow: a leader takes over no more than its window, and goes on when
// there is room.
func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name string
		size int // of a payload, of at least ten bytes
		want int // how many are taken over
	}{{"messages", 10, windowMessages}, {"bytes", 1 << 19, windowBytes >> 19}} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			d := newDagon(t)
			control, data, source := ledBy(d, "--worker-count=1")
			a := signIn(t, control, data, "a", 1)
			a.data.expect("/acks", "l")
			a.link("at-a", true)
			s := call(t, source)
			s.say("/acks", "s")
			total := test.want + test.want/2
			var sending sync.WaitGroup
			defer sending.Wait()
			sending.Go(func() {
				for i := range total {
					s.c.Write(frame(t, "/data", fmt.Sprintf("%0*d", test.size, i), int64(i)))
				}
			})
			take := func(n int) {
				for range n {
					if m := a.data.hear(); m.Address != "/data" {
						t.Fatalf("heard %v", m)
					}
				}
			}
			take(test.want)
			// Whoever signs in again is dealt all that is unacknowledged, after what
			// was dealt before: nothing over the bound was.
			a.control.say("/hello", "a", "at-a", int64(1))
			a.link("at-a", true)
			if m := a.data.hear(); m.Arguments[1] != int64(0) {
				t.Fatalf("a leader whose window is full dealt message %v", m.Arguments[1])
			}
			take(test.want - 1) // again
			for i := range test.want {
				a.data.say("/ack", int64(i))
				s.expect("/ack", int64(i))
			}
			take(total - test.want)
		})
	}
}

// TestAtMostOnce: a leader that keeps nothing acknowledges what it has dealt,
// and does not deal it again.
func TestAtMostOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	control, data, source := ledBy(d, "--at-most-once")
	a, b := signIn(t, control, data, "a", 1), signIn(t, control, data, "b", 2)
	for _, h := range []*hand{a, b} { // in the order in which they were heard
		m := h.control.hear()
		h.control.say("/linked", h.name, m.Arguments[1])
	}
	s := call(t, source)
	s.say("/acks", "s")
	s.say("/data", "one", int64(1))
	s.say("/data", "two", int64(2))
	s.expect("/ack", int64(1))
	s.expect("/ack", int64(2))
	a.control.c.Close()
	a.data.c.Close()
	b.link("at-b", false)
	s.say("/data", "three", int64(3))
	s.say("/end", "s")
	var heard []string
	for m := b.data.hear(); m.Address != "/end"; m = b.data.hear() {
		if m.Address == "/data" {
			heard = append(heard, m.Arguments[0].(string))
		}
	}
	if len(heard) != 2 || heard[1] != "three" {
		t.Errorf("the worker that was left heard %q", heard)
	}
}

// TestSheds: a leader that keeps nothing does not wait for workers that are
// behind; what comes meanwhile is acknowledged and left out.
func TestSheds(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	control, data, source := ledBy(d, "--at-most-once", "--worker-count=1")
	a := signIn(t, control, data, "a", 1)
	a.link("at-a", true)
	if m := a.data.hear(); m.Address != "/acks" {
		t.Fatalf("heard %v", m)
	}
	s := call(t, source)
	s.say("/acks", "s")
	const behind = 1024
	for i := range int64(2 * behind) {
		s.say("/data", "x", i)
		s.expect("/ack", i)
	}
	a.data.expect("/data", "x", int64(0))
	a.data.say("/ack", int64(0))
	d.until("shedding", func() bool { return strings.Contains(d.out["l"].buf.String(), "SHEDDING MESSAGES") })
	for i := int64(1); i < behind; i++ {
		a.data.expect("/data", "x", i)
		a.data.say("/ack", i)
	}
	s.say("/end", "s")
	for m := a.data.hear(); m.Address != "/end"; m = a.data.hear() {
		t.Fatalf("heard %v", m)
	}
}

// TestReceiverDropsDuplicates: what comes again, on whichever connection, is
// acknowledged there and not recorded; what has no id is recorded each time.
func TestReceiverDropsDuplicates(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	at := free(t)
	d.start(context.Background(), "giles-receiver", "r", "--listen="+at)
	a, b, silent := call(t, at), call(t, at), call(t, at)
	a.say("/acks", "a")
	for _, id := range []int64{0, -1, 63, 64, 1 << 40} {
		a.say("/data", fmt.Sprint("m", id), id)
		a.expect("/ack", id)
		// it is in the record, and not only on its way there
		if got := recorded(t, "received.txt"); !strings.HasSuffix(got, fmt.Sprint("m", id, "\n")) {
			t.Fatalf("%d is acknowledged, and the record has %q", id, got)
		}
	}
	a.c.Close()
	b.say("/acks", "a")
	b.say("/data", "m64", int64(64))
	b.expect("/ack", int64(64))
	b.say("/data", "m65", int64(65))
	b.expect("/ack", int64(65))
	silent.say("/data", "m64", int64(64))
	for range 2 {
		silent.say("/data", "twice")
	}
	silent.say("/end", "s")
	b.say("/end", "a")
	d.await("r", "/done")
	if got, want := recorded(t, "received.txt"), "m0\nm-1\nm63\nm64\nm1099511627776\nm65\ntwice\ntwice\n"; got != want {
		t.Errorf("received %q, want %q", got, want)
	}
	if out := d.output("r"); !strings.Contains(out, "dropped 2 duplicates\nreceived 8 messages\n") {
		t.Errorf("it said %s", out)
	}
	d.send("r", "/shutdown")
	d.exit("r")
	if m := silent.hear(); m != nil {
		t.Errorf("who did not ask heard %v", m)
	}
}

// TestSenderSendsAgain: a sender that asks sends again what was not acknowledged
// when the connection is lost, the end too, and is done when all is.
func TestSenderSendsAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accept := func() *peer {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetReadDeadline(time.Now().Add(time.Minute))
		return &peer{t, c, osc.NewReader(c, 0)}
	}
	d.start(context.Background(), "giles-sender", "s", "--buffy="+l.Addr().String(), "--messages=4", "--at-least-once")
	p := accept()
	d.send("s", "/start")
	p.expect("/acks", "s")
	var ids []int64
	for i := range 4 {
		m := p.hear()
		if m.Arguments[0] != fmt.Sprint(i+1) {
			t.Fatalf("heard %v", m)
		}
		ids = append(ids, m.Arguments[1].(int64))
	}
	p.say("/ack", ids[1])
	p.say("/ack", int64(7)) // of nothing
	p.say("/ack", ids[1])   // again
	d.until("the count", func() bool { return d.said["s /count"] })
	p.c.Close()
	p = accept()
	p.expect("/acks", "s")
	for _, i := range []int{0, 2, 3} {
		p.expect("/data", fmt.Sprint(i+1), ids[i])
		p.say("/ack", ids[i])
	}
	p.expect("/end", "s")
	d.await("s", "/done")
	p.c.Close() // it may not have been read
	p = accept()
	p.expect("/acks", "s")
	p.expect("/end", "s")
	if sent := recorded(t, "sent.txt"); sent != "1\n2\n3\n4\n" {
		t.Errorf("sent.txt has %q", sent)
	}
	d.send("s", "/shutdown")
	if code := d.exit("s"); code != 0 {
		t.Errorf("exit code %d: %s", code, d.output("s"))
	}
}

// TestUnled: without a leader acknowledgements go back the way that the message
// came.
func TestUnled(t *testing.T) {
	for _, asks := range []bool{true, false} { // the sink
		t.Run(fmt.Sprint(asks), func(t *testing.T) {
			t.Chdir(t.TempDir())
			d := newDagon(t)
			sink, data := free(t), free(t)
			sources := []string{free(t), free(t)}
			flag := fmt.Sprint("--at-least-once=", asks)
			d.start(context.Background(), "giles-receiver", "r", "--listen="+sink)
			d.start(context.Background(), "word-count", "w1", "--source="+sources[0], "--sink="+sink, "--data-address="+data, "--next="+data, flag)
			d.start(context.Background(), "word-count", "w2", "--source="+sources[1], "--sink="+sink, flag)
			for i, source := range sources {
				s := call(t, source)
				s.say("/acks", "s")
				s.say("/data", "The the cat", int64(10*i+1))
				s.expect("/ack", int64(10*i+1))
				s.say("/data", "-- --", int64(10*i+2)) // of which there is nothing to deliver
				s.expect("/ack", int64(10*i+2))
				s.say("/data", "a dog")
				s.say("/end", "s")
			}
			d.await("r", "/done")
			if got := recorded(t, "received.txt"); got != strings.Repeat("cat 1, the 2\n", 2)+strings.Repeat("a 1, dog 1\n", 2) &&
				strings.Count(got, "cat 1, the 2\n") != 2 || strings.Count(got, "\n") != 4 {
				t.Errorf("received %q", got)
			}
		})
	}
}

// cable is a way to an address that can be cut.
type cable struct {
	d        *dagon
	listener net.Listener
	running  sync.WaitGroup

	made atomic.Int64 // connections

	mu     sync.Mutex
	conns  map[*net.TCPConn]bool
	closed bool
}

// lay lays a cable, and has what dagon waits for looked at again whenever a
// connection is made.
func lay(d *dagon, to string) *cable {
	t := d.t
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{d: d, listener: l, conns: map[*net.TCPConn]bool{}}
	c.running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.(*net.TCPConn).SetLinger(0)
				near.Close()
				continue
			}
			c.mu.Lock()
			if c.closed {
				c.mu.Unlock()
				near.Close()
				far.Close()
				return
			}
			c.conns[near.(*net.TCPConn)], c.conns[far.(*net.TCPConn)] = true, true
			c.mu.Unlock()
			d.mu.Lock()
			c.made.Add(1)
			d.cond.Broadcast()
			d.mu.Unlock()
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				c.running.Go(func() {
					io.Copy(way[0], way[1])
					way[0].(*net.TCPConn).CloseWrite()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.reset()
		c.running.Wait()
	})
	return c
}

func (c *cable) at() string { return c.listener.Addr().String() }

// reset resets every connection, and tells how many there have been.
func (c *cable) reset() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.SetLinger(0)
		conn.Close()
		delete(c.conns, conn)
	}
	return c.made.Load()
}

// TestResets: whichever connection is reset, in the middle of the stream, every
// message is delivered once; so it is where messages come as fast as they can.
func TestResets(t *testing.T) {
	for _, workers := range []int{0, 1, 3} {
		cut := []string{"buffy", "sink", "control", "data", "next"}
		if workers == 0 {
			cut = cut[:2]
		} else if workers == 1 {
			cut = cut[:4]
		}
		if cut = append(cut, "all"); workers == 3 {
			cut = append(cut, "all at full speed")
		}
		for _, which := range cut {
			t.Run(fmt.Sprint(workers, "-", which), func(t *testing.T) {
				t.Chdir(t.TempDir())
				d := newDagon(t)
				ctx := context.Background()
				sink, control, data, source := free(t), free(t), free(t), free(t)
				cables := map[string][]*cable{"buffy": {lay(d, source)}, "sink": {lay(d, sink)}, "control": {lay(d, control)}, "data": {lay(d, data)}}
				d.start(ctx, "giles-receiver", "r", "--listen="+sink)
				nodes := []string{"s", "l", "r"}
				if workers == 0 {
					d.start(ctx, "double-divide", "l", "-l", "--source="+source, "--sink="+cables["sink"][0].at(), "--at-least-once")
				} else {
					d.start(ctx, "double-divide", "l", "-l", fmt.Sprint("--worker-count=", workers), "-c", control, "-d", data, "--source="+source)
				}
				var own []string
				for range workers {
					own = append(own, free(t))
				}
				for i, address := range own {
					next := lay(d, own[(i+1)%workers])
					cables["next"] = append(cables["next"], next)
					name := fmt.Sprint("w", i)
					nodes = append(nodes, name)
					d.start(ctx, "double-divide", name, "-c", cables["control"][0].at(), "-d", cables["data"][0].at(),
						"--sink="+cables["sink"][0].at(), "--data-address="+address, "--next="+next.at(), "--at-least-once")
				}
				messages, rate := int64(20000), 20000
				if which == "all at full speed" {
					messages, rate = 100000, 0
				}
				d.start(ctx, "giles-sender", "s", "--buffy="+cables["buffy"][0].at(), fmt.Sprint("--messages=", messages),
					fmt.Sprint("--rate=", rate), "--at-least-once")
				d.await("l", "/topology_ready")
				d.send("s", "/start")
				victims := cables[which]
				if strings.HasPrefix(which, "all") {
					for _, some := range cables {
						victims = append(victims, some...)
					}
				}
				for i := range 5 {
					goal := messages / 10 * int64(i+1)
					d.until("progress", func() bool { return d.counts["r"] >= goal })
					before := map[*cable]int64{}
					for _, c := range victims {
						if n := c.reset(); n > 0 { // or nobody is to use it
							before[c] = n
						}
					}
					for c, n := range before {
						d.until("another connection", func() bool { return c.made.Load() > n || d.said["s /done"] })
					}
				}
				d.await("s", "/done")
				d.await("r", "/done")
				for _, n := range nodes {
					d.send(n, "/shutdown")
					if code := d.exit(n); code != 0 {
						t.Errorf("%s: exit code %d: %s", n, code, d.output(n))
					}
				}
				exactlyOnce(t)
			})
		}
	}
}

// exactlyOnce compares what was sent with what was received.
func exactlyOnce(t testing.TB) {
	t.Helper()
	read := func(file string) []string {
		lines := strings.Split(recorded(t, file), "\n")
		slices.Sort(lines)
		return lines
	}
	if sent, received := read("sent.txt"), read("received.txt"); len(sent) < 2 || !slices.Equal(sent, received) {
		t.Errorf("%d messages were sent and %d received, or other ones", len(sent), len(received))
	}
}

// TestLeaderReturns: another leader at the same addresses goes on where the
// first was ended.
func TestLeaderReturns(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	sink, control, data, source := free(t), free(t), free(t), free(t)
	d.start(context.Background(), "giles-receiver", "r", "--listen="+sink)
	lead := func(name string) context.CancelFunc {
		ctx, end := context.WithCancel(context.Background())
		d.start(ctx, "double-divide", name, "-l", "--worker-count=2", "-c", control, "-d", data, "--source="+source)
		return end
	}
	end := lead("l1")
	for _, name := range []string{"w1", "w2"} {
		d.start(context.Background(), "double-divide", name, "-c", control, "-d", data, "--sink="+sink, "--at-least-once")
	}
	d.start(context.Background(), "giles-sender", "s", "--buffy="+source, "--messages=20000", "--rate=20000", "--at-least-once")
	d.send("s", "/start")
	d.until("progress", func() bool { return d.counts["r"] >= 2000 })
	end()
	d.exit("l1")
	end = lead("l2")
	defer end()
	d.await("r", "/done")
	d.await("s", "/done")
	exactlyOnce(t)
	d.mu.Lock()
	if d.counts["r"] != 20000 || d.counts["s"] != 20000 || d.counts["l2"] == 0 || d.fell {
		t.Errorf("the counts were %v, and fell: %v", d.counts, d.fell)
	}
	d.mu.Unlock()
}

// TestStopsBlocked: whom nobody takes anything from stops all the same.
func TestStopsBlocked(t *testing.T) {
	t.Chdir(t.TempDir())
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // it accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if err := os.WriteFile("lines.txt", []byte(strings.Repeat(strings.Repeat("x", 1<<16)+"\n", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--at-least-once", "--at-least-once=false"} {
		d := newDagon(t)
		d.start(context.Background(), "giles-sender", "s", "--buffy="+deaf.Addr().String(), "--file=lines.txt", "--messages=1000", flag)
		d.send("s", "/start")
		d.until("some are sent", func() bool { info, err := os.Stat("sent.txt"); return err == nil && info.Size() > 0 })
		d.send("s", "/shutdown")
		if code := d.exit("s"); code != 0 {
			t.Errorf("exit code %d: %s", code, d.output("s"))
		}
	}
}
