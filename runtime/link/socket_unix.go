//go:build unix

package link

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	solSocket = unix.SOL_SOCKET
	oobInline = unix.SO_OOBINLINE
)

func option(c syscall.RawConn, level, option int) (failure error) {
	err := c.Control(func(fd uintptr) { failure = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, os.NewSyscallError("setsockopt", failure))
}
