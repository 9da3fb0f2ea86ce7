//go:build unix

package control

import (
	"os"

	"golang.org/x/sys/unix"
)

// setReceiveBuffer sets how many bytes a socket takes that nobody has read.
func setReceiveBuffer(fd uintptr, bytes int) {
	unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
}

// unread reports whether there is something to be read from a socket, if only its end.
// The error is one of the connection, which the socket tells once: nothing more is to be
// read.
func unread(fd uintptr) (bool, error) {
	for {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			if err == nil || err == unix.EAGAIN {
				return err == nil, nil
			}
			return true, os.NewSyscallError("recvfrom", err)
		}
	}
}
