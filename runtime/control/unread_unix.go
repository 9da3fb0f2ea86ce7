//go:build unix

package control

import "golang.org/x/sys/unix"

// unread reports whether there is something to be read from a socket, if only its end
// or an error.
func unread(fd uintptr) bool {
	for {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err != unix.EAGAIN
		}
	}
}
