//go:build !unix

package main

import (
	"errors"
	"os"
)

// appendWhole appends a text to a file in one piece. What is appended is told how much room
// there is until the file has most bytes.
func appendWhole(name string, most int64, text func(room int) string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if room := most - info.Size(); room > 0 {
		_, err = f.WriteString(text(int(room)))
	}
	return err
}
