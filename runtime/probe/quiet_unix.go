//go:build unix

package probe

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// isQuiet reports whether the other side has neither closed the connection nor said
// anything, which nobody has asked for: as far as is known here, it can be used.
func (l *link) isQuiet() bool {
	conn, ok := l.meter.Conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		err := error(unix.EINTR)
		for err == unix.EINTR {
			_, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		}
		quiet = err == unix.EAGAIN
	})
	return err == nil && quiet
}
