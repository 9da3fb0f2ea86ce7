package process

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRSSUnit is the unit of ru_maxrss in bytes (getrusage(2)).
const maxRSSUnit = 1 << 10

func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// awaitExit waits until a child has ended, and leaves it unreaped.
func awaitExit(p *os.Process) {
	if pollExit(p) {
		return
	}
	var info unix.Siginfo
	for unix.Waitid(unix.P_PID, p.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// pollExit waits for the child's pidfd to become readable, which takes no
// thread; false where the kernel has none.
func pollExit(p *os.Process) bool {
	fd := -1
	if p.WithHandle(func(handle uintptr) {
		fd, _ = unix.FcntlInt(handle, unix.F_DUPFD_CLOEXEC, 0)
	}) != nil || fd < 0 {
		return false
	}
	if unix.SetNonblock(fd, true) != nil {
		unix.Close(fd)
		return false
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		return err == nil && info.Signo != 0
	}) == nil
}

// groupMembers lists the processes of a group whose numbers are at least from,
// and tells whether any of them is more than a zombie. What a process has
// started has a higher number than itself, until the numbers begin again.
func groupMembers(pgid, from int) (members []int, alive bool) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, false
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid < from {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp …; the name may have spaces and brackets
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 2 && string(fields[2]) == strconv.Itoa(pgid) {
			members = append(members, pid)
			alive = alive || fields[0][0] != 'Z' && fields[0][0] != 'X'
		}
	}
	return members, alive
}
