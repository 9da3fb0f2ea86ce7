package control

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// sockets is how many sockets this process has open.
func sockets(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(f); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// TestLoopback: any number of ports of their own needs one socket, and each says who
// it is for. What comes to another address of it is turned away, and told.
func TestLoopback(t *testing.T) {
	s, l, _ := server(t, Options{})
	before := sockets(t)
	const count = 300
	var ports []*Port
	seen := map[string]bool{}
	for i := range count {
		p, err := s.ListenFor("127.0.0.1", fmt.Sprintf("n%d", i), 1+i%3)
		if err != nil {
			t.Fatal(err)
		}
		if s.alone {
			t.Skip("this machine cannot listen on a device")
		}
		ports = append(ports, p)
		if seen[p.Addr().String()] {
			t.Errorf("%s is given twice", p.Addr())
		}
		seen[p.Addr().String()] = true
	}
	if got := sockets(t) - before; got != 1 {
		t.Errorf("%d ports need %d sockets, want 1", count, got)
	}
	for i, p := range ports {
		c := dial(t, p.Addr().String())
		c.Write(frame(t, osc.SizePrefix, "/ready", fmt.Sprintf("n%d", i)))
	}
	for i := range ports {
		l.wait(t, fmt.Sprintf(`ready n%d run="" incarnation=0 token="" for="n%d"/%d`, i, i, 1+i%3))
	}
	_, port, _ := net.SplitHostPort(ports[0].Addr().String())
	shared := dial(t, net.JoinHostPort("127.0.0.1", port))
	shared.Write(frame(t, osc.SizePrefix, "/ready", "who calls by the port"))
	l.wait(t, `ready who calls by the port run="" incarnation=0 token="" for=""/0`)
	stray := fmt.Sprintf("127.250.3.4:%s", port)
	if c, err := net.Dial("tcp", stray); err == nil { // it may be turned away before that
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("a stray connection is not turned away")
		}
		c.Close()
	}
	l.wait(t, `refused "": it connected to `+stray+", which is no address of a node that runs")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-ports[0].Heard()
	if err := ports[1].Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.ListenFor("127.0.0.1", "late", 1); err == nil {
		t.Error("a closed server listens")
	}
}

// TestManyClose: ports that are closed at the same time hear all that had come.
func TestManyClose(t *testing.T) {
	s, l, _ := server(t, Options{})
	var all sync.WaitGroup
	const count = 100
	for i := range count {
		all.Go(func() {
			name := fmt.Sprintf("n%d", i)
			p, err := s.ListenFor("127.0.0.1", name, 1)
			if err != nil {
				t.Error(err)
				return
			}
			c, err := net.Dial("tcp", p.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			c.Write(frame(t, osc.SizePrefix, "/ready", name))
			c.Close()
			p.Close()
			<-p.Heard()
			if !strings.Contains(l.all(), "disconnected "+name+": closed") {
				t.Errorf("%s was not heard", name)
			}
		})
	}
	all.Wait()
}

// TestSpared: the socket of the loopback takes no port that others will want.
func TestSpared(t *testing.T) {
	var spared []int
	first := callersPorts() + 1
	if first > highestPort-10 {
		t.Skip("the kernel gives the highest ports to callers here")
	}
	for port := first; port <= highestPort; port++ {
		if port%8 != 0 {
			spared = append(spared, port)
		}
	}
	s, _, _ := server(t, Options{Spared: spared})
	p, err := s.ListenFor("127.0.0.1", "node", 1)
	if err != nil {
		t.Fatal(err)
	}
	if port := p.Addr().(*net.TCPAddr).Port; slices.Contains(spared, port) {
		t.Errorf("it listens on port %d", port)
	}
}

func TestLoopbackAddress(t *testing.T) {
	for n, want := range map[int]string{0: "127.1.0.1", 253: "127.1.0.254", 254: "127.1.1.1", 254*256 - 1: "127.1.255.254",
		254 * 256:             "127.2.0.1",
		loopbackAddresses - 1: "127.254.255.254", loopbackAddresses: "127.1.0.1"} {
		if got := loopbackAddress(n).String(); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
