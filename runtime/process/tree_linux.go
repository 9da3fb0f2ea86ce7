package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRSSUnit is the unit of ru_maxrss in bytes (getrusage(2)).
const maxRSSUnit = 1 << 10

// trees knows which processes belong to which tree, by marks that the kernel hands
// down from parent to child:
//
//   - sealed: a UTS namespace for each tree, which costs nothing, and which a
//     process leaves by making one of its own alone (unshare(2)); and a timer slack,
//     which it leaves by setting another (see slacks);
//   - cgroup: a control group for each tree;
//   - cgroup, supervised: a limit that limits nothing (see serials);
//   - all: a variable of the environment, which execve(2) can drop.
//
// A process is lost that gives up all. Beside the marks there are the process
// group and session of the leader, and who is whose parent.
type trees struct {
	rung   Rung
	proc   *procfs
	groups *groups
	// orphans tells the children of this process's main thread, if it is a
	// keeper: what was orphaned is given to it.
	orphans *os.File
	// hostProc is the machine's own /proc, where this process sees another.
	hostProc *os.File
	// namespaces are those that trees which have not ended were born in, with whose
	// they are.
	namespaces *sync.Map
	slacks     *slacks  // nil where it is no mark
	serials    *serials // "
}

type mark struct {
	pidfd     int // of the leader, -1 where the kernel has none
	outside   int // the leader's number as the machine shows it
	namespace string
	others    *sync.Map // the namespaces of all trees
	slack     uint64    // the timer slack that the tree was born with; 0 where it is no mark
	serial    uint64    // 0 where it is no mark
	serials   *serials  // which gave it
	tag       []byte    // as it stands in an environment, with a 0 before and after it
	group     *group    // of the tree, nil where it has none
	files     uint64    // the soft limit before it was limited; 0 where it is not

	// killed are those that were sent SIGKILL with the leader: one that is dying may
	// have lost what it is known by. The child's lock is held for it.
	killed map[int]stat
}

func (k trees) lockThread() {
	if k.rung == Sealed {
		dropInheritable()
	}
}

func (k trees) releaseThread() {
	if k.rung != Sealed { // there it is in a namespace of its own, and ends
		goruntime.UnlockOSThread()
	}
}

func (k trees) fork(m *mark, im image, attr *syscall.ProcAttr) (pid int, err error) {
	m.pidfd = -1
	attr.Sys.PidFD = &m.pidfd
	if im.tag != "" {
		m.tag = []byte("\x00" + im.tag + "\x00")
	}
	switch k.rung {
	case Sealed:
		// The thread moves, and the child is born there: it can be gone before
		// anything could be asked of it.
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return 0, fmt.Errorf("cannot make a UTS namespace: %w", err)
		}
		if m.namespace, err = k.proc.readlink("thread-self/ns/uts"); err != nil {
			return 0, err
		}
		m.others = k.namespaces
		m.others.Store(m.namespace, m)
		m.slack = k.slacks.take()
	case Cgroup:
		if m.group, err = k.groups.make(); err != nil {
			return 0, err
		}
		dir, err := m.group.open()
		if err != nil {
			m.group.remove()
			return 0, err
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
		fallthrough
	default:
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	m.serials = k.serials
	m.serial, pid, err = k.serials.fork(func() (int, error) { return syscall.ForkExec(im.path, im.argv, attr) })
	if err != nil {
		k.unmark(m)
		if m.group != nil {
			m.group.remove()
		}
		return 0, err
	}
	if m.outside = pid; k.hostProc != nil {
		m.outside = k.onHost(m.pidfd)
	}
	return pid, nil
}

// onHost is the number on the whole machine of the process that a pidfd is of;
// 0 where it is not known.
func (k trees) onHost(pidfd int) int {
	fd, err := unix.Openat(int(k.hostProc.Fd()), "self/fdinfo/"+strconv.Itoa(pidfd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	text := make([]byte, 512)
	n, _ := unix.Read(fd, text)
	for line := range strings.Lines(string(text[:max(n, 0)])) {
		if rest, ok := strings.CutPrefix(line, "Pid:"); ok { // as the file system of the file numbers it
			pid, _ := strconv.Atoi(strings.TrimSpace(rest))
			return pid
		}
	}
	return 0
}

// numberOutside is a process's number as the machine shows it.
func (k trees) numberOutside(pid int) int {
	if k.hostProc == nil {
		return pid
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(pidfd)
	return k.onHost(pidfd)
}

// unmark gives back the marks of a tree of which nothing is left.
func (k trees) unmark(m *mark) {
	if m.others != nil {
		m.others.CompareAndDelete(m.namespace, m)
	}
	k.slacks.give(m.slack)
}

// conclude takes leave of a tree that has ended.
func (k trees) conclude(m *mark, e *Exit) {
	k.unmark(m)
	if m.group == nil {
		return
	}
	e.OutOfMemory = m.group.outOfMemory()
	if err := m.group.remove(); err != nil {
		e.note(err)
	}
}

func (k trees) close() error {
	if k.adopts() {
		k.orphans.Close()
	}
	return errors.Join(k.groups.close(), k.proc.close())
}

func (k trees) adopts() bool { return k.orphans != nil }

// Can tells why a fault cannot be done on this machine; nil where it can.
func Can(fault string) error {
	switch fault {
	case FaultSignal, FaultPause, FaultLimitFiles:
		return nil
	case FaultLimitCPU:
		return canGroup("cpu")
	case FaultLimitMemory:
		return canGroup("memory")
	}
	return fmt.Errorf("no fault is named %q", fault)
}

// members are the processes of the tree that run, but for its leader, in the
// order of their numbers. The leader has not been reaped.
func (c *child) members() ([]stat, error) {
	all, err := c.local.processes()
	if err != nil {
		return nil, err
	}
	return c.membersOf(all)
}

// membersOf are those among the processes.
func (c *child) membersOf(all []stat) ([]stat, error) {
	self := os.Getpid()
	in := map[int]bool{c.id: true}
	unsure := map[int]error{}
	for _, s := range all {
		if s.pid == self {
			continue
		}
		if s.group == c.id || s.session == c.id {
			in[s.pid] = true
			continue
		}
		on, err := c.mark.on(s)
		if on {
			in[s.pid] = true
		} else if err != nil {
			unsure[s.pid] = err
		}
	}
	descendants(all, in)
	for pid, err := range unsure {
		if in[pid] || errors.Is(err, fs.ErrPermission) && !(c.local.trees.adopts() && isOrphan(all, pid, self)) {
			continue
		}
		leader, ok, unseen := c.local.trees.proc.stat(c.id)
		if ok && unseen == nil && foreign(all, pid, leader, c.local.leads) {
			continue
		}
		if !c.local.trees.proc.isEnding(pid) { // which is root's, whosever it was
			return nil, fmt.Errorf("cannot see whose process %d is, which no parent, session, group, limit or start time tells either: %w", pid, err)
		}
	}
	if len(in) == 1 {
		return nil, nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(s stat) bool { return !in[s.pid] || !s.runs() || s.pid == c.id }), nil
}

func (l *local) leads(pid int) bool {
	_, leads := l.leaders.Load(pid)
	return leads
}

// processes are all but those that are the leaders of trees: none of them is
// another tree's.
func (l *local) processes() ([]stat, error) {
	return l.trees.proc.processes(l.leads)
}

// on reports whether a process bears the mark. The environment, which costs most
// to read, is not asked of what bears another tree's. An error is why it
// cannot be known.
func (m *mark) on(s stat) (bool, error) {
	var unread error
	note := func(err error) {
		if err != nil && !isGone(err) {
			unread = err
		}
	}
	if m.namespace != "" {
		namespace, err := s.of.readlinkOf(s.pid, "ns/uts")
		// Its number is given to another's once nobody is in it.
		if whose, of := m.others.Load(namespace); err == nil && of {
			return whose == m, nil
		}
		note(err)
	}
	if m.group != nil {
		holds, err := m.group.holds(s)
		if holds {
			return true, nil
		}
		note(err)
	}
	if m.slack != 0 && slackOf(s) == m.slack {
		return true, nil
	}
	if m.serial != 0 {
		if serial := serialOf(s); serial == m.serial {
			return true, nil
		} else if m.serials.gave(serial) {
			return false, nil
		}
	}
	if m.tag != nil {
		has, err := s.hasVariable(m.tag)
		if has {
			return true, nil
		}
		note(err)
	}
	return false, unread
}

// adopted are the children of this process that it has not forked: orphans are
// given to its main thread, which forks none.
func (k trees) adopted() (pids []int, err error) {
	text := make([]byte, 512)
	for {
		n, err := k.orphans.ReadAt(text, 0)
		if errors.Is(err, io.EOF) {
			text = text[:n]
			break
		}
		if err != nil {
			return nil, err
		}
		text = make([]byte, 2*len(text))
	}
	for f := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
