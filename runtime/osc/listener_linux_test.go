package osc_test

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// TestCloseOfShared: a listener that is closed does not listen any more, and another
// can have its address, although a copy of its socket is open, as in a process that
// is just being forked.
func TestCloseOfShared(t *testing.T) {
	l, err := osc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.Listener.(*net.TCPListener).File() // a copy
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	address := l.Addr().String()
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if c, err := net.Dial("tcp", address); !errors.Is(err, unix.ECONNREFUSED) {
		c.Close()
		t.Errorf("a call: %v", err)
	}
	again, err := osc.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
