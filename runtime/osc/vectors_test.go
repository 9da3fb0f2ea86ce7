package osc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// positive are well-formed packets: P1 and P2 are the examples of the OSC 1.0
// specification, the others follow from its rules.
var positive = []struct {
	id, hex string
	want    Packet
}{
	{"P1", "2f6f7363696c6c61746f722f342f6672657175656e6379002c66000043dc0000", msg("/oscillator/4/frequency", float32(440))},
	{"P2", "2f666f6f000000002c69697366660000000003e8ffffffff68656c6c6f0000003f9df3b640b5b22d",
		msg("/foo", int32(1000), int32(-1), "hello", float32(1.234), float32(5.678))},
	{"P3", "2f726561647900002c7300006c65616465720000", msg("/ready", "leader")},
	{"P4", "2f737461727400002c000000", msg("/start")},
	{"P5", "2f7800002c73000000000000", msg("/x", "")},
	{"P6", "2f7800002c73000061626300", msg("/x", "abc")},
	{"P7", "2f7800002c7300006162636400000000", msg("/x", "abcd")},
	{"P8", "2f7800002c62000000000000", msg("/x", []byte{})},
	{"P9", "2f7800002c6200000000000401020304", msg("/x", []byte{1, 2, 3, 4})},
	{"P10", "2f7800002c620000000000050102030405000000", msg("/x", []byte{1, 2, 3, 4, 5})},
	{"P11", "2f7800002c6864008000000000000000400921fb54442d18", msg("/x", int64(math.MinInt64), math.Pi)},
	{"P12", "2f7800002c74000083aa7e8080000000", msg("/x", Timetag(0x83aa7e8080000000))},
	{"P14", "2f7800002c54464e49000000", msg("/x", true, false, nil, Impulse{})},
	{"P15", "2f7800002c6372000000004111223344", msg("/x", Char('A'), RGBA(0x11223344))},
	{"P16", "2f7800002c6d000000903c7f", msg("/x", MIDI{0, 0x90, 0x3c, 0x7f})},
	{"P17", "2f7800002c53000073796d00", msg("/x", Symbol("sym"))},
	{"P18", "2f7800002c5b69695d0000000000000100000002", msg("/x", Array{int32(1), int32(2)})},
	{"P19", "2f7800002c695b735b665d5d0000000000000007610000003f800000", msg("/x", int32(7), Array{"a", Array{float32(1)}})},
	{"P20", "2362756e646c65000000000000000001", Packet{Bundle: &Bundle{Time: 1}}},
	{"P21", "2362756e646c65000000000000000001000000082f6100002c540000000000082f6200002c4e0000",
		Packet{Bundle: &Bundle{Time: 1, Elements: []Packet{msg("/a", true), msg("/b", nil)}}}},
	{"P22", "2362756e646c650000000000000000010000001c2362756e646c65000000000000000001000000082f6100002c540000000000082f6200002c4e0000",
		Packet{Bundle: &Bundle{Time: 1, Elements: []Packet{{Bundle: &Bundle{Time: 1, Elements: []Packet{msg("/a", true)}}}, msg("/b", nil)}}}},
	{"N1, as older senders have it", "2f780000", msg("/x")},
	{"P24", "2fc3a9002c730000c5bcc3b300000000", msg("/é", "żó")},
}

func msg(address string, args ...any) Packet { return Packet{Message: NewMessage(address, args...)} }

// negative are packets that a strict decoder refuses.
var negative = []struct{ id, hex, want string }{
	{"N1", "2f7800000000000100000002", "without type tags"},
	{"N2", "2f7800002c6900000000", "multiple of 4"},
	{"N3", "2f7800002c690000", "cut short"},
	{"N4", "2f7800002c74000000000001", "cut short"},
	{"N5", "2f7800002c73000061626364", "without its NUL"},
	{"N6", "2f7800002c7300006100", "multiple of 4"},
	{"N7", "2f7800412c73000061000000", "zero padding"},
	{"N8", "2f7800002c73000061004344", "zero padding"},
	{"N9", "2f7800002c000000deadbeef", "after the last"},
	{"N10", "2f7800002c620000ffffffff", "blob"},
	{"N11", "2f7800002c6200007fffffff", "blob"},
	{"N12", "2f7800002c6200000000000501020304", "blob"},
	{"N13", "2f7800002c62000000000001aabbccdd", "blob"},
	{"N14", "2f7800002c5b690000000001", "brackets"},
	{"N15", "2f7800002c5d0000", "brackets"},
	{"N16", "2f7800002c7a0000", "unknown type tag"},
	{"N17", "666f6f002c000000", "begin with /"},
	{"N18", "2362756e646c650000000000", "timetag"},
	{"N19", "2362756e646c6500000000000000000100000000", "element of size 0"},
	{"N20", "2362756e646c65000000000000000001ffffffff2f6100002c540000", "element of size"},
	{"N21", "2362756e646c650000000000000000010000000c2f6100002c540000", "element of size 12"},
	{"N22", "2362756e646c65000000000000000001000000062f6100002c540000", "element of size 6"},
	{"N23", "2362756e646c65000000000000000001000000082f6100002c54000000", "after its last"},
	{"N24", "2362756e646c64000000000000000001", "neither a message nor a bundle"},
	{"N25", "2f780000696900000000000100000002", "comma"},
}

func TestPositive(t *testing.T) {
	for _, v := range positive {
		b := unhex(t, v.hex)
		got, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", v.id, err)
			continue
		}
		if !reflect.DeepEqual(got, v.want) {
			t.Errorf("%s: got %v, want %v", v.id, got, v.want)
		}
		if v.id[0] == 'N' { // it is encoded with type tags
			b = append(b, ",\x00\x00\x00"...)
		}
		if again, err := AppendPacket([]byte("before"), got); err != nil || !bytes.Equal(again, append([]byte("before"), b...)) {
			t.Errorf("%s: encoded again as %x (%v), want %x", v.id, again, err, b)
		}
	}
	// P23 has a NaN, which equals nothing.
	p23, err := Decode(unhex(t, "2f7800002c696600800000007fc00000"))
	if err != nil || p23.Message.Arguments[0] != int32(math.MinInt32) || !math.IsNaN(float64(p23.Message.Arguments[1].(float32))) {
		t.Errorf("P23: %v, %v", p23.Message, err)
	}
}

func TestNegative(t *testing.T) {
	for _, v := range negative {
		got, err := Decode(unhex(t, v.hex))
		var broken *ProtocolError
		if !errors.As(err, &broken) || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: got %v, err %v, want one with %q", v.id, got, err, v.want)
			continue
		}
		if broken.UnknownTag != (v.id == "N16") || broken.EndsStream {
			t.Errorf("%s: UnknownTag is %v, EndsStream %v", v.id, broken.UnknownTag, broken.EndsStream)
		}
	}
}

func TestLimits(t *testing.T) {
	deepArray := any(int32(1))
	for range MaxDepth + 1 {
		deepArray = Array{deepArray}
	}
	long := "/" + strings.Repeat("a", MaxAddress)
	for name, m := range map[string]*Message{
		"no slash":      NewMessage("x"),
		"empty":         NewMessage(""),
		"bundle":        NewMessage("#bundle", int32(1)),
		"space":         NewMessage("/a b"),
		"pattern":       NewMessage("/a*"),
		"control":       NewMessage("/a\n"),
		"long":          NewMessage(long),
		"nul in s":      NewMessage("/x", "a\x00b"),
		"nul first":     NewMessage("/x", "\x00ABC", int32(5)),
		"nul in symbol": NewMessage("/x", Symbol("\x00")),
		"int":           NewMessage("/x", 5),
		"uint":          NewMessage("/x", uint32(5)),
		"tags":          NewMessage("/x", make([]any, MaxTags+1)...),
		"depth":         NewMessage("/x", deepArray),
		"blob":          NewMessage("/x", make([]byte, MaxFrame+4)),
	} {
		if b, err := Append([]byte("before"), m); err == nil || string(b) != "before" {
			t.Errorf("%s: encoded as %x", name, b)
		}
	}
	// What is refused when encoded is refused when decoded too.
	for name, b := range map[string][]byte{
		"pattern": unhex(t, "2f612a00 2c000000"),
		"space":   unhex(t, "2f206100 2c000000"),
		"utf8":    unhex(t, "2fff6100 2c000000"),
		"long":    append(append([]byte(long), 0, 0, 0, 0), ',', 0, 0, 0),
		"tags":    append(append([]byte("/x\x00\x00,"), bytes.Repeat([]byte("T"), MaxTags+1)...), 0, 0),
		"depth":   append([]byte("/x\x00\x00,"+strings.Repeat("[", MaxDepth+1)+strings.Repeat("]", MaxDepth+1)), 0),
	} {
		if _, err := Parse(b); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	deep := unhex(t, "2f6100002c540000")
	for depth := 1; ; depth++ {
		deep = append(append([]byte(bundleTag+"\x00\x00\x00\x00\x00\x00\x00\x01"), be.AppendUint32(nil, uint32(len(deep)))...), deep...)
		_, err := Decode(deep)
		if (err == nil) != (depth <= MaxDepth) {
			t.Fatalf("a bundle %d deep: %v", depth, err)
		}
		if err != nil {
			break
		}
	}
}

// framing are streams, each the same whole and byte by byte.
var framing = []struct {
	name, hex string
	frames    int    // messages
	end       string // the error after them, behind those of the frames that are refused by themselves
}{
	{"one", m3, 1, "EOF"},
	{"two", m3 + m3, 2, "EOF"},
	{"and a bit", m3 + "000000", 1, "unexpected EOF"},
	{"most of one", m3[:40], 0, "unexpected EOF"},
	{"empty", "", 0, "EOF"},
	{"size 0", "00000000" + m3, 1, "an empty packet; EOF"},
	{"top bit", "80000000", 0, "neither a size prefix nor SLIP"},
	{"all bits", "ffffffff", 0, "neither a size prefix nor SLIP"},
	{"size 6", "00000006aabbccddeeff" + m3, 1, "a multiple of 4; EOF"},
	{"size 4", "000000042f780000" + m3, 2, "EOF"},
	{"too large", "00100004", 0, "over the limit"},
	{"large second", m3 + "01000000", 1, "over"},
	{"http", "474554202f0d0a", 0, "neither"},
	{"slip", "c0" + p3 + "c0", 1, "EOF"},
	{"slip two", "c0" + p3 + "c0c0" + p3 + "c0", 2, "EOF"},
	{"slip one end between", "c0" + p3 + "c0" + p3 + "c0", 2, "EOF"},
	{"slip no first end", p3 + "c0", 1, "EOF"},
	{"slip doubled first end", "c0c0" + p3 + "c0", 1, "EOF"},
	{"slip cut", "c0" + p3, 0, "unexpected EOF"},
	{"slip escapes", "c02f737461727400002c6900000000dbdcdbddc0", 1, "EOF"},
	{"slip bad escape", "c02f78db00c0c0" + p3 + "c0", 1, "escape of byte 0x00; EOF"},
	{"slip cut escape", "c02f78dbc0" + p3 + "c0", 1, "inside an escape; EOF"},
}

const (
	p3 = "2f726561647900002c7300006c65616465720000"
	m3 = "00000014" + p3
)

func TestFraming(t *testing.T) {
	for _, v := range framing {
		data := unhex(t, v.hex)
		for how, r := range map[string]io.Reader{
			"whole": bytes.NewReader(data), "bytes": iotest.OneByteReader(bytes.NewReader(data)),
			"with the error": iotest.DataErrReader(bytes.NewReader(data)), "half": iotest.HalfReader(bytes.NewReader(data)),
		} {
			reader := NewReader(r, MaxFrame)
			n, end := 0, ""
			var err error
			for whole := true; whole; {
				var packet []byte
				var broken *ProtocolError
				packet, err = reader.Next()
				if whole = err == nil || errors.As(err, &broken) && !broken.EndsStream; err == nil {
					_, err = Parse(packet)
				}
				if err == nil {
					n++
				} else {
					end += "; " + err.Error()
				}
			}
			if n != v.frames || !strings.HasSuffix(end, v.end) && !strings.Contains(err.Error(), v.end) ||
				strings.HasSuffix(v.end, "EOF") && v.end != "unexpected EOF" && err != io.EOF {
				t.Errorf("%s, %s: %d frames and %q, want %d and %s", v.name, how, n, end, v.frames, v.end)
			}
			if _, again := reader.Next(); again != err {
				t.Errorf("%s, %s: after %v came %v", v.name, how, err, again)
			}
		}
	}
}

func TestSLIPEscapes(t *testing.T) {
	m := NewMessage("/start", int32(49371)) // c0 db
	packet, err := Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	want := unhex(t, "c02f737461727400002c6900000000dbdcdbddc0")
	if got := AppendFrame(nil, SLIP, packet); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestReaderMemory holds that the buffer grows as bytes arrive and not by what
// a prefix says.
func TestReaderMemory(t *testing.T) {
	data := be.AppendUint32(nil, MaxFrame)
	r := NewReader(iotest.OneByteReader(bytes.NewReader(append(data, make([]byte, 100)...))), MaxFrame)
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if cap(r.buf) > 2*firstBuffer {
		t.Errorf("a prefix of %d bytes and 100 bytes took a buffer of %d", MaxFrame, cap(r.buf))
	}
}

var (
	readyTemplate = must(NewTemplate("/ready", "s"))
	dataTemplate  = must(NewTemplate("/data", "sh"))
	ackTemplate   = must(NewTemplate("/ack", "h"))
)

func must(t Template, err error) *Template {
	if err != nil {
		panic(err)
	}
	return &t
}

func TestTemplates(t *testing.T) {
	same := func(got []byte, err error, m *Message) {
		t.Helper()
		want, wantErr := Append(nil, m)
		if err != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("got %x (%v), want %x (%v)", got, err, want, wantErr)
		}
	}
	got, err := readyTemplate.AppendString(nil, "leader")
	same(got, err, NewMessage("/ready", "leader"))
	if s, ok := readyTemplate.String(got); !ok || string(s) != "leader" {
		t.Errorf("String gives %q, %v", s, ok)
	}
	got, err = dataTemplate.AppendStringInt64(nil, "payload", -5)
	same(got, err, NewMessage("/data", "payload", int64(-5)))
	if s, n, ok := dataTemplate.StringInt64(got); !ok || string(s) != "payload" || n != -5 {
		t.Errorf("StringInt64 gives %q, %d, %v", s, n, ok)
	}
	for cut := range got {
		if _, _, ok := dataTemplate.StringInt64(got[:cut]); ok {
			t.Errorf("StringInt64 takes the first %d bytes", cut)
		}
	}
	got, err = ackTemplate.AppendInt64(nil, 7)
	same(got, err, NewMessage("/ack", int64(7)))
	if n, ok := ackTemplate.Int64(got); !ok || n != 7 {
		t.Errorf("Int64 gives %d, %v", n, ok)
	}
	all := must(NewTemplate("/m", "ifsbhdt"))
	got, err = all.Encode(nil).Int32(1).Float32(2).String("x").Blob([]byte{3}).Int64(4).Float64(5).Time(6).End(all)
	same(got, err, NewMessage("/m", int32(1), float32(2), "x", []byte{3}, int64(4), 5.0, Timetag(6)))
	decode := func(p []byte) (args []any, ok bool) {
		d, ok := all.Decode(p)
		i, d := d.Int32()
		f, d := d.Float32()
		s, d := d.String()
		b, d := d.Blob()
		h, d := d.Int64()
		x, d := d.Float64()
		tt, d := d.Time()
		return []any{i, f, string(s), b, h, x, tt}, ok && d.End(all)
	}
	if args, ok := decode(got); !ok || !reflect.DeepEqual(NewMessage("/m", args...),
		NewMessage("/m", int32(1), float32(2), "x", []byte{3}, int64(4), 5.0, Timetag(6))) {
		t.Errorf("Decode gives %v, %v", args, ok)
	}
	for cut := range got {
		if _, ok := decode(got[:cut]); ok {
			t.Errorf("Decode takes the first %d bytes", cut)
		}
	}
	if _, ok := decode(append(got, 0, 0, 0, 0)); ok {
		t.Error("Decode takes bytes behind the last argument")
	}
	if d, ok := all.Decode(got); ok && d.End(all) {
		t.Error("Decode takes arguments that were not read")
	}
	if d, _ := all.Decode(got); true {
		_, d := d.Float32()
		_, d = d.Int32()
		if d.End(all) {
			t.Error("Decode takes arguments of other types")
		}
	}
	for name, e := range map[string]Encoder{
		"too few":     all.Encode(nil).Int32(1),
		"too many":    all.Encode(nil).Int32(1).Float32(2).String("x").Blob(nil).Int64(4).Float64(5).Time(6).Time(7),
		"other types": all.Encode(nil).Float32(2).Int32(1).String("x").Blob(nil).Int64(4).Float64(5).Time(6),
		"a NUL":       all.Encode(nil).Int32(1).Float32(2).String("\x00").Blob(nil).Int64(4).Float64(5).Time(6),
		"a long blob": all.Encode(nil).Int32(1).Float32(2).String("").Blob(make([]byte, MaxFrame+1)).Int64(4).Float64(5).Time(6),
	} {
		if _, err := e.End(all); err == nil {
			t.Errorf("Encode takes %s", name)
		}
	}
	for _, tags := range []string{"T", "[i]", "z", "\x00", "iiiiiiii"} {
		if _, err := NewTemplate("/m", tags); err == nil {
			t.Errorf("a template of the type tags %q", tags)
		}
	}
	if _, err := readyTemplate.AppendString(nil, "a\x00"); err == nil {
		t.Error("AppendString takes a NUL")
	}
	if _, _, ok := dataTemplate.StringInt64(mustAppend(t, NewMessage("/data", "x", int32(1)))); ok {
		t.Error("StringInt64 takes other type tags")
	}
}

func mustAppend(t testing.TB, m *Message) []byte {
	t.Helper()
	b, err := Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestItems holds what is encoded and decoded by templates against the general
// codec: texts of each length, with a NUL at each place, behind addresses of each
// length.
func TestItems(t *testing.T) {
	for h := range 24 {
		address := "/" + strings.Repeat("a", h)
		for tags, numbers := range map[string][]any{"s": nil, "sh": {int64(-7)}} {
			template := must(NewTemplate(address, tags))
			for n := range 70 {
				text := bytes.Repeat([]byte("x"), n)
				got, k, err := template.AppendFrames([]byte("before"), []Item{{text, -7}, {text, -7}}, 1<<20)
				packet := mustAppend(t, NewMessage(address, append([]any{string(text)}, numbers...)...))
				want := AppendFrame(AppendFrame([]byte("before"), SizePrefix, packet), SizePrefix, packet)
				if err != nil || k != 2 || !bytes.Equal(got, want) {
					t.Fatalf("%s %s, %d bytes: %x (%d, %v), want %x", address, tags, n, got, k, err, want)
				}
				if item, ok := template.Item(packet); !ok || !bytes.Equal(item.String, text) || item.Int64 != -7*int64(len(numbers)) {
					t.Fatalf("%x gives %v, %v", packet, item, ok)
				}
				for at := range packet {
					changed := bytes.Clone(packet)
					changed[at] ^= 'x' // a NUL in the text, and padding that is none
					item, ok := template.Item(changed)
					d, decodes := template.Decode(changed)
					s, d := d.String()
					if numbers != nil {
						_, d = d.Int64()
					}
					v, err := Parse(changed)
					want := err == nil && string(v.Address()) == address && v.Message().Arguments[0] == string(item.String)
					if ok != want || (decodes && d.End(template)) != want || want && !bytes.Equal(s, item.String) {
						t.Fatalf("%x: %v and %v, want %v", changed, ok, decodes, want)
					}
				}
				for at := range n {
					with := bytes.Clone(text)
					with[at] = 0
					if got, k, err := template.AppendFrames([]byte("before"), []Item{{text, 1}, {with, 2}}, 1<<20); err == nil || k != 1 ||
						len(got) != 6+4+len(packet) {
						t.Fatalf("a NUL at %d of %d: %x, %d", at, n, got, k)
					}
				}
			}
		}
	}
	long := make([]byte, MaxFrame)
	for i := range long {
		long[i] = 'x'
	}
	if _, n, err := dataTemplate.AppendFrames(nil, []Item{{long, 1}}, 1<<30); n != 0 || err == nil {
		t.Error("a frame over the limit is appended")
	}
	if _, n, err := must(NewTemplate("/a", "i")).AppendFrames(nil, make([]Item, 1), 1); n != 0 || err == nil {
		t.Error("other type tags are taken")
	}
	if _, n, _ := ackTemplate.AppendFrames(nil, make([]Item, 9), 40); n != 2 {
		t.Errorf("%d messages of 24 bytes to 40", n)
	}
}

// TestReaderItems: what has been read is given as far as it is the template's.
func TestReaderItems(t *testing.T) {
	var stream []byte
	for i := range int64(5) {
		stream = AppendFrame(stream, SizePrefix, mustAppend(t, NewMessage("/ack", i)))
	}
	stream = AppendFrame(stream, SizePrefix, mustAppend(t, NewMessage("/end", "x")))
	stream = append(AppendFrame(stream, SizePrefix, mustAppend(t, NewMessage("/ack", int64(5)))), 0, 0)
	r := NewReader(bytes.NewReader(stream), 0)
	if got := r.Items(ackTemplate, make([]Item, 0, 8)); len(got) != 0 {
		t.Fatalf("%v, before anything was read", got)
	}
	next := func() []byte {
		packet, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	var got []int64
	for _, room := range []int{3, 1, 8} {
		if len(got) == 0 {
			n, _ := ackTemplate.Int64(next())
			got = append(got, n)
		}
		for _, item := range r.Items(ackTemplate, make([]Item, 0, room)) {
			got = append(got, item.Int64)
		}
	}
	if !reflect.DeepEqual(got, []int64{0, 1, 2, 3, 4}) {
		t.Errorf("%v", got)
	}
	if v, err := Parse(next()); err != nil || string(v.Address()) != "/end" {
		t.Errorf("then %v", v)
	}
	if got := r.Items(ackTemplate, make([]Item, 0, 8)); len(got) != 1 || got[0].Int64 != 5 {
		t.Errorf("then %v", got)
	}
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

// repeating reads the same bytes without end.
type repeating struct {
	data []byte
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.data[r.at:])
	r.at = (r.at + n) % len(r.data)
	return n, nil
}

// TestAllocations holds that the messages of a control and data stream are
// encoded, framed, read and decoded without allocating.
func TestAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	ready := mustAppend(t, NewMessage("/ready", "leader"))
	data := mustAppend(t, NewMessage("/data", strings.Repeat("x", 100), int64(9)))
	stream := AppendFrame(AppendFrame(nil, SizePrefix, ready), SizePrefix, data)
	r := NewReader(&repeating{data: stream}, 0)
	items := []Item{{[]byte("payload"), 1}, {[]byte("payload"), 2}}
	mixedTemplate := must(NewTemplate("/mixed", "isbd"))
	sum := 0
	for name, f := range map[string]func(){
		"AppendArgs":        func() { buf, _ = AppendArgs(buf[:0], "/ready", String("leader"), Int64(1), Bool(true)) },
		"AppendString":      func() { buf, _ = readyTemplate.AppendString(buf[:0], "leader") },
		"AppendStringInt64": func() { buf, _ = dataTemplate.AppendStringInt64(buf[:0], "payload", 1) },
		"frame in place": func() {
			buf = BeginFrame(buf[:0])
			buf, _ = ackTemplate.AppendInt64(buf, 1)
			EndFrame(buf, 0)
		},
		"Parse and Args": func() {
			v, _ := Parse(data)
			for a := v.Args(); a.Next(); {
				sum += len(a.Bytes())
			}
		},
		"StringInt64": func() { s, _, _ := dataTemplate.StringInt64(data); sum += len(s) },
		"Encode": func() {
			buf, _ = mixedTemplate.Encode(buf[:0]).Int32(1).String("leader").Blob(data).Float64(2).End(mixedTemplate)
		},
		"Decode": func() {
			d, _ := mixedTemplate.Decode(buf)
			_, d = d.Int32()
			s, _ := d.String()
			sum += len(s)
		},
		"AppendFrames": func() { buf, _, _ = dataTemplate.AppendFrames(buf[:0], items, 4096) },
		"Items": func() {
			if items = r.Items(dataTemplate, items[:0]); len(items) == 0 {
				r.Next()
			}
		},
		"Next": func() { p, _ := r.Next(); sum += len(p) },
		"switch": func() {
			v, _ := Parse(ready)
			switch string(v.Address()) {
			case "/ready":
				sum++
			}
		},
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
