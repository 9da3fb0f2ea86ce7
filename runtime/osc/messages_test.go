package osc

import (
	"errors"
	"strings"
	"testing"
)

// element is an element of a bundle that says how long it is, whatever it is.
func element(size int, packet string) string {
	return string(be.AppendUint32(nil, uint32(size))) + packet
}

// unfolded words what is in a packet: the addresses of its messages and its
// errors, in their order.
func unfolded(t *testing.T, packet string) string {
	var said []string
	for v, err := range Messages([]byte(packet)) {
		var broken *ProtocolError
		switch {
		case err == nil:
			said = append(said, string(v.Address()))
		case !errors.As(err, &broken) || broken.EndsStream:
			t.Errorf("%q: %T %v", packet, err, err)
		default:
			said = append(said, broken.Reason)
		}
	}
	return strings.Join(said, "; ")
}

func TestMessages(t *testing.T) {
	const head = bundleTag + "\x00\x00\x00\x00\x00\x00\x00\x07"
	a, b, c := pad("/a")+pad(",T"), pad("/b"), pad("/c")+pad(",i")+"\x00\x00\x00\x05"
	odd := pad("/odd") + pad(",iZ") + "\x00\x00\x00\x05"
	short := pad("/short") + pad(",h") + "\x00\x00\x00\x05"
	deep := head
	for range MaxDepth {
		deep = bundleOf(deep, 1)
	}
	for _, test := range []struct{ name, packet, want string }{
		{"a message", a, "/a"},
		{"no type tags", b, "/b"},
		{"an odd type", odd, `/odd: unknown type tag 'Z'`},
		{"a short message", short, "/short: an argument is cut short"},
		{"arguments without type tags", pad("/old") + "\x00\x00\x00\x05", "/old: arguments without type tags: a comma must follow the address"},
		{"no address", pad("foo"), "no address: a message must begin with /"},
		{"half of a word", "/a", "a packet whose size is not a multiple of 4"},
		{"nothing", "", "an empty packet"},
		{"an empty bundle", head, ""},
		{"a bundle", head + sized(a) + sized(b) + sized(c), "/a; /b; /c"},
		{"bundles in bundles", head + sized(a) + sized(head+sized(b)+sized(head)) + sized(c), "/a; /b; /c"},
		{"one element is wrong", head + sized(a) + sized(odd) + sized(short) + sized(c),
			"/a; element 2 of a bundle: /odd: unknown type tag 'Z'; element 3 of a bundle: /short: an argument is cut short; /c"},
		{"one far in is wrong", head + sized(head+sized(a)+sized(head+sized(odd)+sized(b))) + sized(c),
			"/a; element 1.2.1 of a bundle: /odd: unknown type tag 'Z'; /b; /c"},
		{"an empty element", head + element(0, "") + sized(a), "element 1 of a bundle: an empty packet; /a"},
		{"an element of six bytes", head + element(6, "/a\x00\x00\x00\x00") + sized(a),
			"element 1 of a bundle: /a: a packet whose size is not a multiple of 4; /a"},
		{"a size that is too large", head + sized(a) + element(400, b) + sized(c),
			"/a; element 2 of a bundle: a size of 400, where 20 bytes are left"},
		{"a size too large inside", head + sized(head+element(400, b)) + sized(c),
			"element 1.1 of a bundle: a size of 400, where 4 bytes are left; /c"},
		{"a negative size", head + element(-8, b), "element 1 of a bundle: a size of 4294967288, where 4 bytes are left"},
		{"bytes left over", head + sized(a) + "xyz", "/a; element 2 of a bundle: fewer bytes than the size of an element has"},
		{"not a bundle", "#bundld\x00\x00\x00\x00\x00\x00\x00\x00\x01", "neither a message nor a bundle: #bundle and a timetag were expected"},
		{"a bundle cut short", bundleTag, "neither a message nor a bundle: #bundle and a timetag were expected"},
		{"too deep", head + sized(deep) + sized(c), "element 1.1.1.1.1.1.1.1 of a bundle: arrays or bundles nested over 8 deep; /c"},
	} {
		if got := unfolded(t, test.packet); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
	for range Messages([]byte(head + sized(head+sized(a)+sized(b)) + sized(c))) {
		break // and nothing panics
	}
	packet, n := []byte(head+sized(a)+sized(head+sized(b))+sized(c)), 0
	if took := testing.AllocsPerRun(1000, func() {
		for _, p := range [][]byte{packet, packet[20:28]} {
			for _, err := range Messages(p) {
				if err == nil {
					n++
				}
			}
		}
	}); took != 0 || n != 1001*4 {
		t.Errorf("Messages allocates %v times and gives %d messages", took, n)
	}
}
