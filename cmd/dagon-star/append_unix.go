//go:build unix

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// appendWhole appends a text to a file in one piece, whoever else appends to it by this
// function. What is appended is told how much room there is until the file has most bytes.
func appendWhole(name string, most int64, text func(room int) string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if room := most - info.Size(); room > 0 {
		_, err = f.WriteString(text(int(room)))
	}
	return err
}
