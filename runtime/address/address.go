// Package address claims the addresses of a run's nodes and of the links between
// them, so that no two runs of a machine have one in common.
//
// A link has a host of its own for the two nodes, from a block that the run holds, and
// a port that it shares with others: those to some of the nodes. What comes to any of
// their hosts at that port one socket can take. So links cost no files but those of
// their blocks and ports.
package address

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/link"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Addresses says where the nodes of a run are. On Linux, where all of
// 127.0.0.0/8 is the loopback, each node has an address of its own from a
// block that no other run holds; elsewhere all are at 127.0.0.1. It is a
// topology.Addresses.
type Addresses struct {
	claims []io.Closer
	block  string // that hosts are given from
	given  int
	hosts  map[string]string
	ports  map[string]map[string]int
	links  map[topology.Tie]string // the host:port of a link; none where nodes reach each other directly
}

// blockSize is how many hosts share one claimed /24: 127.a.b.1 to 127.a.b.250.
const blockSize = 250

// Claim claims blocks for a topology's nodes, and for the links between
// them where there are to be some, and finds a free port for every endpoint that
// leaves the choice.
func Claim(t *topology.Topology, linked bool) (*Addresses, error) {
	a := &Addresses{hosts: map[string]string{}, ports: map[string]map[string]int{}, links: map[topology.Tie]string{}}
	if err := a.claim(t, linked); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Addresses) claim(t *topology.Topology, linked bool) (err error) {
	fixed := map[string]string{} // by network and address, the nodes that have them
	for _, n := range t.Nodes {
		if a.hosts[n.Name], err = a.nextHost(); err != nil {
			return err
		}
		ports := map[string]int{}
		for _, e := range n.Endpoints {
			port := e.Port
			if port == 0 {
				if port, err = freePort(e.Network, a.hosts[n.Name], ports); err != nil {
					return fmt.Errorf("%s: no free port for listen.%s: %w", n.Name, e.Name, err)
				}
			} else if err := claimFixed(fixed, n, e, a.hosts[n.Name]); err != nil {
				return err
			}
			ports[e.Name] = port
		}
		a.ports[n.Name] = ports
	}
	if !linked {
		return nil
	}
	for _, ties := range doors(t.Ties()) {
		if err := a.claimLinks(t, ties); err != nil {
			return err
		}
	}
	return nil
}

// claimFixed claims a port that the ini gives for a node. Where nodes share a host, no two
// of them can have the same.
func claimFixed(fixed map[string]string, n *topology.Node, e topology.Endpoint, host string) error {
	at := e.Network + " " + net.JoinHostPort(host, strconv.Itoa(e.Port))
	if other := fixed[at]; other != "" && other != n.Name {
		return fmt.Errorf("%s and %s both have %s for listen.%s, and on this system all nodes are at one address: write auto",
			other, n.Name, at, e.Name)
	}
	fixed[at] = n.Name
	return nil
}

// doorSize is how many links share a port at least, where there are as many. It is
// also about how many listeners it takes to refuse the calls of some of them alone.
const doorSize = 64

// doors are the ties that are to have a port in common: all to a node have, and nodes
// share one until there are as many links as that.
func doors(ties []topology.Tie) (all [][]topology.Tie) {
	to := map[string][]topology.Tie{}
	var order []string
	for _, tie := range ties {
		if to[tie.To] == nil {
			order = append(order, tie.To)
		}
		to[tie.To] = append(to[tie.To], tie)
	}
	for i, node := range order {
		if last := len(all) - 1; i > 0 && len(all[last]) < doorSize {
			all[last] = append(all[last], to[node]...)
		} else {
			all = append(all, to[node])
		}
	}
	return all
}

// claimLinks gives links their addresses. The host of each is its own, so that it tells
// who calls whom.
func (a *Addresses) claimLinks(t *topology.Topology, ties []topology.Tie) (err error) {
	shared := 0
	if goruntime.GOOS == "linux" && len(ties) > 1 {
		if shared, err = a.claimPort(); err != nil {
			return fmt.Errorf("no free port for links: %w", err)
		}
	}
	for _, tie := range ties {
		host, err := a.nextHost()
		if err != nil {
			return err
		}
		port := shared
		switch {
		case goruntime.GOOS != "linux":
			if port, err = freePort(networkOf(t, tie), host, nil); err != nil {
				return err
			}
		case len(ties) == 1:
			port = a.ports[tie.To][tie.Endpoint]
		}
		a.links[tie] = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return nil
}

func networkOf(t *topology.Topology, tie topology.Tie) string {
	for _, e := range t.Node(tie.To).Endpoints {
		if e.Name == tie.Endpoint {
			return e.Network
		}
	}
	return "tcp"
}

// nextHost is an address that no other node or link of the run has, nor another
// run.
func (a *Addresses) nextHost() (_ string, err error) {
	if goruntime.GOOS != "linux" {
		return "127.0.0.1", nil
	}
	if a.given%blockSize == 0 {
		if a.block, err = a.claimBlock(); err != nil {
			return "", err
		}
	}
	a.given++
	return a.block + strconv.Itoa(1+(a.given-1)%blockSize), nil
}

// Routes are the links, as the network opens them.
func (a *Addresses) Routes(t *topology.Topology) (all []link.Route) {
	for _, tie := range t.Ties() {
		if listen := a.links[tie]; listen != "" {
			r := link.Route{From: tie.From, To: tie.To, Endpoint: tie.Endpoint, Network: networkOf(t, tie), Listen: listen,
				Target: net.JoinHostPort(a.hosts[tie.To], strconv.Itoa(a.ports[tie.To][tie.Endpoint]))}
			if goruntime.GOOS == "linux" { // the target sees who calls
				r.Source = a.hosts[tie.From]
			}
			all = append(all, r)
		}
	}
	return all
}

// claimBlock claims "127.a.b." for this run. The claim is a socket in the
// abstract namespace: it is bound to the same network namespace as the
// addresses, and the kernel takes it back whoever dies, and however.
func (a *Addresses) claimBlock() (string, error) {
	const first, last = 1 << 8, 255 << 8 // 127.0 and 127.255 are in use elsewhere
	at := rand.IntN(last - first)
	for try := range 1000 {
		n := first + (at+try)%(last-first)
		block := fmt.Sprintf("127.%d.%d.", n>>8, n&255)
		claim, err := net.Listen("unix", "@dagon-star/"+block+"0")
		if err == nil {
			a.claims = append(a.claims, claim)
			return block, nil
		}
	}
	return "", errors.New("cannot claim a block of loopback addresses: other runs hold them all")
}

// freePort finds a port that is free at the host and not among those taken. Nobody
// else listens at the host, so it stays free; but on Linux it is none of those that
// the kernel gives to who calls from the host, as the links do: one of them could
// be taken before the node listens, or while it is restarted.
func freePort(network, host string, taken map[string]int) (int, error) {
	for try := 0; ; try++ {
		port := 0
		if goruntime.GOOS == "linux" && try < 1000 {
			port = lowestPort + rand.IntN(linkPorts()-lowestPort)
		}
		port, err := anyPort(network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil && try >= 1000 {
			return 0, err
		}
		used := err != nil
		for _, t := range taken {
			used = used || t == port
		}
		if !used {
			return port, nil
		}
	}
}

// lowestPort is the lowest that freePort finds: below are those of well-known
// services.
const lowestPort = 10000

// linkPorts is the first port that claimPort finds, and above those that freePort finds:
// a port that links have at all hosts must not be one that a node of another run has been
// told, and has not bound yet.
func linkPorts() int { return lowestPort + (callersPorts()-lowestPort)/2 }

// callersPorts is the first port that the kernel gives to who calls (ip(7)).
func callersPorts() int {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if fields := strings.Fields(string(text)); len(fields) == 2 {
		if first, err := strconv.Atoi(fields[0]); err == nil && first > lowestPort {
			return first
		}
	}
	return 32768
}

func anyPort(network, address string) (int, error) {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Host is a node's own address.
func (a *Addresses) Host(node string) string { return a.hosts[node] }

// Port is the port of a node's endpoint.
func (a *Addresses) Port(node, endpoint string) int { return a.ports[node][endpoint] }

// Reach is the host:port at which one node reaches an endpoint of another.
func (a *Addresses) Reach(from, to, endpoint string) string {
	if link := a.links[topology.Tie{From: from, To: to, Endpoint: endpoint}]; link != "" {
		return link
	}
	return net.JoinHostPort(a.hosts[to], strconv.Itoa(a.ports[to][endpoint]))
}

// Endpoints are the host:port of a node's endpoints, by name.
func (a *Addresses) Endpoints(n *topology.Node) map[string]string {
	out := map[string]string{}
	for name, port := range a.ports[n.Name] {
		out[name] = net.JoinHostPort(a.hosts[n.Name], strconv.Itoa(port))
	}
	return out
}

// written is how Addresses are kept in a file.
type written struct {
	Hosts map[string]string         `json:"hosts"`
	Ports map[string]map[string]int `json:"ports"`
	Links []writtenLink             `json:"links,omitempty"`
}

type writtenLink struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Endpoint string `json:"endpoint"`
	At       string `json:"at"` // host:port
}

// Write returns the addresses for Read, which may be of another process.
func (a *Addresses) Write() ([]byte, error) {
	w := written{Hosts: a.hosts, Ports: a.ports}
	for tie, at := range a.links {
		w.Links = append(w.Links, writtenLink{tie.From, tie.To, tie.Endpoint, at})
	}
	slices.SortFunc(w.Links, func(a, b writtenLink) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To), strings.Compare(a.Endpoint, b.Endpoint))
	})
	return exact.Marshal(w)
}

// Read returns addresses that Write has written. They are claimed by who wrote them.
func Read(data []byte) (*Addresses, error) {
	var w written
	if err := exact.Unmarshal(data, &w); err != nil {
		return nil, err
	}
	a := &Addresses{hosts: w.Hosts, ports: w.Ports, links: map[topology.Tie]string{}}
	for _, l := range w.Links {
		a.links[topology.Tie{From: l.From, To: l.To, Endpoint: l.Endpoint}] = l.At
	}
	return a, nil
}

// Close gives the blocks back.
func (a *Addresses) Close() error {
	var errs []error
	for _, c := range a.claims {
		errs = append(errs, c.Close())
	}
	a.claims = nil
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}
