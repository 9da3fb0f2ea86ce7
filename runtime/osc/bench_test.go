package osc

import (
	"fmt"
	"io"
	"net"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	goosc "github.com/hypebeast/go-osc/osc"
)

// The benchmarks measure ratios: every side of a ratio is measured in each of
// six rounds, one after the other, and the medians are divided, so that what
// else the machine does falls on both.
const rounds = 6

// medians times each function in turns and returns the median time of a call.
func medians(calls int, funcs ...func(n int)) []float64 {
	times := make([][]float64, len(funcs))
	for range rounds {
		for i, f := range funcs {
			began := time.Now()
			f(calls)
			times[i] = append(times[i], float64(time.Since(began))/float64(calls))
		}
	}
	out := make([]float64, len(funcs))
	for i := range times {
		slices.Sort(times[i])
		out[i] = (times[i][rounds/2-1] + times[i][rounds/2]) / 2
	}
	return out
}

var sink int

// codecCase is a message that is encoded and decoded in each way.
type codecCase struct {
	name     string
	message  *Message
	generic  func([]byte) []byte
	template func([]byte) []byte
	match    func([]byte) int // the template's decoding
}

func codecCases() []codecCase {
	text := strings.Repeat("x", 100)
	data := must(NewTemplate("/data", "s"))
	mixed := must(NewTemplate("/mixed", "iisfdhb"))
	blob := []byte{6, 7, 8, 9}
	return []codecCase{
		{"ready", NewMessage("/ready", "leader-one"),
			func(b []byte) []byte { b, _ = AppendArgs(b, "/ready", String("leader-one")); return b },
			func(b []byte) []byte { b, _ = readyTemplate.AppendString(b, "leader-one"); return b },
			func(p []byte) int { s, _ := readyTemplate.String(p); return len(s) }},
		{"data", NewMessage("/data", text),
			func(b []byte) []byte { b, _ = AppendArgs(b, "/data", String(text)); return b },
			func(b []byte) []byte { b, _ = data.AppendString(b, text); return b },
			func(p []byte) int { s, _ := data.String(p); return len(s) }},
		{"mixed", NewMessage("/mixed", int32(1), int32(2), "hello", float32(3), 4.0, int64(5), []byte{6, 7, 8, 9}),
			func(b []byte) []byte {
				b, _ = AppendArgs(b, "/mixed", Int32(1), Int32(2), String("hello"), Float32(3), Float64(4), Int64(5), Blob([]byte{6, 7, 8, 9}))
				return b
			},
			func(b []byte) []byte {
				b, _ = mixed.Encode(b).Int32(1).Int32(2).String("hello").Float32(3).Float64(4).Int64(5).Blob(blob).End(mixed)
				return b
			},
			func(p []byte) int {
				d, ok := mixed.Decode(p)
				a, d := d.Int32()
				b, d := d.Int32()
				s, d := d.String()
				x, d := d.Float32()
				y, d := d.Float64()
				h, d := d.Int64()
				blob, d := d.Blob()
				if !ok || !d.End(mixed) {
					panic("it is not decoded")
				}
				return int(a) + int(b) + len(s) + int(x) + int(y) + int(h) + len(blob)
			}},
	}
}

// codecRatios are how many times faster than go-osc the codec is; copy is a copy
// of the packet, which no encoder can be faster than.
func codecRatios(c codecCase, calls int) map[string]float64 {
	buf := make([]byte, 0, 4096)
	packet, err := c.message.MarshalBinary()
	if err != nil {
		panic(err)
	}
	if string(c.generic(nil)) != string(packet) || string(c.template(nil)) != string(packet) {
		panic("the encodings differ")
	}
	text := string(packet)
	funcs := []func(int){
		func(n int) {
			for range n / 20 {
				b, _ := c.message.MarshalBinary()
				sink += len(b)
			}
		},
		func(n int) {
			for range n {
				buf = c.generic(buf[:0])
				sink += len(buf)
			}
		},
		func(n int) {
			for range n {
				buf = c.template(buf[:0])
				sink += len(buf)
			}
		},
		func(n int) {
			for range n {
				buf = append(buf[:0], packet...)
				sink += len(buf)
			}
		},
		func(n int) {
			for range n / 20 {
				p, _ := goosc.ParsePacket(text)
				sink += len(p.(*goosc.Message).Address)
			}
		},
		func(n int) {
			var v View
			for range n {
				v.Parse(packet)
				a := v.Args()
				for a.Next() {
					sink += len(a.Bytes())
				}
			}
		},
	}
	funcs = append(funcs, func(n int) {
		for range n {
			sink += c.match(packet)
		}
	})
	m := medians(calls, funcs...)
	m[0], m[4] = m[0]*20, m[4]*20 // go-osc made a 20th of the calls
	return map[string]float64{
		"encode-generic": m[0] / m[1], "encode-template": m[0] / m[2], "copy": m[0] / m[3],
		"decode-generic": m[4] / m[5], "decode-template": m[4] / m[6],
	}
}

// BenchmarkCodec prints how many times faster than go-osc messages are encoded
// and decoded, and a packet is copied.
func BenchmarkCodec(b *testing.B) {
	for _, c := range codecCases() {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				for name, ratio := range codecRatios(c, 100000) {
					b.ReportMetric(ratio, name+":x-go-osc")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// streamRatio is the speed of batched messages of a wire size, encoded, framed,
// sent over loopback TCP, read and decoded, as a share of that of a plain copy
// of the same bytes by writes and reads of 64 KiB, on one core.
func streamRatio(wire int, total int) (template, generic float64, err error) {
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(1))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return 0, 0, err
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	payload := strings.Repeat("p", wire-4-8-4-1) // prefix, address, tags, and the string's NUL
	data := must(NewTemplate("/data", "s"))
	n := total / wire
	conn := NewConn(out, ConnOptions{Framing: SizePrefix})
	reader := NewReader(in, 0)
	buf := make([]byte, 64<<10)
	both := func(write, read func() error) func(int) {
		return func(int) {
			done := make(chan error, 1)
			go func() { done <- write() }()
			if e := read(); e != nil {
				err = e
			}
			if e := <-done; e != nil {
				err = e
			}
		}
	}
	plain := both(func() error {
		for left := n * wire; left > 0; left -= len(buf) {
			if _, err := out.Write(buf[:min(left, len(buf))]); err != nil {
				return err
			}
		}
		return nil
	}, func() error {
		into := make([]byte, 64<<10)
		for left := n * wire; left > 0; {
			k, err := in.Read(into[:min(left, len(into))])
			if err != nil {
				return err
			}
			left -= k
		}
		return nil
	})
	byTemplate := both(func() error {
		items := make([]Item, 256)
		for i := range items {
			items[i].String = []byte(payload)
		}
		for left := n; left > 0; left -= len(items) {
			if _, err := conn.QueueItems(data, items[:min(left, len(items))]); err != nil {
				return err
			}
		}
		return conn.Flush()
	}, func() error {
		items := make([]Item, 0, 256)
		for left := n; left > 0; {
			if items = reader.Items(data, items[:0]); len(items) == 0 {
				packet, err := reader.Next()
				if err != nil {
					return err
				}
				item, ok := data.Item(packet)
				if !ok {
					return io.ErrUnexpectedEOF
				}
				items = append(items, item)
			}
			for i := range items {
				sink += len(items[i].String)
			}
			left -= len(items)
		}
		return nil
	})
	byParsing := both(func() error {
		var packet []byte
		for range n {
			if packet, err = AppendArgs(packet[:0], "/data", String(payload)); err != nil {
				return err
			}
			if err := conn.Queue(packet); err != nil {
				return err
			}
		}
		return conn.Flush()
	}, func() error {
		var v View
		for range n {
			packet, err := reader.Next()
			if err != nil {
				return err
			}
			if err := v.Parse(packet); err != nil {
				return err
			}
			a := v.Args()
			for a.Next() {
				sink += len(a.Bytes())
			}
		}
		return nil
	})
	m := medians(1, plain, byTemplate, byParsing)
	return m[0] / m[1], m[0] / m[2], err
}

// BenchmarkStream prints the speed of batched messages over loopback TCP, on
// one core, in percent of a plain copy of the same bytes.
func BenchmarkStream(b *testing.B) {
	for _, wire := range []int{32, 128} {
		b.Run(fmt.Sprintf("%dB", wire), func(b *testing.B) {
			for range b.N {
				template, generic, err := streamRatio(wire, 32<<20)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(100*template, "template:%-of-copy")
				b.ReportMetric(100*generic, "generic:%-of-copy")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestSpeed holds the ratios, far below what a quiet machine shows. It runs
// with DAGON_SPEED=1, and tries a noisy machine three times.
func TestSpeed(t *testing.T) {
	if os.Getenv("DAGON_SPEED") == "" {
		t.Skip("a measurement: DAGON_SPEED=1 runs it")
	}
	least := map[string]float64{"encode-generic": 4, "encode-template": 8, "decode-generic": 20, "decode-template": 70}
	for try := 1; ; try++ {
		var slow []string
		for _, c := range codecCases() {
			for name, ratio := range codecRatios(c, 20000) {
				if ratio < least[name] {
					slow = append(slow, fmt.Sprintf("%s of %s: %.1f times go-osc, want %v", name, c.name, ratio, least[name]))
				}
			}
		}
		for wire, share := range map[int]float64{32: 0.25, 128: 0.38} {
			template, _, err := streamRatio(wire, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			if template < share {
				slow = append(slow, fmt.Sprintf("stream of %d bytes: %.2f of a plain copy, want %v", wire, template, share))
			}
		}
		if len(slow) == 0 {
			return
		}
		t.Logf("try %d: %s", try, strings.Join(slow, "; "))
		if try == 3 {
			t.Fatal("too slow")
		}
	}
}

// TestNagle holds that a peer that sends a frame in two writes and waits, with
// Nagle's algorithm on, as liblo does, is not held up by a delayed
// acknowledgement, which would take 40 ms a request.
func TestNagle(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("quick acknowledgement is Linux's")
	}
	conn, peer := pair(t, ConnOptions{})
	peer.(*net.TCPConn).SetNoDelay(false)
	frame := AppendFrame(nil, SizePrefix, mustAppend(t, NewMessage("/ready", "x")))
	done := make(chan error, 1)
	const requests = 50
	go func() {
		for range requests {
			if _, err := conn.Receive(); err != nil {
				done <- err
				return
			}
			if err := conn.Send(NewMessage("/start")); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	r := NewReader(peer, 0)
	var took []time.Duration
	for range requests {
		began := time.Now()
		peer.Write(frame[:4])
		peer.Write(frame[4:])
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	slices.Sort(took)
	t.Logf("median %v", took[requests/2])
	if os.Getenv("DAGON_SPEED") != "" && took[requests/2] > 5*time.Millisecond {
		t.Errorf("a request takes %v", took[requests/2])
	}
}
