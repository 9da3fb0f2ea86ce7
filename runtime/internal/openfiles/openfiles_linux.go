package openfiles

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Count returns how many files this process has open, and how many it may have; false
// where that is not known. Go has raised the soft limit to the hard one when the
// program began.
func Count() (open, limit int, known bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, 0, false
	}
	limit = int(min(l.Cur, 1<<30))
	var fds unix.Stat_t
	if unix.Stat("/proc/self/fd", &fds) == nil && fds.Size > 0 { // it is how many there are since Linux 6.2
		return int(fds.Size), limit, true
	}
	dir, err := os.Open("/proc/self/fd")
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return limit, limit, true
	}
	if err != nil {
		return 0, 0, false
	}
	defer dir.Close()
	open = -1 // dir itself
	for {
		names, err := dir.Readdirnames(1 << 10)
		open += len(names)
		if err == io.EOF {
			return open, limit, true
		}
		if err != nil {
			return 0, 0, false
		}
	}
}
