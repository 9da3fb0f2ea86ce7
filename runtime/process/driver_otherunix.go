//go:build unix && !linux

package process

import (
	"os"
	goruntime "runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRSSUnit is the unit of ru_maxrss in bytes: bytes on darwin, kilobytes on
// the BSDs (getrusage(2)).
var maxRSSUnit = map[bool]int64{true: 1, false: 1 << 10}[goruntime.GOOS == "darwin"]

// dieWithParent: there is no parent-death signal here.
func dieWithParent(*syscall.SysProcAttr) {}

// awaitExit waits until a child has ended. There is no wait here that leaves
// it unreaped, so that its number could in theory be another's by the time its
// group is killed: the kernel gives numbers out in turn.
func awaitExit(p *os.Process) {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(queue)
	unix.CloseOnExec(queue)
	var event unix.Kevent_t
	unix.SetKevent(&event, p.Pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	event.Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		// An error means that it has ended already.
		if _, err := unix.Kevent(queue, []unix.Kevent_t{event}, events, nil); err != unix.EINTR {
			return
		}
	}
}

// groupMembers: what is left of a group is only known to be there or not.
func groupMembers(pgid, from int) (members []int, alive bool) { return nil, true }
