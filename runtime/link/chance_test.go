package link_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

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
