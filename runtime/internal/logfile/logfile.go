// Package logfile compares a log with what its run has written: what a node has done
// to it, or whoever else can, must not pass for what was written.
package logfile

import (
	"fmt"
	"io/fs"
	"os"
)

// Check returns nil if the file at a path is the one that was written, by its
// description as of os.File.Stat, and has as many bytes as were written. Otherwise the
// error says what has become of it. Of what is no regular file it knows nothing.
func Check(path string, written fs.FileInfo, size int64) error {
	if !written.Mode().IsRegular() {
		return nil
	}
	is, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("the log that was written is no longer there: %w: who has removed it?", err)
	case !os.SameFile(written, is):
		return fmt.Errorf("%s is not the file that was written: who has replaced it?", path)
	case is.Size() != size:
		return SizeError(path, is.Size(), size)
	}
	return nil
}

// SizeError is the error of a file that has more or fewer bytes than were written.
func SizeError(path string, has, written int64) error {
	return fmt.Errorf("%s has %d bytes, and %d were written: who has changed it?", path, has, written)
}
