package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// dialed is a connection to a server that does what handle does.
func dialed(t *testing.T, most int, handle func(net.Conn)) *Conn {
	t.Helper()
	c, err := Dial(within(t, patience), Target{Node: "n1", Endpoint: "redis", Address: serve(t, handle).address}, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestConn holds what is read where several calls share what has come.
func TestConn(t *testing.T) {
	check := func(c *Conn) {
		t.Helper()
		ctx := within(t, patience)
		want := func(got []byte, err error, want string) {
			t.Helper()
			if err != nil || string(got) != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
		if err := c.Send(ctx, []byte("go")); err != nil {
			t.Fatal(err)
		}
		got, err := c.Line(ctx)
		want(got, err, "first")
		got, err = c.Line(ctx)
		want(got, err, "second")
		got, err = c.Read(ctx, 5)
		want(got, err, "five!")
		got, err = c.Read(ctx, 0)
		want(got, err, "")
		got, err = c.ReadUntil(ctx, []byte("--end"))
		want(got, err, "a-b--c---end")
		got, err = c.Line(ctx)
		want(got, err, "")
		got, err = c.ReadAll(ctx)
		want(got, err, "rest\nwithout end")
		got, err = c.ReadAll(ctx)
		want(got, err, "")
		_, err = c.Line(ctx)
		wants(t, err, history.Info, "read a line on n1, endpoint redis (", "closed")
	}
	const all = "first\r\nsecond\nfive!a-b--c---end\nrest\nwithout end"
	atOnce := func(c net.Conn) {
		defer c.Close()
		io.ReadFull(c, make([]byte, 2))
		io.WriteString(c, all)
	}
	check(dialed(t, 0, atOnce))
	check(dialed(t, 0, func(c net.Conn) {
		defer c.Close()
		io.ReadFull(c, make([]byte, 2))
		c.(*net.TCPConn).SetNoDelay(true)
		for i := range len(all) {
			io.WriteString(c, all[i:i+1])
		}
	}))
	certificate, ca := authority(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, listener, atOnce)
	c, err := Dial(within(t, patience), Target{Node: "n1", Endpoint: "redis", Address: s.address, TLS: true, CA: ca}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check(c)
}

// TestConnOutcomes holds the outcomes of what fails at a connection.
func TestConnOutcomes(t *testing.T) {
	ctx := within(t, patience)
	soon := func() context.Context { return within(t, 300*time.Millisecond) }
	_, err := Dial(ctx, Target{Node: "n1", Endpoint: "redis", Address: unused(t)}, 0)
	wants(t, err, history.Fail, "connect on n1", "refused")

	said := make(chan struct{})
	c := dialed(t, 0, func(c net.Conn) { io.WriteString(c, "hel"); close(said) })
	<-said
	_, err = c.Line(soon())
	wants(t, err, history.Fail, "given up after 3 bytes", `"hel"`, "300ms have passed") // nothing was sent
	if got, err := c.Read(ctx, 3); err != nil || string(got) != "hel" {
		t.Errorf("after it was given up: %q, %v", got, err)
	}
	if err := c.Send(ctx, []byte("x")); err != nil {
		t.Error(err)
	}
	_, err = c.Line(soon())
	wants(t, err, history.Info, "given up")
	_, err = c.Read(ctx, -1)
	wants(t, err, history.Info, "from 0 to")
	_, err = c.ReadUntil(ctx, nil)
	wants(t, err, history.Info, "not tried")
	done, cancel := context.WithCancelCause(ctx)
	cancel(fmt.Errorf("the run has ended"))
	wants(t, c.Send(done, []byte("x")), history.Fail, "before anything was sent", "the run has ended")
	c.Close()
	wants(t, c.Send(ctx, []byte("x")), history.Fail, "closed here")

	c = dialed(t, 0, func(c net.Conn) { io.ReadFull(c, make([]byte, 1)); reset(c) })
	if err := c.Send(ctx, []byte("x")); err != nil {
		t.Error(err)
	}
	_, err = c.Line(ctx)
	wants(t, err, history.Info, "reset")
	wants(t, c.Send(ctx, []byte("x")), history.Fail, "before anything was sent")

	c = dialed(t, 0, stay) // it reads nothing
	large := make([]byte, 64<<20)
	wants(t, c.Send(soon(), large), history.Info, "given up after", "of 67108864 bytes had been sent")
}

// TestConnBound holds that what has no end is not read for ever.
func TestConnBound(t *testing.T) {
	const most = 100_000
	for name, read := range map[string]func(*Conn) ([]byte, error){
		"line":  func(c *Conn) ([]byte, error) { return c.Line(within(t, patience)) },
		"until": func(c *Conn) ([]byte, error) { return c.ReadUntil(within(t, patience), []byte("xxy")) },
		"all":   func(c *Conn) ([]byte, error) { return c.ReadAll(within(t, patience)) },
	} {
		c := dialed(t, most, flood)
		_, err := read(c)
		if wants(t, err, history.Fail, "after 100000 bytes it had not come to an end"); cap(c.read) > 3*most {
			t.Errorf("%s: it holds %d bytes", name, cap(c.read))
		}
		if got, err := c.Read(within(t, patience), most); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("x"), most)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		_, err = c.Read(within(t, patience), most+1)
		wantsMistake(t, err)
	}
}

// FuzzConn reads a stream that comes in pieces, and compares that with the stream.
func FuzzConn(f *testing.F) {
	f.Add("a\r\nbb\n\nccc", "\n", uint8(3))
	f.Add("aaaab", "aab", uint8(1))
	f.Fuzz(func(t *testing.T, text, delim string, piece uint8) {
		if delim == "" || piece == 0 {
			t.Skip()
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			for rest := text; rest != ""; {
				n := min(int(piece), len(rest))
				if _, err := io.WriteString(there, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		m := &meter{Conn: here}
		c := &Conn{link: &link{Conn: m, meter: m}, most: 1 << 20}
		defer c.Close()
		var got []string
		for {
			p, err := c.ReadUntil(t.Context(), []byte(delim))
			if err != nil {
				break
			}
			got = append(got, string(p))
		}
		rest, err := c.ReadAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.SplitAfter(text, delim); fmt.Sprint(append(got, string(rest))) != fmt.Sprint(want) {
			t.Errorf("got %q and %q, want %q", got, rest, want)
		}
	})
}
