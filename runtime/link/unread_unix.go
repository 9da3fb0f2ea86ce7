//go:build unix && !linux

package link

import "golang.org/x/sys/unix"

// fionread is FIONREAD, the same in all these systems.
const fionread = 0x4004667f

// unread is how many bytes wait in a connection to be taken, and whether its end has
// come and none wait.
func unread(fd uintptr) (n int, isEnd bool) {
	n, _ = unix.IoctlGetInt(int(fd), fionread) // where it fails there is nothing
	if n == 0 {
		k, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		isEnd = k == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR
	}
	return n, isEnd
}
