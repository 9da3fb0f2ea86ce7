package control

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// setReceiveBuffer sets how many bytes a socket takes that nobody has read.
func setReceiveBuffer(fd uintptr, bytes int) {
	windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF, bytes)
}

// unread reports whether there is something to be read from a socket, if only its end
// or an error, which reading it tells.
func unread(fd uintptr) (bool, error) {
	const pollIn, pollErr, pollHup = 0x300, 0x1, 0x2
	poll := struct {
		fd              uintptr
		events, revents int16
	}{fd: fd, events: pollIn}
	n, _, _ := wsaPoll.Call(uintptr(unsafe.Pointer(&poll)), 1, 0)
	return int32(n) != 0 && poll.revents&(pollIn|pollErr|pollHup) != 0, nil
}

var wsaPoll = windows.NewLazySystemDLL("ws2_32.dll").NewProc("WSAPoll")
