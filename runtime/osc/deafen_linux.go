package osc

import (
	"net"

	"golang.org/x/sys/unix"
)

// deafen has a listener's socket stop listening, whoever else holds it: to shut it
// down closes it as the last one that is closed would (tcp_disconnect in Linux's
// net/ipv4/af_inet.c).
func deafen(l net.Listener) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}
