package link_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// meter reads a connection to its end, and tells what came when.
type meter struct {
	reads []struct {
		began, ended time.Time // of the call that took them; what the next call takes came after it began
		bytes        int
	}
}

func (m *meter) read(c *net.TCPConn) (total int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4<<20) // all that is there
	for {
		var n int
		var failure error
		var began time.Time
		err := raw.Read(func(fd uintptr) bool {
			began = time.Now()
			n, failure = syscall.Read(int(fd), buf)
			return failure != syscall.EAGAIN && failure != syscall.EINTR
		})
		if err := errors.Join(err, failure); err != nil {
			return total, err
		}
		if n == 0 {
			return total, nil
		}
		m.reads = append(m.reads, struct {
			began, ended time.Time
			bytes        int
		}{began, time.Now(), n})
		total += n
	}
}

// most is the most bytes of several connections that are known to have come within
// a second: after a call that left none began, and before another one returned.
func most(all []meter) (most int) {
	for _, m := range all {
		for i := range m.reads {
			from := m.reads[i].began
			in := 0
			for _, m := range all {
				for j := 1; j < len(m.reads); j++ {
					if !m.reads[j-1].began.Before(from) && m.reads[j].ended.Sub(from) <= time.Second {
						in += m.reads[j].bytes
					}
				}
			}
			most = max(most, in)
		}
	}
	return most
}

// TestRate: no second has more than the rate, of all connections together, though
// it comes in the middle of a stream, and it takes as long as it should.
func TestRate(t *testing.T) {
	const rate = 1 << 20
	measure := func(connections int) int {
		meters := make(chan meter, connections)
		n, address := open(t, func(c *net.TCPConn) {
			io.CopyN(io.Discard, c, 1<<20)
			c.Write([]byte{1})
			var m meter
			if _, err := m.read(c); err != nil {
				t.Error(err)
			}
			meters <- m
		})
		var calls []*net.TCPConn
		for range connections {
			c := dial(t, address)
			c.Write(make([]byte, 1<<20))
			io.ReadFull(c, make([]byte, 1))
			calls = append(calls, c)
		}
		f := apply(t, n, there, link.Effect{Rate: rate})
		began := time.Now()
		for _, c := range calls {
			go func() {
				c.Write(make([]byte, 5*rate/2/connections))
				c.CloseWrite()
			}()
		}
		var all []meter
		var last time.Time
		for range connections {
			m := <-meters
			all = append(all, m)
			if end := m.reads[len(m.reads)-1].ended; end.After(last) {
				last = end
			}
		}
		got := most(all)
		if took := last.Sub(began); took < 2400*time.Millisecond {
			t.Errorf("%d connections took %v", connections, took)
		}
		heal(t, f)
		return got
	}
	for _, connections := range []int{1, 4} {
		keepsRate(t, rate, func() int { return measure(connections) })
	}
}

// keepsRate fails unless what is measured within a second is never over the rate,
// and at least half of it, which a machine that is busy with other things may need
// some tries for.
func keepsRate(t *testing.T, rate int, measure func() int) {
	t.Helper()
	for try := 1; ; try++ {
		got := measure()
		if got > rate || got < rate/2 && try == 5 {
			t.Errorf("%d bytes within a second, at a rate of %d", got, rate)
		}
		if got >= rate/2 || try == 5 {
			return
		}
	}
}

// TestRateUnderWay: a rate that comes while a stream is at its full speed holds for
// what is in the link, too.
func TestRateUnderWay(t *testing.T) {
	const rate = 64 << 10
	keepsRate(t, rate, func() int { return mostUnderWay(t, rate) })
}

// mostUnderWay is the most bytes within a second of a stream that a rate comes to
// at its full speed, without what had left the link.
func mostUnderWay(t *testing.T, rate float64) int {
	limited := make(chan bool)
	done := make(chan meter)
	n, address := open(t, func(c *net.TCPConn) {
		<-limited
		buf := make([]byte, 1<<20)
		for silent := 0; silent < 20; { // what had left the link; a deadline may have passed before the reading
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(buf); err != nil {
				silent++
			}
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		var m meter
		if _, err := m.read(c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		done <- m
	})
	c := dial(t, address)
	c.SetWriteDeadline(time.Now().Add(quiet))
	io.Copy(c, zeros{})
	f := apply(t, n, there, link.Effect{Rate: rate})
	limited <- true
	got := most([]meter{<-done})
	heal(t, f)
	return got
}

// TestCloseStuck: a network ends at once though a call gets no answer, and whatever
// waits.
func TestCloseStuck(t *testing.T) {
	// A target that takes no connections, and whose backlog is full.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	target := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	address := free(t)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "tcp", Listen: address, Target: target}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, n, both, link.Effect{Delay: time.Hour})
	var calls []*net.TCPConn
	for range 5 { // two or so find room
		c := dial(t, address)
		c.Write(make([]byte, 1<<10))
		calls = append(calls, c)
	}
	for count := 0; count < len(calls); runtime.Gosched() { // until they are taken
		_, count = halfOpen(t, n, there)
	}
	began := time.Now()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second { // the kernel calls for two minutes
		t.Errorf("to close took %v", took)
	}
	for _, c := range calls {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	}
}

func files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestManyConnections: a link carries thousands, each costs two files while it is
// silent, and none stays.
func TestManyConnections(t *testing.T) {
	const count = 2000
	n, address := open(t, func(c *net.TCPConn) { // not by io.Copy, which takes files of its own
		b := make([]byte, 1)
		for err := error(nil); err == nil; {
			if _, err = c.Read(b); err == nil {
				_, err = c.Write(b)
			}
		}
	})
	before, goroutines := files(t), runtime.NumGoroutine()
	var calls []*net.TCPConn
	for range count {
		c := dial(t, address)
		if err := ask(c, time.Minute); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	if got := files(t) - before; got > 4*count+200 { // and one each for us and for the server
		t.Errorf("%d connections take %d files", count, got)
	}
	f := apply(t, n, both, link.Effect{Delay: 10 * time.Millisecond})
	var asking sync.WaitGroup
	for _, c := range calls {
		asking.Go(func() {
			if err := ask(c, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	heal(t, f)
	for _, c := range calls {
		c.Close()
	}
	for deadline := time.Now().Add(time.Minute); files(t)-before > 200 || runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d files and %d goroutines are left", files(t)-before, runtime.NumGoroutine()-goroutines)
		}
	}
}

// TestNoFiles: bytes move where the process may open no files.
func TestNoFiles(t *testing.T) {
	taken := make(chan bool, 1)
	_, address := open(t, func(c *net.TCPConn) {
		taken <- true
		echo(c)
	})
	c := dial(t, address)
	<-taken
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lower := limit
	lower.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	go c.Write(data)
	got := make([]byte, len(data))
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != string(data) {
		t.Errorf("%v, equal %v", err, string(got) == string(data))
	}
}
