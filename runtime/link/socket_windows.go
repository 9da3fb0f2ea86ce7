package link

import (
	"syscall"

	"golang.org/x/sys/windows"
)

const (
	solSocket = windows.SOL_SOCKET
	oobInline = 0x100 // SO_OOBINLINE of winsock2.h
)

func setOption(c syscall.RawConn, level, option int) {
	c.Control(func(fd uintptr) { windows.SetsockoptInt(windows.Handle(fd), level, option, 1) })
}
