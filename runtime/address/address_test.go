package address

import (
	"fmt"
	"net"
	goruntime "runtime"
	"slices"
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

// TestDoors: all links to a node have a port in common, and nodes share one until there
// are enough.
func TestDoors(t *testing.T) {
	for _, test := range []struct {
		name  string
		links []int // to each node, in the order of the ini
		want  []int // at each port
	}{
		{"none", nil, nil},
		{"one", []int{1}, []int{1}},
		{"a few", []int{1, 2, 3}, []int{6}},
		{"up to the size", []int{doorSize - 1, 1, 1}, []int{doorSize, 1}},
		{"over the size", []int{doorSize - 1, 100, 1}, []int{doorSize + 99, 1}},
		{"each enough", []int{149, 149, 149}, []int{149, 149, 149}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ties []topology.Tie
			for i := range 200 { // those to different nodes stand between each other
				for to, count := range test.links {
					if i < count {
						ties = append(ties, topology.Tie{From: fmt.Sprint("a", i), To: fmt.Sprint("b", to), Endpoint: "x"})
					}
				}
			}
			var got []int
			at := map[string]int{}
			for i, door := range doors(ties) {
				got = append(got, len(door))
				for _, tie := range door {
					if j, ok := at[tie.To]; ok && j != i {
						t.Errorf("links to %s are at two ports", tie.To)
					}
					at[tie.To] = i
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// TestLinks: each link has an address of its own, and none a port of an endpoint; links
// take few files.
func TestLinks(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("links have ports of their own here")
	}
	const nodes = 40
	text := ""
	for i := range nodes {
		text += fmt.Sprintf("[n%d]\npath = x\nlisten.a = auto\nlisten.b = udp:auto\n", i)
		for j := range nodes {
			if i != j {
				text += fmt.Sprintf("p%d = <n%d:a> <n%d:b>\n", j, j, j)
			}
		}
	}
	top, err := topology.Parse("t.ini", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Claim(top, true)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	endpoints, seen := map[string]bool{}, map[string]bool{}
	for _, n := range top.Nodes {
		for _, at := range a.Endpoints(n) {
			_, port, _ := net.SplitHostPort(at)
			endpoints[port] = true
		}
	}
	routes := a.Routes(top)
	for _, r := range routes {
		if _, port, _ := net.SplitHostPort(r.Listen); seen[r.Listen] || endpoints[port] {
			t.Errorf("the link from %s to %s is at %s, as another or as an endpoint's port", r.From, r.To, r.Listen)
		}
		seen[r.Listen] = true
		if at := a.Reach(r.From, r.To, r.Endpoint); at != r.Listen {
			t.Errorf("%s is told %s, and the link is at %s", r.From, at, r.Listen)
		}
	}
	if want := 2 * nodes * (nodes - 1); len(routes) != want || len(a.claims) > want/30 {
		t.Errorf("%d links, want %d; %d claims", len(routes), want, len(a.claims))
	}
}

// TestClaimFixed: a port is one node's, where they share a host.
func TestClaimFixed(t *testing.T) {
	fixed := map[string]string{}
	a, b := &topology.Node{Name: "a"}, &topology.Node{Name: "b"}
	for _, c := range []struct {
		node     *topology.Node
		endpoint topology.Endpoint
		host     string
		clashes  bool
	}{
		{a, topology.Endpoint{Name: "x", Network: "tcp", Port: 80}, "127.0.0.1", false},
		{a, topology.Endpoint{Name: "y", Network: "tcp", Port: 80}, "127.0.0.1", false},
		{b, topology.Endpoint{Name: "x", Network: "tcp", Port: 80}, "127.0.0.2", false},
		{b, topology.Endpoint{Name: "x", Network: "udp", Port: 80}, "127.0.0.1", false},
		{b, topology.Endpoint{Name: "x", Network: "tcp", Port: 81}, "127.0.0.1", false},
		{b, topology.Endpoint{Name: "x", Network: "tcp", Port: 80}, "127.0.0.1", true},
	} {
		if err := claimFixed(fixed, c.node, c.endpoint, c.host); (err != nil) != c.clashes {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestRanges: no port that links have at all hosts is one that an endpoint is told, which
// a node binds only later.
func TestRanges(t *testing.T) {
	if lowest, links, callers := lowestPort, linkPorts(), callersPorts(); lowest >= links || links >= callers {
		t.Fatalf("endpoints from %d, links from %d, callers from %d", lowest, links, callers)
	}
	for range 100 {
		port, err := freePort("tcp", "127.0.0.1", nil)
		if err != nil || goruntime.GOOS == "linux" && (port < lowestPort || port >= linkPorts()) {
			t.Fatalf("%d, %v", port, err)
		}
	}
}
