package process

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// slacks gives each tree of a sealed run a timer slack of its own (prctl(2),
// PR_SET_TIMERSLACK): the default and some nanoseconds. A process has that of the
// thread that forked it, whatever namespaces it makes, and keeps it when it is
// executed; next to nobody sets one. Who is sealed sees nobody else's.
type slacks struct {
	mu   sync.Mutex
	last uint64   // the longest that was taken so far
	free []uint64 // that were given back, the oldest first
}

// freshSlacks is how many trees have one that no other had before: the longest of these
// is still next to the default. After them each is taken again as late as can be.
const freshSlacks = 5_000

// defaultSlack is the kernel's. In a sealed run that a node of another one has
// started it is not found, and the node's is left as it is.
const defaultSlack = 50_000

// newSlacks returns nil where a slack is no mark.
func newSlacks() *slacks {
	if has, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || has != defaultSlack {
		return nil
	}
	return &slacks{last: defaultSlack}
}

// take finds a slack that no tree has, for what this thread forks next; 0 where it
// is no mark.
func (s *slacks) take() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slack, again := s.last+1, s.last >= defaultSlack+freshSlacks && len(s.free) > 0
	if again {
		slack = s.free[0]
	}
	if unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) != nil {
		return 0
	}
	if again {
		s.free = s.free[1:]
	} else {
		s.last = slack
	}
	return slack
}

func (s *slacks) give(slack uint64) {
	if slack != 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.free = append(s.free, slack)
	}
}

// slackOf is a process's timer slack; 0 where it cannot be read, which takes
// CAP_SYS_NICE, and of one that is scheduled in real time.
func slackOf(s stat) uint64 {
	text, _ := s.of.read(s.pid, "timerslack_ns")
	slack, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return slack
}
