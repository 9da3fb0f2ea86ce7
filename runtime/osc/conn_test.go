package osc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection with a Conn at one end.
func pair(t *testing.T, o ConnOptions) (*Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := NewConn(c, o)
	t.Cleanup(func() { conn.Close(); peer.Close() })
	return conn, peer
}

// TestConnConcurrent: messages that many send at once arrive whole, and each
// sender's in its order.
func TestConnConcurrent(t *testing.T) {
	for _, framing := range []Framing{SizePrefix, SLIP} {
		conn, peer := pair(t, ConnOptions{Framing: framing, WriteTimeout: time.Minute})
		const senders, each = 8, 500
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if err := conn.Send(NewMessage("/data", fmt.Sprint(s), int64(i))); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Go(func() {
			next := map[string]int64{}
			r := NewReader(peer, 0)
			for range senders * each {
				packet, err := r.Next()
				if err != nil {
					t.Error(err)
					return
				}
				s, n, ok := dataTemplate.StringInt64(packet)
				if !ok || n != next[string(s)] {
					t.Errorf("%v: got %q, %d, want %d", framing, s, n, next[string(s)])
					return
				}
				next[string(s)]++
			}
			if r.Framing() != framing {
				t.Errorf("it was framed by %v, want %v", r.Framing(), framing)
			}
		})
		wg.Wait()
	}
}

// TestQueueItems: items arrive as the messages that they are, in whichever
// framing, past one that cannot be sent.
func TestQueueItems(t *testing.T) {
	for _, framing := range []Framing{SizePrefix, SLIP} {
		conn, peer := pair(t, ConnOptions{Framing: framing, WriteTimeout: time.Minute})
		const n = 5000 // over what is written at a time
		var wg sync.WaitGroup
		wg.Go(func() {
			items := make([]Item, n)
			for i := range items {
				items[i] = Item{[]byte("some text"), int64(i)}
			}
			items[n/2].String = []byte("a\x00b")
			done, err := conn.QueueItems(dataTemplate, items)
			var broken *ProtocolError
			if done != n/2 || !errors.As(err, &broken) {
				t.Errorf("%v: %d were queued, %v", framing, done, err)
			}
			if done, err := conn.QueueItems(dataTemplate, items[done+1:]); done != n-n/2-1 || err != nil {
				t.Errorf("%v: %d were queued, %v", framing, done, err)
			}
			if err := conn.Flush(); err != nil {
				t.Error(err)
			}
			conn.Close()
			if _, err := conn.QueueItems(dataTemplate, items[:1]); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a closed connection takes items: %v", err)
			}
		})
		r := NewReader(peer, 0)
		for i := range int64(n) {
			if i == n/2 {
				continue
			}
			packet, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if s, id, ok := dataTemplate.StringInt64(packet); !ok || id != i || string(s) != "some text" {
				t.Fatalf("%v: %q, %d, want %d", framing, s, id, i)
			}
		}
		if _, err := r.Next(); err != io.EOF || r.Framing() != framing {
			t.Errorf("%v: %v, by %v", framing, err, r.Framing())
		}
		wg.Wait()
	}
}

// TestConnAnswersInKind: a peer that opens with SLIP is answered in SLIP.
func TestConnAnswersInKind(t *testing.T) {
	for _, framing := range []Framing{SizePrefix, SLIP} {
		conn, peer := pair(t, ConnOptions{})
		packet := mustAppend(t, NewMessage("/ready", "x"))
		if _, err := peer.Write(AppendFrame(nil, framing, packet)); err != nil {
			t.Fatal(err)
		}
		if got, err := conn.Receive(); err != nil || string(got) != string(packet) {
			t.Fatalf("%v: %x, %v", framing, got, err)
		}
		if err := conn.Send(NewMessage("/start")); err != nil {
			t.Fatal(err)
		}
		r := NewReader(peer, 0)
		if _, err := r.Next(); err != nil || r.Framing() != framing {
			t.Errorf("answered in %v (%v), want %v", r.Framing(), err, framing)
		}
	}
}

// TestConnFrameTimeout: half a frame is waited for no longer than it may take,
// silence between frames for ever, and a stream of whole frames that arrive in
// pieces is never cut off.
func TestConnFrameTimeout(t *testing.T) {
	conn, peer := pair(t, ConnOptions{FrameTimeout: 50 * time.Millisecond})
	packet := mustAppend(t, NewMessage("/ready", "x"))
	frame := AppendFrame(nil, SizePrefix, packet)
	for range 3 {
		peer.Write(frame)
		if _, err := conn.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	peer.Write(frame[:10])
	_, err := conn.Receive()
	if !errors.Is(err, os.ErrDeadlineExceeded) || !conn.Partial() {
		t.Errorf("half a frame: %v, partial %v", err, conn.Partial())
	}

	conn, peer = pair(t, ConnOptions{FrameTimeout: time.Minute})
	conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	peer.Write(frame[:10])
	if _, err = conn.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the sooner deadline: %v", err)
	}
}

// TestConnSlowPeer: one that takes nothing does not hold up a sender for ever,
// and what is queued is bounded by waiting.
func TestConnSlowPeer(t *testing.T) {
	conn, _ := pair(t, ConnOptions{WriteTimeout: 100 * time.Millisecond})
	payload := make([]byte, 60<<10)
	var err error
	for range 10000 {
		if err = conn.Send(NewMessage("/data", payload)); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("err = %v, want a deadline", err)
	}
	if again := conn.Send(NewMessage("/data")); again == nil {
		t.Error("the error of a write must stay")
	}
}

func TestConnEnds(t *testing.T) {
	conn, peer := pair(t, ConnOptions{})
	if err := conn.Queue(mustAppend(t, NewMessage("/a"))); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil { // writes what is queued
		t.Fatal(err)
	}
	r := NewReader(peer, 0)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("err = %v, want EOF", err)
	}
	if err := conn.Send(NewMessage("/x", 1)); err == nil {
		t.Error("a message that cannot be encoded was sent")
	}
	conn.Close()
	if err := conn.Send(NewMessage("/x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("err = %v, want net.ErrClosed", err)
	}
}

// TestSettle: what had connected before Settle has been accepted after it.
func TestSettle(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	accepted := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			mu.Lock()
			accepted++
			mu.Unlock()
		}
	})
	for made := 1; made <= 200; made++ {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := l.Settle(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if accepted != made {
			t.Fatalf("%d connections were accepted of %d", accepted, made)
		}
		mu.Unlock()
	}
	l.Close()
	wg.Wait()
	if err := l.Settle(); err == nil {
		t.Error("a closed listener settles")
	}
}

// TestConnAnswered: a message that made the peer close the connection was sent.
func TestConnAnswered(t *testing.T) {
	for range 500 {
		conn, peer := pair(t, ConnOptions{})
		var wg sync.WaitGroup
		wg.Go(func() {
			peer.Read(make([]byte, 64))
			conn.Close() // as who reads it does when the peer has closed it
		})
		if err := conn.Send(NewMessage("/shutdown", "x")); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		conn.Close()
		peer.Close()
	}
}
