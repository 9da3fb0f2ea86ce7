//go:build unix && !linux

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
