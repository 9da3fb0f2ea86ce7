package link_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// openMany makes links from a0, a1, … to b, which have a port in common, to a server.
func openMany(t *testing.T, count int, network, target string) (*link.Network, []string) {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	var routes []link.Route
	var addresses []string
	block := 100 + rand.IntN(100) // of hosts, so that two of these processes seldom have one in common
	for i := range count {
		at := fmt.Sprintf("127.%d.%d.%d:%d", block, 10+i/200, 1+i%200, port)
		addresses = append(addresses, at)
		routes = append(routes, link.Route{From: fmt.Sprint("a", i), To: "b", Endpoint: "data", Network: network, Listen: at, Target: target})
	}
	n, err := link.Open(routes, options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, addresses
}

func from(i int) []link.Pair { return []link.Pair{{From: fmt.Sprint("a", i), To: "b"}} }

// TestSharedPort: links that nobody uses cost no files, and each is its own though
// they have a port in common.
func TestSharedPort(t *testing.T) {
	target := serveAt(t, "127.0.0.1:0", echo)
	before := files(t)
	n, addresses := openMany(t, 1000, "tcp", target)
	if took := files(t) - before; took > 5 {
		t.Errorf("1000 links take %d files", took)
	}
	for _, i := range []int{0, 10, 500, 999} {
		cut := apply(t, n, from(i), link.Effect{Cut: true})
		other := dial(t, addresses[(i+1)%1000])
		if err := ask(other, 10*time.Second); err != nil {
			t.Errorf("the link beside: %v", err)
		}
		c := dial(t, addresses[i])
		c.Write([]byte("abc"))
		await(t, "a call", cut)
		heal(t, cut)
		touches(t, "a cut of one", cut, link.Touched{ConnectionsSilent: 1, BytesHeld: cut.Touched().BytesHeld}, from(i)...)
		if _, err := io.ReadFull(c, make([]byte, 3)); err != nil {
			t.Error(err)
		}
		if reset(t, n, from(i)) != 1 || ask(other, 10*time.Second) != nil {
			t.Error("the reset of one link reset another, or none")
		}
	}
	_, port, _ := net.SplitHostPort(addresses[0])
	if c, err := net.Dial("tcp", "127.77.99.99:"+port); err == nil { // the host of no link
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a call to no link: %v", err)
		}
		c.Close()
	}
}

// TestSharedPortRefused: calls to some links are refused, those to the others at the
// same port never are, and none is lost while that changes; after the heal they cost
// no more files than before.
func TestSharedPortRefused(t *testing.T) {
	const count = 80
	n, addresses := openMany(t, count, "tcp", serveAt(t, "127.0.0.1:0", echo))
	listening := listeners(t)
	stop := make(chan bool)
	var calling sync.WaitGroup
	for i := range 4 {
		calling.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", addresses[10+i])
				if err != nil {
					t.Errorf("a bystander: %v", err)
					return
				}
				if err := ask(c.(*net.TCPConn), 10*time.Second); err != nil {
					t.Errorf("a bystander: %v", err)
				}
				c.Close()
			}
		})
	}
	defer calling.Wait()
	defer close(stop)
	for i := range 20 {
		d := apply(t, n, from(i%2), link.Effect{Refuse: true})
		callRefused(t, addresses[i%2], false) // a blocking one is not counted if its port was another's before
		e := apply(t, n, from(2), link.Effect{Refuse: true})
		callRefused(t, addresses[2], false)
		callRefused(t, addresses[i%2], false)
		if err := ask(dial(t, addresses[3]), 10*time.Second); err != nil {
			t.Errorf("the link beside: %v", err)
		}
		heal(t, d)
		if err := ask(dial(t, addresses[i%2]), 10*time.Second); err != nil {
			t.Errorf("healed: %v", err)
		}
		callRefused(t, addresses[2], false)
		heal(t, e)
		if !d.Unseen() {
			touches(t, "one", d, link.Touched{ConnectionsRefused: 2}, from(i%2)...)
			touches(t, "another", e, link.Touched{ConnectionsRefused: 2}, from(2)...)
		}
		if err := ask(dial(t, addresses[2]), 10*time.Second); err != nil {
			t.Errorf("healed: %v", err)
		}
	}
	var all []link.Pair
	for i := range count {
		all = append(all, from(i)...)
	}
	d := apply(t, n, all[20:], link.Effect{Refuse: true})
	callRefused(t, addresses[20], false)
	callRefused(t, addresses[count-1], false)
	heal(t, d)
	if open := listeners(t); open != listening {
		t.Errorf("%d sockets listen after the heal, and %d before", open, listening)
	}
}

// TestSharedPortFiles: what cannot be refused for want of files is an error that has
// the numbers, and leaves things as they were.
func TestSharedPortFiles(t *testing.T) {
	n, addresses := openMany(t, 80, "tcp", serveAt(t, "127.0.0.1:0", echo))
	if err := ask(dial(t, addresses[0]), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	limit := files(t) + 30
	restore := limitFiles(t, limit)
	_, err := n.Apply(from(0), link.Effect{Refuse: true})
	restore()
	if err == nil || !strings.Contains(err.Error(), "79 are needed") || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
		t.Errorf("%v, want the need and the limit", err)
	}
	for _, i := range []int{0, 79} {
		if err := ask(dial(t, addresses[i]), 10*time.Second); err != nil {
			t.Error(err)
		}
	}
}

// TestSharedPortDatagrams: links of datagrams that nobody uses cost no files, each is
// its own, and the first datagrams keep their order.
func TestSharedPortDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer server.Close()
	serving.Go(func() {
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			server.WriteTo(buf[:n], from)
		}
	})
	before := files(t)
	n, addresses := openMany(t, 500, "udp", server.LocalAddr().String())
	if took := files(t) - before; took > 5 {
		t.Errorf("500 links take %d files", took)
	}
	for i := range 50 {
		if i%10 == 0 {
			d := apply(t, n, from(i), link.Effect{Loss: 1})
			c, err := net.Dial("udp", addresses[i])
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte("x"))
			await(t, "a datagram", d)
			heal(t, d)
			touches(t, "a loss", d, link.Touched{DatagramsLost: 1}, from(i)...)
			c.Close()
		}
		c, err := net.Dial("udp", addresses[i])
		if err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			c.Write([]byte{byte(i), byte(j)})
		}
		buf := make([]byte, 100)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		for j := range 20 {
			if k, err := c.Read(buf); err != nil || k != 2 || buf[0] != byte(i) || buf[1] != byte(j) {
				t.Fatalf("link %d: datagram %d is %v, %v", i, j, buf[:k], err)
			}
		}
		c.Close()
	}
}

// TestLacksFiles: a call that finds no files left is told of, with the limit.
func TestLacksFiles(t *testing.T) {
	told := make(chan error, 10)
	o := options(t)
	o.Lacks = func(err error) { told <- err }
	address := free(t)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "tcp", Listen: address, Target: serveAt(t, "127.0.0.1:0", echo)}}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := os.NewFile(uintptr(fd), "")
	defer c.Close()
	to, _ := net.ResolveTCPAddr("tcp", address)
	restore := limitFiles(t, 0)
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte(to.IP.To4()), Port: to.Port})
	got := <-told
	restore()
	if err != nil || !errors.Is(got, syscall.EMFILE) || !strings.Contains(got.Error(), "all of the 0 files that it may (ulimit -n)") {
		t.Errorf("%v, %v", err, got)
	}
}

// limitFiles lowers how many files this process may open, until restore is called.
func limitFiles(t *testing.T, count int) (restore func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lower := limit
	lower.Cur = uint64(count)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
}

// listeners is how many sockets of this process listen.
func listeners(t *testing.T) (count int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if is, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err == nil && is != 0 {
			count++
		}
	}
	return count
}

// TestListenersFiles: where each link takes a listener of its own, and there are no
// files for them, none is opened, and the error has the numbers.
func TestListenersFiles(t *testing.T) {
	var routes []link.Route
	for i := range 50 {
		routes = append(routes, link.Route{From: fmt.Sprint("a", i), To: "b", Network: "tcp",
			Listen: fmt.Sprint("127.77.20.1:", 20000+i), Target: "127.0.0.1:1"})
	}
	o := options(t)
	limit := files(t) + 30
	restore := limitFiles(t, limit)
	n, err := link.Open(routes, o)
	restore()
	if err == nil || !strings.Contains(err.Error(), "50 are needed") || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
		t.Errorf("%v, want the need and the limit", err)
	}
	if err == nil {
		n.Close()
	}
}
