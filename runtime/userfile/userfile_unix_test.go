//go:build unix

package userfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestKinds: what is no regular file is told by what it is, without blocking,
// also where a link leads to it.
func TestKinds(t *testing.T) {
	dir, err := os.MkdirTemp("", "u") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(in("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for link, to := range map[string]string{"to-fifo": "fifo", "to-file": "file", "to-none": "none", "loop": "loop"} {
		if err := os.Symlink(to, in(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(in("file"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		in("fifo"): "it is a FIFO: a regular file was expected", in("to-fifo"): "it is a FIFO: a regular file was expected",
		in("socket"): "it is a socket: a regular file was expected", "/dev/null": "it is a device: a regular file was expected",
		"/dev/tty": "it is a device: a regular file was expected", dir: "it is a folder: a regular file was expected",
		in("none"): "no such file", in("to-none"): "no such file", in("loop"): "symbolic links", in("file/x"): "not a directory",
	} {
		_, _, opened := Open(name)
		_, read := Read(name, 100)
		_, stat := Stat(name)
		for _, err := range []error{opened, read, stat} {
			var path *fs.PathError
			if !errors.As(err, &path) || path.Path != name || !strings.Contains(path.Err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	for _, name := range []string{in("file"), in("to-file")} {
		if data, err := Read(name, 5); err != nil || string(data) != "12345" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if _, err := Read(name, 4); err == nil || !strings.HasSuffix(err.Error(), ": it has over 4 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat("/proc/self/status"); err == nil { // a file that says it has no bytes
		if data, err := Read("/proc/self/status", 1<<20); err != nil || len(data) == 0 {
			t.Errorf("/proc: %q, %v", data, err)
		}
		if _, err := Read("/proc/self/status", 10); err == nil {
			t.Error("/proc: nothing is too long")
		}
	}
}

// TestExchanged: what takes a file's place after it was looked at is found when it
// has been opened.
func TestExchanged(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Remove(name)
			os.WriteFile(name, []byte("file"), 0o644)
			os.Remove(name)
			syscall.Mkfifo(name, 0o644)
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	for range 3000 {
		f, info, err := Open(name)
		if err != nil {
			continue
		}
		if !info.Mode().IsRegular() {
			t.Fatal(info.Mode())
		}
		f.Close()
	}
}
