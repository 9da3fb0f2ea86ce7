package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// DefaultMaxRead is how many bytes a Conn reads for one call.
const DefaultMaxRead = 16 << 20

// Conn is a connection to a node's endpoint. One goroutine may send while another one
// reads; each waits for those before it.
//
// What was read and not asked for yet is kept, also where a call is given up: the next
// one goes on there.
type Conn struct {
	target Target
	link   *link
	most   int

	writing sync.Mutex
	reading sync.Mutex
	read    []byte // and not asked for yet
	searched
}

// searched is how far the bytes that were read are known not to have what is looked for.
type searched struct {
	delim string
	upTo  int
}

// Dial connects to an endpoint. maxRead bounds what one call reads, in bytes; 0 is
// DefaultMaxRead. The error is an *Error, which is a fail.
func Dial(ctx context.Context, t Target, maxRead int) (*Conn, error) {
	if maxRead <= 0 {
		maxRead = DefaultMaxRead
	}
	l, err := t.dial(ctx, "connect")
	if err != nil {
		return nil, err
	}
	return &Conn{target: t, link: l, most: maxRead}, nil
}

// Send sends bytes. It returns when the system has taken them, which is not yet when
// the other side has read them. The error is an *Error: a fail where the system took
// none of them, else an info.
func (c *Conn) Send(ctx context.Context, p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	before := c.link.written()
	err := ctx.Err()
	if err == nil {
		release := c.link.until(ctx, c.link.SetWriteDeadline)
		_, err = c.link.Write(p)
		release()
	}
	if err == nil {
		return nil
	}
	sent := c.link.written() - before
	problem, cause := ioProblem(ctx, err)
	switch {
	case sent == 0:
		problem += " before anything was sent"
	case c.target.TLS:
		problem += " after a part had been sent"
	default:
		problem += fmt.Sprintf(" after %d of %d bytes had been sent", sent, len(p))
	}
	return c.target.error(None, sent > 0, "send", problem, "", cause)
}

// Line reads a line and returns it without its end, which is LF or CRLF.
//
// The errors of Line, Read, ReadUntil and ReadAll are of one kind, an *Error. It is an
// info if a byte was ever sent over the connection, as what was asked for may have been
// done; else it is a fail. What cannot be read at all is a *Mistake.
func (c *Conn) Line(ctx context.Context) ([]byte, error) {
	line, err := c.until(ctx, []byte("\n"), "read a line")
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// ReadUntil reads up to some bytes and returns what was read with them. The error is as
// that of Line.
func (c *Conn) ReadUntil(ctx context.Context, delim []byte) ([]byte, error) {
	return c.until(ctx, delim, fmt.Sprintf("read until %q", delim))
}

// Read reads n bytes. The error is as that of Line.
func (c *Conn) Read(ctx context.Context, n int) ([]byte, error) {
	action := fmt.Sprintf("read %d bytes", n)
	if n < 0 || n > c.most {
		return nil, &Mistake{Action: action, Problem: "it was not tried", Expected: fmt.Sprintf("a number from 0 to %d", c.most)}
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(c.read) < n {
		if err := c.more(ctx, action); err != nil {
			return nil, err
		}
	}
	return c.cut(n), nil
}

// ReadAll reads to the end, when the other side closes the connection. The error is as
// that of Line.
func (c *Conn) ReadAll(ctx context.Context) ([]byte, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		err := c.fill(ctx)
		if err == io.EOF {
			return c.cut(len(c.read)), nil
		}
		if err != nil {
			return nil, c.failed(ctx, "read to the end", err)
		}
	}
}

// HasSent reports whether a byte was ever sent over the connection: what is read then may
// be what a change came to.
func (c *Conn) HasSent() bool { return c.link.written() > 0 }

// Close closes the connection. Who sends or reads meanwhile fails. Of TLS it takes up to
// 5 seconds where the other side does not read.
func (c *Conn) Close() error { return c.link.Close() }

func (c *Conn) until(ctx context.Context, delim []byte, action string) ([]byte, error) {
	if len(delim) == 0 {
		return nil, &Mistake{Action: action, Problem: "it was not tried", Expected: "at least a byte to read until"}
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.searched.delim != string(delim) {
		c.searched = searched{delim: string(delim)}
	}
	for {
		from := max(0, c.searched.upTo-len(delim)+1)
		if i := bytes.Index(c.read[from:], delim); i >= 0 {
			return c.cut(from + i + len(delim)), nil
		}
		c.searched.upTo = len(c.read)
		if err := c.more(ctx, action); err != nil {
			return nil, err
		}
	}
}

// cut takes the first n bytes of what was read.
func (c *Conn) cut(n int) []byte {
	taken := bytes.Clone(c.read[:n])
	c.searched = searched{}
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil // a large buffer is not kept
	}
	return taken
}

// more reads more, or is the error of the action.
func (c *Conn) more(ctx context.Context, action string) error {
	if err := c.fill(ctx); err != nil {
		return c.failed(ctx, action, err)
	}
	return nil
}

// errFull is that as much as may be was read.
var errFull = errors.New("there is no room for more")

// fill reads what there is, or waits for that.
func (c *Conn) fill(ctx context.Context) error {
	const atOnce = 32 << 10
	if len(c.read) >= c.most {
		return errFull
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(c.read) == cap(c.read) {
		c.read = append(make([]byte, 0, max(4<<10, 2*len(c.read))), c.read...)
	}
	room := c.read[len(c.read):min(cap(c.read), len(c.read)+atOnce, c.most)]
	release := c.link.until(ctx, c.link.SetReadDeadline)
	n, err := c.link.Read(room)
	release()
	c.read = c.read[:len(c.read)+n]
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

func (c *Conn) failed(ctx context.Context, action string, err error) error {
	if err == errFull {
		return c.error(action, fmt.Sprintf("after %d bytes it had not come to an end", len(c.read)), "", nil)
	}
	problem, cause := ioProblem(ctx, err)
	if n := len(c.read); n > 0 {
		problem += fmt.Sprintf(" after %d bytes", n)
		if said := firstLine(c.read); said != "" {
			problem += ", " + said
		}
	}
	return c.error(action, problem, "", cause)
}

func (c *Conn) error(action, problem, expected string, err error) error {
	return c.target.error(None, c.link.written() > 0, action, problem, expected, err)
}
