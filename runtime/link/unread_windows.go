package link

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// fionread is FIONREAD.
const fionread = 0x4004667f

// unread is how many bytes wait in a connection to be taken. Whether its end has come
// cannot be asked here without taking it.
func unread(fd uintptr) (n int, isEnd bool) {
	var bytes, size uint32
	windows.WSAIoctl(windows.Handle(fd), fionread, nil, 0, (*byte)(unsafe.Pointer(&bytes)), uint32(unsafe.Sizeof(bytes)), &size, nil, 0)
	return int(bytes), false
}
