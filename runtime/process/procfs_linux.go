package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procfs is a /proc that is held open. What is mounted over it later, by a node
// too, hides nothing of it.
//
// An error of it says that something cannot be known, and is never taken for the
// process not being there: that is isGone.
type procfs struct{ dir *os.File }

// openProc opens /proc, which has to be the one of this process's PID namespace:
// the numbers of another are others'.
func openProc() (*procfs, error) {
	dir, err := detach("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot open /proc: %w", err)
	}
	p := &procfs{dir: dir}
	text := make([]byte, 16)
	n, err := unix.Readlinkat(int(dir.Fd()), "self", text)
	if err != nil || string(text[:n]) != strconv.Itoa(os.Getpid()) {
		dir.Close()
		return nil, errors.New("what is mounted at /proc does not show the processes of this PID namespace")
	}
	return p, nil
}

// detach opens a folder, as a mount of its own where this process may make one:
// nothing that is mounted later, over it or in it, is seen there.
func detach(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err == nil {
		unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	} else if fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (p *procfs) close() error { return p.dir.Close() }

// openAt opens a file in a folder.
func openAt(dir *os.File, path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if err != unix.EINTR {
			return nil, &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), path), Err: err}
		}
	}
}

// readAt reads a file in a folder. A look at a machine reads thousands.
func readAt(dir *os.File, path string) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == unix.EINTR {
		fd, err = unix.Openat(int(dir.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), path), Err: err}
	}
	defer unix.Close(fd)
	text := make([]byte, 0, 1024) // most files of a process are short
	for {
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return text, &os.PathError{Op: "read", Path: filepath.Join(dir.Name(), path), Err: err}
		case n == 0:
			return text, nil
		default:
			text = text[:len(text)+n]
		}
		if len(text) == cap(text) {
			text = slices.Grow(text, cap(text))
		}
	}
}

func (p *procfs) read(pid int, file string) ([]byte, error) {
	return readAt(p.dir, strconv.Itoa(pid)+"/"+file)
}

func (p *procfs) readlink(path string) (string, error) {
	text := make([]byte, 64)
	n, err := unix.Readlinkat(int(p.dir.Fd()), path, text)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: "/proc/" + path, Err: err}
	}
	return string(text[:n]), nil
}

// numbers are the names in a folder of /proc that are numbers.
func (p *procfs) numbers(path string) (all []int, err error) {
	f, err := openAt(p.dir, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, err
}

// isGone reports whether an error says that the process or thread is not there
// any more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// stat is what /proc/PID/stat tells of a process (proc_pid_stat(5)).
type stat struct {
	of                          *procfs
	pid, parent, group, session int
	state                       byte
	threads                     int
	began                       string // in clock ticks since boot
	environment                 []byte // as it was executed with; nil where it has not been read
}

// stat looks at a process; ok is false if it is not there.
func (p *procfs) stat(pid int) (s stat, ok bool, err error) {
	text, err := p.read(pid, "stat")
	if isGone(err) {
		return s, false, nil
	}
	f := statFields(text)
	if err == nil && len(f) < 20 {
		err = fmt.Errorf("cannot read /proc/%d/stat: it is %q", pid, text)
	}
	if err != nil {
		return s, false, err
	}
	s = stat{of: p, pid: pid, state: f[0][0], began: string(f[19])}
	for i, to := range []*int{&s.parent, &s.group, &s.session} {
		*to, _ = strconv.Atoi(string(f[1+i]))
	}
	s.threads, _ = strconv.Atoi(string(f[17]))
	return s, true, nil
}

// statFields are the fields after the process's name, which may have spaces and
// brackets: pid (name) state ppid pgrp …
func statFields(text []byte) [][]byte {
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
}

// runs reports whether the process is more than what is left of a dead one. It may
// go on without its main thread, whose state is that of a dead one.
func (s stat) runs() bool { return s.state != 'Z' && s.state != 'X' || s.threads > 1 }

// stopped reports whether the process has stopped. One that is in a wait which
// only a fatal signal ends stops before it goes on.
func (s stat) stopped() bool { return s.isIn("TtD") }

// isIn reports whether the process is in one of the states: its main thread, or all
// others where that has ended.
func (s stat) isIn(states string) bool {
	if s.state != 'Z' && s.state != 'X' {
		return strings.IndexByte(states, s.state) >= 0
	}
	for _, t := range s.of.threads(s.pid) {
		if strings.IndexByte(states+"ZX", t.state) < 0 {
			return false
		}
	}
	return true
}

// thread is what /proc/PID/task/TID/stat tells of a thread.
type thread struct {
	state          byte
	flags, pending uint64
}

// threads are those of a process, up to one that neither ends nor has stopped; what
// cannot be read is zero.
func (p *procfs) threads(pid int) (all []thread) {
	folder := strconv.Itoa(pid) + "/task"
	numbers, err := p.numbers(folder)
	if err != nil && !isGone(err) {
		return []thread{{}}
	}
	for _, n := range numbers {
		text, err := readAt(p.dir, folder+"/"+strconv.Itoa(n)+"/stat")
		if isGone(err) {
			continue
		}
		t := thread{}
		if f := statFields(text); len(f) > 28 {
			t.state = f[0][0]
			t.flags, _ = strconv.ParseUint(string(f[6]), 10, 64)
			t.pending, _ = strconv.ParseUint(string(f[28]), 10, 64)
		}
		all = append(all, t)
		if !t.ends() && !strings.ContainsRune("TtD", rune(t.state)) {
			break
		}
	}
	return all
}

// ends reports whether the thread is ending: it exits, dies of a signal, dumps
// core, or has been told to end with its process.
func (t thread) ends() bool {
	const exiting, postCoreDump, dumpCore, signaled = 0x4, 0x8, 0x200, 0x400 // PF_* of the kernel's sched.h
	return t.flags&(exiting|postCoreDump|dumpCore|signaled) != 0 || t.pending&(1<<(unix.SIGKILL-1)) != 0
}

// isEnding reports whether all threads of a process are ending, or it is not there
// any more. One thread may end alone: a process goes on without its main thread.
func (p *procfs) isEnding(pid int) bool {
	for _, t := range p.threads(pid) {
		if !t.ends() {
			return false
		}
	}
	return true
}

// processes are all that are there but for those that are to be left out.
func (p *procfs) processes(without func(pid int) bool) ([]stat, error) {
	numbers, err := p.numbers(".")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	var all []stat
	for _, pid := range numbers {
		if without != nil && without(pid) {
			continue
		}
		s, ok, err := p.stat(pid)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, s)
		}
	}
	return all, nil
}

// teller is the folder of /proc that tells what a process has, and its stat: that
// of the process, which is its main thread's, or of another thread where the main
// one has ended, which has nothing any more.
func (p *procfs) teller(pid int) (folder string, stat [][]byte) {
	own := strconv.Itoa(pid)
	text, _ := readAt(p.dir, own+"/stat")
	if stat = statFields(text); !isExiting(stat) {
		return own, stat
	}
	threads, _ := p.numbers(own + "/task")
	for _, n := range threads {
		folder := own + "/task/" + strconv.Itoa(n)
		text, err := readAt(p.dir, folder+"/stat")
		if of := statFields(text); err == nil && n != pid && !isExiting(of) {
			return folder, of
		}
	}
	return own, stat
}

func isExiting(stat [][]byte) bool { return flagsOf(stat)&0x4 != 0 } // PF_EXITING of the kernel's sched.h

func flagsOf(stat [][]byte) (flags uint64) {
	if len(stat) > 6 {
		flags, _ = strconv.ParseUint(string(stat[6]), 10, 64)
	}
	return flags
}

// readlinkOf reads a link in a process's folder.
func (p *procfs) readlinkOf(pid int, file string) (string, error) {
	own := strconv.Itoa(pid)
	text, err := p.readlink(own + "/" + file)
	if err != nil {
		if folder, _ := p.teller(pid); folder != own {
			return p.readlink(folder + "/" + file)
		}
	}
	return text, err
}

// environ is the environment that a process was executed with. It is waited for
// where the process is just being executed, and has none to be seen.
func (s stat) environ() ([]byte, error) {
	p, headless := s.of, s.state == 'Z' || s.state == 'X'
	for w := (waiter{}); ; {
		text, err := p.read(s.pid, "environ")
		// Where there is no memory it is empty, or not there, or, as it is nobody's,
		// to be read by root alone.
		if len(text) > 0 || err != nil && !isGone(err) && !headless {
			return text, err
		}
		folder, fields := p.teller(s.pid)
		if hasNoEnvironment(fields) {
			return nil, nil
		}
		text, err = readAt(p.dir, folder+"/environ")
		if len(text) > 0 || err != nil && !isGone(err) || !w.wait(stoppedWithin) {
			return text, err // a thread that is gone may have left others
		}
	}
}

// hasNoEnvironment reports whether a thread's stat says that it has no environment,
// and will have none: it is of a process that is gone, exits or is the kernel's, or
// was executed with none. Between two programs it has a memory, and the end of its
// environment is nowhere in it.
func hasNoEnvironment(stat [][]byte) bool {
	const kernelThread = 0x200000 // PF_KTHREAD of the kernel's sched.h
	if len(stat) <= 48 || isExiting(stat) || flagsOf(stat)&kernelThread != 0 {
		return true
	}
	start, end := string(stat[47]), string(stat[48])
	return end != "0" && start == end
}

// hasVariable reports whether a process was executed with a variable, given with
// a 0 before and after it.
func (s stat) hasVariable(variable []byte) (bool, error) {
	environment := s.environment
	if environment == nil {
		var err error
		if environment, err = s.environ(); err != nil {
			return false, err
		}
	}
	return bytes.Contains(environment, variable) || bytes.HasPrefix(environment, variable[1:]), nil
}

// send signals a process that was seen, and nobody who has its number since.
func (s stat) send(sig unix.Signal) error {
	pidfd, err := unix.PidfdOpen(s.pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return unix.Kill(s.pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	now, ok, err := s.of.stat(s.pid)
	if err != nil {
		return err
	}
	if !ok || now.began != s.began {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(pidfd, sig, nil, 0)
}

// anyRuns reports whether one of the processes that were seen still runs, as far
// as can be known. One that is dying may have lost what it is known by, and run for
// a moment yet.
func anyRuns(seen map[int]stat) bool {
	for pid, s := range seen {
		if now, ok, err := s.of.stat(pid); err != nil || ok && now.began == s.began && now.runs() {
			return true
		}
	}
	return false
}
