package link

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestFailedCalls: the number stands below its name.
func TestFailedCalls(t *testing.T) {
	for text, want := range map[string]int64{
		"Ip: Forwarding AttemptFails\nIp: 1 2\nTcp: RtoMin AttemptFails EstabResets\nTcp: 200 17 4\n": 17,
		"Tcp: AttemptFails\nTcp: 0\n":          0,
		"Tcp: RtoMin AttemptFails\nTcp: 200\n": -1,
		"Tcp: RtoMin\nTcp: 200\n":              -1,
		"Tcp: AttemptFails\n":                  -1,
		"Tcp: AttemptFails\nTcp: many\n":       -1,
		"\n":                                   -1,
	} {
		if got, known := failedCalls(text); known != (want >= 0) || known && got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, known, want)
		}
	}
}

// TestRefusalOf: a call was refused if no more was sent than its first segment, how
// often ever.
func TestRefusalOf(t *testing.T) {
	message := func(state byte, info unix.TCPInfo) []byte {
		const size = int(unsafe.Sizeof(info))
		b := make([]byte, diagSize+4+size)
		b[0], b[diagState] = unix.AF_INET, state
		binary.BigEndian.PutUint16(b[diagFrom:], 40000)
		binary.BigEndian.PutUint16(b[diagPort:], 80)
		copy(b[diagAddress:], []byte{127, 0, 0, 1})
		binary.NativeEndian.PutUint16(b[diagSize:], uint16(4+size))
		binary.NativeEndian.PutUint16(b[diagSize+2:], diagInfo)
		copy(b[diagSize+4:], (*[size]byte)(unsafe.Pointer(&info))[:])
		return b
	}
	for _, c := range []struct {
		what        string
		state       byte
		sent, again uint32
		options     byte
		want        bool
	}{
		{"refused at once", tcpClose, 1, 0, 0, true},
		{"refused, and forgotten", tcpClose, 0, 0, 0, true},
		{"refused when it called again", tcpClose, 2, 1, 0, true},
		{"refused when it called the fourth time", tcpClose, 4, 3, 0, true},
		{"connected, and reset", tcpClose, 2, 0, 0, false},
		{"connected at the second call, and reset", tcpClose, 3, 1, 0, false},
		{"called, and ended", tcpClose, 1, 0, 1, false},
		{"not closed", tcpClose + 1, 1, 0, 0, false},
	} {
		call, ok := refusalOf(message(c.state, unix.TCPInfo{Segs_out: c.sent, Total_retrans: c.again, Options: c.options}))
		if ok != c.want || ok && (call.from != 40000 || call.to != netip.MustParseAddrPort("127.0.0.1:80")) {
			t.Errorf("%s: %+v, %v, want %v", c.what, call, ok, c.want)
		}
	}
	if _, ok := refusalOf(make([]byte, diagSize-1)); ok {
		t.Error("a refusal in half a message")
	}
}
