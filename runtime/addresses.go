package runtime

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	goruntime "runtime"
	"slices"
	"strconv"

	"github.com/dagon-star/dagon-star/runtime/topology"
)

// addresses says where the nodes of a run are. On Linux, where all of
// 127.0.0.0/8 is the loopback, each node has an address of its own from a
// block that no other run holds; elsewhere all are at 127.0.0.1. It is a
// topology.Addresses.
type addresses struct {
	claims []net.Listener
	hosts  map[string]string
	ports  map[string]map[string]int
}

// blockSize is how many nodes share one claimed /24: 127.a.b.1 to 127.a.b.250.
const blockSize = 250

// claimAddresses claims blocks for a topology's nodes and finds a free port
// for every endpoint that leaves the choice.
func claimAddresses(t *topology.Topology) (*addresses, error) {
	a := &addresses{hosts: map[string]string{}, ports: map[string]map[string]int{}}
	block := ""
	for i, n := range t.Nodes {
		host := "127.0.0.1"
		if goruntime.GOOS == "linux" {
			if i%blockSize == 0 {
				var err error
				if block, err = a.claimBlock(); err != nil {
					a.Close()
					return nil, err
				}
			}
			host = block + strconv.Itoa(1+i%blockSize)
		}
		a.hosts[n.Name] = host
		ports := map[string]int{}
		for _, e := range n.Endpoints {
			port := e.Port
			if port == 0 {
				var err error
				if port, err = freePort(e.Network, host, ports); err != nil {
					a.Close()
					return nil, fmt.Errorf("%s: no free port for listen.%s: %w", n.Name, e.Name, err)
				}
			}
			ports[e.Name] = port
		}
		a.ports[n.Name] = ports
	}
	return a, nil
}

// claimBlock claims "127.a.b." for this run. The claim is a socket in the
// abstract namespace: it is bound to the same network namespace as the
// addresses, and the kernel takes it back whoever dies, and however.
func (a *addresses) claimBlock() (string, error) {
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

// freePort finds a port that is free at the host and not among those taken.
// Nobody else uses the node's own address, so it stays free.
func freePort(network, host string, taken map[string]int) (int, error) {
	for {
		port, err := anyPort(network, net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, err
		}
		used := false
		for _, t := range taken {
			used = used || t == port
		}
		if !used {
			return port, nil
		}
	}
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
func (a *addresses) Host(node string) string { return a.hosts[node] }

// Port is the port of a node's endpoint.
func (a *addresses) Port(node, endpoint string) int { return a.ports[node][endpoint] }

func (a *addresses) endpoints(n *topology.Node) map[string]string {
	out := map[string]string{}
	for name, port := range a.ports[n.Name] {
		out[name] = net.JoinHostPort(a.hosts[n.Name], strconv.Itoa(port))
	}
	return out
}

// Close gives the blocks back.
func (a *addresses) Close() error {
	var errs []error
	for _, c := range a.claims {
		errs = append(errs, c.Close())
	}
	a.claims = nil
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}
