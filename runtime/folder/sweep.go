package folder

import (
	"errors"
	"fmt"
	"time"

	"github.com/dagon-star/dagon-star/runtime/process"
)

// Leftover is a process that a run left.
type Leftover struct {
	PID    int
	Run    string // the run's id
	Node   string
	Folder string // of the run
	// Killed reports that the run is dead, and the process has been killed. Err is
	// why not.
	Killed bool
	Err    error
}

// SweepResult is what a sweep has found.
type SweepResult struct {
	Processes []Leftover
	Groups    []string // control groups that it removed
	Err       error    // what it could not do
}

// ErrUnknownRun is why a process is left alone whose run's folder is gone, has
// become another's or a copy, or is not to be trusted: the run may live.
var ErrUnknownRun = errors.New("its run's folder is not there any more, or is another's or a copy, so that it cannot be told whether the run lives")

// Sweep finds what runs that are dead have left on this machine, of this user's
// as far as it may be seen, and removes it: processes, which are known by the
// run's id and folder in their environment, and control groups, by their names.
// A run that lives holds locks on its folder and its groups, and is never
// touched. Every run begins with a sweep.
func Sweep() SweepResult {
	var s SweepResult
	for try := 0; try < sweeps; try++ { // what is killed may have been forking
		found := false
		type run struct { // what is to be trusted depends on whose process it is
			id, folder string
			user       int
		}
		dead := map[run]bool{}
		for _, m := range process.FindMarked("DAGON_RUN", "DAGON_NAME", Variable) {
			left := Leftover{PID: m.PID, Run: m.Variables["DAGON_RUN"], Node: m.Variables["DAGON_NAME"], Folder: m.Variables[Variable]}
			key := run{left.Run, left.Folder, m.User}
			isDead, known := dead[key]
			if !known {
				var unknown bool
				isDead, unknown = isDeadRun(left.Run, left.Folder, m.User)
				if unknown && try == 0 {
					left.Err = ErrUnknownRun
					s.Processes = append(s.Processes, left)
					continue
				}
				dead[key] = isDead
			}
			if !isDead {
				continue
			}
			found = true
			left.Err = m.Kill()
			left.Killed = left.Err == nil
			s.Processes = append(s.Processes, left)
		}
		if !found {
			break
		}
		time.Sleep(time.Millisecond)
	}
	var err error
	s.Groups, err = process.SweepGroups()
	s.Err = errors.Join(s.Err, err)
	return s
}

// sweeps bounds how often a sweep looks again after it has killed something.
const sweeps = 100

// Notices are what a run tells of what it swept.
func (s SweepResult) Notices() []string {
	var out []string
	killed := map[string]int{}
	var runs []string
	for _, p := range s.Processes {
		if p.Killed {
			if killed[p.Run]++; killed[p.Run] == 1 {
				runs = append(runs, p.Run)
			}
		}
	}
	for _, id := range runs {
		what := "a process, which was killed"
		if killed[id] > 1 {
			what = fmt.Sprintf("%d processes, which were killed", killed[id])
		}
		out = append(out, fmt.Sprintf("run %s is dead and had left %s", id, what))
	}
	for _, path := range s.Groups {
		out = append(out, "a dead run had left the control group "+path+", which was removed")
	}
	return out
}
