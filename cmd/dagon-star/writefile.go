package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile has a file written, and the folders that it is in. Whoever reads it finds all
// of it, or what was there before: also where it cannot be written to its end, or this
// program is killed. What is there and no file, such as /dev/stdout, is written to.
func writeFile(name string, write func(io.Writer) error) error {
	failed := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return failed(err)
	}
	to := name
	mode := fs.FileMode(0o666)
	if info, err := os.Stat(name); err == nil {
		if !info.Mode().IsRegular() {
			return failed(writeTo(name, write))
		}
		mode = info.Mode().Perm()
		if to, err = filepath.EvalSymlinks(name); err != nil { // the link stays one
			return failed(err)
		}
	}
	f, err := createBeside(to, mode)
	if err != nil {
		return failed(err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		os.Remove(f.Name())
		return failed(err)
	}
	if err := os.Rename(f.Name(), to); err != nil {
		os.Remove(f.Name())
		return failed(err)
	}
	return nil
}

// createBeside makes a file of another name beside one.
func createBeside(name string, mode fs.FileMode) (*os.File, error) {
	for n := 0; ; n++ {
		f, err := os.OpenFile(fmt.Sprintf("%s.%d.new", name, os.Getpid()+n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
