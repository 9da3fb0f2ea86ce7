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
