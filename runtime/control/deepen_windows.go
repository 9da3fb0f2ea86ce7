package control

import (
	"net"
	"syscall"

	"golang.org/x/sys/windows"
)

// deepen has the connections that a listener accepts take so many bytes that nobody has
// read, or as many as the machine allows.
func deepen(l net.Listener, bytes int) {
	s, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF, bytes)
		})
	}
}
