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
	all, err := processes(none), error(nil)
	var seen []Seen
	for _, s := range all {
		var of syscall.Stat_t
		if !s.runs() || syscall.Stat(procPath(s.pid, ""), &of) != nil {
			continue
		}
		p := Seen{PID: s.pid, Parent: s.parent, User: int(of.Uid), Variables: map[string]string{}, stat: s}
		p.Began, _ = strconv.ParseUint(s.began, 10, 64)
		environment, _ := os.ReadFile(procPath(s.pid, "environ"))
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

// none leaves no process out.
func none(int) bool { return false }

// Kill kills the process, and nobody who has its number since.
func (s Seen) Kill() error { return s.stat.send(syscall.SIGKILL) }

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

// tagged are the processes that were executed with one of the variables.
func tagged(tags []string) []stat {
	var found []stat
	for _, s := range processes(none) {
		for _, tag := range tags {
			if tag != "" && s.runs() && s.hasVariable([]byte("\x00"+tag+"\x00")) {
				found = append(found, s)
				break
			}
		}
	}
	return found
}

// killAll kills what is found until nothing is.
func killAll(find func() []stat) {
	seen := map[int]stat{}
	for w, quiet := (waiter{}), 0; ; {
		found := find()
		for _, s := range found {
			seen[s.pid] = s
			s.send(syscall.SIGKILL)
		}
		if quiet++; len(found) > 0 || anyRuns(seen) {
			quiet = 0
		}
		if quiet == sureAfter || !w.wait(killedWithin) {
			return
		}
	}
}
