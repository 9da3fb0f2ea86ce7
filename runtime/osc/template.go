package osc

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Template is the constant part of a message, its address and type tags, made
// once: messages of the same shape are then encoded and recognised by copying
// and comparing it.
type Template struct {
	header []byte
	tags   string
}

// NewTemplate makes a template of an address and its type tags, without the
// comma: "s", "sh", "". Tags that take no bytes and arrays are not supported.
func NewTemplate(address, tags string) (Template, error) {
	if wrong := checkAddress(address); wrong != "" {
		return Template{}, broken(fmt.Sprintf("%q: %s", address, wrong))
	}
	for i := range len(tags) {
		if s := tagSize[tags[i]]; s == 0 || s == sizeUnknown {
			return Template{}, broken(fmt.Sprintf("type tag %q in a template", tags[i]))
		}
	}
	header := appendPadded(nil, address)
	return Template{header: appendPadded(header, ","+tags), tags: tags}, nil
}

func (t *Template) mismatch(want string) error {
	return broken(fmt.Sprintf("the template has type tags %q, not %q", t.tags, want))
}

// AppendString appends the packet of a message with the tag s.
func (t *Template) AppendString(dst []byte, s string) ([]byte, error) {
	if t.tags != "s" {
		return dst, t.mismatch("s")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return dst, errNUL
	}
	n := len(t.header)
	size := n + (len(s)+4)&^3
	start := len(dst)
	if cap(dst)-start < size {
		dst = slices.Grow(dst, size)
	}
	dst = dst[:start+size]
	out := dst[start:]
	be.PutUint32(out[size-4:], 0) // the padding, before what may cover it
	copy(out, t.header)
	copy(out[n:], s)
	return dst, nil
}

// AppendStringInt64 appends the packet of a message with the tags sh.
func (t *Template) AppendStringInt64(dst []byte, s string, n int64) ([]byte, error) {
	if t.tags != "sh" {
		return dst, t.mismatch("sh")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return dst, errNUL
	}
	dst = append(dst, t.header...)
	return be.AppendUint64(appendPadded(dst, s), uint64(n)), nil
}

// AppendBytesInt64 is AppendStringInt64 of a string in bytes.
func (t *Template) AppendBytesInt64(dst, s []byte, n int64) ([]byte, error) {
	if t.tags != "sh" {
		return dst, t.mismatch("sh")
	}
	if bytes.IndexByte(s, 0) >= 0 {
		return dst, errNUL
	}
	start, h := len(dst), len(t.header)
	padded := h + (len(s)+4)&^3
	if cap(dst)-start < padded+8 {
		dst = slices.Grow(dst, padded+8)
	}
	dst = dst[:start+padded+8]
	out := dst[start:]
	be.PutUint32(out[padded-4:], 0) // the padding, before what may cover it
	be.PutUint64(out[padded:], uint64(n))
	copy(out, t.header)
	copy(out[h:], s)
	return dst, nil
}

// AppendInt64 appends the packet of a message with the tag h.
func (t *Template) AppendInt64(dst []byte, n int64) ([]byte, error) {
	if t.tags != "h" {
		return dst, t.mismatch("h")
	}
	return be.AppendUint64(append(dst, t.header...), uint64(n)), nil
}

// AppendArgs appends the packet of a message whose arguments have the
// template's tags.
func (t *Template) AppendArgs(dst []byte, args ...Arg) ([]byte, error) {
	if len(args) != len(t.tags) {
		return dst, t.mismatch(fmt.Sprintf("%d arguments", len(args)))
	}
	start := len(dst)
	dst = append(dst, t.header...)
	for i := range args {
		if args[i].tag != t.tags[i] {
			return dst[:start], t.mismatch(string(args[i].tag))
		}
	}
	return appendArgs(dst, start, args)
}

// Match reports whether a packet begins as the template's messages do.
func (t *Template) Match(packet []byte) bool { return bytes.HasPrefix(packet, t.header) }

// String is the one string of a packet that is a message of the template, whose
// tag is s; false where it is not, or is malformed.
func (t *Template) String(packet []byte) ([]byte, bool) {
	if t.tags != "s" || !bytes.HasPrefix(packet, t.header) {
		return nil, false
	}
	n := len(t.header)
	end, next := scanString(packet, n)
	if next != len(packet) {
		return nil, false
	}
	return packet[n:end], true
}

// StringInt64 are the arguments of a packet that is a message of the template,
// whose tags are sh; false where it is not, or is malformed.
func (t *Template) StringInt64(packet []byte) ([]byte, int64, bool) {
	if t.tags != "sh" || !bytes.HasPrefix(packet, t.header) {
		return nil, 0, false
	}
	end, next := scanString(packet, len(t.header))
	if next < 0 || next+8 != len(packet) {
		return nil, 0, false
	}
	return packet[len(t.header):end], int64(be.Uint64(packet[next:])), true
}

// Int64 is the argument of a packet that is a message of the template, whose
// tag is h; false where it is not, or is malformed.
func (t *Template) Int64(packet []byte) (int64, bool) {
	if t.tags != "h" || len(packet) != len(t.header)+8 || !bytes.HasPrefix(packet, t.header) {
		return 0, false
	}
	return int64(be.Uint64(packet[len(t.header):])), true
}
