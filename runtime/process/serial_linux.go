package process

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// serials gives each tree of a keeper a number of its own: the soft limit of the
// time for which a process may run without a rest that is scheduled in real time
// (getrlimit(2), RLIMIT_RTTIME), which is longer than anything runs. A process has
// that of its parent and keeps it when it is executed. It is told of every process:
// also of one that is not dumpable, and of one of another user.
type serials struct {
	first uint64

	forking sync.Mutex // the limit is the whole process's
	last    uint64
}

const (
	serialsOf    = 1 << 28         // how many numbers a keeper has
	firstSerials = uint64(1) << 60 // microseconds: 36,000 years
)

// newSerials returns nil where the limit is no mark: where one is set. It is also
// in a run that a node of another run has started: there it is that node's.
func newSerials() *serials {
	var has unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &has); err != nil || has.Cur != unix.RLIM_INFINITY || has.Max != unix.RLIM_INFINITY {
		return nil
	}
	first := firstSerials + rand.Uint64N(1<<30)*serialsOf
	return &serials{first: first, last: first}
}

// fork calls fork, whose child has the serial; 0 where it has none.
func (s *serials) fork(fork func() (pid int, err error)) (serial uint64, pid int, err error) {
	if s == nil {
		pid, err = fork()
		return 0, pid, err
	}
	s.forking.Lock()
	defer s.forking.Unlock()
	s.last++
	serial = s.last
	if unix.Prlimit(0, unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: serial, Max: unix.RLIM_INFINITY}, nil) != nil {
		serial = 0
	}
	pid, err = fork()
	return serial, pid, err
}

// gave reports whether a serial is a tree's of this keeper.
func (s *serials) gave(serial uint64) bool { return serial > s.first && serial-s.first < serialsOf }

// serialOf is the limit of a process; 0 where it cannot be seen.
func serialOf(s stat) uint64 {
	var has unix.Rlimit
	err := unix.Prlimit(s.pid, unix.RLIMIT_RTTIME, nil, &has)
	if errors.Is(err, unix.EPERM) { // it is another user's
		text, _ := s.of.read(s.pid, "limits")
		return rtTimeIn(text)
	}
	if err != nil {
		return 0
	}
	return has.Cur
}

// rtTimeIn is the soft limit in a /proc/PID/limits; 0 where it is none.
func rtTimeIn(limits []byte) uint64 {
	_, after, _ := bytes.Cut(limits, []byte("Max realtime timeout "))
	soft, _, _ := bytes.Cut(bytes.TrimLeft(after, " "), []byte(" "))
	n, _ := strconv.ParseUint(string(soft), 10, 64)
	return n
}
