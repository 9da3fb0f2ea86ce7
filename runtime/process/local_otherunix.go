//go:build unix && !linux

package process

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRSSUnit is the unit of ru_maxrss in bytes: bytes on darwin, kilobytes on
// the BSDs (getrusage(2)).
var maxRSSUnit = map[bool]int64{true: 1, false: 1 << 10}[goruntime.GOOS == "darwin"]

// Keeper does nothing here: what a keeper does takes Linux.
func Keeper() bool { return false }

func newForker(r Rung, _ Options) (forker, error) {
	if r != Bare {
		return nil, errors.New("it takes Linux, and this is " + goruntime.GOOS)
	}
	return newLocal(trees{}), nil
}

// trees: a tree is known by its process group alone here.
type trees struct{}

type mark struct{}

// census does nothing: others' processes are not looked at here.
type census struct{ looking sync.WaitGroup }

// meter does nothing either.
type meter struct{}

func (*local) usage(context.Context) (map[tree]Usage, error) {
	return nil, fmt.Errorf("what processes use: %w on %s", errors.ErrUnsupported, goruntime.GOOS)
}

func (trees) lockThread()    {}
func (trees) releaseThread() { goruntime.UnlockOSThread() }
func (trees) fork(_ *mark, im image, attr *syscall.ProcAttr) (int, error) {
	return syscall.ForkExec(im.path, im.argv, attr)
}
func (trees) conclude(*mark, *Exit) {}
func (trees) close() error          { return nil }

// Can tells why a fault cannot be done on this machine; nil where it can.
func Can(fault string) error {
	switch fault {
	case FaultSignal, FaultPause:
		return nil
	}
	return fmt.Errorf("%s takes Linux, and this is %s", fault, goruntime.GOOS)
}

// awaitExit waits until a child has ended. There is no wait here that leaves
// it unreaped, so that its number could in theory be another's by the time its
// group is killed: the kernel gives numbers out in turn.
func awaitExit(pid int) {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(queue)
	unix.CloseOnExec(queue)
	var event unix.Kevent_t
	unix.SetKevent(&event, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	event.Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		// An error means that it has ended already.
		if _, err := unix.Kevent(queue, []unix.Kevent_t{event}, events, nil); err != unix.EINTR {
			return
		}
	}
}

// afterExit calls f in a goroutine of its own when a child has ended.
func (*local) afterExit(c *child, f func()) {
	go func() {
		awaitExit(c.id)
		f()
	}()
}

// hasExited reports whether a child that has not been reaped has ended: what is
// registered for is told at once, or is an error.
func (trees) hasExited(pid int) bool {
	queue, err := unix.Kqueue()
	if err != nil {
		return false
	}
	defer unix.Close(queue)
	unix.CloseOnExec(queue)
	var event unix.Kevent_t
	unix.SetKevent(&event, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	event.Fflags = unix.NOTE_EXIT
	for {
		n, err := unix.Kevent(queue, []unix.Kevent_t{event}, make([]unix.Kevent_t, 1), &unix.Timespec{})
		if err != unix.EINTR {
			return n > 0 || err == unix.ESRCH
		}
	}
}

// sweep kills what the child has left in its group. Who that was is not known.
func (c *child) sweep(*syscall.Rusage) (swept, left []int, err error) {
	unix.Kill(-c.id, unix.SIGKILL)
	return nil, nil, nil
}

// signalTree signals the group, which counts as one: who is in it is not known.
func (c *child) signalTree(s syscall.Signal) (hit []int, err error) {
	err = c.held(func() error {
		c.killed = c.killed || s == unix.SIGKILL
		return unix.Kill(-c.id, s)
	}, "signal process group")
	if err != nil {
		return nil, err
	}
	return []int{c.id}, nil
}

func (c *child) stopTree() (reached int, err error) {
	hit, err := c.signalTree(unix.SIGSTOP)
	return len(hit), err
}

func (c *child) continueTree() error {
	_, err := c.signalTree(unix.SIGCONT)
	return err
}

func (c *child) limit(Limits) (reached int, err error) { return 0, Can(FaultLimitCPU) }
