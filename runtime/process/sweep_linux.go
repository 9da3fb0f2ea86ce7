package process

import (
	"bytes"
	"os"
	"strings"
	"syscall"
)

// Marked is a process that was executed with certain variables in its
// environment.
type Marked struct {
	PID       int
	User      int // whose it is
	Variables map[string]string
	stat      stat
}

// FindMarked finds the processes that run, and whose environment this user may
// read, which were executed with all of the named variables.
func FindMarked(names ...string) []Marked {
	var all []Marked
	for _, s := range processes(none) {
		environment, err := os.ReadFile(procPath(s.pid, "environ"))
		if err != nil {
			continue
		}
		var of syscall.Stat_t
		if syscall.Stat(procPath(s.pid, ""), &of) != nil || !s.runs() {
			continue
		}
		m := Marked{PID: s.pid, User: int(of.Uid), Variables: map[string]string{}, stat: s}
		for variable := range bytes.SplitSeq(environment, []byte{0}) {
			for _, name := range names {
				if value, ok := strings.CutPrefix(string(variable), name+"="); ok {
					m.Variables[name] = value
				}
			}
		}
		if len(m.Variables) == len(names) {
			all = append(all, m)
		}
	}
	return all
}

// none leaves no process out.
func none(int) bool { return false }

// Kill kills the process, and nobody who has its number since.
func (m Marked) Kill() error { return m.stat.send(syscall.SIGKILL) }

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
