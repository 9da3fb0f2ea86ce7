package osc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"
)

// View is a message in its packet, validated and not copied: it is good for as
// long as the packet's bytes stay.
type View struct {
	packet  []byte
	address int // its length
	tags    int // where they begin, after the comma
	ntags   int
	args    int // where they begin
}

// Errors that are made once, for they may come by the million.
var (
	errEmpty     = &ProtocolError{Reason: "an empty packet"}
	errAlign     = &ProtocolError{Reason: "a packet whose size is not a multiple of 4"}
	errBundle    = &ProtocolError{Reason: "a bundle, where a message was expected"}
	errNoAddress = &ProtocolError{Reason: "no address: a message must begin with /"}
	errString    = &ProtocolError{Reason: "a string without its NUL and zero padding"}
	errNoTags    = &ProtocolError{Reason: "arguments without type tags: a comma must follow the address"}
	errTags      = &ProtocolError{Reason: "over 256 type tags"}
	errTruncated = &ProtocolError{Reason: "an argument is cut short"}
	errBlob      = &ProtocolError{Reason: "a blob's size or padding is wrong"}
	errDepth     = &ProtocolError{Reason: "arrays or bundles nested over 8 deep"}
	errBrackets  = &ProtocolError{Reason: "the brackets of an array do not match"}
	errTrailing  = &ProtocolError{Reason: "bytes after the last argument"}
	errAddress   = &ProtocolError{Reason: "an address of over 255 bytes"}
	errUTF8      = &ProtocolError{Reason: "an address that is not UTF-8"}
)

// scanString finds the end of the string that begins at off, a multiple of 4:
// the place of its NUL, and what follows its padding. It is negative where the
// string has no end or its padding is not zero.
func scanString(p []byte, off int) (end, next int) {
	// Most strings are short: two words of eight bytes, tested at once, are
	// cheaper than a call.
	for range 2 {
		if off+8 > len(p) {
			break
		}
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		w := binary.LittleEndian.Uint64(p[off:])
		if zero := (w - ones) &^ w & highs; zero != 0 {
			k := bits.TrailingZeros64(zero) >> 3
			if w>>(8*k)&(1<<(8*(4-k&3))-1) != 0 { // up to the end of its four bytes
				return -1, -1
			}
			return off + k, off + k&^3 + 4
		}
		off += 8
	}
	k := bytes.IndexByte(p[off:], 0)
	end = off + k
	next = (end + 4) &^ 3
	if k < 0 || next > len(p) {
		return -1, -1
	}
	// The bytes from the NUL to the end of its word.
	if be.Uint32(p[next-4:])<<(8*(end&3)) != 0 {
		return -1, -1
	}
	return end, next
}

// Parse validates a packet that holds one message. One that ends behind its
// address, as older senders leave out the type tags, has no arguments.
func Parse(packet []byte) (View, error) {
	var v View
	err := v.Parse(packet)
	return v, err
}

// Parse makes the View that of another packet; after an error it is of no use.
func (v *View) Parse(packet []byte) error {
	v.packet = packet
	if len(packet) == 0 {
		return errEmpty
	}
	if len(packet)&3 != 0 {
		return errAlign
	}
	if packet[0] != '/' {
		if packet[0] == '#' {
			return errBundle
		}
		return errNoAddress
	}
	end := 1
	for high := byte(0); ; end++ {
		if end == len(packet) {
			return errString
		}
		c := packet[end]
		if addressByte[c] {
			high |= c
			continue
		}
		if c != 0 {
			return badAddress(packet)
		}
		if high >= utf8.RuneSelf && !utf8.Valid(packet[:end]) {
			return errUTF8
		}
		break
	}
	next := (end + 4) &^ 3
	if be.Uint32(packet[next-4:])<<(8*(end&3)) != 0 {
		return errString
	}
	if v.address = end; end > MaxAddress {
		return errAddress
	}
	if next == len(packet) {
		v.tags, v.ntags, v.args = next, 0, next
		return nil
	}
	if packet[next] != ',' {
		return errNoTags
	}
	v.tags = next + 1
	if end, next = scanString(packet, next); end < 0 {
		return errString
	}
	if v.ntags = end - v.tags; v.ntags > MaxTags {
		return errTags
	}
	v.args = next
	return v.check()
}

// badAddress words what is wrong with the address that a packet begins with.
func badAddress(packet []byte) error {
	end := bytes.IndexByte(packet, 0)
	if end < 0 {
		return errString
	}
	end = min(end, MaxAddress+1)
	return broken(fmt.Sprintf("%.40q: %s", packet[:end], checkAddress(packet[:end])))
}

// check validates the arguments.
func (v *View) check() error {
	p, off, depth := v.packet, v.args, 0
	for _, tag := range p[v.tags : v.tags+v.ntags] {
		switch size := tagSize[tag]; size {
		case 4, 8:
			off += int(size)
			if off > len(p) {
				return errTruncated
			}
		case sizeString:
			if off >= len(p) {
				return errTruncated
			}
			if _, off = scanString(p, off); off < 0 {
				return errString
			}
		case sizeBlob:
			if off+4 > len(p) {
				return errTruncated
			}
			n := be.Uint32(p[off:])
			off += 4
			if uint64(n) > uint64(len(p)-off) {
				return errBlob
			}
			end := off + int(n)
			if off = (end + 3) &^ 3; off > len(p) {
				return errBlob
			}
			for _, c := range p[end:off] {
				if c != 0 {
					return errBlob
				}
			}
		case 0:
			if tag == '[' {
				if depth++; depth > MaxDepth {
					return errDepth
				}
			} else if tag == ']' {
				if depth--; depth < 0 {
					return errBrackets
				}
			}
		default:
			return &ProtocolError{Reason: fmt.Sprintf("unknown type tag %q", tag), UnknownTag: true}
		}
	}
	if depth != 0 {
		return errBrackets
	}
	if off != len(p) {
		return errTrailing
	}
	return nil
}

// Address is the message's address.
func (v *View) Address() []byte { return v.packet[:v.address] }

// Args goes through the arguments.
func (v *View) Args() Args {
	return Args{packet: v.packet, tag: v.tags, end: v.tags + v.ntags, off: v.args}
}

// Args goes through the arguments of a View: call Next until it is false, and
// after each true one Tag and Bytes. Message gives Go values.
type Args struct {
	packet   []byte
	tag, end int
	off      int // of what follows
	at, size int // of the present value
}

// Next goes to the next argument; the brackets of an array count as arguments
// of their own.
func (a *Args) Next() bool {
	if a.tag == a.end {
		return false
	}
	tag := a.packet[a.tag]
	a.tag++
	a.at = a.off
	switch size := tagSize[tag]; size {
	case sizeString:
		end, next := scanString(a.packet, a.off)
		a.size, a.off = end-a.at, next
	case sizeBlob:
		a.size = int(be.Uint32(a.packet[a.off:]))
		a.at += 4
		a.off = a.at + (a.size+3)&^3
	default:
		a.size = int(size)
		a.off += int(size)
	}
	return true
}

// Tag is the present argument's type tag.
func (a *Args) Tag() byte { return a.packet[a.tag-1] }

// Bytes are the present argument's bytes: those of a string without its
// padding, of a blob without its size, of a number as they are sent.
func (a *Args) Bytes() []byte { return a.packet[a.at : a.at+a.size] }

// value is the present argument as an element of Message.Arguments.
func (a *Args) value() any {
	p := a.Bytes()
	switch a.Tag() {
	case 'i':
		return int32(be.Uint32(p))
	case 'f':
		return math.Float32frombits(be.Uint32(p))
	case 's':
		return string(p)
	case 'b':
		return bytes.Clone(p)
	case 'h':
		return int64(be.Uint64(p))
	case 'd':
		return math.Float64frombits(be.Uint64(p))
	case 't':
		return Timetag(be.Uint64(p))
	case 'T':
		return true
	case 'F':
		return false
	case 'I':
		return Impulse{}
	case 'S':
		return Symbol(p)
	case 'c':
		return Char(be.Uint32(p))
	case 'r':
		return RGBA(be.Uint32(p))
	case 'm':
		return MIDI(p)
	}
	return nil // N
}

// Message copies the message out of its packet.
func (v *View) Message() *Message {
	m := &Message{Address: string(v.Address())}
	if v.ntags == 0 {
		return m
	}
	args := v.Args()
	m.Arguments = collect(&args)
	return m
}

func collect(a *Args) []any {
	out := make([]any, 0, siblings(a.packet[a.tag:a.end]))
	for a.Next() {
		switch a.Tag() {
		case '[':
			out = append(out, Array(collect(a)))
		case ']':
			return out
		default:
			out = append(out, a.value())
		}
	}
	return out
}

// siblings counts the arguments up to the end of the array that the tags are in.
func siblings(tags []byte) (n int) {
	depth := 0
	for _, tag := range tags {
		switch {
		case tag == ']' && depth == 0:
			return n
		case tag == ']':
			depth--
			continue
		case depth == 0:
			n++
		}
		if tag == '[' {
			depth++
		}
	}
	return n
}
