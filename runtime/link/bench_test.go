package link_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// BenchmarkDisturbed is what a byte costs in a lane that has an effect, and for
// comparison in one that has none: 64 bytes there and back, and bulk one way.
func BenchmarkDisturbed(b *testing.B) {
	for _, test := range []struct {
		name   string
		effect link.Effect
	}{
		{"none", link.Effect{}},
		{"delay", link.Effect{Delay: 1}},
		{"delay-1ms", link.Effect{Delay: time.Millisecond}},
		{"corrupt", link.Effect{Corrupt: 0.001}},
		{"rate", link.Effect{Rate: 1 << 40}},
		{"drop", link.Effect{Drop: 1e-12}},
	} {
		b.Run(test.name+"/round-trip", func(b *testing.B) {
			n, address := open(b, echo)
			c := dial(b, address)
			apply(b, n, both, test.effect)
			for b.Loop() {
				if err := ask(c, time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(test.name+"/bulk", func(b *testing.B) {
			const size = 32 << 20
			n, address := open(b, func(c *net.TCPConn) {
				for {
					if _, err := io.CopyN(io.Discard, c, size); err != nil {
						return
					}
					c.Write([]byte{1})
				}
			})
			c := dial(b, address)
			apply(b, n, both, test.effect)
			buf := make([]byte, 1<<20)
			b.SetBytes(size)
			for b.Loop() {
				for range size / len(buf) {
					c.Write(buf)
				}
				if _, err := io.ReadFull(c, buf[:1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDatagrams is what a datagram of 100 bytes costs through a lane one way, and
// how many of them come, where as many are sent as can be.
func BenchmarkDatagrams(b *testing.B) {
	for _, test := range []struct {
		name   string
		effect link.Effect
	}{
		{"none", link.Effect{}},
		{"delay-1ms", link.Effect{Delay: time.Millisecond, Jitter: time.Millisecond}},
	} {
		b.Run(test.name, func(b *testing.B) {
			server, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			came := make(chan bool, 1<<20)
			go func() {
				buf := make([]byte, 1000)
				for {
					if _, _, err := server.ReadFrom(buf); err != nil {
						return
					}
					came <- true
				}
			}()
			at := free(b)
			n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "udp", Listen: at, Target: server.LocalAddr().String()}}, options(b))
			if err != nil {
				b.Fatal(err)
			}
			defer n.Close()
			c, err := net.Dial("udp", at)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			apply(b, n, both, test.effect)
			sent, lost := 0, 0
			for b.Loop() { // 200 at a time under way
				for range 100 {
					c.Write(make([]byte, 100))
				}
				sent += 100
				for sent-lost > 200 {
					select {
					case <-came:
						sent--
					case <-time.After(time.Second):
						lost = sent
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/datagram")
			b.ReportMetric(0, "ns/op")
		})
	}
}
