package process

import (
	"bytes"
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
	"time"

	"golang.org/x/sys/unix"
)

// maxRSSUnit is the unit of ru_maxrss in bytes (getrusage(2)).
const maxRSSUnit = 1 << 10

// kin knows which processes belong to a tree, by a mark that the kernel hands
// down from parent to child:
//
//   - sealed: a UTS namespace for each tree, which costs nothing, and which a
//     process leaves by making one of its own alone (unshare(2));
//   - cgroup: a control group for each tree;
//   - all: a variable of the environment, which execve(2) can drop.
//
// A process is lost that gives up both. Beside the mark there are the process
// group and session of the leader, and who is whose parent.
type kin struct {
	rung   Rung
	groups *groups
	// orphans tells the children of this process's main thread, if it is a
	// keeper: what was orphaned is given to it.
	orphans *os.File
	// hostProc is the machine's own /proc, where this process sees another.
	hostProc *os.File
	// namespaces are those that trees which have not ended were born in.
	namespaces *sync.Map
}

type mark struct {
	pidfd     int // of the leader, -1 where the kernel has none
	outside   int // the leader's number as the machine shows it
	namespace string
	others    *sync.Map // the namespaces of all trees
	tag       []byte    // as it stands in an environment, with a 0 before and after it
	group     *group    // of the tree, nil where it has none
	files     uint64    // the soft limit before it was limited; 0 where it is not
}

func (k kin) lockThread() {
	if k.rung == Sealed {
		dropInheritable()
	}
}

func (k kin) releaseThread() {
	if k.rung != Sealed { // there it is in a namespace of its own, and ends
		goruntime.UnlockOSThread()
	}
}

func (k kin) fork(m *mark, im image, attr *syscall.ProcAttr) (pid int, err error) {
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
		if m.namespace, err = os.Readlink("/proc/thread-self/ns/uts"); err != nil {
			return 0, err
		}
		m.others = k.namespaces
		m.others.Store(m.namespace, nil)
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
	if pid, err = syscall.ForkExec(im.path, im.argv, attr); err != nil {
		if m.others != nil {
			m.others.Delete(m.namespace)
		}
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
func (k kin) onHost(pidfd int) int {
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

// outside is a process's number as the machine shows it.
func (k kin) outside(pid int) int {
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

// conclude takes leave of a tree that has ended.
func (k kin) conclude(m *mark, e *Exit) {
	if m.others != nil {
		m.others.Delete(m.namespace)
	}
	if m.group == nil {
		return
	}
	e.OutOfMemory = m.group.outOfMemory()
	if err := m.group.remove(); err != nil {
		e.Note = err.Error()
	}
}

func (k kin) close() error {
	if k.adopts() {
		k.orphans.Close()
	}
	return k.groups.close()
}

func (k kin) adopts() bool { return k.orphans != nil }

// Can tells why a fault cannot be done on this machine; nil where it can.
func Can(fault string) error {
	switch fault {
	case FaultSignal, FaultPause, FaultLimitFiles:
		return nil
	case FaultLimitCPU:
		return newGroups("").can("cpu")
	case FaultLimitMemory:
		return newGroups("").can("memory")
	}
	return fmt.Errorf("no fault is named %q", fault)
}

// awaitExit waits until a child has ended, and leaves it unreaped.
func awaitExit(pid int, m *mark) {
	if m.pidfd >= 0 {
		polled := pollExit(m.pidfd)
		m.pidfd = -1
		if polled {
			return
		}
	}
	var info unix.Siginfo
	for unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// hasExited reports whether a child that has not been reaped has ended, or is on
// its way out: none of its threads goes on with its program.
func hasExited(pid int) bool {
	var info unix.Siginfo
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	}
	return err == nil && info.Signo != 0 || err == unix.ECHILD || isEnding(pid)
}

// isEnding reports whether all threads of a process are ending. One may be alone:
// a process goes on without its main thread.
func isEnding(pid int) bool {
	names, err := os.ReadDir(procPath(pid, "task"))
	for _, name := range names {
		text, err := os.ReadFile(procPath(pid, "task/"+name.Name()+"/stat"))
		f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if !isGone(err) && (len(f) <= 28 || !threadEnds(string(f[6]), string(f[28]))) {
			return false
		}
	}
	return err == nil && len(names) > 0
}

// isGone reports whether an error of /proc says that the process or thread is not
// there any more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// threadEnds reports whether a thread with these flags and pending signals
// (proc_pid_stat(5)) is ending: it exits, dies of a signal, dumps core, or has
// been told to end with its process.
func threadEnds(flags, pending string) bool {
	const exiting, postCoreDump, dumpCore, signaled = 0x4, 0x8, 0x200, 0x400 // PF_* of the kernel's sched.h
	f, _ := strconv.ParseUint(flags, 10, 64)
	p, _ := strconv.ParseUint(pending, 10, 64)
	return f&(exiting|postCoreDump|dumpCore|signaled) != 0 || p&(1<<(unix.SIGKILL-1)) != 0
}

// pollExit waits for a child's pidfd to become readable, which takes no thread;
// false where that does not work. It closes it.
func pollExit(pidfd int) bool {
	if unix.SetNonblock(pidfd, true) != nil {
		unix.Close(pidfd)
		return false
	}
	file := os.NewFile(uintptr(pidfd), "pidfd")
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

// stat is what /proc/PID/stat tells of a process (proc_pid_stat(5)).
type stat struct {
	pid, parent, group, session int
	state                       byte
	began                       string // in clock ticks since boot
	environment                 []byte // as it was executed with; nil where it has not been read
}

// runs tells whether the process is more than what is left of a dead one.
func (s stat) runs() bool { return s.state != 'Z' && s.state != 'X' }

// stopped tells whether the process has stopped. One that is in a wait which
// only a fatal signal ends stops before it goes on.
func (s stat) stopped() bool { return s.state == 'T' || s.state == 't' || s.state == 'D' }

func readStat(pid int) (s stat, ok bool) {
	text, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return s, false
	}
	// pid (name) state ppid pgrp …; the name may have spaces and brackets
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(f) < 20 {
		return s, false
	}
	s = stat{pid: pid, state: f[0][0], began: string(f[19])}
	for i, to := range []*int{&s.parent, &s.group, &s.session} {
		*to, _ = strconv.Atoi(string(f[1+i]))
	}
	return s, true
}

func procPath(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }

// processes are all that /proc shows but for those that are to be left out.
func processes(without func(pid int) bool) []stat {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var all []stat
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && !without(pid) {
			if s, ok := readStat(pid); ok {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b stat) int { return a.pid - b.pid })
	return all
}

// descendants adds to the processes that are in those whose parent is.
func descendants(all []stat, in map[int]bool) {
	for found := true; found; {
		found = false
		for _, s := range all {
			if !in[s.pid] && in[s.parent] {
				in[s.pid], found = true, true
			}
		}
	}
}

// members are the processes of the tree that run, but for its leader, in the
// order of their numbers. The leader has not been reaped.
func (c *child) members() []stat { return c.membersOf(c.local.processes()) }

// membersOf are those among the processes.
func (c *child) membersOf(all []stat) []stat {
	self := os.Getpid()
	in := map[int]bool{c.id: true}
	for _, s := range all {
		if s.pid != self && (s.group == c.id || s.session == c.id || c.mark.on(s)) {
			in[s.pid] = true
		}
	}
	descendants(all, in)
	if len(in) == 1 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(s stat) bool { return !in[s.pid] || !s.runs() || s.pid == c.id })
}

// processes are all but those that are the leaders of trees: none of them is
// another tree's.
func (l *local) processes() []stat {
	return processes(func(pid int) bool {
		_, leads := l.leaders.Load(pid)
		return leads
	})
}

// census takes looks at the machine's processes, one for all who wait for one.
type census struct {
	mu      sync.Mutex
	waiting []chan []stat // for the next look
	looking sync.WaitGroup
	busy    bool
}

// look returns what a look shows that began after the call. A machine runs many
// processes, and many of a run's may end at the same time: no more than a fifth
// of the time goes into looks.
func (l *local) look() []stat {
	c := &l.census
	seen := make(chan []stat, 1)
	c.mu.Lock()
	c.waiting = append(c.waiting, seen)
	if !c.busy {
		c.busy = true
		c.looking.Go(l.lookOut)
	}
	c.mu.Unlock()
	return <-seen
}

func (l *local) lookOut() {
	c := &l.census
	for {
		c.mu.Lock()
		waiting := c.waiting
		if c.waiting = nil; len(waiting) == 0 {
			c.busy = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		began := time.Now()
		all := l.processes()
		for i := range all {
			all[i].environment, _ = os.ReadFile(procPath(all[i].pid, "environ"))
		}
		took := time.Since(began)
		for _, seen := range waiting {
			seen <- all
		}
		time.Sleep(4 * took)
	}
}

// on tells whether a process bears the mark. The environment, which costs most
// to read, is not asked of what is where another tree was born.
func (m *mark) on(s stat) bool {
	if m.namespace != "" {
		namespace, err := os.Readlink(procPath(s.pid, "ns/uts"))
		if err == nil && namespace == m.namespace {
			return true
		}
		if _, anothers := m.others.Load(namespace); anothers {
			return false
		}
	}
	return m.group != nil && m.group.holds(s.pid) || m.tag != nil && s.hasVariable(m.tag)
}

// hasVariable tells whether a process was executed with a variable, given with
// a 0 before and after it.
func (s stat) hasVariable(variable []byte) bool {
	environment := s.environment
	if environment == nil {
		environment, _ = os.ReadFile(procPath(s.pid, "environ"))
	}
	return bytes.Contains(environment, variable) || bytes.HasPrefix(environment, variable[1:])
}

// send signals a process that was seen, and nobody who has its number since.
func (s stat) send(sig syscall.Signal) error {
	pidfd, err := unix.PidfdOpen(s.pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return unix.Kill(s.pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if now, ok := readStat(s.pid); !ok || now.began != s.began {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(pidfd, sig, nil, 0)
}

// signalTree sends a signal to the leader first, which so cannot replace what
// else is hit.
func (c *child) signalTree(sig syscall.Signal) (hit []int, err error) {
	members := c.members() // before it: a leader that has ended does not know its own any more
	err = c.held(func() error {
		c.killed = c.killed || sig == unix.SIGKILL
		return unix.Kill(c.id, sig)
	}, "signal process")
	if err != nil {
		return nil, err
	}
	hit = []int{c.id}
	var errs []error
	for _, s := range members {
		switch err := s.send(sig); {
		case err == nil:
			hit = append(hit, s.pid)
		case !errors.Is(err, unix.ESRCH):
			errs = append(errs, fmt.Errorf("cannot signal process %d: %w", s.pid, err))
		}
	}
	return hit, errors.Join(errs...)
}

// sureAfter is how often in a row nothing is to be found before there is
// nothing: a list of processes is not of one moment, and one that forks and
// exits while it is made hides its child.
const sureAfter = 2

// waiter waits a little, and longer each time.
type waiter struct {
	began time.Time
	pause time.Duration
}

// wait returns false once the time within has passed.
func (w *waiter) wait(within time.Duration) bool {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	w.pause = min(max(2*w.pause, 100*time.Microsecond), 20*time.Millisecond)
	time.Sleep(w.pause)
	return time.Since(w.began) < within
}

// sweep kills what of the tree has outlived its leader, and waits until it is
// gone. It returns who that was, left by their numbers as the machine shows them,
// and adds what they have used as far as it is this process that reaps them.
func (c *child) sweep(usage *syscall.Rusage) (swept, left []int) {
	l := c.local
	switch {
	case l.kin.rung == Cgroup && !c.mark.group.populated():
		return nil, nil
	case l.kin.adopts():
		l.reaping.Lock()
		defer l.reaping.Unlock()
		// The top of whatever outlives the leader was given to this process.
		if len(l.kin.adopted()) == 0 {
			return nil, nil
		}
	default:
		looks := 0
		for looks < sureAfter && len(c.membersOf(l.look())) == 0 {
			looks++
		}
		if looks == sureAfter {
			return nil, nil
		}
	}
	seen := map[int]stat{}
	for w, quiet := (waiter{}), 0; ; {
		members := c.members()
		for _, s := range members {
			if _, again := seen[s.pid]; !again {
				seen[s.pid] = s
				swept = append(swept, s.pid)
				left = append(left, l.kin.outside(s.pid))
			}
			s.send(syscall.SIGKILL)
		}
		dying := anyRuns(seen)
		if l.kin.adopts() {
			for _, pid := range l.kin.adopted() {
				if _, ours := seen[pid]; ours {
					dying = !reap(pid, usage) || dying
				}
			}
		}
		if quiet++; len(members) > 0 || dying {
			quiet = 0
		}
		if quiet == sureAfter || !w.wait(killedWithin) {
			return swept, left
		}
	}
}

// anyRuns tells whether one of the processes that were seen still runs. One that
// is dying may have lost what it is known by, and run for a moment yet.
func anyRuns(seen map[int]stat) bool {
	for pid, s := range seen {
		if now, ok := readStat(pid); ok && now.began == s.began && now.runs() {
			return true
		}
	}
	return false
}

// reap reaps a child if it has ended.
func reap(pid int, usage *syscall.Rusage) bool {
	var own syscall.Rusage
	n, err := syscall.Wait4(pid, nil, syscall.WNOHANG, &own)
	if n == pid {
		addUsage(usage, &own)
	}
	return n == pid || err != nil
}

// adopted are the children of this process that it has not forked: orphans are
// given to its main thread, which forks none.
func (k kin) adopted() (pids []int) {
	text := make([]byte, 512)
	for {
		n, err := k.orphans.ReadAt(text, 0)
		if errors.Is(err, io.EOF) {
			text = text[:n]
			break
		}
		if err != nil {
			return nil
		}
		text = make([]byte, 2*len(text))
	}
	for f := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stopTree stops the tree, and returns when all of it has stopped: what was
// started meanwhile too.
func (c *child) stopTree() (reached int, err error) {
	if !c.alive() {
		return 0, os.ErrProcessDone
	}
	if c.paused {
		return 0, nil
	}
	stopped, sent := map[int]bool{}, map[int]bool{}
	for w, quiet := (waiter{}), 0; ; {
		members := c.members()
		leader, ok := readStat(c.id)
		if !ok || !c.alive() {
			return 0, os.ErrProcessDone
		}
		members = append(members, leader)
		var running []int
		for _, s := range members {
			if !sent[s.pid] {
				sent[s.pid] = true
				if s.state == 'T' {
					stopped[s.pid] = true
					continue
				}
				running = append(running, s.pid)
				if err := s.send(unix.SIGSTOP); err == nil {
					reached++
				} else if !errors.Is(err, unix.ESRCH) {
					return reached, fmt.Errorf("cannot stop process %d: %w", s.pid, err)
				}
			} else if !s.stopped() {
				running = append(running, s.pid)
			}
		}
		c.paused, c.stopped = true, stopped
		if quiet++; len(running) > 0 {
			quiet = 0
		}
		if quiet == sureAfter {
			return reached, nil
		}
		if !w.wait(stoppedWithin) {
			return reached, fmt.Errorf("processes %v did not stop within %s", running, stoppedWithin)
		}
	}
}

func (c *child) continueTree() error {
	if !c.paused {
		return nil
	}
	c.paused = false
	var errs []error
	for _, s := range c.members() {
		if !c.stopped[s.pid] {
			if err := s.send(unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("cannot resume process %d: %w", s.pid, err))
			}
		}
	}
	if !c.stopped[c.id] {
		errs = append(errs, c.held(func() error { return unix.Kill(c.id, unix.SIGCONT) }, "resume process"))
	}
	return errors.Join(errs...)
}
