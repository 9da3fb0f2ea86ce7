package runtime

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

type answer = journal.Answer

// phone is a node's side of the control socket, which the test holds itself.
type phone struct {
	t    testing.TB
	raw  net.Conn
	conn *osc.Conn
}

// quiet forks a node that says nothing itself, and returns what connects for it. The
// words are said after its name.
func quiet(t *testing.T, r *Run) func(words ...any) phone {
	must(t, r.Fork("node", ForkOptions{}))
	r.j.Lock()
	home := r.nodes["node"].Port().Addr().String()
	r.j.Unlock()
	return func(words ...any) phone {
		c, err := net.Dial("tcp", home)
		must(t, err)
		p := phone{t, c, osc.NewConn(c, osc.ConnOptions{})}
		t.Cleanup(func() { p.conn.Close() })
		p.say("/ready", append([]any{"node"}, words...)...)
		return p
	}
}

// closed kills at once what the test has left.
func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (p phone) say(address string, args ...any) {
	p.t.Helper()
	must(p.t, p.conn.Send(osc.NewMessage(address, args...)))
}

// args are the first arguments of the messages of the node to an address.
func args(t *testing.T, r *Run, address string) (all []any) {
	t.Helper()
	sent, err := r.Messages("node", address)
	must(t, err)
	for _, m := range sent {
		all = append(all, append(m.Args, nil)[0])
	}
	return all
}

func awaitOne(t *testing.T, r *Run, address string) Message {
	t.Helper()
	c, found := r.MessageFrom("node", address, false)
	must(t, r.Wait(c))
	return found()
}

// TestConnectsAgain: a node that connects again and again is heard, in order.
func TestConnectsAgain(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node silent"), Hurry: closed()})
	dial := quiet(t, r)
	var want []any
	for i := range int32(200) {
		p := dial()
		for j := range int32(3) {
			p.say("/beat", 10*i+j)
			want = append(want, 10*i+j)
		}
		must(t, p.conn.Close())
	}
	dial().say("/end")
	awaitOne(t, r, "/end")
	if got := args(t, r, "/beat"); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for e, err := range r.Events() {
		must(t, err)
		if e.Kind() == event.KindRefused || e.Kind() == event.KindLost {
			t.Errorf("%+v", e)
		}
	}
}

// TestTakesOver: a second connection of a node takes the place of the first, which has
// not ended, if it shows the node's token; else it is refused. What was said on the
// first before is heard before.
func TestTakesOver(t *testing.T) {
	d := &witness{Driver: driver(t)}
	r := begin(t, Config{Topology: ini(t, "node silent"), Driver: d, Hurry: closed()})
	dial := quiet(t, r)
	token := d.token
	first := dial()
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	dial()
	if refused := refusal(t, r); !strings.Contains(refused, "node is already connected, from 127.0.0.1:") {
		t.Errorf("%s", refused)
	}
	for i := range int32(1000) {
		first.say("/x", i)
	}
	second := dial(r.ID(), int32(1), token)
	second.say("/x", int32(1000))
	second.say("/end")
	awaitOne(t, r, "/end")
	got := args(t, r, "/x")
	for i, arg := range got {
		if arg != int32(i) {
			t.Fatalf("message %d is %v", i, arg)
		}
	}
	if len(got) != 1001 {
		t.Errorf("%d messages", len(got))
	}
	if _, err := first.conn.Receive(); err == nil {
		t.Error("the first connection is open")
	}
	info, _ := r.Node("node")
	if !info.Connected {
		t.Error("the second connection is not the node's")
	}
	must(t, r.Send("node", osc.NewMessage("/hello")))
	if packet, err := second.conn.Receive(); err != nil || !strings.HasPrefix(string(packet), "/hello") {
		t.Errorf("%q, %v", packet, err)
	}
}

// refusal waits for the first connection that was refused, and returns why.
func refusal(t *testing.T, r *Run) (reason string) {
	t.Helper()
	must(t, r.Wait(Condition{What: "refusal", Always: true, Check: func(string) (a answer) {
		_, a.Met, a.Err = r.j.Find(0, r.j.Next(), func(e event.Event) bool {
			d, ok := e.Detail.(event.Refused)
			reason = d.Reason
			return ok
		})
		return a
	}}))
	return reason
}

// TestFromDisk: what a node sent long ago is awaited and listed as it was sent, with
// all types of arguments.
func TestFromDisk(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node silent"), Hurry: closed()})
	p := quiet(t, r)()
	odd := []any{int32(1), int64(2), int64(math.MaxInt64), float32(7), float32(0.1), 0.1, "\xff é", []byte{1, 2}, true, false, nil,
		osc.Symbol("s"), osc.Char('c'), osc.RGBA(5), osc.MIDI{1, 2, 3, 4}, osc.Timetag(1), osc.Impulse{}, osc.Array{int32(1), osc.Array{"x"}}}
	p.say("/odd", odd...)
	const n = 30_000
	for i := range int32(n) {
		p.say("/x", i)
	}
	p.say("/end")
	awaitOne(t, r, "/end")
	if m := awaitOne(t, r, "/odd"); !reflect.DeepEqual(m.Args, odd) {
		t.Errorf("%#v", m.Args)
	}
	for i := range int32(2000) {
		if m := awaitOne(t, r, "/x"); m.Args[0] != i {
			t.Fatalf("message %d is %v", i, m)
		}
	}
	all := args(t, r, "/x")
	for i, arg := range all {
		if arg != int32(i) {
			t.Fatalf("message %d is %v", i, arg)
		}
	}
	if len(all) != n || len(args(t, r, "")) != n+3 {
		t.Errorf("%d messages", len(all))
	}
}

// TestSaidInTime: a message that had come when the deadline passed is one that was
// awaited in time, however short that is.
func TestSaidInTime(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node silent"), Hurry: closed()})
	p := quiet(t, r)()
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	for i := range int32(300) {
		p.say("/x", i)
		c, found := r.MessageFrom("node", "/x", false)
		c.Timeout = time.Nanosecond
		if err := r.Wait(c); err != nil || found().Args[0] != i {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func quietOf(t testing.TB, r *Run, name string) phone {
	r.j.Lock()
	home := r.nodes[name].Port().Addr().String()
	r.j.Unlock()
	c, err := net.Dial("tcp", home)
	must(t, err)
	p := phone{t, c, osc.NewConn(c, osc.ConnOptions{})}
	t.Cleanup(func() { p.conn.Close() })
	return p
}

// TestSendsAfterAll: what is sent to a node that has just closed its connection waits
// for it to connect again.
func TestSendsAfterAll(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node silent"), Hurry: closed()})
	dial := quiet(t, r)
	p := dial()
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	must(t, p.conn.Close())
	must(t, r.Wait(Condition{What: "end", Nodes: []string{"node"},
		Check: func(string) answer { return answer{Met: r.nodes["node"].Conn() == nil} }}))
	sent := make(chan error, 1)
	go func() { sent <- r.Send("node", osc.NewMessage("/hello")) }()
	p = dial()
	must(t, <-sent)
	if packet, err := p.conn.Receive(); err != nil || !strings.HasPrefix(string(packet), "/hello") {
		t.Errorf("%q, %v", packet, err)
	}
	must(t, p.conn.Close())
	must(t, r.Wait(Condition{What: "end", Nodes: []string{"node"},
		Check: func(string) answer { return answer{Met: r.nodes["node"].Conn() == nil} }}))
	if err := r.Send("node", osc.NewMessage("/hello")); err == nil ||
		!strings.Contains(err.Error(), "it closed its control connection and lives on") {
		t.Errorf("to one that is lost: %v", err)
	}
}

// TestCut: who closes a connection says why, also where the node exits of it.
func TestCut(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node silent"), Hurry: closed()})
	p := quiet(t, r)()
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	must(t, p.conn.Queue(make([]byte, 100_000)))
	must(t, p.conn.Flush())
	c, _ := r.MessageFrom("node", "/x", false)
	err := r.Wait(c)
	if want := "missing node (ready; its control connection was closed by dagon-star: malformed: a frame of 100000 " +
		"bytes, over the limit of 65536)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestLostOutput: a line that could not be written is not awaited in vain without a
// word of why.
func TestLostOutput(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip(err)
	}
	r := begin(t, Config{Topology: ini(t, "node"), Hurry: closed()})
	os.Remove(r.logPath("node"))
	must(t, os.Symlink(full, r.logPath("node")))
	must(t, r.Fork("node", ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
	c, _ := r.OutputFrom("node", regexp.MustCompile("^up$"), "", OutputSince{})
	c.Timeout = 10 * time.Millisecond
	var lost *LogError
	if err := r.Wait(c); !errors.As(err, &lost) || !strings.Contains(err.Error(), "output ^up$: log of node: what it "+
		"wrote is lost: cannot write") {
		t.Errorf("%v", err)
	}
}

// BenchmarkHear is what it takes to hear many messages of a node, from its socket into
// the log. Rounds take turns with a plain reader of the same bytes, and the ratio is
// that of the medians; heap-MB is the most that was in use after a collection.
func BenchmarkHear(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { hearing(b, n) })
	}
}

func hearing(b *testing.B, n int) {
	frames := hearable(b, n)
	var plain, heard []float64
	heap := 0.0
	for b.Loop() {
		plain = append(plain, readPlainly(b, frames).Seconds())
		took, used := hear(b, frames)
		heard = append(heard, took.Seconds())
		heap = max(heap, used)
	}
	slices.Sort(plain)
	slices.Sort(heard)
	median := heard[len(heard)/2]
	b.ReportMetric(median/float64(n)*1e9, "ns/message")
	b.ReportMetric(median/plain[len(plain)/2], "to-plain")
	b.ReportMetric(heap, "heap-MB")
}

// hearable are frames of messages, of which the last is to /end.
func hearable(b *testing.B, n int) (frames []byte) {
	for i := range n {
		m := osc.NewMessage("/progress", int32(i), "some text")
		if i == n-1 {
			m.Address = "/end"
		}
		packet, err := osc.Append(nil, m)
		must(b, err)
		frames = osc.AppendFrame(frames, osc.SizePrefix, packet)
	}
	return frames
}

func readPlainly(b *testing.B, frames []byte) time.Duration {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer l.Close()
	read := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 64<<10))
			c.Close()
		}
		read <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	must(b, err)
	began := time.Now()
	_, err = c.Write(frames)
	must(b, err)
	c.Close()
	must(b, <-read)
	return time.Since(began)
}

func hear(b *testing.B, frames []byte) (took time.Duration, heapMB float64) {
	r := begin(b, Config{Topology: ini(b, "node silent"), Hurry: closed()})
	must(b, r.Fork("node", ForkOptions{}))
	p := quietOf(b, r, "node")
	p.say("/ready", "node")
	must(b, r.Wait(r.Reached([]string{"node"}, StateReady)))
	c, _ := r.MessageFrom("node", "/end", false)
	began := time.Now()
	_, err := p.raw.Write(frames)
	must(b, err)
	must(b, r.Wait(c))
	took = time.Since(began)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	p.conn.Close()
	_, err = r.End(nil)
	must(b, err)
	return took, float64(m.HeapAlloc-uint64(len(frames))) / 1e6
}
