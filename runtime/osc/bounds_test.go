package osc

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// What Decode and a Reader say that they allocate at most.
func decodeBound(packet []byte) uint64 { return 32*uint64(len(packet)) + allocated.Slack }
func readerBound(stream []byte) uint64 { return 8*uint64(len(stream)) + 8<<10 + allocated.Slack }

func pad(s string) string { return s + strings.Repeat("\x00", 4-len(s)%4) }

// repeated is a message of as many tags as it may have.
func repeated(tags, args string) string {
	n := MaxTags / len(tags)
	return pad("/") + pad(","+strings.Repeat(tags, n)) + strings.Repeat(args, n)
}

func sized(packet string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(packet)))) + packet
}

func bundleOf(element string, n int) string {
	return bundleTag + strings.Repeat("\x00", 8) + strings.Repeat(sized(element), n)
}

// TestDecodeBounds: what costs nothing on the wire costs little in memory.
func TestDecodeBounds(t *testing.T) {
	nested := bundleTag + strings.Repeat("\x00", 8)
	for range MaxDepth - 2 {
		nested = bundleOf(nested, 1)
	}
	for name, element := range map[string]string{
		"empty messages": pad("/") + pad(","),
		"empty bundles":  bundleOf("", 0),
		"nested bundles": nested,
		"one tag":        pad("/") + pad(",N"),
		"an array":       pad("/") + pad(",[]"),
		"nil":            repeated("N", ""),
		"true":           repeated("T", ""),
		"impulse":        repeated("I", ""),
		"empty arrays":   repeated("[]", ""),
		"arrays":         repeated("[NNNNN]", ""),
		"deep arrays":    repeated("[[[[[[[[N]]]]]]]]", ""),
		"empty strings":  repeated("s", pad("")),
		"strings":        repeated("s", pad("abc")),
		"symbols":        repeated("S", pad("abc")),
		"empty blobs":    repeated("b", "\x00\x00\x00\x00"),
		"blobs":          repeated("b", "\x00\x00\x00\x01a\x00\x00\x00"),
		"numbers":        repeated("i", "\x7f\x00\x00\x01"),
		"MIDI":           repeated("m", "\x7f\x00\x00\x01"),
	} {
		packet := []byte(bundleOf(element, 2<<20/len(element)))
		var err error
		took := allocated.By(func() { _, err = Decode(packet) })
		if err != nil || took > decodeBound(packet) {
			t.Errorf("%s: %d bytes for %d, %d for each; %v", name, took, len(packet), took/uint64(len(packet)), err)
		}
	}
}

// TestDecodeErrorsAreShort: an error quotes no more of a packet than a person
// reads.
func TestDecodeErrorsAreShort(t *testing.T) {
	for _, packet := range []string{
		strings.Repeat("/", 1<<20),
		"/" + strings.Repeat("\x01", 1<<20) + "\x00\x00\x00",
		"/ " + strings.Repeat("\U000E0001", 1<<18) + "\x00\x00",
		pad("/") + pad(","+strings.Repeat("\xff", 200)),
		pad("/") + pad(","+strings.Repeat("N", 1<<20)),
		bundleTag + strings.Repeat("\xff", 1<<20),
		strings.Repeat(bundleOf("", 0)+"\xff", 1<<10),
	} {
		if _, err := Decode([]byte(packet)); err == nil || len(err.Error()) > 600 {
			t.Errorf("%.20q: %v", packet, err)
		}
	}
}

// counted is a stream that counts how often it is read.
type counted struct {
	r     io.Reader
	reads int
}

func (c *counted) Read(p []byte) (int, error) { c.reads++; return c.r.Read(p) }

// TestReaderBounds: a buffer grows by what has arrived, whatever was promised.
func TestReaderBounds(t *testing.T) {
	const end, esc = "\xc0", "\xdb"
	message := pad("/a") + pad(",")
	escaped := pad("/\xdb\xdc\xdb\xdd") + pad(",")
	for name, test := range map[string]struct {
		stream string
		max    int
		want   string // in the error
	}{
		"a promise":           {"\x00\x0f\xff\xfc", MaxFrame, "unexpected EOF"},
		"a promise and more":  {"\x00\x0f\xff\xfc" + strings.Repeat("x", 100<<10), MaxFrame, "unexpected EOF"},
		"promises":            {sized(message) + "\x00\x0f\xff\xfc" + sized(message), MaxFrame, "unexpected EOF"},
		"an absurd size":      {"\x00\xff\xff\xff" + strings.Repeat("x", 1<<20), MaxFrame, "over the limit"},
		"after a message":     {sized(message) + "\xff\xff\xff\xff" + strings.Repeat("x", 1<<20), 0, "over the limit"},
		"many messages":       {strings.Repeat(sized(message), 1<<16), 0, "EOF"},
		"a long message":      {sized(pad("/a") + pad(",s") + pad(strings.Repeat("x", MaxFrame-100))), MaxFrame, "EOF"},
		"SLIP without end":    {end + strings.Repeat("x", 4<<20), MaxFrame, "over 1048576 bytes"},
		"SLIP, escapes alone": {end + strings.Repeat(esc, 4<<20), MaxFrame, "over 1048576 bytes"},
		"ENDs":                {strings.Repeat(end, 1<<20), 0, "EOF"},
		"double ENDs":         {strings.Repeat(end+message+end, 1<<16), 0, "EOF"},
		"many escapes":        {strings.Repeat(end+escaped+end, 1<<16), 0, "EOF"},
		"a bad escape":        {end + "/\xdbx" + end, 0, "escape of byte 0x78"},
		"an escaped END":      {end + "/\xdb" + end, 0, "ends inside an escape"},
		"short frames":        {strings.Repeat("/"+end, 1<<16), 0, "EOF"},
	} {
		for way, cut := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r },
			"halves": iotest.HalfReader} {
			var err error
			stream := &counted{r: cut(strings.NewReader(test.stream))}
			took := allocated.By(func() {
				reader := NewReader(stream, test.max)
				for err == nil {
					reader.More()
					_, err = reader.Next()
				}
			})
			if !strings.Contains(err.Error(), test.want) || len(err.Error()) > 200 {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
			if took > readerBound([]byte(test.stream)) || took > 9*MaxFrame+128<<10+allocated.Slack {
				t.Errorf("%s, %s: %d bytes for %d", name, way, took, len(test.stream))
			}
		}
	}
}

// TestMore: it tells what Next does, exactly.
func TestMore(t *testing.T) {
	for _, stream := range []string{
		"\xc0/a\xc0\xff\xfe\xc0", "\xc0/a\xc0\xc0\xc0", "\xc0/a\xc0\xff\xfe", "\xc0/a\xc0" + strings.Repeat("x", 100),
		sized(pad("/")+pad(",")) + "\xff", sized(pad("/")+pad(",")) + "\x00\x00\x00\x07", sized(pad("/")+pad(",")) + "\x00\x00\x00\x0a",
	} {
		source := &counted{r: bytes.NewReader([]byte(stream))}
		reader := NewReader(source, 16)
		for err := error(nil); err == nil; {
			more, before := reader.More(), source.reads
			_, err = reader.Next()
			if more != (source.reads == before) {
				t.Errorf("%q: More said %v, and Next read %d times (%v)", stream, more, source.reads-before, err)
			}
		}
	}
}

// TestReaderReadsMuch: a stream that brings much is read in large pieces, whether
// or not a frame ends where a piece does.
func TestReaderReadsMuch(t *testing.T) {
	for _, size := range []int{8, 20, 24, 28, 1000, 3000, 40000} {
		frame := sized(pad("/a") + pad(",s") + pad(strings.Repeat("x", size)))
		stream := &counted{r: strings.NewReader(strings.Repeat(frame, 4<<20/len(frame)))}
		reader := NewReader(stream, 0)
		var err error
		for err == nil {
			_, err = reader.Next()
		}
		if err != io.EOF || stream.reads > 4<<20/bufferSize*3+10 {
			t.Errorf("frames of %d bytes: %d reads, %v", len(frame), stream.reads, err)
		}
	}
}
