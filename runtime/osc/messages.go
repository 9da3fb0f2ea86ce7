package osc

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// Messages goes through the messages of a packet: its one, or those of a bundle
// and of the bundles in it, in the order of their bytes. Time tags are ignored.
// What is no message that can be read is given as an error, a *ProtocolError
// without EndsStream, in its place among them, and the iteration goes on behind
// it: an element whose size is wrong takes with it what follows in its own
// bundle, every other one itself alone. The error says which part of the packet
// it means and, where that can be read, the address. A bundle without elements
// is neither a message nor an error.
//
// The Views are good for as long as the packet's bytes stay. Bundles nest at
// most MaxDepth deep; a packet of n bytes gives at most n/4 + 1 messages and
// errors. Nothing is allocated but for the errors.
func Messages(packet []byte) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		if len(packet) > 0 && packet[0] == '#' {
			var at [MaxDepth]int
			unfold(packet, at[:0], yield)
			return
		}
		v, err := Parse(packet)
		if err != nil {
			err = inPart(err, packet, nil)
		}
		yield(v, err)
	}
}

// unfold yields what is in a bundle, whose place in the bundles around it is at.
// It reports whether there is to be more.
func unfold(p []byte, at []int, yield func(View, error) bool) bool {
	if !bytes.HasPrefix(p, []byte(bundleTag)) || len(p) < 16 {
		return yield(View{}, inPart(errBundleHead, nil, at))
	}
	if len(at) == MaxDepth {
		return yield(View{}, inPart(errDepth, nil, at))
	}
	at = append(at, 0)
	in := &at[len(at)-1]
	for p = p[16:]; len(p) > 0; {
		*in++
		if len(p) < 4 {
			return yield(View{}, inPart(errLeftOver, nil, at))
		}
		size := be.Uint32(p)
		if p = p[4:]; uint64(size) > uint64(len(p)) {
			return yield(View{}, inPart(broken(fmt.Sprintf("a size of %d, where %d bytes are left", size, len(p))), nil, at))
		}
		element := p[:size:size]
		p = p[size:]
		if size > 0 && element[0] == '#' {
			if !unfold(element, at, yield) {
				return false
			}
			continue
		}
		v, err := Parse(element)
		if err != nil {
			err = inPart(err, element, at)
		}
		if !yield(v, err) {
			return false
		}
	}
	return true
}

var (
	errBundleHead = &ProtocolError{Reason: "neither a message nor a bundle: #bundle and a timetag were expected"}
	errLeftOver   = &ProtocolError{Reason: "fewer bytes than the size of an element has"}
)

// inPart is an error with the address of the message that it is of and its place
// in the bundles around it, as far as there are any.
func inPart(err error, message []byte, at []int) error {
	var where strings.Builder
	for i, n := range at {
		if i == 0 {
			where.WriteString("element ")
		} else {
			where.WriteByte('.')
		}
		fmt.Fprint(&where, n)
	}
	if len(at) > 0 {
		where.WriteString(" of a bundle: ")
	}
	if n := bytes.IndexByte(message, 0); n > 0 && checkAddress(message[:n]) == "" && utf8.Valid(message[:n]) {
		where.Write(message[:n])
		where.WriteString(": ")
	}
	e := *err.(*ProtocolError)
	e.Reason = where.String() + e.Reason
	return &e
}
