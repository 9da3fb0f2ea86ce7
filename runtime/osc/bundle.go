package osc

import (
	"bytes"
	"fmt"
)

// Packet is a message or a bundle: exactly one is not nil.
type Packet struct {
	Message *Message
	Bundle  *Bundle
}

// Bundle is packets that belong together, in their order, with the time they
// are meant for. Nothing here schedules by it.
type Bundle struct {
	Time     Timetag
	Elements []Packet
}

const bundleTag = "#bundle\x00"

// Decode validates a packet, message or bundle, and copies it out. Bundles nest
// at most MaxDepth deep. It allocates at most 32 bytes for each byte of the
// packet.
func Decode(packet []byte) (Packet, error) { return decodeAt(packet, 1) }

func decodeAt(p []byte, depth int) (Packet, error) {
	if len(p) == 0 || p[0] != '#' {
		v, err := Parse(p)
		if err != nil {
			return Packet{}, err
		}
		return Packet{Message: v.Message()}, nil
	}
	if !bytes.HasPrefix(p, []byte(bundleTag)) || len(p) < 16 {
		return Packet{}, broken("neither a message nor a bundle: #bundle and a timetag were expected")
	}
	if depth > MaxDepth {
		return Packet{}, errDepth
	}
	b := &Bundle{Time: Timetag(be.Uint64(p[8:]))}
	for p = p[16:]; len(p) > 0; {
		if len(p) < 4 {
			return Packet{}, broken("a bundle with bytes after its last element")
		}
		size := be.Uint32(p)
		if p = p[4:]; size < 4 || size&3 != 0 || uint64(size) > uint64(len(p)) {
			return Packet{}, broken(fmt.Sprintf("a bundle's element of size %d", size))
		}
		element, err := decodeAt(p[:size], depth+1)
		if err != nil {
			return Packet{}, err
		}
		b.Elements = append(b.Elements, element)
		p = p[size:]
	}
	return Packet{Bundle: b}, nil
}

// AppendPacket appends a message or bundle to dst.
func AppendPacket(dst []byte, p Packet) ([]byte, error) {
	if p.Bundle == nil {
		return Append(dst, p.Message)
	}
	start := len(dst)
	dst = be.AppendUint64(append(dst, bundleTag...), uint64(p.Bundle.Time))
	for _, element := range p.Bundle.Elements {
		at := len(dst)
		dst = append(dst, zeros[:]...)
		var err error
		if dst, err = AppendPacket(dst, element); err != nil {
			return dst[:start], err
		}
		be.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst, nil
}
