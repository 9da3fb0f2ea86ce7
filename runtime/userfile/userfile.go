// Package userfile opens the files that a user has named: scripts, inis, recipes,
// records. Where a file is meant there may be a folder, a FIFO that nobody writes
// to, a socket or a terminal: to open one of these can block without end, or do
// something to a device. All that reads what a user has named opens it here.
package userfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Stat describes a regular file, or the one that a symbolic link leads to. If it
// is anything else, the error says what it is, beside the description.
func Stat(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	return info, regular(name, info)
}

// Open opens a regular file for reading. If it is anything else, the error says
// what it is, and nothing is opened. Open does not block, whatever there is.
func Open(name string) (*os.File, fs.FileInfo, error) {
	if _, err := Stat(name); err != nil { // before it is opened, as that may do something to a device
		return nil, nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unblocked, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat() // of what was opened: it may be another by now
	if err == nil {
		err = regular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// Read reads a regular file, which may have at most that many bytes.
func Read(name string, most int64) ([]byte, error) {
	f, info, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tooLong := &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it has over %s", size(most))}
	if info.Size() > most {
		return nil, tooLong
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1)) // whoever writes it may go on
	if err == nil && int64(len(data)) > most {
		return nil, tooLong
	}
	return data, err
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// regular is the error of what is no regular file.
func regular(name string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &fs.PathError{Op: "open", Path: name, Err: errors.New("it is " + Kind(info.Mode()) + ": a regular file was expected")}
}

// Kind says what kind of file a mode is of, with its article: "a FIFO".
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "a regular file"
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no file"
}
