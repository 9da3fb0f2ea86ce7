package link

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

const (
	solSocket = windows.SOL_SOCKET
	oobInline = 0x100 // SO_OOBINLINE of winsock2.h
)

func option(c syscall.RawConn, level, option int) (failure error) {
	err := c.Control(func(fd uintptr) { failure = windows.SetsockoptInt(windows.Handle(fd), level, option, 1) })
	return errors.Join(err, os.NewSyscallError("setsockopt", failure))
}
