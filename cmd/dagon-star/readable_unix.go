//go:build unix

package main

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// readable waits until the standard input can be read, or has ended, and reports that; false where ctx
// is done before. A terminal is read only in the foreground, as who reads it in the
// background is stopped: whether that has changed is looked at again every second.
func readable(ctx context.Context) bool {
	r, w, err := os.Pipe()
	if err != nil {
		return false
	}
	defer r.Close()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		w.Close()
	})
	defer func() {
		if stop() {
			w.Close()
		} else {
			<-closed
		}
	}()
	for {
		files := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}, {Fd: int32(0), Events: unix.POLLIN}}
		timeout := -1
		if group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil && group != unix.Getpgrp() {
			files, timeout = files[:1], 1000
		}
		switch _, err := unix.Poll(files, timeout); {
		case errors.Is(err, unix.EINTR):
		case err != nil, files[0].Revents != 0:
			return false
		case len(files) == 2 && files[1].Revents != 0:
			return true
		}
	}
}
