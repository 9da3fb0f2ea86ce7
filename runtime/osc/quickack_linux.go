package osc

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAck returns what asks the kernel to acknowledge at once what the peer
// has sent. The kernel forgets it, so it is asked again and again (tcp(7),
// TCP_QUICKACK).
func quickAck(c net.Conn) func() {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	set := func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
	return func() { raw.Control(set) } // where it fails, replies are slower
}
