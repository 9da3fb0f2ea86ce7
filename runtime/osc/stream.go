package osc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Framing is how packets follow each other in a stream.
type Framing uint8

// The framings.
const (
	Unknown    Framing = iota // nothing has arrived yet
	SizePrefix                // OSC 1.0: a big-endian 32-bit size before each packet
	SLIP                      // OSC 1.1: END, the packet with END and ESC escaped, END
)

func (f Framing) String() string {
	return [...]string{"unknown", "size prefix", "SLIP"}[f]
}

// The bytes of SLIP (RFC 1055).
const (
	slipEnd    = 0xC0
	slipEsc    = 0xDB
	slipEscEnd = 0xDC
	slipEscEsc = 0xDD
)

// AppendFrame appends a packet to dst as a frame of a stream.
func AppendFrame(dst []byte, f Framing, packet []byte) []byte {
	if f != SLIP {
		dst = be.AppendUint32(dst, uint32(len(packet)))
		return append(dst, packet...)
	}
	dst = append(dst, slipEnd)
	plain := 0 // from here on nothing has needed an escape
	for i, c := range packet {
		switch c {
		case slipEnd:
			dst = append(append(dst, packet[plain:i]...), slipEsc, slipEscEnd)
			plain = i + 1
		case slipEsc:
			dst = append(append(dst, packet[plain:i]...), slipEsc, slipEscEsc)
			plain = i + 1
		}
	}
	return append(append(dst, packet[plain:]...), slipEnd)
}

// BeginFrame makes room for a size prefix. The packet is then appended in
// place, and EndFrame, given the length that dst had before, fills the size in.
func BeginFrame(dst []byte) []byte { return append(dst, zeros[:]...) }

// EndFrame fills in the size of the frame that began at start.
func EndFrame(dst []byte, start int) { be.PutUint32(dst[start:], uint32(len(dst)-start-4)) }

// Reader reads packets from a stream, whichever framing it has.
type Reader struct {
	r          io.Reader
	max        int
	framing    Framing
	buf        []byte
	start, end int // of what has been read and not returned
	scanned    int // of a SLIP frame, from start
	full       bool
	err        error
}

const (
	firstBuffer = 512
	littleLeft  = 1 << 10  // bytes of a frame that are moved to read what follows
	bufferSize  = 64 << 10 // grown to where the stream fills it, and beyond only for a frame
)

// NewReader makes a Reader. max is the largest packet it takes, in bytes; 0 is
// DefaultMaxFrame, and it is never over MaxFrame.
func NewReader(r io.Reader, max int) *Reader {
	if max <= 0 {
		max = DefaultMaxFrame
	}
	return &Reader{r: r, max: min(max, MaxFrame)}
}

// SetMax changes the largest packet that Next takes from now on.
func (r *Reader) SetMax(max int) { r.max = min(max, MaxFrame) }

// Framing is the stream's framing, Unknown before its first byte.
func (r *Reader) Framing() Framing { return r.framing }

// Buffered is how many bytes of an unfinished frame have been read.
func (r *Reader) Buffered() int { return r.end - r.start }

// More reports whether Next would return without reading from the stream.
func (r *Reader) More() bool {
	have := r.buf[r.start:r.end]
	switch {
	case r.err != nil:
		return true
	case r.framing == SLIP:
		for len(have) > 0 && have[0] == slipEnd {
			have = have[1:]
		}
		return bytes.IndexByte(have, slipEnd) >= 0 || len(have) > 2*r.max
	case len(have) < 4:
		return len(have) > 0 && have[0] != 0
	}
	size := be.Uint32(have)
	return size > uint32(r.max) || len(have)-4 >= int(size)
}

// Next returns the next packet, not yet validated, which is good until the next
// call: whatever a frame holds, be it empty, is returned. It is io.EOF at the
// end of the stream, io.ErrUnexpectedEOF where it ends inside a frame, and a
// *ProtocolError with EndsStream where no end of a frame can be found; nothing
// can be read after that. After a *ProtocolError without EndsStream, of a SLIP
// frame whose escapes are wrong or which is too long, the next call returns
// what follows the frame. The buffer grows as bytes arrive,
// never by what a prefix says: beyond 8 KiB, a Reader allocates at most 8 bytes
// for each byte that has arrived, and beyond 128 KiB, however much arrives, at
// most 9 for each byte of the largest packet that it takes.
func (r *Reader) Next() ([]byte, error) {
	if r.framing == SizePrefix {
		if have := r.buf[r.start:r.end]; len(have) >= 4 {
			if size := be.Uint32(have); size <= uint32(len(have)-4) && size <= uint32(r.max) {
				r.start += 4 + int(size)
				return have[4 : 4+size : 4+size], nil
			}
		}
	}
	return r.slow()
}

// Items appends the arguments of the next packets, as far as they have been read,
// are messages of a template whose tags are s, sh or h, and there is room in
// items without an allocation. They are good until the next call of Next.
func (r *Reader) Items(t *Template, items []Item) []Item {
	if r.framing != SizePrefix || r.err != nil || !t.itemized() {
		return items
	}
	have, n := r.buf[r.start:r.end], len(items)
	items = items[:cap(items)]
	for n < len(items) && len(have) >= 4 {
		size := be.Uint32(have)
		if size > uint32(len(have)-4) || size > uint32(r.max) || !t.read(have[4:4+size], &items[n]) {
			break
		}
		n++
		have = have[4+size:]
	}
	r.start = r.end - len(have)
	return items[:n]
}

func (r *Reader) slow() ([]byte, error) {
	for {
		if r.err == nil && r.end > r.start {
			packet, err := r.frame()
			if packet != nil {
				return packet, nil
			}
			if whole, ok := err.(*ProtocolError); ok && !whole.EndsStream {
				return nil, err
			}
			r.err = err
		}
		if r.err != nil {
			return nil, r.err
		}
		r.fill()
	}
}

// frame takes one frame from the buffer; nil, nil where there is none yet.
func (r *Reader) frame() ([]byte, error) {
	if r.framing == Unknown {
		switch first := r.buf[r.start]; first {
		case 0:
			r.framing = SizePrefix
		case slipEnd, '/', '#':
			r.framing = SLIP
		default:
			return nil, lost(fmt.Sprintf("a stream that begins with %q: neither a size prefix nor SLIP", r.buf[r.start:min(r.end, r.start+8)]))
		}
	}
	if r.framing == SLIP {
		return r.slipFrame()
	}
	have := r.buf[r.start:r.end]
	if len(have) < 4 {
		if have[0] != 0 { // with MaxFrame below 16 MiB the first byte tells
			return nil, lost(fmt.Sprintf("a frame of over %d bytes", r.max))
		}
		return nil, nil
	}
	size := be.Uint32(have)
	switch {
	case size > uint32(r.max):
		return nil, lost(fmt.Sprintf("a frame of %d bytes, over the limit of %d", size, r.max))
	case len(have)-4 < int(size):
		return nil, nil
	}
	r.start += 4 + int(size)
	return have[4 : 4+size : 4+size], nil
}

func (r *Reader) slipFrame() ([]byte, error) {
	for {
		have := r.buf[r.start:r.end]
		i := bytes.IndexByte(have[r.scanned:], slipEnd)
		if i < 0 {
			if r.scanned = len(have); r.scanned > 2*r.max {
				return nil, lost(fmt.Sprintf("a SLIP frame of over %d bytes", r.max))
			}
			return nil, nil
		}
		packet := have[:r.scanned+i]
		if len(packet) > 2*r.max {
			return nil, lost(fmt.Sprintf("a SLIP frame of over %d bytes", r.max))
		}
		r.start += len(packet) + 1
		r.scanned = 0
		if len(packet) > 0 { // the two ENDs between frames enclose an empty one
			return r.unescape(packet)
		}
		if r.start == r.end {
			return nil, nil
		}
	}
}

// unescape undoes SLIP's escapes in place.
func (r *Reader) unescape(p []byte) ([]byte, error) {
	to := bytes.IndexByte(p, slipEsc)
	if to < 0 {
		to = len(p)
	} else {
		for from := to; from < len(p); from++ {
			c := p[from]
			if c == slipEsc {
				if from++; from == len(p) {
					return nil, broken("a SLIP frame that ends inside an escape")
				}
				switch p[from] {
				case slipEscEnd:
					c = slipEnd
				case slipEscEsc:
					c = slipEsc
				default:
					return nil, broken(fmt.Sprintf("a SLIP escape of byte %#02x", p[from]))
				}
			}
			p[to] = c
			to++
		}
	}
	if to > r.max {
		return nil, broken(fmt.Sprintf("a SLIP frame of %d bytes, over the limit of %d", to, r.max))
	}
	return p[:to:to], nil
}

// fill reads once, after it has made room.
func (r *Reader) fill() {
	left, size := r.end-r.start, len(r.buf)
	switch {
	case left == size:
		size = max(2*size, firstBuffer) // append would round up by a quarter
	case r.full && size < min(bufferSize, 4*r.max): // one who may send little has no use for more
		size = min(4*size, bufferSize)
	}
	switch {
	case size > len(r.buf):
		grown := make([]byte, size)
		r.end = copy(grown, r.buf[r.start:r.end])
		r.start, r.buf = 0, grown
	case left < littleLeft || r.end == len(r.buf):
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	n, err := r.r.Read(r.buf[r.end:])
	r.end += n
	r.full = r.end == len(r.buf)
	switch {
	case err == nil:
	case n > 0: // what came with it first
		r.r = failed{err}
	case errors.Is(err, io.EOF) && r.end > r.start:
		r.err = io.ErrUnexpectedEOF
	default:
		r.err = err
	}
}

// failed is the stream after an error that came with its last bytes.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
