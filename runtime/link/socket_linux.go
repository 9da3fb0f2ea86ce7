package link

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	solSocket = unix.SOL_SOCKET
	oobInline = unix.SO_OOBINLINE
)

func setOption(c syscall.RawConn, level, option int) {
	c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), level, option, 1) })
}

// choosePortLate has the kernel choose the port of a socket that is bound to a source
// address when it calls, and not when it is bound. Until it calls the kernel cannot
// know that another connection with the same port goes elsewhere: it would keep the
// port for this one alone, and no other process of the machine could call from it.
func choosePortLate(c syscall.RawConn) { setOption(c, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT) }
