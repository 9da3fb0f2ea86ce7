package address

import (
	"fmt"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/topology"
)

// TestAddresses: every node has an address of its own, and so has every run.
func TestAddresses(t *testing.T) {
	text := ""
	for i := range 300 {
		text += fmt.Sprintf("[n%d]\npath = x\nlisten.a = auto\nlisten.b = auto\nlisten.c = udp:auto\nlisten.d = 7000\n", i)
	}
	top, err := topology.Parse("t.ini", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 3 {
		a, err := Claim(top, false)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for _, n := range top.Nodes {
			host := a.Host(n.Name)
			if seen[host] && len(a.claims) > 0 {
				t.Fatalf("%s is given twice", host)
			}
			seen[host] = true
			if p, q := a.Port(n.Name, "a"), a.Port(n.Name, "b"); p == 0 || p == q || a.Port(n.Name, "d") != 7000 {
				t.Fatalf("ports %d and %d", p, q)
			}
		}
	}
}
