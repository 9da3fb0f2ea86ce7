package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// sendUrgent sends bytes of which the last is urgent.
func sendUrgent(t *testing.T, c *net.TCPConn, b []byte) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failure error
	err = raw.Write(func(fd uintptr) bool {
		failure = unix.Send(int(fd), b, unix.MSG_OOB)
		return failure != unix.EAGAIN
	})
	if err := errors.Join(err, failure); err != nil {
		t.Fatal(err)
	}
}

// readMarked reads to the end of a connection, and returns what came, and where in it
// the marks of urgent bytes were.
func readMarked(c *net.TCPConn) (got []byte, marks []int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })
	buf := make([]byte, 1<<10)
	for {
		var n int
		var failure error
		err := raw.Read(func(fd uintptr) bool {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if unix.Poll(poll, 0); poll[0].Revents == 0 {
				return false
			}
			at, err := unix.IoctlGetInt(int(fd), unix.SIOCATMARK)
			if at != 0 && err == nil {
				marks = append(marks, len(got))
			}
			n, failure = unix.Read(int(fd), buf)
			return failure != syscall.EAGAIN
		})
		if err = errors.Join(err, failure); err != nil || n == 0 {
			return got, marks, err
		}
		got = append(got, buf[:n]...)
	}
}

// TestUrgent: urgent bytes keep their place and are as urgent at the other end,
// whatever the lane does to them, and where the stream stands while they come.
func TestUrgent(t *testing.T) {
	for _, test := range []struct {
		name   string
		effect link.Effect
	}{
		{"none", link.Effect{}},
		{"delay", link.Effect{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond}},
		{"rate", link.Effect{Rate: 1 << 20}},
		{"drop", link.Effect{Drop: 1e-12}},
		{"cut", link.Effect{Cut: true}},
	} {
		for _, before := range []int{0, 3, 100 << 10} { // 100 KiB have it move many at a time
			t.Run(fmt.Sprint(test.name, " ", before), func(t *testing.T) {
				type result struct {
					got   []byte
					marks []int
					err   error
				}
				results := make(chan result, 1)
				n, address := open(t, func(c *net.TCPConn) {
					got, marks, err := readMarked(c)
					results <- result{got, marks, err}
				})
				c := dial(t, address)
				var d *link.Disturbance
				if test.effect != (link.Effect{}) {
					d = apply(t, n, there, test.effect)
				}
				want := bytes.Repeat([]byte("abc"), before/3)
				if len(want) > 0 {
					c.Write(want)
				}
				mark := len(want)
				sendUrgent(t, c, []byte("X"))
				c.Write([]byte("def"))
				want = append(want, "Xdef"...)
				c.CloseWrite()
				if test.effect.Cut {
					await(t, "an urgent byte", d)
					heal(t, d)
					if held := d.Touched().BytesHeld; held != int64(len(want)) {
						t.Errorf("%d bytes held, of %d", held, len(want))
					}
				}
				r := <-results
				if r.err != nil || !bytes.Equal(r.got, want) {
					t.Errorf("%v, %d bytes of %d", r.err, len(r.got), len(want))
				}
				if len(r.marks) != 1 || r.marks[0] != mark {
					t.Errorf("marks at %v, want one at %d", r.marks, mark)
				}
			})
		}
	}
}

// TestUrgentOutOfBand: who does not keep an urgent byte among the others has it by
// itself, and reads past it.
func TestUrgentOutOfBand(t *testing.T) {
	_, address := open(t, func(c *net.TCPConn) {
		b := make([]byte, 10)
		for {
			n, err := c.Read(b) // not by io.Copy: splice(2) stops for good where an urgent byte is
			if err != nil {
				return
			}
			c.Write(b[:n])
		}
	})
	c := dial(t, address)
	for i := range 50 {
		c.Write([]byte("ab"))
		sendUrgent(t, c, []byte{byte(i)})
		c.Write([]byte("cd"))
		got := make([]byte, 4)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "abcd" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// TestUrgentAlone: an urgent byte that comes while nothing else does is urgent, every
// time.
func TestUrgentAlone(t *testing.T) {
	urgent := make(chan byte)
	_, address := open(t, func(c *net.TCPConn) {
		raw, _ := c.SyscallConn()
		for {
			b := make([]byte, 1)
			var n int
			err := raw.Control(func(fd uintptr) {
				poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI | unix.POLLRDHUP}}
				for _, err := unix.Poll(poll, 60_000); err == unix.EINTR; {
					_, err = unix.Poll(poll, 60_000)
				}
				n, _, _ = unix.Recvfrom(int(fd), b, unix.MSG_OOB|unix.MSG_DONTWAIT)
			})
			if err != nil || n <= 0 {
				close(urgent)
				return
			}
			urgent <- b[0]
			c.Write(b)
		}
	})
	c := dial(t, address)
	for i := range 200 {
		sendUrgent(t, c, []byte{byte(i)})
		if got, ok := <-urgent; !ok || got != byte(i) {
			t.Fatalf("urgent byte %d came as %d, %v", i, got, ok)
		}
		io.ReadFull(c, make([]byte, 1))
	}
	c.Close()
	<-urgent
}
