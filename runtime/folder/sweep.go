package folder

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dagon-star/dagon-star/runtime/process"
)

// Leftover is a process that a run left, or that says it is a run's.
type Leftover struct {
	PID    int
	Run    string // the run's id
	Keeper bool   // it was the keeper of the run's processes
	Node   string // "" where it is not known
	Folder string // of the run; "" where it is not known
	// Killed reports that the run is dead, and the process has been killed. Err is
	// why not.
	Killed bool
	Err    error

	seen process.Seen
}

// SweepResult is what a sweep has found.
type SweepResult struct {
	Processes []Leftover
	Groups    []string // control groups that it removed
	Err       error    // what it could not do
}

var (
	// ErrUnknownRun is why a process is left alone whose run's folder is gone, has
	// become another's or a copy, or is not to be trusted: the run may live.
	ErrUnknownRun = errors.New("its run's folder is not there any more, or is another's or a copy, so that it cannot " +
		"be told whether the run lives")
	// ErrOutOfLife is why a process is left alone that has a dead run's variables
	// and did not begin while that run lived, as one that was given them by hand.
	ErrOutOfLife = errors.New("it did not begin while its run lived")
)

// Sweep finds what runs that are dead have left on this machine, of this user's
// as far as it may be seen, and removes it: processes, and control groups, by
// their names. A process was left by a run if it has the run's id and folder in its
// environment, and began while the run lived; so was a keeper whose orchestrator is
// dead; and so was all that descends from them. A run that lives holds locks on its
// folder and its groups. Every run begins with a sweep.
//
// A sweep never kills this process, its ancestors, or what it has started.
func Sweep() SweepResult {
	var s SweepResult
	lives, listed := lives{}, map[int]uint64{}
	var killed []process.Seen
	for range sweeps { // what is killed may have been forking
		all, err := process.Look("DAGON_RUN", "DAGON_NAME", Variable)
		if err != nil {
			s.Err = err
			break
		}
		turn := turnOf(leftovers(all, os.Getpid(), process.Now().Boot, lives.of))
		for _, left := range turn.now {
			if left.Err == nil {
				left.Err = left.seen.Kill()
				left.Killed = left.Err == nil
				killed = append(killed, left.seen)
			}
			if began, again := listed[left.PID]; !again || began != left.seen.Began {
				listed[left.PID] = left.seen.Began
				s.Processes = append(s.Processes, left)
			}
		}
		if !turn.again {
			break
		}
		time.Sleep(time.Millisecond)
	}
	process.AwaitEnd(killed) // a keeper holds its groups until it is gone
	var err error
	s.Groups, err = process.SweepGroups()
	s.Err = errors.Join(s.Err, err)
	return s
}

// sweeps bounds how often a sweep looks again after it has killed something.
const sweeps = 100

// turn is what one look of a sweep leads to.
type turn struct {
	now   []Leftover // to be killed, or told of where they have an Err
	again bool       // there is to be another look
}

// turnOf decides whose turn it is. A keeper is killed when nothing is left of what
// it keeps, which it is the parent of as long as it is there.
func turnOf(found []Leftover) (t turn) {
	var keepers []Leftover
	for _, l := range found {
		switch {
		case l.Keeper:
			keepers = append(keepers, l)
		default:
			t.now = append(t.now, l)
			t.again = t.again || l.Err == nil
		}
	}
	if !t.again {
		t.now = append(t.now, keepers...)
	}
	t.again = t.again || len(keepers) > 0
	return t
}

// state is what can be known of a run.
type state int

const (
	alive state = iota
	unknown
	dead
)

// life is when a run lived, in clock ticks since the machine was booted: not at
// end any more.
type life struct {
	boot       string
	start, end uint64
}

// holds reports whether a process that runs since the present boot began in the
// life.
func (l life) holds(began uint64, boot string) bool {
	return l.boot == boot && began >= l.start && began < l.end
}

// claim is what a process says of its run, and whose it is: what is to be trusted
// depends on that.
type claim struct {
	run, folder string
	user        int
}

// lives looks at each run once in a sweep.
type lives map[claim]struct {
	state state
	life  life
}

func (l lives) of(c claim) (state, life) {
	known, ok := l[c]
	if !ok {
		known.state, known.life = lookAt(c)
		l[c] = known
	}
	return known.state, known.life
}

// leftovers are those of all processes that runs left, or that say so. What has no
// Err is to be killed. It decides alone: of looks at runs.
func leftovers(all []process.Seen, self int, boot string, of func(claim) (state, life)) (found []Leftover) {
	parents := map[int]int{}
	for _, p := range all {
		parents[p.PID] = p.Parent
	}
	ancestors := map[int]bool{}
	for pid := self; pid != 0 && !ancestors[pid]; pid = parents[pid] {
		ancestors[pid] = true
	}
	// up goes from a process through its ancestors until stop.
	up := func(pid int, stop func(pid int) bool) (at int, ok bool) {
		for range all {
			if pid == 0 || stop(pid) {
				break
			}
			pid = parents[pid]
		}
		return pid, pid != 0 && stop(pid)
	}
	spared := func(pid int) bool {
		_, ours := up(pid, func(pid int) bool { return pid == self })
		return ours || ancestors[pid]
	}
	left := map[int]Leftover{} // what has the variables of a run that is not known to live
	for _, p := range all {
		if p.Abandoned != "" && !spared(p.PID) {
			left[p.PID] = Leftover{PID: p.PID, seen: p, Run: p.Abandoned, Keeper: true}
			continue
		}
		l := Leftover{PID: p.PID, seen: p, Run: p.Variables["DAGON_RUN"], Node: p.Variables["DAGON_NAME"], Folder: p.Variables[Variable]}
		if l.Run == "" || l.Folder == "" || spared(p.PID) {
			continue
		}
		switch state, life := of(claim{l.Run, l.Folder, p.User}); {
		case state == unknown:
			l.Err = ErrUnknownRun
		case state == dead && !life.holds(p.Began, boot):
			l.Err = ErrOutOfLife
		case state == alive:
			continue
		}
		left[p.PID] = l
	}
	for _, p := range all {
		own, says := left[p.PID]
		if says && own.Err == nil {
			found = append(found, own)
			continue
		}
		// What an ancestor of this process has started since may be its user's.
		above, ok := up(p.PID, func(pid int) bool {
			l, says := left[pid]
			return ancestors[pid] || says && l.Err == nil
		})
		switch {
		case ok && !ancestors[above]:
			by := left[above]
			by.PID, by.seen, by.Keeper = p.PID, p, false
			found = append(found, by)
		case says:
			found = append(found, own)
		}
	}
	return found
}

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
