package process

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Seen is a process that runs on this machine.
type Seen struct {
	PID, Parent int
	Began       uint64            // in clock ticks since boot
	User        int               // whose it is
	Variables   map[string]string // those that were looked for
	Abandoned   string            // the run whose keeper it is, if its driver is dead
	stat        stat
}

// Look returns the processes that run, each with those of the named variables that
// it was executed with, if this user may read its environment.
func Look(names ...string) ([]Seen, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	all, err := proc.processes(nil)
	var seen []Seen
	for _, s := range all {
		var of unix.Stat_t
		if !s.runs() || unix.Fstatat(int(proc.dir.Fd()), strconv.Itoa(s.pid), &of, 0) != nil {
			continue
		}
		p := Seen{PID: s.pid, Parent: s.parent, User: int(of.Uid), Variables: map[string]string{}, stat: s}
		p.Began, _ = strconv.ParseUint(s.began, 10, 64)
		p.Abandoned = proc.abandoned(s)
		environment, _ := s.environ()
		for variable := range bytes.SplitSeq(environment, []byte{0}) {
			for _, name := range names {
				if value, ok := strings.CutPrefix(string(variable), name+"="); ok {
					p.Variables[name] = value
				}
			}
		}
		p.stat.of = nil // which is closed
		seen = append(seen, p)
	}
	return seen, err
}

// FindMarked finds the processes that run, and whose environment this user may
// read, which were executed with all of the named variables.
func FindMarked(names ...string) []Seen {
	all, _ := Look(names...)
	return slices.DeleteFunc(all, func(s Seen) bool { return len(s.Variables) < len(names) })
}

// Kill kills the process, and nobody who has its number since.
func (s Seen) Kill() error {
	proc, err := openProc()
	if err != nil {
		return err
	}
	defer proc.close()
	s.stat.of = proc
	return s.stat.send(syscall.SIGKILL)
}

// AwaitEnd waits until none of the processes runs, which have been killed, or for
// five seconds: what dies may hold locks for a moment yet.
func AwaitEnd(killed []Seen) {
	proc, err := openProc()
	if err != nil {
		return
	}
	defer proc.close()
	seen := map[int]stat{}
	for _, s := range killed {
		s.stat.of = proc
		seen[s.PID] = s.stat
	}
	for w := (waiter{}); anyRuns(seen) && w.wait(killedWithin); {
	}
}

// abandoned is the run whose keeper a process is, if its driver is dead; else "".
func (p *procfs) abandoned(s stat) string {
	command, _ := p.read(s.pid, "cmdline")
	run, ok := keeps(command)
	if !ok {
		return ""
	}
	info, _ := p.read(s.pid, "fdinfo/"+strconv.Itoa(driverFile))
	driver, dead := referred(info)
	if driver > 0 { // it may be what is left of a dead one, which nobody reaps
		is, ok, err := p.stat(driver)
		dead = err == nil && (!ok || !is.runs())
	}
	if !dead {
		return ""
	}
	return run
}

// keeps returns the run that a process keeps, if its command line is a keeper's.
func keeps(command []byte) (run string, ok bool) {
	f := strings.Split(string(command), "\x00")
	if len(f) != 4 || f[0] != keeperName || f[2] == "" {
		return "", false
	}
	return f[2], true
}

// referred is the process that a pidfd refers to, as its fdinfo says
// (pidfd_open(2)): 0 for one that cannot be seen from here, and for one that is
// gone, which is dead.
func referred(info []byte) (pid int, dead bool) {
	for line := range strings.Lines(string(info)) {
		if text, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(text))
			return max(pid, 0), err == nil && pid == -1
		}
	}
	return 0, false
}

// Moment is a point of time in the terms of Seen.Began.
type Moment struct {
	Boot  string // which boot of the machine it is counted from
	Ticks uint64 // clock ticks
}

// ticks is how many clock ticks a second has (proc_pid_stat(5), sysconf(3)).
const ticks = 100

// Now is the present moment.
func Now() Moment {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return Moment{strings.TrimSpace(string(boot)), uint64(now.Nano()) / uint64(time.Second/ticks)}
}

// killTagged kills what was executed with one of the variables, until there is
// nothing such.
func killTagged(tags []string) {
	proc, err := openProc()
	if err != nil {
		return // the next run sweeps it, or says so
	}
	defer proc.close()
	seen := map[int]stat{}
	for w, quiet := (waiter{}), 0; ; {
		all, err := proc.processes(nil)
		found := err != nil
		for _, s := range all {
			for _, tag := range tags {
				if tag == "" || !s.runs() {
					continue
				}
				if has, _ := s.hasVariable([]byte("\x00" + tag + "\x00")); has {
					found = true
					seen[s.pid] = s
					s.send(syscall.SIGKILL)
					break
				}
			}
		}
		if quiet++; found || anyRuns(seen) {
			quiet = 0
		}
		if quiet == sureAfter || !w.wait(killedWithin) {
			return
		}
	}
}
