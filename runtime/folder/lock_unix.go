//go:build unix

package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime/process"
)

// lockFile makes a file and holds a lock on it until it is closed, or its
// holder is gone.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return f, nil
}

// lockText is what the lock of a run holds: its id, and which file it is, so
// that a copy, which nobody holds a lock on, is not taken for it.
func lockText(f *os.File, id string) (string, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\n%d %d\n", id, s.Dev, s.Ino), nil
}

// locked reports whether somebody holds the lock of a run, or is about to.
func locked(lock string) (bool, error) {
	f, err := os.OpenFile(lock, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s has mode %s, and a file was expected", lock, info.Mode())
	case info.Size() == 0: // it is being made
		return true, nil
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// lookAt looks at a run. A process of the user's says where the run's folder is,
// and may say anything: whatever is there must not block, is not made, is no more
// than looked at if it is neither the user's nor ours, and is read no further
// than it can be the run's.
func lookAt(c claim) (state, life) {
	f, err := os.OpenFile(filepath.Join(c.folder, lockName), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrPermission) { // it is another user's, who sweeps it
		return alive, life{}
	}
	if err != nil {
		return unknown, life{}
	}
	defer f.Close()
	var s unix.Stat_t
	if unix.Fstat(int(f.Fd()), &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG || int(s.Uid) != c.user && int(s.Uid) != os.Geteuid() {
		return unknown, life{}
	}
	want, err := lockText(f, c.run)
	if err != nil {
		return unknown, life{}
	}
	text := make([]byte, len(want)+len(lifeText(process.Now(), process.Moment{}))+1)
	if n, err := f.ReadAt(text, 0); err != io.EOF || !strings.HasPrefix(string(text[:n]), want) {
		return unknown, life{}
	}
	// Shared, for other sweeps may look at the same moment, and some file systems
	// grant nothing more to who only reads.
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return alive, life{}
	case err != nil:
		return unknown, life{}
	}
	n, err := f.ReadAt(text, 0) // its last words
	l, ok := parseLife(strings.TrimPrefix(string(text[:n]), want))
	if err != io.EOF || !ok { // of an earlier version, or it was killed as it was made
		return unknown, life{}
	}
	return dead, l
}
