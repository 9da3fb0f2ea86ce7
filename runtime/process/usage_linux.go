package process

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// meter is what is remembered between two looks at what trees use.
type meter struct {
	mu    sync.Mutex
	used  map[*child]time.Duration // what each had used at the last look
	found map[seen]*child          // whose the orphans are; nil for nobody's
}

// seen is a process that was seen, and nobody who has its number since.
type seen struct {
	pid   int
	began string
}

// load is what /proc/PID/stat tells that a process uses.
type load struct {
	seen
	parent, group, session int
	cpu                    time.Duration // with that of the children that it has waited for
	memory                 int64
}

func (l *local) usage(context.Context) (map[tree]Usage, error) {
	used, err := l.used()
	all := map[tree]Usage{}
	for c, u := range used {
		all[c] = u
	}
	return all, err
}

// used is what the trees use whose leaders have not been reaped: as their control groups
// tell, where a tree was born in one, else by the processes that are known to be of it by
// their parents, groups and sessions, or where they have lost those, by their marks.
func (l *local) used() (map[*child]Usage, error) {
	l.meter.mu.Lock()
	defer l.meter.mu.Unlock()
	leaders := map[int]*child{}
	used := map[*child]Usage{}
	l.leaders.Range(func(pid, c any) bool {
		leaders[pid.(int)] = c.(*child)
		return true
	})
	rest := 0
	for _, c := range leaders {
		if u, known := c.groupUsage(); known {
			used[c] = u
		} else {
			rest++
		}
	}
	if rest > 0 {
		loads, err := l.trees.proc.loads()
		if err != nil {
			return nil, err
		}
		found := map[seen]*child{}
		marked := func(p load) *child {
			c, known := l.meter.found[p.seen]
			if !known {
				c = l.markedBy(p, leaders)
			}
			found[p.seen] = c
			return c
		}
		if !l.trees.adopts() {
			marked = func(load) *child { return nil } // a stranger's parent is as likely
		}
		for c, u := range sums(loads, leaders, os.Getpid(), marked) {
			if _, known := used[c]; !known {
				used[c] = u
			}
		}
		l.meter.found = found
	}
	last := l.meter.used
	l.meter.used = map[*child]time.Duration{}
	for c, u := range used {
		u.CPU = max(u.CPU, last[c])
		used[c], l.meter.used[c] = u, u.CPU
	}
	return used, nil
}

// markedBy is the child whose mark a process bears, nil where none is known to.
func (l *local) markedBy(p load, leaders map[int]*child) *child {
	s, ok, err := l.trees.proc.stat(p.pid)
	if err != nil || !ok || s.began != p.began {
		return nil
	}
	for _, c := range leaders {
		if !c.faults.TryLock() { // who does something to it may change its marks
			continue
		}
		on, _ := c.mark.on(s)
		c.faults.Unlock()
		if on {
			return c
		}
	}
	return nil
}

// sums is what trees use by the loads of processes. A process is of the tree of the leader
// that it is, or whose group or session it is in; else of that of its parent. For the
// children of the keeper that so are nobody's, marked says whose they are.
func sums(loads map[int]load, leaders map[int]*child, keeper int, marked func(load) *child) map[*child]Usage {
	owners := map[int]*child{}
	var owner func(pid int) *child
	owner = func(pid int) *child {
		p, there := loads[pid]
		if !there || pid == keeper {
			return nil
		}
		if c, known := owners[pid]; known {
			return c
		}
		owners[pid] = nil // a list of processes is not of one moment: parents may form a ring
		c := leaders[pid]
		for _, number := range []int{p.group, p.session} {
			if c == nil {
				c = leaders[number]
			}
		}
		switch {
		case c != nil:
		case p.parent == keeper:
			c = marked(p)
		default:
			c = owner(p.parent)
		}
		owners[pid] = c
		return c
	}
	used := map[*child]Usage{}
	for pid, p := range loads {
		if c := owner(pid); c != nil {
			u := used[c]
			u.CPU += p.cpu
			u.Memory += p.memory
			u.Processes++
			used[c] = u
		}
	}
	return used
}

// groupUsage is what the control group that a tree was born in tells; known is false where
// it has none, or that does not tell all.
func (c *child) groupUsage() (u Usage, known bool) {
	if c.local.trees.rung != Cgroup || !c.limiting.TryLock() { // who limits it may change its groups
		return u, false
	}
	defer c.limiting.Unlock()
	g := c.mark.group
	if g == nil || g.dirs[""].isNone() {
		return u, false
	}
	dir := g.dirs[""]
	micros, told := field(dir.read("cpu.stat"), "usage_usec")
	memory, err := strconv.ParseInt(dir.read("memory.current"), 10, 64)
	if !told || err != nil {
		return u, false
	}
	u = Usage{CPU: time.Duration(micros) * time.Microsecond, Memory: memory}
	u.Processes = len(strings.Fields(dir.read("cgroup.procs")))
	return u, true
}

// field is the number after a name in lines of names and numbers.
func field(text, name string) (n int64, ok bool) {
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(line, name+" "); is {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// loads are those of all processes that run.
func (p *procfs) loads() (map[int]load, error) {
	numbers, err := p.numbers(".")
	if err != nil {
		return nil, err
	}
	all := make(map[int]load, len(numbers))
	for _, pid := range numbers {
		text, err := p.read(pid, "stat")
		if err != nil { // it is gone, or is none of ours
			continue
		}
		if l, ok := parseLoad(pid, statFields(text)); ok {
			all[pid] = l
		}
	}
	return all, nil
}

// parseLoad reads the fields of a /proc/PID/stat (proc_pid_stat(5)); ok is false for what
// is left of a dead process.
func parseLoad(pid int, fields [][]byte) (l load, ok bool) {
	if len(fields) < 22 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return l, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(string(fields[i]), 10, 64)
		return n
	}
	l.seen = seen{pid, string(fields[19])}
	l.parent, l.group, l.session = int(number(1)), int(number(2)), int(number(3))
	for i := 11; i <= 14; i++ { // utime stime cutime cstime
		l.cpu += time.Duration(number(i)) * (time.Second / ticks)
	}
	l.memory = number(21) * int64(os.Getpagesize())
	return l, true
}
