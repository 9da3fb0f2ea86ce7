//go:build unix

package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
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

// isDeadRun reports whether nobody holds the lock of a run; unknown where that
// cannot be told. A process of the user's says where the run's folder is, and
// may say anything: whatever is there must not block, is not made, is no more
// than looked at if it is neither the user's nor ours, and is read no further
// than it can be the run's.
func isDeadRun(id, folder string, user int) (dead, unknown bool) {
	f, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, !errors.Is(err, fs.ErrPermission)
	}
	defer f.Close()
	var s unix.Stat_t
	if unix.Fstat(int(f.Fd()), &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG || int(s.Uid) != user && int(s.Uid) != os.Geteuid() {
		return false, true
	}
	want, err := lockText(f, id)
	if err != nil {
		return false, true
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(len(want))+1))
	if err != nil || string(text) != want && string(text) != id { // which earlier versions wrote alone
		return false, true
	}
	// Shared, for other sweeps may look at the same moment, and some file systems
	// grant nothing more to who only reads.
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return err == nil, err != nil && !errors.Is(err, unix.EWOULDBLOCK)
}
