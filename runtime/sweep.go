package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dagon-star/dagon-star/runtime/process"
)

// folderVariable is the variable of every node's environment that holds the
// run's folder.
const folderVariable = "DAGON_FOLDER"

// Stale is a process that a run left.
type Stale struct {
	PID    int
	Run    string // the run's id
	Node   string
	Folder string // of the run
	// Killed tells that the run is dead, and the process has been killed. Err is
	// why not.
	Killed bool
	Err    error
}

// Swept is what a sweep has found.
type Swept struct {
	Processes []Stale
	Groups    []string // control groups that it removed
	Err       error    // what it could not do
}

// ErrUnknownRun is why a process is left alone whose run's folder is gone, or
// has become another's: the run may live.
var ErrUnknownRun = errors.New("its run's folder is not there any more, so that it cannot be told whether the run lives")

// Sweep finds what runs that are dead have left on this machine, of this user's
// as far as it may be seen, and removes it: processes, which are known by the
// run's id and folder in their environment, and control groups, by their names.
// A run that lives holds locks on its folder and its groups, and is never
// touched. Every run begins with a sweep.
func Sweep() Swept {
	var s Swept
	for try := 0; try < sweeps; try++ { // what is killed may have been forking
		found := false
		dead := map[string]bool{}
		for _, m := range process.FindMarked("DAGON_RUN", "DAGON_NAME", folderVariable) {
			stale := Stale{PID: m.PID, Run: m.Variables["DAGON_RUN"], Node: m.Variables["DAGON_NAME"], Folder: m.Variables[folderVariable]}
			key := stale.Run + " " + stale.Folder
			isDead, known := dead[key]
			if !known {
				var unknown bool
				isDead, unknown = isDeadRun(stale.Run, stale.Folder)
				if unknown && try == 0 {
					stale.Err = ErrUnknownRun
					s.Processes = append(s.Processes, stale)
					continue
				}
				dead[key] = isDead
			}
			if !isDead {
				continue
			}
			found = true
			stale.Err = m.Kill()
			stale.Killed = stale.Err == nil
			s.Processes = append(s.Processes, stale)
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

// isDeadRun tells whether nobody holds the lock of a run; unknown where that
// cannot be told.
func isDeadRun(id, folder string) (dead, unknown bool) {
	path := filepath.Join(folder, lockName)
	if text, err := os.ReadFile(path); err != nil || string(text) != id {
		return false, errors.Is(err, fs.ErrNotExist) || err == nil
	}
	lock, err := lockFile(path)
	if err != nil {
		return false, false
	}
	lock.Close()
	return true, false
}

// notices are what a run tells of what it swept.
func (s Swept) notices() []string {
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
