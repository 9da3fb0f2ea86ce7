package osc

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	goosc "github.com/hypebeast/go-osc/osc"
)

var be = binary.BigEndian

// Arg is one argument, without an interface around it.
type Arg struct {
	tag  byte
	bits uint64
	text string
	blob []byte
}

// The arguments by type. For all other types there is Append.
func Int32(v int32) Arg     { return Arg{tag: 'i', bits: uint64(uint32(v))} }
func Int64(v int64) Arg     { return Arg{tag: 'h', bits: uint64(v)} }
func Float32(v float32) Arg { return Arg{tag: 'f', bits: uint64(math.Float32bits(v))} }
func Float64(v float64) Arg { return Arg{tag: 'd', bits: math.Float64bits(v)} }
func String(v string) Arg   { return Arg{tag: 's', text: v} }
func Blob(v []byte) Arg     { return Arg{tag: 'b', blob: v} }

// Bool is the argument T or F.
func Bool(v bool) Arg {
	if v {
		return Arg{tag: 'T'}
	}
	return Arg{tag: 'F'}
}

var (
	errNUL      = &ProtocolError{Reason: "a string must not have a NUL"}
	errBlobSize = &ProtocolError{Reason: fmt.Sprintf("a blob of over %d bytes", MaxFrame)}
)

var zeros [4]byte

// appendPadded appends a string with its NUL and padding.
func appendPadded(dst []byte, s string) []byte {
	dst = append(dst, s...)
	return append(dst, zeros[:4-len(s)&3]...)
}

// AppendArgs appends the packet of a message to dst. It allocates only where
// dst has no room.
func AppendArgs(dst []byte, address string, args ...Arg) ([]byte, error) {
	if wrong := checkAddress(address); wrong != "" {
		return dst, broken(wrong)
	}
	if len(args) > MaxTags {
		return dst, broken("over 256 arguments")
	}
	start := len(dst)
	dst = appendPadded(dst, address)
	dst = append(dst, ',')
	for i := range args {
		dst = append(dst, args[i].tag)
	}
	dst = append(dst, zeros[:4-(len(args)+1)&3]...)
	return appendArgs(dst, start, args)
}

// appendArgs appends the arguments of the packet that begins at start.
func appendArgs(dst []byte, start int, args []Arg) ([]byte, error) {
	for i := range args {
		a := &args[i]
		switch tagSize[a.tag] {
		case 0:
		case 4:
			dst = be.AppendUint32(dst, uint32(a.bits))
		case 8:
			dst = be.AppendUint64(dst, a.bits)
		case sizeString:
			if strings.IndexByte(a.text, 0) >= 0 {
				return dst[:start], errNUL
			}
			dst = appendPadded(dst, a.text)
		case sizeBlob:
			if len(a.blob) > MaxFrame {
				return dst[:start], errBlobSize
			}
			dst = appendBlob(dst, a.blob)
		default:
			return dst[:start], broken("an argument without a type")
		}
	}
	return dst, nil
}

func appendBlob(dst, blob []byte) []byte {
	dst = be.AppendUint32(dst, uint32(len(blob)))
	dst = append(dst, blob...)
	return append(dst, zeros[:-len(blob)&3]...)
}

// Append appends the packet of a message to dst. It is a *ProtocolError if the
// address is none, a string has a NUL, or an argument is of a type that OSC
// does not have: a Go int must be made an int32 or int64 first.
func Append(dst []byte, m *Message) ([]byte, error) {
	if wrong := checkAddress(m.Address); wrong != "" {
		return dst, broken(fmt.Sprintf("%q: %s", m.Address, wrong))
	}
	start := len(dst)
	dst = appendPadded(dst, m.Address)
	tags := len(dst)
	dst = append(dst, ',')
	var err error
	if dst, err = appendTags(dst, m.Arguments, 0); err != nil {
		return dst[:start], err
	}
	if len(dst)-tags-1 > MaxTags {
		return dst[:start], broken("over 256 arguments")
	}
	dst = append(dst, zeros[:4-(len(dst)-tags)&3]...)
	for _, a := range m.Arguments {
		if dst, err = appendValue(dst, a); err != nil {
			return dst[:start], err
		}
	}
	return dst, nil
}

func appendTags(dst []byte, args []any, depth int) ([]byte, error) {
	for _, a := range args {
		var tag byte
		switch a := a.(type) {
		case int32:
			tag = 'i'
		case float32:
			tag = 'f'
		case string:
			tag = 's'
		case []byte:
			tag = 'b'
		case int64:
			tag = 'h'
		case float64:
			tag = 'd'
		case bool:
			if tag = 'F'; a {
				tag = 'T'
			}
		case nil:
			tag = 'N'
		case Timetag, goosc.Timetag:
			tag = 't'
		case Impulse:
			tag = 'I'
		case Symbol:
			tag = 'S'
		case Char:
			tag = 'c'
		case RGBA:
			tag = 'r'
		case MIDI:
			tag = 'm'
		case Array:
			if depth == MaxDepth {
				return dst, broken(fmt.Sprintf("arrays nested over %d deep", MaxDepth))
			}
			var err error
			if dst, err = appendTags(append(dst, '['), a, depth+1); err != nil {
				return dst, err
			}
			tag = ']'
		default:
			return dst, broken(fmt.Sprintf("an argument of type %T, which OSC does not have", a))
		}
		dst = append(dst, tag)
	}
	return dst, nil
}

func appendValue(dst []byte, a any) ([]byte, error) {
	switch a := a.(type) {
	case int32:
		return be.AppendUint32(dst, uint32(a)), nil
	case float32:
		return be.AppendUint32(dst, math.Float32bits(a)), nil
	case string:
		if strings.IndexByte(a, 0) >= 0 {
			return dst, errNUL
		}
		return appendPadded(dst, a), nil
	case []byte:
		if len(a) > MaxFrame {
			return dst, errBlobSize
		}
		return appendBlob(dst, a), nil
	case int64:
		return be.AppendUint64(dst, uint64(a)), nil
	case float64:
		return be.AppendUint64(dst, math.Float64bits(a)), nil
	case Timetag:
		return be.AppendUint64(dst, uint64(a)), nil
	case goosc.Timetag:
		return be.AppendUint64(dst, a.TimeTag()), nil
	case Symbol:
		if strings.IndexByte(string(a), 0) >= 0 {
			return dst, errNUL
		}
		return appendPadded(dst, string(a)), nil
	case Char:
		return be.AppendUint32(dst, uint32(a)), nil
	case RGBA:
		return be.AppendUint32(dst, uint32(a)), nil
	case MIDI:
		return append(dst, a[:]...), nil
	case Array:
		for _, v := range a {
			var err error
			if dst, err = appendValue(dst, v); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil // the others have no bytes
}
