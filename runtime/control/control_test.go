package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a Handler that writes down what happens and believes who is in it.
type ledger struct {
	mu     sync.Mutex
	cond   *sync.Cond
	lines  []string
	conns  map[string]*Conn
	refuse map[string]string // why a name is not believed
	counts map[string]int    // of refusals, by reason
	paused pause             // of every node, on the Server's clock

	isStopped bool // every node is
}

func (l *ledger) pause(from, to time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = pause{from, to}
}

// forget takes the lines with a text out.
func (l *ledger) forget(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = slices.DeleteFunc(l.lines, func(line string) bool { return strings.Contains(line, text) })
}

// pause is a time in which nodes are paused.
type pause struct{ from, to time.Duration }

func (p pause) in(from, to time.Duration) time.Duration {
	return max(0, min(p.to, to)-max(p.from, from))
}

func newLedger() *ledger {
	l := &ledger{conns: map[string]*Conn{}, refuse: map[string]string{}, counts: map[string]int{}}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func (l *ledger) note(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	l.cond.Broadcast()
}

func (l *ledger) Ready(c *Conn, h Hello) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if why := l.refuse[h.Name]; why != "" {
		return errors.New(why)
	}
	l.conns[h.Name] = c
	l.note("ready %s run=%q incarnation=%d token=%q for=%q/%d", h.Name, h.Run, h.Incarnation, h.Token, h.ForNode, h.ForIncarnation)
	return nil
}

func (l *ledger) Received(c *Conn, all []*osc.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range all {
		l.note("received %s %s %v", c.Name(), m.Address, m.Arguments)
	}
}

func (l *ledger) Paused(node string, from, to time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if node != "" && l.paused.to > 0 {
		l.note("asked of %s", node)
	}
	return l.paused.in(from, to)
}

func (l *ledger) Stopped(string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isStopped
}

func (l *ledger) Disconnected(c *Conn, reason string, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note("disconnected %s: %s", c.Name(), reason)
}

func (l *ledger) Refused(r Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[r.Reason]++
	l.note("refused %q: %s", r.Node, r.Reason)
}

func (l *ledger) Failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note("failed: %v", err)
}

// wait waits for a line that contains a text, or for the test's own end.
func (l *ledger) wait(t *testing.T, text string) {
	t.Helper()
	timer := time.AfterFunc(time.Minute, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.note("too late")
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for from := 0; ; {
		for ; from < len(l.lines); from++ {
			if strings.Contains(l.lines[from], text) {
				return
			}
			if l.lines[from] == "too late" {
				t.Fatalf("no line with %q:\n%s", text, strings.Join(l.lines, "\n"))
			}
		}
		l.cond.Wait()
	}
}

func (l *ledger) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

func server(t *testing.T, o Options) (*Server, *ledger, string) {
	t.Helper()
	l := newLedger()
	s := New(l, o)
	t.Cleanup(func() { s.Close() })
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return s, l, addr.String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func frame(t *testing.T, f osc.Framing, address string, args ...any) []byte {
	t.Helper()
	p, err := osc.Append(nil, osc.NewMessage(address, args...))
	if err != nil {
		t.Fatal(err)
	}
	return osc.AppendFrame(nil, f, p)
}

// TestDialectsAndFramings: every dialect in every framing, whole and byte by
// byte, is understood and answered in kind.
func TestDialectsAndFramings(t *testing.T) {
	_, l, address := server(t, Options{})
	for _, framing := range []osc.Framing{osc.SizePrefix, osc.SLIP} {
		for _, dialect := range []Dialect{Names, Numbers} {
			for _, bytewise := range []bool{false, true} {
				name := fmt.Sprintf("node-%d-%d-%v", framing, dialect, bytewise)
				c := dial(t, address)
				say := func(b []byte) {
					if !bytewise {
						c.Write(b)
						return
					}
					for i := range b {
						c.Write(b[i : i+1])
					}
				}
				say(frame(t, framing, dialect.Address(AddressReady), name, "run-1", int32(2), "secret"))
				l.wait(t, fmt.Sprintf(`ready %s run="run-1" incarnation=2 token="secret" for=""/0`, name))
				say(frame(t, framing, dialect.Address(AddressDone), name))
				say(frame(t, framing, "/my/own", int32(5)))
				l.wait(t, fmt.Sprintf("received %s /done [%s]", name, name))
				l.wait(t, fmt.Sprintf("received %s /my/own [5]", name))
				l.mu.Lock()
				conn := l.conns[name]
				l.mu.Unlock()
				if err := conn.Send(osc.NewMessage(AddressShutdown, name)); err != nil {
					t.Fatal(err)
				}
				r := osc.NewReader(c, 0)
				packet, err := r.Next()
				if err != nil || r.Framing() != framing || !strings.HasPrefix(string(packet), dialect.Address(AddressShutdown)+"\x00") {
					t.Errorf("%s: answered %q in %v (%v)", name, packet, r.Framing(), err)
				}
				c.Close()
				l.wait(t, fmt.Sprintf("disconnected %s: closed", name))
				<-conn.Closed()
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	patient := Options{IdentifyTimeout: time.Hour, FrameTimeout: time.Hour}
	ready := frame(t, osc.SizePrefix, "/ready", "x")
	for name, test := range map[string]struct {
		send  []byte
		close bool
		want  string
	}{
		"http":            {[]byte("GET / HTTP/1.0\r\n\r\n"), false, "neither a size prefix nor SLIP"},
		"too large":       {[]byte{0, 0, 8, 0}, false, "a frame of 2048 bytes, over the limit of 1024"},
		"zero":            {[]byte{0, 0, 0, 0}, false, "malformed: an empty packet"},
		"half a frame":    {ready[:10], false, "half a frame, and no more within 5ms"},
		"closed in frame": {ready[:10], true, "closed inside a frame"},
		"closed":          {nil, true, "closed without saying who it is"},
		"silence":         {nil, false, "did not say who it is within 5ms"},
		"another message": {frame(t, osc.SizePrefix, "/done", "x"), false, "began with /done, and /ready was expected"},
		"no name":         {frame(t, osc.SizePrefix, "/ready"), false, "had 0 arguments"},
		"a number":        {frame(t, osc.SizePrefix, "/ready", int32(1)), false, "argument 1 of /ready was a int32"},
		"not believed":    {frame(t, osc.SizePrefix, "/ready", "stranger"), false, "no node is named so"},
		"malformed":       {[]byte("\x00\x00\x00\x08/x\x00\x00xxxx"), false, "malformed: /x: arguments without type tags"},
		"unknown type":    {[]byte("\x00\x00\x00\x08/x\x00\x00,z\x00\x00"), false, "malformed: /x: unknown type tag"},
		"bundle": {append([]byte{0, 0, 0, 16}, "#bundle\x00\x00\x00\x00\x00\x00\x00\x00\x01"...), false,
			"it began with an empty bundle"},
	} {
		o := patient
		switch name {
		case "half a frame":
			o.FrameTimeout = 5 * time.Millisecond
		case "silence":
			o.IdentifyTimeout = 5 * time.Millisecond
		}
		_, l, address := server(t, o)
		l.refuse["stranger"] = "no node is named so"
		c := dial(t, address)
		c.Write(test.send)
		if test.close {
			c.Close()
		}
		l.wait(t, test.want)
		if !test.close {
			c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection is open", name)
			}
		}
		if lines := l.all(); strings.Contains(lines, "\n") {
			t.Errorf("%s: a stranger was told of more than once, or taken for a node:\n%s", name, lines)
		}
	}
}

func TestReadyTwice(t *testing.T) {
	_, l, address := server(t, Options{})
	c := dial(t, address)
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	c.Write(frame(t, osc.SizePrefix, "/ready", "y"))
	c.Write(frame(t, osc.SizePrefix, "/done", "x"))
	l.wait(t, "received x /done")
	want := `ready x run="" incarnation=0 token="" for=""/0
refused "x": it is ready already: a second /ready changes nothing
received x /done [x]`
	if got := l.all(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// A node that breaks the protocol is disconnected, with the reason; a
	// message of a type that is not known is refused by itself.
	c.Write([]byte("\x00\x00\x00\x08/x\x00\x00,z\x00\x00"))
	l.wait(t, `refused "x": /x: unknown type tag 'z'`)
	c.Write([]byte("\x00\x10\x00\x04"))
	l.wait(t, "disconnected x: malformed: a frame of 1048580 bytes")
}

// TestStrangers: a thousand who connect and say nothing are refused, each told
// of once, and a node is heard all the while.
func TestStrangers(t *testing.T) {
	const limit = 100
	_, l, address := server(t, Options{MaxUnidentified: limit, IdentifyTimeout: time.Minute, MaxRefused: 1000, GiveWayAfter: time.Millisecond})
	node := dial(t, address)
	node.Write(frame(t, osc.SizePrefix, "/ready", "node"))
	l.wait(t, "ready node")
	const strangers = 1000
	for i := range strangers {
		dial(t, address)
		if i%100 == 0 {
			node.Write(frame(t, osc.SizePrefix, "/count", "node", int64(i)))
			l.wait(t, fmt.Sprintf("received node /count [node %d]", i))
		}
	}
	l.mu.Lock()
	for reason := "it had not said who it is, and 100 others after it had not either"; l.counts[reason] < strangers-limit; {
		l.cond.Wait()
	}
	if total := len(l.counts); total != 1 {
		t.Errorf("refusals: %v", l.counts)
	}
	l.mu.Unlock()
	node.Write(frame(t, osc.SizePrefix, "/done", "node"))
	l.wait(t, "received node /done")
}

// TestPlaces: no more are taken in than there are places, and who has one keeps
// it for its time.
func TestPlaces(t *testing.T) {
	_, l, address := server(t, Options{MaxUnidentified: 1, GiveWayAfter: time.Hour})
	first, second := dial(t, address), dial(t, address)
	second.Write(frame(t, osc.SizePrefix, "/ready", "second"))
	first.Write(frame(t, osc.SizePrefix, "/ready", "first"))
	l.wait(t, "ready second")
	if lines := l.all(); !strings.HasPrefix(lines, "ready first") {
		t.Error(lines)
	}
}

// slow is a Handler that takes its time to hear of refusals.
type slow struct {
	*ledger
	inside  int
	most    int
	proceed chan struct{}
}

func (s *slow) Refused(r Refusal) {
	s.mu.Lock()
	s.inside++
	s.most = max(s.most, s.inside)
	s.note("refusing")
	s.mu.Unlock()
	<-s.proceed
	s.mu.Lock()
	s.inside--
	s.mu.Unlock()
	s.ledger.Refused(r)
}

// TestBackPressure: those who are being turned away have their places until
// they are gone, and nobody is lost by that.
func TestBackPressure(t *testing.T) {
	const limit, strangers = 4, 40
	h := &slow{ledger: newLedger(), proceed: make(chan struct{})}
	s := New(h, Options{MaxUnidentified: limit, MaxRefused: strangers})
	defer s.Close()
	p, err := s.ListenFor("127.0.0.1", "node", 1)
	if err != nil {
		t.Fatal(err)
	}
	for range strangers {
		dial(t, p.Addr().String()).Write([]byte("garbage"))
	}
	h.mu.Lock()
	for h.inside < limit {
		h.cond.Wait()
	}
	h.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.Close()
		<-p.Heard()
	}()
	close(h.proceed)
	<-closed
	if h.most > limit || len(h.lines) != 2*strangers {
		t.Errorf("%d were refused at a time, %d in all", h.most, len(h.lines)/2)
	}
}

// TestFirstFrame: a stranger is given little room, and a node its due, from the
// first byte after it has said who it is.
func TestFirstFrame(t *testing.T) {
	_, l, address := server(t, Options{})
	stranger := dial(t, address)
	stranger.Write([]byte{0, 0, 4, 4})
	l.wait(t, "malformed: a frame of 1028 bytes, over the limit of 1024")
	slip := dial(t, address)
	slip.Write(append([]byte{0xC0}, make([]byte, 4<<10)...))
	l.wait(t, "malformed: a SLIP frame of over 1024 bytes")
	for _, framing := range []osc.Framing{osc.SizePrefix, osc.SLIP} {
		c := dial(t, address)
		name := framing.String()
		c.Write(append(frame(t, framing, "/ready", name), frame(t, framing, "/x", make([]byte, 60<<10))...))
		l.wait(t, "received "+name+" /x")
	}
}

// TestCounted: of many refusals a few are told, and the rest as their number,
// by who they are of; none is lost when the server closes in the same second.
func TestCounted(t *testing.T) {
	s, l, address := server(t, Options{})
	port, err := s.ListenFor("127.0.0.1", "other", 1)
	if err != nil {
		t.Fatal(err)
	}
	node := dial(t, address)
	node.Write(bytes.Repeat(frame(t, osc.SizePrefix, "/ready", "node"), 1+1000))
	node.Write(frame(t, osc.SizePrefix, "/done", "node"))
	l.wait(t, "received node /done")
	l.wait(t, `refused "node": and `)
	refuse := func(address string) {
		c := dial(t, address)
		c.Write([]byte("garbage"))
		c.Read(make([]byte, 1))
	}
	for range 1000 {
		refuse(address)
	}
	refuse(port.Addr().String())
	l.wait(t, `refused "other": malformed`)
	s.Close()
	told, counted := map[string]int{}, map[string]int{}
	for _, line := range strings.Split(l.all(), "\n") {
		who, rest, refused := strings.Cut(strings.TrimPrefix(line, "refused "), ": ")
		if !refused || !strings.HasPrefix(line, "refused ") {
			continue
		}
		n := 0
		if fmt.Sscanf(rest, "and %d more ", &n); n > 0 {
			counted[who] += n
		} else {
			told[who]++
		}
	}
	for _, who := range []string{`"node"`, `""`} {
		// A slow machine takes several seconds.
		if told[who]+counted[who] != 1000 || told[who] < 10 || told[who] > 500 {
			t.Errorf("of %s %d were told and %d counted", who, told[who], counted[who])
		}
	}
}

// TestManyHosts: a machine with many addresses is not told of once more for
// each.
func TestManyHosts(t *testing.T) {
	s, l, address := server(t, Options{MaxRefused: 1})
	const hosts = 200
	for i := range hosts {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 7, 0, byte(1+i))}}).Dial("tcp", address)
		if err != nil {
			t.Skip("this machine has one loopback address: ", err)
		}
		c.Write([]byte("garbage"))
		c.Read(make([]byte, 1))
		c.Close()
	}
	s.Close()
	told, counted := 0, 0
	for _, line := range strings.Split(l.all(), "\n") {
		n := 0
		if fmt.Sscanf(line, `refused "": and %d more connections from other addresses`, &n); n > 0 {
			counted += n
		} else {
			told++
		}
	}
	if told+counted != hosts || told > hosts/2 {
		t.Errorf("%d were told and %d counted", told, counted)
	}
}

// TestPort: a port of one incarnation says who it is for; when it closes, those
// who had connected before are still heard. So it is where each has a socket of its own.
func TestPort(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone=%v", alone), func(t *testing.T) { testPort(t, alone) })
	}
}

func testPort(t *testing.T, alone bool) {
	s, l, _ := server(t, Options{})
	s.alone = alone
	for i := range 50 {
		name := fmt.Sprintf("n%d", i)
		p, err := s.ListenFor("127.0.0.1", name, 3)
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, p.Addr().String())
		c.Write(frame(t, osc.SizePrefix, "/ready", name))
		c.Write(frame(t, osc.SizePrefix, "/done_shutdown", name))
		c.Close()
		p.Close()
		<-p.Heard()
		for _, want := range []string{fmt.Sprintf(`ready %s run="" incarnation=0 token="" for="%s"/3`, name, name),
			"received " + name + " /done_shutdown", "disconnected " + name + ": closed"} {
			if !strings.Contains(l.all(), want) {
				t.Fatalf("after Heard there is no %q:\n%s", want, l.all())
			}
		}
		c, err = net.Dial("tcp", p.Addr().String())
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a closed port listens")
		}
	}
}

func TestClose(t *testing.T) {
	s, l, address := server(t, Options{})
	c := dial(t, address)
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	l.wait(t, "ready x")
	dial(t, address)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { s.Close() })
	}
	wg.Wait()
	if !strings.Contains(l.all(), "disconnected x: the run has ended") {
		t.Errorf("%s", l.all())
	}
	if _, err := s.Listen("127.0.0.1:0"); err == nil {
		t.Error("a closed server listens")
	}
}

func TestCannotListen(t *testing.T) {
	s, _, address := server(t, Options{})
	if _, err := s.Listen(address); err == nil || !strings.Contains(err.Error(), "cannot listen on "+address) {
		t.Errorf("err = %v", err)
	}
}

// TestSlowNode: a node that writes and does not read is not waited for without
// end.
func TestSlowNode(t *testing.T) {
	_, l, address := server(t, Options{WriteTimeout: 100 * time.Millisecond})
	c := dial(t, address)
	c.Write(frame(t, osc.SizePrefix, "/ready", "x"))
	l.wait(t, "ready x")
	payload := make([]byte, 60<<10)
	for range 10000 {
		if err := l.conns["x"].Send(osc.NewMessage("/x", payload)); err != nil {
			return
		}
	}
	t.Error("600 MB were sent to a node that reads nothing")
}

// streamed has a stranger send something, and returns what that cost the server
// and the ledger until the server has closed, in bytes.
func streamed(t *testing.T, data []byte) uint64 {
	return allocated.By(func() {
		l := newLedger()
		s := New(l, Options{})
		addr, err := s.Listen("127.0.0.1:0")
		if err != nil {
			t.Skip(err)
		}
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Skip(err)
		}
		c.Write(data)
		c.Close()
		over := func() bool {
			last := ""
			if n := len(l.lines); n > 0 {
				last = l.lines[n-1]
			}
			return strings.HasPrefix(last, "refused \"\"") || strings.HasPrefix(last, "disconnected")
		}
		l.mu.Lock()
		for !over() {
			l.cond.Wait()
		}
		l.mu.Unlock()
		s.Close()
	})
}

// streamBound is how much that may be: what is decoded, 32 bytes for each byte at
// most, and as much again for the ledger's lines.
func streamBound(data []byte) uint64 { return 64*uint64(len(data)) + 64<<10 + allocated.Slack }

// TestStreamBounds: what costs a stranger or a node little to send costs the
// server little to hear.
func TestStreamBounds(t *testing.T) {
	const n = 1 << 18
	pad := func(s string) string { return s + strings.Repeat("\x00", 4-len(s)%4) }
	sized := func(packet string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(packet)))) + packet
	}
	ready := string(frame(t, osc.SizePrefix, AddressReady, "x"))
	many := func(packet string) string { return strings.Repeat(sized(packet), n/len(packet)) }
	for name, data := range map[string]string{
		"a promise":      "\x00\x00\x03\xfc",
		"a long frame":   "\x00\x00\x03\xfc" + strings.Repeat("/", n),
		"SLIP":           "\xc0" + strings.Repeat("\xdb\xdc", n/2),
		"ENDs":           strings.Repeat("\xc0", n),
		"no /ready":      many(pad("/") + pad(",")),
		"empty messages": ready + many(pad("/")+pad(",")),
		"nothings":       ready + many(pad("/")+pad(","+strings.Repeat("N", osc.MaxTags))),
		"arrays":         ready + many(pad("/")+pad(","+strings.Repeat("[]", osc.MaxTags/2))),
		"strings":        ready + many(pad("/")+pad(","+strings.Repeat("s", osc.MaxTags))+strings.Repeat(pad(""), osc.MaxTags)),
		"counts":         ready + many(pad("/count")+pad(",sh")+pad("x")+strings.Repeat("\x00", 8)),
		"no types":       ready + many(pad("/")+pad(",z")),
		"/ready":         strings.Repeat(ready, n/len(ready)),
	} {
		if took := streamed(t, []byte(data)); took > streamBound([]byte(data)) {
			t.Errorf("%s: %d bytes for %d, %d for each", name, took, len(data), took/uint64(len(data)))
		}
	}
}

// FuzzStream: whatever a stranger sends, the server answers for it once and
// ends, and it costs in proportion.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x14/ready\x00\x00,s\x00\x00leader\x00\x00"))
	f.Add([]byte("\xc0/2\x00\x00,s\x00\x00leader\x00\x00\xc0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		defer allocated.Ends()()
		if took := streamed(t, data); took > streamBound(data) {
			t.Fatalf("%d bytes for %d", took, len(data))
		}
	})
}
