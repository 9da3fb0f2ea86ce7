package osc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unsafe"
)

// Template is the constant part of a message, its address and type tags, made
// once: messages of the same shape are then encoded and recognised by copying
// and comparing it. For the shapes s, sh and h there are methods that do it in
// one call; Encode and Decode take every shape, an argument a call.
type Template struct {
	header []byte
	tags   string
	first  uint64 // the header's first eight bytes
	last   uint64 // …and its last, which may overlap them
	shape  uint64 // of the tags
}

// maxTemplateTags is how many tags have a shape of their own.
const maxTemplateTags = 7

// shapeOf is type tags as a number: no others have the same.
func shapeOf(tags string) uint64 {
	shape := noTags
	for i := range len(tags) {
		shape = shape<<8 | uint64(tags[i])
	}
	return shape
}

const (
	noTags  = uint64(1)
	noShape = ^uint64(0) // nor is it one of up to seven tags, whatever is added to it
	tagS    = noTags<<8 | 's'
	tagSH   = tagS<<8 | 'h'
	tagH    = noTags<<8 | 'h'
)

// NewTemplate makes a template of an address and its type tags, without the
// comma: "s", "sh", "". There are at most seven, each of i f s b h d t.
func NewTemplate(address, tags string) (Template, error) {
	if wrong := checkAddress(address); wrong != "" {
		return Template{}, broken(fmt.Sprintf("%q: %s", address, wrong))
	}
	if rest := strings.Trim(tags, "ifsbhdt"); rest != "" {
		return Template{}, broken(fmt.Sprintf("type tag %q in a template", rest[0]))
	}
	if len(tags) > maxTemplateTags {
		return Template{}, broken(fmt.Sprintf("%d type tags in a template, over %d", len(tags), maxTemplateTags))
	}
	header := appendPadded(appendPadded(nil, address), ","+tags) // at least eight bytes
	return Template{header, tags, le.Uint64(header), le.Uint64(header[len(header)-8:]), shapeOf(tags)}, nil
}

var le = binary.LittleEndian

// mismatch is apart so that what calls it can be inlined.
//
//go:noinline
func (t *Template) mismatch(want string) error {
	return broken(fmt.Sprintf("the template has type tags %q, not %q", t.tags, want))
}

// putHeader writes the header over the first bytes of out.
func (t *Template) putHeader(out []byte) {
	h := len(t.header)
	le.PutUint64(out, t.first)
	for i := 8; i < h-8; i += 8 {
		le.PutUint64(out[i:], le.Uint64(t.header[i:]))
	}
	le.PutUint64(out[h-8:], t.last)
}

// Match reports whether a packet begins as the template's messages do.
func (t *Template) Match(packet []byte) bool {
	h := len(t.header)
	if len(packet) < h || le.Uint64(packet) != t.first || le.Uint64(packet[h-8:]) != t.last {
		return false
	}
	for i := 8; i < h-8; i += 8 {
		if le.Uint64(packet[i:]) != le.Uint64(t.header[i:]) {
			return false
		}
	}
	return true
}

// grow makes room for n more bytes.
//
//go:noinline
func grow(dst []byte, n int) []byte { return slices.Grow(dst, n) } // its code would slow down what has room

const ones, highs = 0x0101010101010101, 0x8080808080808080

// zeroBytes is not 0 where a word has a byte that is, and marks the first.
func zeroBytes(w uint64) uint64 { return (w - ones) &^ w & highs }

// putText writes a text and its padding to the start of out, which has at least
// eight bytes more than the text. It reports whether the text has no NUL.
func putText(out, text []byte) bool {
	n := len(text)
	if n < 8 {
		w := shortWord(text)
		le.PutUint64(out, w) // the padding too
		return zeroBytes(w|^uint64(0)<<(8*n)) == 0
	}
	le.PutUint64(out[n:], 0) // the padding
	if n > 32 {
		copy(out, text)
		return bytes.IndexByte(text, 0) < 0
	}
	a, b := le.Uint64(text), le.Uint64(text[n-8:])
	le.PutUint64(out, a)
	le.PutUint64(out[n-8:], b)
	zero := (a-ones)&^a | (b-ones)&^b
	if n > 16 {
		a, b := le.Uint64(text[8:]), le.Uint64(text[n-16:])
		le.PutUint64(out[8:], a)
		le.PutUint64(out[n-16:], b)
		zero |= (a-ones)&^a | (b-ones)&^b
	}
	return zero&highs == 0
}

// shortWord is a text of fewer than eight bytes as a word, with zeros behind it.
func shortWord(text []byte) uint64 {
	n := len(text)
	if n >= 4 {
		return uint64(le.Uint32(text)) | uint64(le.Uint32(text[n-4:]))<<(8*n-32)
	}
	if n == 0 {
		return 0
	}
	return uint64(text[0]) | uint64(text[n/2])<<(n/2*8) | uint64(text[n-1])<<(8*n-8)
}

// bytesOf are the bytes of a string in its own memory, which are only read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Item are the arguments of a message of a template whose tags are s, sh or h;
// what it does not have is not used.
type Item struct {
	String []byte
	Int64  int64
}

// AppendString appends the packet of a message with the tag s. As all that
// append here, it may set eight bytes behind it too, within the capacity of dst.
func (t *Template) AppendString(dst []byte, s string) ([]byte, error) {
	if t.shape != tagS {
		return dst, t.mismatch("s")
	}
	h := len(t.header)
	size := h + (len(s)+4)&^3
	start := len(dst)
	if cap(dst)-start < size+8 {
		dst = slices.Grow(dst, size+8)
	}
	out := dst[start : start+size+8]
	t.putHeader(out)
	if !putText(out[h:], bytesOf(s)) {
		return dst[:start], errNUL
	}
	return dst[:start+size], nil
}

// AppendStringInt64 appends the packet of a message with the tags sh.
func (t *Template) AppendStringInt64(dst []byte, s string, n int64) ([]byte, error) {
	if t.shape != tagSH {
		return dst, t.mismatch("sh")
	}
	h := len(t.header)
	size := h + (len(s)+4)&^3 + 8
	start := len(dst)
	if cap(dst)-start < size+8 {
		dst = slices.Grow(dst, size+8)
	}
	out := dst[start : start+size+8]
	t.putHeader(out)
	if !putText(out[h:], bytesOf(s)) {
		return dst[:start], errNUL
	}
	be.PutUint64(out[size-8:], uint64(n))
	return dst[:start+size], nil
}

// AppendInt64 appends the packet of a message with the tag h.
func (t *Template) AppendInt64(dst []byte, n int64) ([]byte, error) {
	if t.shape != tagH {
		return dst, t.mismatch("h")
	}
	return be.AppendUint64(append(dst, t.header...), uint64(n)), nil
}

// AppendFrames appends messages with the tags s, sh or h as frames of a stream
// with size prefixes, until dst has limit bytes. It returns how many it has
// appended. An error is of the one that follows them.
func (t *Template) AppendFrames(dst []byte, items []Item, limit int) ([]byte, int, error) {
	if !t.itemized() {
		return dst, 0, t.mismatch("s, sh or h")
	}
	h := len(t.header)
	for i := range items {
		start := len(dst)
		if start >= limit {
			return dst, i, nil
		}
		size := t.sizeOf(&items[i])
		if size > MaxFrame {
			return dst, i, tooLarge(size)
		}
		if cap(dst)-start < size+12 {
			dst = grow(dst, size+12)
		}
		out := dst[start : start+size+12]
		be.PutUint32(out, uint32(size))
		t.putHeader(out[4:])
		if t.shape != tagH {
			text, body := items[i].String, out[4+h:]
			ok := true
			switch n := len(text); { // the first two are putText without a call
			case n < 8:
				w := shortWord(text)
				le.PutUint64(body, w)
				ok = zeroBytes(w|^uint64(0)<<(8*n)) == 0
			case n <= 16:
				a, b := le.Uint64(text), le.Uint64(text[n-8:])
				le.PutUint64(body[n:], 0)
				le.PutUint64(body, a)
				le.PutUint64(body[n-8:], b)
				ok = ((a-ones)&^a|(b-ones)&^b)&highs == 0
			default:
				ok = putText(body, text)
			}
			if !ok {
				return dst, i, errNUL
			}
		}
		if t.shape != tagS {
			be.PutUint64(out[size-4:], uint64(items[i].Int64))
		}
		dst = dst[:start+4+size]
	}
	return dst, len(items), nil
}

func tooLarge(size int) error {
	return broken(fmt.Sprintf("a packet of %d bytes, over the limit of %d", size, MaxFrame))
}

// itemized reports whether the arguments are those of an Item.
func (t *Template) itemized() bool { return t.shape == tagS || t.shape == tagSH || t.shape == tagH }

// sizeOf is how many bytes a packet of an itemized template has.
func (t *Template) sizeOf(item *Item) int {
	size := len(t.header)
	if t.shape != tagH {
		size += (len(item.String) + 4) &^ 3
	}
	if t.shape != tagS {
		size += 8
	}
	return size
}

// Item are the arguments of a packet that is a message of the template, whose
// tags are s, sh or h; false where it is not, or is malformed.
func (t *Template) Item(packet []byte) (item Item, ok bool) {
	ok = t.itemized() && t.read(packet, &item)
	return item, ok
}

// read is Item of an itemized template. Where it is false, the item may be
// anything.
func (t *Template) read(packet []byte, item *Item) bool {
	if !t.Match(packet) {
		return false
	}
	rest := packet[len(t.header):]
	if t.shape != tagS {
		end := len(rest) - 8
		if end < 0 {
			return false
		}
		item.Int64 = int64(be.Uint64(rest[end:]))
		if rest = rest[:end]; t.shape == tagH {
			item.String = nil
			return end == 0
		}
	} else {
		item.Int64 = 0
	}
	// The first NUL is in the last word, and nothing behind it.
	n := len(rest) - 4
	if n < 0 || n&3 != 0 {
		return false
	}
	last := le.Uint32(rest[n:])
	zero := (last - ones&0xffffffff) &^ last & (highs & 0xffffffff)
	end := bits.TrailingZeros32(zero) >> 3
	if zero == 0 || last>>(8*end) != 0 {
		return false
	}
	var nul uint64
	switch {
	case n > 32:
		if bytes.IndexByte(rest[:n], 0) >= 0 {
			return false
		}
	case n >= 8:
		a, b := le.Uint64(rest), le.Uint64(rest[n-8:])
		nul = (a-ones)&^a | (b-ones)&^b
		if n > 16 {
			a, b := le.Uint64(rest[8:]), le.Uint64(rest[n-16:])
			nul |= (a-ones)&^a | (b-ones)&^b
		}
	case n == 4:
		a := uint64(le.Uint32(rest)) | 0xffffffff<<32
		nul = (a - ones) &^ a
	}
	item.String = rest[: n+end : n+end]
	return nul&highs == 0
}

// String is the one string of a packet that is a message of the template, whose
// tag is s; false where it is not, or is malformed.
func (t *Template) String(packet []byte) ([]byte, bool) {
	var item Item
	ok := t.shape == tagS && t.read(packet, &item)
	return item.String, ok
}

// StringInt64 are the arguments of a packet that is a message of the template,
// whose tags are sh; false where it is not, or is malformed.
func (t *Template) StringInt64(packet []byte) ([]byte, int64, bool) {
	if t.shape != tagSH {
		return nil, 0, false
	}
	var item Item
	ok := t.read(packet, &item)
	return item.String, item.Int64, ok
}

// Int64 is the argument of a packet that is a message of the template, whose
// tag is h; false where it is not, or is malformed.
func (t *Template) Int64(packet []byte) (int64, bool) {
	if t.shape != tagH {
		return 0, false
	}
	var item Item
	ok := t.read(packet, &item)
	return item.Int64, ok
}

// Encoder appends a message of a template, an argument a call:
//
//	dst, err := t.Encode(dst).Int32(1).String("x").End(t)
//
// It is a value, to be used up in one expression.
type Encoder struct {
	dst   []byte
	shape uint64
}

// Encode begins a message.
func (t *Template) Encode(dst []byte) Encoder {
	start, h := len(dst), len(t.header)
	if need := h + maxTemplateTags*8; cap(dst)-start < need {
		dst = grow(dst, need)
	}
	t.putHeader(dst[start : start+h])
	return Encoder{dst[:start+h], noTags}
}

// End ends the message. It is an error where its arguments are not those of the
// template, a string has a NUL, or a blob is over MaxFrame; what was appended is
// of no use then.
func (e Encoder) End(t *Template) ([]byte, error) {
	if e.shape != t.shape {
		return e.dst, t.unlike(e.shape)
	}
	return e.dst, nil
}

// unlike is the error of arguments of another shape.
//
//go:noinline
func (t *Template) unlike(shape uint64) error {
	tags := be.AppendUint64(nil, shape)
	if i := bytes.LastIndexByte(tags, 0xff); i >= 0 {
		return broken(fmt.Sprintf("a string with a NUL, or a blob of over %d bytes", MaxFrame))
	}
	return t.mismatch(string(bytes.TrimLeft(tags, "\x00\x01")))
}

// Int32 appends an argument of the type i.
func (e Encoder) Int32(v int32) Encoder {
	return Encoder{be.AppendUint32(e.dst, uint32(v)), e.shape<<8 | 'i'}
}

// Int64 appends an argument of the type h.
func (e Encoder) Int64(v int64) Encoder {
	return Encoder{be.AppendUint64(e.dst, uint64(v)), e.shape<<8 | 'h'}
}

// Float32 appends an argument of the type f.
func (e Encoder) Float32(v float32) Encoder {
	return Encoder{be.AppendUint32(e.dst, math.Float32bits(v)), e.shape<<8 | 'f'}
}

// Float64 appends an argument of the type d.
func (e Encoder) Float64(v float64) Encoder {
	return Encoder{be.AppendUint64(e.dst, math.Float64bits(v)), e.shape<<8 | 'd'}
}

// Time appends an argument of the type t.
func (e Encoder) Time(v Timetag) Encoder {
	return Encoder{be.AppendUint64(e.dst, uint64(v)), e.shape<<8 | 't'}
}

// String appends an argument of the type s.
func (e Encoder) String(s string) Encoder {
	start, size := len(e.dst), (len(s)+4)&^3
	if cap(e.dst)-start < size+8 {
		e.dst = grow(e.dst, size+8)
	}
	e.dst = e.dst[:start+size]
	e.shape = e.shape<<8 | 's'
	if !putText(e.dst[start:start+size+8], bytesOf(s)) {
		e.shape = noShape
	}
	return e
}

// Blob appends an argument of the type b.
func (e Encoder) Blob(b []byte) Encoder {
	start, n := len(e.dst), len(b)
	size := 4 + (n+3)&^3
	if n > MaxFrame {
		return Encoder{e.dst, noShape}
	}
	if cap(e.dst)-start < size+8 {
		e.dst = grow(e.dst, size+8)
	}
	out := e.dst[start : start+size+8]
	be.PutUint32(out, uint32(n))
	le.PutUint64(out[4+n:], 0) // the padding
	copy(out[4:], b)
	return Encoder{e.dst[:start+size], e.shape<<8 | 'b'}
}

// Decoder reads the arguments of a packet that is a message of a template, an
// argument a call:
//
//	d, ok := t.Decode(packet)
//	n, d := d.Int32()
//	s, d := d.String()
//	ok = d.End(t)
//
// What was read is worth nothing until End has said so.
type Decoder struct {
	rest  []byte
	shape uint64
}

// Decode begins to read a packet. It is false where the packet is no message of
// the template.
func (t *Template) Decode(packet []byte) (Decoder, bool) {
	if !t.Match(packet) {
		return Decoder{}, false
	}
	return Decoder{packet[len(t.header):], noTags}, true
}

// End reports whether what was read are the template's arguments, well-formed,
// and the whole of them.
func (d Decoder) End(t *Template) bool { return len(d.rest) == 0 && d.shape == t.shape }

// Int32 reads an argument of the type i.
func (d Decoder) Int32() (int32, Decoder) {
	if len(d.rest) < 4 {
		return 0, Decoder{nil, noShape}
	}
	return int32(be.Uint32(d.rest)), Decoder{d.rest[4:], d.shape<<8 | 'i'}
}

// Int64 reads an argument of the type h.
func (d Decoder) Int64() (int64, Decoder) {
	if len(d.rest) < 8 {
		return 0, Decoder{nil, noShape}
	}
	return int64(be.Uint64(d.rest)), Decoder{d.rest[8:], d.shape<<8 | 'h'}
}

// Float32 reads an argument of the type f.
func (d Decoder) Float32() (float32, Decoder) {
	if len(d.rest) < 4 {
		return 0, Decoder{nil, noShape}
	}
	return math.Float32frombits(be.Uint32(d.rest)), Decoder{d.rest[4:], d.shape<<8 | 'f'}
}

// Float64 reads an argument of the type d.
func (d Decoder) Float64() (float64, Decoder) {
	if len(d.rest) < 8 {
		return 0, Decoder{nil, noShape}
	}
	return math.Float64frombits(be.Uint64(d.rest)), Decoder{d.rest[8:], d.shape<<8 | 'd'}
}

// Time reads an argument of the type t.
func (d Decoder) Time() (Timetag, Decoder) {
	if len(d.rest) < 8 {
		return 0, Decoder{nil, noShape}
	}
	return Timetag(be.Uint64(d.rest)), Decoder{d.rest[8:], d.shape<<8 | 't'}
}

// String reads an argument of the type s, which is good for as long as the
// packet's bytes stay.
func (d Decoder) String() ([]byte, Decoder) {
	end, next := -1, 0
	if len(d.rest) >= 8 { // as scanString, without a call
		w := le.Uint64(d.rest)
		if zero := zeroBytes(w); zero != 0 {
			if end = bits.TrailingZeros64(zero) >> 3; w>>(8*end)&(1<<(8*(4-end&3))-1) != 0 {
				end = -1
			}
			next = end&^3 + 4
		} else {
			end, next = scanString(d.rest, 0)
		}
	} else if len(d.rest) > 0 {
		end, next = scanString(d.rest, 0)
	}
	if end < 0 {
		return nil, Decoder{nil, noShape}
	}
	return d.rest[:end:end], Decoder{d.rest[next:], d.shape<<8 | 's'}
}

// Blob reads an argument of the type b, which is good for as long as the
// packet's bytes stay.
func (d Decoder) Blob() ([]byte, Decoder) {
	if len(d.rest) >= 4 {
		n := uint64(be.Uint32(d.rest))
		if next := 4 + (n+3)&^3; next <= uint64(len(d.rest)) {
			b := d.rest[4 : 4+n : 4+n]
			if n&3 == 0 || be.Uint32(d.rest[next-4:])<<(8*(n&3)) == 0 {
				return b, Decoder{d.rest[next:], d.shape<<8 | 'b'}
			}
		}
	}
	return nil, Decoder{nil, noShape}
}
