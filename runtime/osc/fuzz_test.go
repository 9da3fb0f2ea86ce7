package osc

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	goosc "github.com/hypebeast/go-osc/osc"

	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// FuzzDecode: no packet makes the decoder panic, and what it accepts encodes to
// the same bytes again, but for type tags that were left out. What is allocated
// stays in proportion to the packet.
func FuzzDecode(f *testing.F) {
	for _, v := range positive {
		f.Add(unhex(f, v.hex))
	}
	for _, v := range negative {
		f.Add(unhex(f, v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer allocated.Ends()()
		var p Packet
		var err error
		if took := allocated.By(func() { p, err = Decode(b) }); took > decodeBound(b) {
			t.Fatalf("%d bytes for %d", took, len(b))
		}
		var broken *ProtocolError
		if err != nil {
			if !errors.As(err, &broken) || len(err.Error()) > 600 {
				t.Fatalf("an error of type %T: %v", err, err)
			}
			return
		}
		again, err := AppendPacket(nil, p)
		if err != nil || len(again) < len(b) || len(again) == len(b) && !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %v and encodes to %x (%v)", b, p, again, err)
		}
		if same, err := Decode(again); err != nil || !bytes.Equal(again, appendPacket(t, same)) {
			t.Fatalf("%x decodes to %v, and its encoding %x to %v (%v)", b, p, again, same, err)
		}
	})
}

func appendPacket(t *testing.T, p Packet) []byte {
	b, err := AppendPacket(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzMessages: what Decode takes gives its messages in their order and no
// error. Of what it does not, at least one thing is refused, by an error that
// lets the stream go on, and no error takes a message behind it that is in a
// frame of its own.
func FuzzMessages(f *testing.F) {
	for _, v := range positive {
		f.Add(unhex(f, v.hex))
	}
	for _, v := range negative {
		f.Add(unhex(f, v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer allocated.Ends()()
		unfolded := func(b []byte) (messages []*Message, refused int) {
			for v, err := range Messages(b) {
				var broken *ProtocolError
				switch {
				case err == nil:
					messages = append(messages, v.Message())
				case !errors.As(err, &broken) || broken.EndsStream || len(err.Error()) > 600:
					t.Fatalf("an error of type %T: %v", err, err)
				default:
					refused++
				}
			}
			return messages, refused
		}
		messages, refused := unfolded(b)
		if len(messages)+refused > len(b)/4+1 {
			t.Fatalf("%d messages and %d errors in %d bytes", len(messages), refused, len(b))
		}
		p, err := Decode(b)
		if (err != nil) != (refused > 0) {
			t.Fatalf("Decode: %v, and %d errors", err, refused)
		}
		if err == nil && !same(messages, flatten(p)) {
			t.Fatalf("%v, want %v", messages, flatten(p))
		}
		if len(b) == 0 || b[0] != '#' {
			return
		}
		// It is an element among others.
		last := mustAppend(t, NewMessage("/last", int32(1)))
		around := []byte(bundleOf(string(b), 1) + sized(string(last)))
		inner, refused := unfolded(around)
		if _, err := Decode(b); err != nil && refused == 0 {
			t.Fatalf("%x is refused alone and not in a bundle", b)
		}
		if len(inner) == 0 || !reflect.DeepEqual(inner[len(inner)-1], NewMessage("/last", int32(1))) {
			t.Fatalf("%v: what follows %x is lost", inner, b)
		}
	})
}

// flatten are the messages of a packet in the order of their bytes.
func flatten(p Packet) []*Message {
	if p.Bundle == nil {
		return []*Message{p.Message}
	}
	var all []*Message
	for _, element := range p.Bundle.Elements {
		all = append(all, flatten(element)...)
	}
	return all
}

// same compares messages by their bytes, for a NaN equals nothing.
func same(a, b []*Message) bool {
	return slices.EqualFunc(a, b, func(a, b *Message) bool {
		x, errX := Append(nil, a)
		y, errY := Append(nil, b)
		return errX == nil && errY == nil && bytes.Equal(x, y)
	})
}

// FuzzReader: a stream gives the same frames however it is cut, and buffers no
// more than a few times what arrives.
func FuzzReader(f *testing.F) {
	for _, v := range framing {
		f.Add(unhex(f, v.hex), uint16(64))
	}
	f.Fuzz(func(t *testing.T, data []byte, limit uint16) {
		defer allocated.Ends()()
		limit = max(limit, 16)
		read := func(r io.Reader) (frames [][]byte, err error) {
			source := &counted{r: r}
			reader := NewReader(source, int(limit))
			for {
				more, before := reader.More(), source.reads
				packet, err := reader.Next()
				if _, at := reader.r.(failed); !at && more != (source.reads == before) {
					t.Fatalf("More said %v, and Next read %d times", more, source.reads-before)
				}
				if whole, ok := err.(*ProtocolError); ok && !whole.EndsStream { // refused by itself
					frames = append(frames, []byte(err.Error()))
					continue
				}
				if err != nil {
					if cap(reader.buf) > 4*len(data)+2*firstBuffer {
						t.Fatalf("%d bytes took a buffer of %d", len(data), cap(reader.buf))
					}
					return frames, err
				}
				if packet == nil || len(packet) > int(limit) {
					t.Fatalf("a frame of %d bytes, over the limit of %d", len(packet), limit)
				}
				frames = append(frames, bytes.Clone(packet))
			}
		}
		if took := allocated.By(func() {
			reader := NewReader(bytes.NewReader(data), int(limit))
			for goesOn := true; goesOn; {
				_, err := reader.Next()
				whole, ok := err.(*ProtocolError)
				goesOn = err == nil || ok && !whole.EndsStream
			}
		}); took > readerBound(data) {
			t.Fatalf("%d bytes for %d", took, len(data))
		}
		whole, wholeErr := read(bytes.NewReader(data))
		for _, r := range []io.Reader{iotest.OneByteReader(bytes.NewReader(data)), iotest.HalfReader(bytes.NewReader(data)),
			iotest.DataErrReader(bytes.NewReader(data))} {
			if cut, err := read(r); !reflect.DeepEqual(cut, whole) || (err == io.EOF) != (wholeErr == io.EOF) {
				t.Fatalf("cut: %x, %v; whole: %x, %v", cut, err, whole, wholeErr)
			}
		}
		// And it survives being framed again, in both framings.
		for _, framing := range []Framing{SizePrefix, SLIP} {
			var stream []byte
			var want [][]byte
			for _, frame := range whole {
				if framing == SLIP && len(frame) == 0 || len(frame) > int(limit) {
					continue // an empty frame of SLIP is none; an error may be long
				}
				want = append(want, frame)
				stream = AppendFrame(stream, framing, frame)
			}
			if got, err := read(bytes.NewReader(stream)); !reflect.DeepEqual(got, want) || err != io.EOF {
				t.Fatalf("%v: %x, %v, want %x", framing, got, err, want)
			}
		}
	})
}

// FuzzRoundTrip: what encodes decodes to the same.
func FuzzRoundTrip(f *testing.F) {
	f.Add("/ready", "leader", []byte{1}, int64(5), 0.5, uint8(0))
	f.Add("/x", "", []byte{}, int64(math.MinInt64), math.Inf(1), uint8(255))
	f.Fuzz(func(t *testing.T, address, s string, blob []byte, n int64, x float64, flags uint8) {
		defer allocated.Ends()()
		if x != x {
			x = 0 // a NaN equals nothing
		}
		m := NewMessage(address, s, blob, n, x, int32(n), float32(1.5), flags&1 != 0, nil, Impulse{},
			Symbol(s), Char(n), RGBA(n), MIDI{flags}, Timetag(n), Array{s, Array{n}, Array{}})
		b, err := Append(nil, m)
		valid := checkAddress(address) == "" && utf8.ValidString(address) && !strings.Contains(s, "\x00") && len(blob) <= MaxFrame
		if err != nil {
			if valid {
				t.Fatalf("cannot encode %v: %v", m, err)
			}
			return
		}
		got, err := Decode(b)
		if err != nil {
			if utf8.ValidString(address) {
				t.Fatalf("cannot decode %v: %v", m, err)
			}
			return
		}
		if blob == nil {
			m.Arguments[1] = []byte{}
		}
		if !reflect.DeepEqual(got.Message, m) {
			t.Fatalf("got %v, want %v", got.Message, m)
		}
	})
}

// FuzzDifferential holds the codec against go-osc, within the domain in which
// go-osc is right: messages of the tags i f s b h d T F N, blobs that are not
// empty, below 4096 bytes in all, without NUL.
func FuzzDifferential(f *testing.F) {
	f.Add("ready", "leader", []byte{1, 2, 3}, int32(5), int64(6), float32(1.5), 2.5, true)
	f.Fuzz(func(t *testing.T, address, s string, blob []byte, i int32, h int64, x float32, d float64, b bool) {
		defer allocated.Ends()()
		address = "/" + address
		if checkAddress(address) != "" || !utf8.ValidString(address) || strings.Contains(s, "\x00") || len(blob) == 0 ||
			len(address)+len(s)+len(blob) > 3900 || x != x || d != d {
			return
		}
		m := NewMessage(address, i, s, blob, h, x, d, b, !b, nil)
		ours, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := m.MarshalBinary()
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("we encode %x, go-osc %x (%v)", ours, theirs, err)
		}
		parsed, err := goosc.ParsePacket(string(ours))
		if err != nil || !reflect.DeepEqual(parsed, goosc.Packet(m)) {
			t.Fatalf("go-osc parses %v (%v), want %v", parsed, err, m)
		}
		got, err := Decode(theirs)
		if err != nil || !reflect.DeepEqual(got.Message, m) {
			t.Fatalf("we decode %v (%v), want %v", got.Message, err, m)
		}
	})
}

// FuzzTemplate: a template takes the packets that Parse takes and that have its
// address and type tags, and no others, with the same arguments; and a run of
// frames is read as they are read one by one.
func FuzzTemplate(f *testing.F) {
	templates := map[string]*Template{}
	for _, tags := range []string{"", "s", "sh", "h", "b", "ifsbhdt"} {
		t := must(NewTemplate("/data", tags))
		templates[tags] = t
		f.Add([]byte("/data\x00\x00\x00" + pad(","+tags)))
	}
	f.Add([]byte(pad("/data") + pad(",s") + pad("text")))
	f.Add([]byte(pad("/data") + pad(",sh") + pad(strings.Repeat("text", 20)) + "\x00\x00\x00\x00\x00\x00\x00\x05"))
	f.Add([]byte(pad("/data") + pad(",b") + "\x00\x00\x00\x05abcde\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer allocated.Ends()()
		v, err := Parse(b)
		for tags, template := range templates {
			want := err == nil && string(v.Address()) == "/data" && string(b[v.tags:v.tags+v.ntags]) == tags && v.tags > 8
			var args []any
			d, ok := template.Decode(b)
			for _, tag := range tags {
				var arg any
				switch tag {
				case 'i':
					arg, d = second(d.Int32())
				case 'h':
					arg, d = second(d.Int64())
				case 'f':
					arg, d = second(d.Float32())
				case 'd':
					arg, d = second(d.Float64())
				case 't':
					arg, d = second(d.Time())
				case 's':
					text, after := d.String()
					arg, d = string(text), after
				case 'b':
					blob, after := d.Blob()
					arg, d = bytes.Clone(blob), after
				}
				args = append(args, arg)
			}
			if ok = ok && d.End(template); ok != want {
				t.Fatalf("%x, %q: Decode says %v, want %v (%v)", b, tags, ok, want, err)
			}
			if want && !same([]*Message{NewMessage("/data", args...)}, []*Message{v.Message()}) {
				t.Fatalf("%x, %q: %v, want %v", b, tags, args, v.Message())
			}
			item, ok := template.Item(b)
			if ok != (want && template.itemized()) {
				t.Fatalf("%x, %q: Item says %v", b, tags, ok)
			}
			if !ok {
				continue
			}
			again, n, err := template.AppendFrames(nil, []Item{item, item}, 1<<20)
			if once := AppendFrame(nil, SizePrefix, b); n != 2 || err != nil || !bytes.Equal(again, append(once, once...)) {
				t.Fatalf("%x, %q: encoded again as %x (%v)", b, tags, again, err)
			}
			r := NewReader(bytes.NewReader(again), 0)
			if first, err := r.Next(); err != nil || !bytes.Equal(first, b) {
				t.Fatalf("%x: read as %x (%v)", b, first, err)
			}
			whole := r.Buffered() >= 4+len(b) // or the second frame is still to be read
			if rest := r.Items(template, make([]Item, 0, 4)); !whole && len(rest) == 0 {
				continue
			} else if len(rest) != 1 || !reflect.DeepEqual(rest[0], item) && len(item.String)+len(rest[0].String) > 0 {
				t.Fatalf("%x: %v follows %v", b, rest, item)
			}
		}
	})
}

func second[T any](v T, d Decoder) (any, Decoder) { return v, d }
