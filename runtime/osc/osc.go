// Package osc encodes, decodes and frames Open Sound Control messages.
//
// OSC 1.0 (opensoundcontrol.org, "The Open Sound Control 1.0 Specification",
// 2002) defines the packets and, for streams, a big-endian 32-bit size before
// each; OSC 1.1 (Freed and Schmeder, NIME 2009) frames streams by SLIP (RFC
// 1055) instead. Both framings are understood, told apart by a stream's first
// byte.
//
// The package deals in bytes alone. The message type at its edge is that of
// github.com/hypebeast/go-osc; that library's parser, dispatcher and server
// see no byte from a socket, for they can be made to panic and lose data. The
// encoder here appends to a buffer, the decoder validates in place, and
// neither allocates for the messages of a control or data stream.
//
// Limits, enforced when decoding: a frame has at most MaxFrame bytes, a message
// at most MaxTags type tags, an address at most MaxAddress bytes and no
// character of an address pattern, arrays and bundles nest at most MaxDepth
// deep; padding must be zero, strings hold no NUL, and nothing may follow the
// last argument.
package osc

import (
	goosc "github.com/hypebeast/go-osc/osc"
)

// Message is an OSC message: an address and its arguments. An argument is one
// of the Go types int32 (i), float32 (f), string (s), []byte (b), int64 (h),
// float64 (d), bool (T, F), nil (N), or of this package Timetag (t), Impulse
// (I), Symbol (S), Char (c), RGBA (r), MIDI (m) and Array ([ ]).
type Message = goosc.Message

// NewMessage makes a message.
func NewMessage(address string, args ...any) *Message {
	return &Message{Address: address, Arguments: args}
}

// The argument types that go-osc has no Go type for.
type (
	Impulse struct{} // I: "bang", it carries no value
	Symbol  string   // S: a string by another name
	Char    rune     // c: an ASCII character, sent as 32 bits
	RGBA    uint32   // r: 8 bits each of red, green, blue and alpha
	MIDI    [4]byte  // m: port, status, data 1, data 2
	Timetag uint64   // t: NTP time, 32 bits of seconds since 1900 and 32 of fraction
	Array   []any    // [ ]: arguments in brackets
)

// The limits of what is decoded.
const (
	DefaultMaxFrame = 64 << 10 // bytes of a packet, unless told otherwise
	MaxFrame        = 1 << 20  // bytes of a packet, whatever one is told: below 16 MiB a size prefix begins with 0
	MaxTags         = 256      // type tags of one message
	MaxAddress      = 255      // bytes of an address
	MaxDepth        = 8        // of arrays in arrays, and bundles in bundles
)

// ProtocolError is a packet or a stream that breaks the protocol, or a message
// that cannot be encoded.
type ProtocolError struct {
	Reason string
	// UnknownTag tells that the packet is well-formed as far as it could be
	// read, but has an argument of a type that is not known. OSC 1.0 asks to
	// discard such a message; the stream goes on after it.
	UnknownTag bool
	// EndsStream tells that a Reader cannot find the end of the packet, so that
	// nothing behind it can be read. Where it is false, one packet or one part
	// of a bundle is of no use, and the stream goes on behind it.
	EndsStream bool
}

func (e *ProtocolError) Error() string { return "osc: " + e.Reason }

func broken(reason string) error { return &ProtocolError{Reason: reason} }

// lost is an error that ends a stream.
func lost(reason string) error { return &ProtocolError{Reason: reason, EndsStream: true} }

// What each type tag takes in the packet: bytes, or one of these.
const (
	sizeString  = -1
	sizeBlob    = -2
	sizeUnknown = -3
)

var tagSize = func() (t [256]int8) {
	for i := range t {
		t[i] = sizeUnknown
	}
	for _, tag := range "ifcrm" {
		t[tag] = 4
	}
	for _, tag := range "hdt" {
		t[tag] = 8
	}
	for _, tag := range "TFNI[]" {
		t[tag] = 0
	}
	t['s'], t['S'], t['b'] = sizeString, sizeString, sizeBlob
	return t
}()

// addressByte tells which bytes an address may have: not those of address
// patterns, which a control protocol has no use for, nor space and control
// characters. Bytes beyond ASCII are let through, as all peers do.
var addressByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c != 0x7f
	}
	for _, c := range "#*,?[]{}" {
		t[c] = false
	}
	return t
}()

// checkAddress says what is wrong with an address, or "".
func checkAddress[S string | []byte](a S) string {
	if len(a) == 0 || a[0] != '/' {
		return "an address must begin with /"
	}
	if len(a) > MaxAddress {
		return "an address of over 255 bytes"
	}
	for i := 1; i < len(a); i++ {
		if !addressByte[a[i]] {
			return "an address must not have spaces, control characters or any of # * , ? [ ] { }"
		}
	}
	return ""
}
