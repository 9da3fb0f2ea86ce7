package link_test

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// callRefused makes a call that is refused: a blocking one forgets whom it called
// when it is closed, others do not.
func callRefused(t *testing.T, address string, blocking bool) {
	t.Helper()
	if !blocking {
		if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a call: %v", err)
			if err == nil {
				c.Close()
			}
		}
		return
	}
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte(to.IP.To4()), Port: to.Port}); err != syscall.ECONNREFUSED {
		t.Errorf("a blocking call: %v", err)
	}
}

// TestTouchedRefused: connections that are refused count, for each that refuses them,
// though it is healed at once; those that are open do not, however they end, nor
// calls to another port.
func TestTouchedRefused(t *testing.T) {
	n, address := open(t, echo)
	other := free(t)
	for i := range 40 {
		closes, resets := dial(t, address), dial(t, address)
		for _, c := range []*net.TCPConn{closes, resets} {
			if err := ask(c, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		d := apply(t, n, both, link.Effect{Refuse: true})
		if d.Unseen() {
			t.Skip("the kernel tells of no refusals here")
		}
		resets.SetLinger(0)
		resets.Close()
		closes.Close()
		callRefused(t, other, false)
		first := apply(t, n, there, link.Effect{Refuse: true})
		heal(t, first)
		touches(t, "no call", first, link.Touched{})
		touches(t, "no call", d, link.Touched{})
		callRefused(t, address, i%2 == 0)
		await(t, "a call", d)
		second := apply(t, n, there, link.Effect{Refuse: true})
		callRefused(t, address, i%2 == 1)
		heal(t, second)
		touches(t, "the second", second, link.Touched{ConnectionsRefused: 1}, there...)
		heal(t, d)
		touches(t, "the first", d, link.Touched{ConnectionsRefused: 2}, there...)
		if err := ask(dial(t, address), time.Minute); err != nil {
			t.Fatal(err)
		}
		if d.Unseen() || second.Unseen() {
			t.Error("refusals were not seen")
		}
	}
}

// TestRefusedAgain: a call that is refused counts, also where it comes from the port of a
// connection that is over.
func TestRefusedAgain(t *testing.T) {
	n, address := open(t, echo)
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 20000} // none that is given without being asked for
	call := func() (fd int, bound, called error) {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		bound = errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1), syscall.Bind(fd, from))
		if bound == nil {
			called = syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte(to.IP.To4()), Port: to.Port})
		}
		return fd, bound, called
	}
	fd, bound, called := call()
	for ; bound != nil; fd, bound, called = call() {
		syscall.Close(fd)
		if from.Port++; from.Port == 30000 {
			t.Fatal(bound)
		}
	}
	if called != nil {
		t.Fatal(called)
	}
	if err := errors.Join(syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}),
		syscall.Close(fd)); err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ { // until the relay knows of the end
		d := apply(t, n, both, link.Effect{Refuse: true})
		if d.Unseen() {
			t.Skip("the kernel tells of no refusals here")
		}
		fd, bound, called := call()
		syscall.Close(fd)
		heal(t, d)
		if bound != nil || called != syscall.ECONNREFUSED {
			t.Fatalf("the call: %v, %v", bound, called)
		}
		if d.Touched() == (link.Touched{ConnectionsRefused: 1}) {
			return
		}
		if try == 100 {
			t.Fatalf("touched %+v", d.Touched())
		}
	}
}

// TestUnseenRefused: where callers keep the socket that was refused, or call again with
// it, what was refused is not counted, and that is said.
func TestUnseenRefused(t *testing.T) {
	n, address := open(t, echo)
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	at := &syscall.SockaddrInet4{Addr: [4]byte(to.IP.To4()), Port: to.Port}
	const rounds = 20
	told := 0
	for range rounds {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := apply(t, n, there, link.Effect{Refuse: true})
		if d.Unseen() {
			t.Skip("the kernel tells of no refusals here")
		}
		if err := syscall.Connect(fd, at); err != syscall.ECONNREFUSED {
			t.Errorf("a call: %v", err)
		}
		heal(t, d)
		touches(t, "kept", d, link.Touched{})
		if d.Unseen() {
			told++
		}
		if err := syscall.Connect(fd, at); err != nil {
			t.Errorf("a call after the heal: %v", err)
		}
		syscall.Close(fd)
	}
	if told < rounds/5 { // others on the machine may end old sockets meanwhile, which hides a new one
		t.Errorf("that what was refused was not counted was said %d times of %d", told, rounds)
	}
}

// TestTouchedRefusedMany: none of many calls at once is missed.
func TestTouchedRefusedMany(t *testing.T) {
	const callers, calls = 20, 50
	n, address := open(t, echo)
	d := apply(t, n, there, link.Effect{Refuse: true})
	if d.Unseen() {
		t.Skip("the kernel tells of no refusals here")
	}
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for range calls {
				callRefused(t, address, false)
			}
		})
	}
	calling.Wait()
	heal(t, d)
	if d.Unseen() {
		t.Skip("the kernel has left some out, and it is said")
	}
	touches(t, "many", d, link.Touched{ConnectionsRefused: callers * calls}, there...)
	callRefused(t, free(t), false)
	touches(t, "healed", d, link.Touched{ConnectionsRefused: callers * calls}, there...)
}
