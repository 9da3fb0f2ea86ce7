package control

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenOnDevice listens on all addresses of IPv4 for what comes in by a device. It
// takes no rights from Linux 5.7 on (socket(7), SO_BINDTODEVICE).
func listenOnDevice(device string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // of a loopback there are no other paths
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) })
		return errors.Join(err, bound)
	}
	return lc.Listen(context.Background(), "tcp4", ":"+strconv.Itoa(port))
}

// callersPorts is the last port that the kernel gives to who calls (ip(7)).
func callersPorts() int {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if fields := strings.Fields(string(text)); len(fields) == 2 {
		if last, err := strconv.Atoi(fields[1]); err == nil {
			return last
		}
	}
	return highestPort
}
