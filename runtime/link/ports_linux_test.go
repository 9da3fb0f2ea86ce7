package link_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// TestPorts: a relay that calls from a source address keeps no port from others. It
// runs in a network of its own, which has few ports.
func TestPorts(t *testing.T) {
	const inside, ports, calls = "LINK_TEST_PORTS", 100, 80
	if os.Getenv(inside) == "" {
		c := exec.Command("/proc/self/exe", "-test.run=^TestPorts$", "-test.v")
		c.Env = append(os.Environ(), inside+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := c.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Skipf("cannot make a network: %v", err)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Skipf("cannot start the loopback: %v", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40099"), 0); err != nil {
		t.Skip(err)
	}
	server := serveAt(t, "127.0.0.1:20000", echo)
	address := host() + ":20001"
	n, err := link.Open([]link.Route{{From: "a", To: "b", Endpoint: "data", Network: "tcp", Listen: address, Target: server,
		Source: "127.77.2.1"}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	for range calls { // at one time: each has a port, and its relay has one at another address
		if err := ask(dial(t, address), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(dial(t, server), 10*time.Second); err != nil {
		t.Errorf("a bystander: %v", err)
	}
}
