//go:build linux

package address

import (
	"net"
	"testing"
)

// TestFreePort: a port that a node is to listen on is never one that a link may be
// given when it calls from the node's address.
func TestFreePort(t *testing.T) {
	a := &Addresses{}
	defer a.Close()
	block, err := a.claimBlock()
	if err != nil {
		t.Fatal(err)
	}
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	lowest := 1 << 16 // of those that callers are given
	for range 200 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(block + "1")}}
		c, err := d.Dial("tcp", target.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		lowest = min(lowest, c.LocalAddr().(*net.TCPAddr).Port)
		c.Close()
	}
	for _, network := range []string{"tcp", "udp"} {
		taken := map[string]int{}
		for i := range 200 {
			port, err := freePort(network, block+"1", taken)
			if err != nil || port >= lowest {
				t.Fatalf("%s: port %d, callers have %d, %v", network, port, lowest, err)
			}
			for _, other := range taken {
				if other == port {
					t.Fatalf("%s: port %d twice", network, port)
				}
			}
			taken[string(rune('a'+i))] = port
		}
	}
}
