package osc

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	flushSize  = 64 << 10 // what is queued is written by itself from here on
	maxPending = 1 << 20  // what is queued waits for the peer from here on
)

// ConnOptions are the options of a Conn; the zero value is good.
type ConnOptions struct {
	// Framing of what is sent. Unknown is the peer's, and SizePrefix until
	// the peer has sent something.
	Framing Framing
	// MaxFrame is the largest packet taken, in bytes; 0 is DefaultMaxFrame.
	MaxFrame int
	// FrameTimeout bounds the time from a frame's first bytes to its last; 0
	// is no bound.
	FrameTimeout time.Duration
	// WriteTimeout bounds one write to the peer; 0 is no bound.
	WriteTimeout time.Duration
}

// Conn sends and receives packets over one stream connection.
//
// Packets are coalesced: what is queued, or sent while another goroutine is
// writing, leaves in as few writes as possible, and a size prefix never leaves
// apart from its packet.
type Conn struct {
	c        net.Conn
	o        ConnOptions
	r        *Reader
	framing  atomic.Uint32 // of the peer
	quickAck func()        // asks for the next acknowledgement at once, or nil
	deadline atomic.Int64  // set by SetReadDeadline, nanoseconds since 1970; 0 is none
	timed    bool          // the read deadline is a frame's
	counted  bool          // …and it is the present one's

	mu      sync.Mutex
	room    sync.Cond // a write has ended
	pending []byte
	spare   []byte
	writing bool
	err     error // of a write; it stays
}

// NewConn makes a Conn of a connection, which it then owns.
func NewConn(c net.Conn, o ConnOptions) *Conn {
	conn := &Conn{c: c, o: o, quickAck: quickAck(c)}
	conn.room.L = &conn.mu
	conn.r = NewReader(reading{conn}, o.MaxFrame)
	return conn
}

// Receive returns the next packet, as Reader.Next does, and is to be called by
// one goroutine. It is os.ErrDeadlineExceeded where a frame that has begun does
// not end within FrameTimeout, or the deadline of SetReadDeadline has passed.
func (c *Conn) Receive() ([]byte, error) {
	packet, err := c.r.Next()
	if c.framing.Load() == uint32(Unknown) {
		c.framing.Store(uint32(c.r.Framing()))
	}
	c.counted = false
	return packet, err
}

// Items appends to items what Reader.Items does. It is for the goroutine that
// calls Receive.
func (c *Conn) Items(t *Template, items []Item) []Item { return c.r.Items(t, items) }

// SetMaxFrame changes ConnOptions.MaxFrame from the next packet on. It is for
// the goroutine that calls Receive.
func (c *Conn) SetMaxFrame(n int) { c.r.SetMax(n) }

// More reports whether Receive would return without reading from the peer: while
// it does, what is to be sent in return may wait for the rest.
func (c *Conn) More() bool { return c.r.More() }

// Partial reports whether the last Receive failed inside a frame.
func (c *Conn) Partial() bool { return c.r.Buffered() > 0 }

// reading is the connection as its Reader reads it.
type reading struct{ c *Conn }

func (r reading) Read(p []byte) (int, error) {
	c := r.c
	partial := c.r.Buffered()
	if c.o.FrameTimeout > 0 {
		switch {
		case partial > 0 && !c.counted:
			c.timed, c.counted = true, true
			c.setDeadline(time.Now().Add(c.o.FrameTimeout))
		case partial == 0 && c.timed:
			c.timed = false
			c.setDeadline(time.Time{})
		}
	}
	if partial > 0 && partial < 1<<10 && c.quickAck != nil {
		// A peer that sends a frame in two writes without TCP_NODELAY, as
		// liblo does, holds the second back until the first is acknowledged.
		c.quickAck()
	}
	return c.c.Read(p)
}

// setDeadline sets the sooner of a frame's deadline and the caller's own.
func (c *Conn) setDeadline(frame time.Time) {
	if own := c.deadline.Load(); own != 0 {
		if t := time.Unix(0, own); frame.IsZero() || t.Before(frame) {
			frame = t
		}
	}
	c.c.SetReadDeadline(frame)
}

// SetReadDeadline bounds all that is received; the zero time is no bound.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.deadline.Store(0)
	} else {
		c.deadline.Store(t.UnixNano())
	}
	return c.c.SetReadDeadline(t)
}

// Framing is the peer's framing, Unknown before it has sent anything.
func (c *Conn) Framing() Framing { return Framing(c.framing.Load()) }

func (c *Conn) sendFraming() Framing {
	if c.o.Framing != Unknown {
		return c.o.Framing
	}
	if f := c.Framing(); f != Unknown {
		return f
	}
	return SizePrefix
}

// Send sends a message. It may return before the message has left, where
// another goroutine is writing; an error of that write is returned by the next
// call.
func (c *Conn) Send(m *Message) error {
	if err := c.queue(func(dst []byte) ([]byte, error) { return Append(dst, m) }); err != nil {
		return err
	}
	return c.Flush()
}

// Queue queues a packet: it leaves with the next Flush, or by itself once there
// is much to write. It waits for a peer that does not take what it is sent.
func (c *Conn) Queue(packet []byte) error {
	return c.queue(func(dst []byte) ([]byte, error) { return append(dst, packet...), nil })
}

// QueueItems queues messages of a template whose tags are s, sh or h, without an
// allocation. It returns how many it has queued; an error that is a
// *ProtocolError is of the one that follows them, and others can be queued.
func (c *Conn) QueueItems(t *Template, items []Item) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(items) {
		dst, err := c.begin()
		if err != nil {
			return n, err
		}
		if c.sendFraming() == SLIP {
			start := len(c.pending)
			dst, some, err := t.AppendFrames(dst[:start], items[n:], start+1)
			if err = c.end(dst, err); err != nil {
				return n, err
			}
			n += some
			continue
		}
		limit := flushSize
		if c.writing {
			limit = maxPending
		}
		some := 0
		c.pending, some, err = t.AppendFrames(c.pending, items[n:], limit)
		if n += some; err != nil {
			return n, err
		}
		if len(c.pending) >= flushSize && !c.writing {
			if err := c.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (c *Conn) queue(add func(dst []byte) ([]byte, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	dst, err := c.begin()
	if err != nil {
		return err
	}
	dst, err = add(dst)
	return c.end(dst, err)
}

// begin begins a frame in what is pending. The lock is held from here to the
// end of end.
func (c *Conn) begin() ([]byte, error) {
	for c.writing && len(c.pending) >= maxPending && c.err == nil {
		c.room.Wait()
	}
	return BeginFrame(c.pending), c.err
}

// end ends the frame that begin began, unless the packet could not be made.
func (c *Conn) end(dst []byte, err error) error {
	start := len(c.pending)
	size := len(dst) - start - 4
	if err == nil && size > MaxFrame {
		err = tooLarge(size)
	}
	if err != nil {
		return err
	}
	if c.sendFraming() == SLIP {
		packet := append([]byte(nil), dst[start+4:]...)
		dst = AppendFrame(dst[:start], SLIP, packet)
	} else {
		EndFrame(dst, start)
	}
	if c.pending = dst; len(dst) >= flushSize && !c.writing {
		return c.flush()
	}
	return nil
}

// Flush writes what is queued, unless another goroutine is writing, which then
// writes it.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return c.err
	}
	return c.flush()
}

// flush writes until nothing is left. The lock is held, and let go while
// writing. What has been written is no error, though the peer has answered it
// by closing the connection meanwhile.
func (c *Conn) flush() error {
	c.writing = true
	defer func() { c.writing = false }()
	for len(c.pending) > 0 {
		if c.err != nil {
			return c.err
		}
		out := c.pending
		c.pending = c.spare[:0]
		c.mu.Unlock()
		if c.o.WriteTimeout > 0 {
			c.c.SetWriteDeadline(time.Now().Add(c.o.WriteTimeout))
		}
		_, err := c.c.Write(out)
		c.mu.Lock()
		if c.spare = out[:0]; cap(out) > 2*maxPending {
			c.spare = nil
		}
		c.room.Broadcast()
		if err != nil {
			if c.err == nil {
				c.err = err
			}
			return err
		}
	}
	return nil
}

// Close closes the connection; what is queued is lost.
func (c *Conn) Close() error {
	err := c.c.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.room.Broadcast()
	return err
}

// CloseWrite writes what is queued and tells the peer that nothing follows.
func (c *Conn) CloseWrite() error {
	if err := c.Flush(); err != nil {
		return err
	}
	half, ok := c.c.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("osc: a %T cannot be closed in one direction: %w", c.c, os.ErrInvalid)
	}
	return half.CloseWrite()
}

// LocalAddr is the connection's own address.
func (c *Conn) LocalAddr() net.Addr { return c.c.LocalAddr() }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.c.RemoteAddr() }
