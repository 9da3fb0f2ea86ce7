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
		s.of = nil // which is closed
		p := Seen{PID: s.pid, Parent: s.parent, User: int(of.Uid), Variables: map[string]string{}, stat: s}
		p.Began, _ = strconv.ParseUint(s.began, 10, 64)
		environment, _ := proc.environ(s.pid)
		for variable := range bytes.SplitSeq(environment, []byte{0}) {
			for _, name := range names {
				if value, ok := strings.CutPrefix(string(variable), name+"="); ok {
					p.Variables[name] = value
				}
			}
		}
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
