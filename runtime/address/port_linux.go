package address

import (
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// claimPort claims a port of all hosts for this run: one that no endpoint of its nodes
// has, and that nobody is given who calls. The claim is a socket that is bound to it and
// does not listen; others of this process may be bound to it beside, and to no other.
func (a *Addresses) claimPort() (port int, err error) {
	taken := map[int]bool{}
	for _, ports := range a.ports {
		for _, p := range ports {
			taken[p] = true
		}
	}
	for range 1000 {
		port = linkPorts() + rand.IntN(callersPorts()-linkPorts())
		if taken[port] {
			continue
		}
		var claim *os.File
		if claim, err = bindPort(port); err == nil {
			a.claims = append(a.claims, claim)
			return port, nil
		}
	}
	return 0, err
}

func bindPort(port int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // only now: nobody else may be there
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "port"), nil
}
