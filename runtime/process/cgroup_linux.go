package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the name of every control group that a run makes; the
// run's id follows.
const groupPrefix = "dagon-star-"

// hierarchy is a mounted hierarchy of control groups (cgroups(7)).
type hierarchy struct {
	version     int
	controllers []string // of version 1
	path        string   // where this process is in it
	top         string   // where it is mounted
}

// hierarchies are those that are mounted where this process can see them.
func hierarchies() []hierarchy {
	own := map[string]string{} // path by controllers, "" for version 2
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			own[f[1]] = f[2]
		}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer mounts.Close()
	var all []hierarchy
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		// id parent major:minor root mount-point options … - type source super-options
		before, after, _ := strings.Cut(lines.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 3 {
			continue
		}
		h := hierarchy{top: f[4]}
		path := ""
		switch g[0] {
		case "cgroup2":
			h.version, path = 2, own[""]
		case "cgroup":
			h.version, h.controllers = 1, strings.Split(g[2], ",")
			for controllers, p := range own {
				if controllers != "" && slices.Contains(h.controllers, strings.Split(controllers, ",")[0]) {
					path = p
				}
			}
		default:
			continue
		}
		inside, err := filepath.Rel(f[3], path)
		if err != nil || path == "" || strings.HasPrefix(inside, "..") {
			inside = "." // the mount does not show where this process is
		}
		h.path = filepath.Join(h.top, inside)
		all = append(all, h)
	}
	return all
}

// above are the control groups from this process's own up to the top.
func (h hierarchy) above() []string {
	var all []string
	for dir := h.path; ; dir = filepath.Dir(dir) {
		all = append(all, dir)
		if dir == h.top || len(dir) <= len(h.top) {
			return all
		}
	}
}

func writable(dir string) bool {
	return unix.Access(dir, unix.W_OK) == nil && unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) == nil
}

func readGroup(dir, file string) string {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(text))
}

func writeGroup(dir, file, value string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(value), 0)
}

// groups are the control groups of one run: one group for the run in every
// hierarchy that is used, made when it is needed, with one in it for each tree.
type groups struct {
	run string

	mu     sync.Mutex
	parent map[string]string // by controller, "" for none in particular; "" where there is none
	dirs   map[string]*os.File
	next   int
}

func newGroups(run string) *groups {
	return &groups{run: run, parent: map[string]string{}, dirs: map[string]*os.File{}}
}

// find finds where groups with a controller can be made: for "", one of version
// 2, if there is a choice one with controllers for the groups in it.
func (g *groups) find(controller string) (parent string, version int, err error) {
	var reasons []string
	for _, h := range hierarchies() {
		switch {
		case h.version == 1 && slices.Contains(h.controllers, controller):
			if writable(h.path) {
				return h.path, 1, nil
			}
			reasons = append(reasons, fmt.Sprintf("the control group %s cannot be written to", h.path))
		case h.version == 2:
			best, most := "", -1
			for _, dir := range h.above() {
				if !writable(dir) {
					continue
				}
				has := strings.Fields(readGroup(dir, "cgroup.subtree_control"))
				count := 0
				for _, c := range []string{"cpu", "memory"} {
					if slices.Contains(has, c) {
						count++
					}
				}
				if count > most {
					best, most = dir, count
				}
			}
			if best == "" {
				reasons = append(reasons, fmt.Sprintf("neither the control group %s nor one above it can be written to", h.path))
				continue
			}
			if controller == "" || slices.Contains(strings.Fields(readGroup(best, "cgroup.subtree_control")), controller) {
				return best, 2, nil
			}
			reasons = append(reasons, fmt.Sprintf("the control group %s gives no %s controller to those in it", best, controller))
		}
	}
	if len(reasons) == 0 {
		what := "control groups of version 2"
		if controller != "" {
			what = "control groups with a " + controller + " controller"
		}
		reasons = []string{"no " + what + " are mounted"}
	}
	return "", 0, errors.New(strings.Join(reasons, "; "))
}

func (g *groups) can(controller string) error {
	_, _, err := g.find(controller)
	return err
}

// dir is the run's own group under a parent. It is held locked: whoever finds
// it unlocked knows that the run is dead.
func (g *groups) dir(parent string, version int) (string, error) {
	path := filepath.Join(parent, groupPrefix+g.run)
	if g.dirs[path] != nil {
		return path, nil
	}
	for try := 0; ; try++ {
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("cannot make a control group: %w", err)
		}
		f, err := lockGroup(path)
		if err == nil {
			g.dirs[path] = f
			break
		}
		if try == 10 {
			return "", fmt.Errorf("cannot lock the control group %s: %w", path, err)
		}
	}
	if version == 2 {
		for _, c := range []string{"+cpu", "+memory"} {
			writeGroup(path, "cgroup.subtree_control", c) // where it is not to be had, find has said so
		}
	}
	return path, nil
}

// lockGroup locks a group, if it is there and nobody else does.
func lockGroup(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = os.Stat(path) // it may have been swept before it was locked
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// make makes a group of version 2 for a tree.
func (g *groups) make() (*group, error) {
	n := &group{of: g, dirs: map[string]string{}}
	return n, n.in("")
}

func (g *groups) close() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for path, f := range g.dirs {
		errs = append(errs, removeGroup(path), f.Close())
	}
	clear(g.dirs)
	return errors.Join(errs...)
}

// SweepGroups removes the control groups of runs that are dead, with what runs
// in them, and returns their paths. A run that lives holds a lock on its own. Those
// stay that this process or one of its ancestors is in.
func SweepGroups() (removed []string, err error) {
	seen, own := map[string]bool{}, ownGroups()
	var errs []error
	for _, h := range hierarchies() {
		for _, dir := range h.above() {
			found, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
			for _, path := range found {
				if seen[path] {
					continue
				}
				seen[path] = true
				if own[filepath.Base(path)] {
					continue
				}
				lock, err := lockGroup(path)
				if err != nil { // it lives, or is another user's
					continue
				}
				if err := removeGroup(path); err != nil {
					errs = append(errs, err)
				} else {
					removed = append(removed, path)
				}
				lock.Close()
			}
		}
	}
	return removed, errors.Join(errs...)
}

// ownGroups are the names of the control groups that this process and its
// ancestors are in.
func ownGroups() map[string]bool {
	own := map[string]bool{}
	for pid := os.Getpid(); pid > 0; {
		text, _ := os.ReadFile(procPath(pid, "cgroup"))
		for line := range strings.Lines(string(text)) {
			for name := range strings.SplitSeq(strings.TrimSpace(line), "/") {
				own[name] = true
			}
		}
		s, ok := readStat(pid)
		if !ok {
			break
		}
		pid = s.parent
	}
	return own
}

// group is the control group of a tree: one in each hierarchy that is used.
type group struct {
	of   *groups
	name string
	dirs map[string]string // by controller, "" for that which the tree was born in
}

// in makes the group where a controller is.
func (n *group) in(controller string) error {
	if n.dirs[controller] != "" {
		return nil
	}
	g := n.of
	g.mu.Lock()
	defer g.mu.Unlock()
	parent, version, err := g.find(controller)
	if err != nil {
		return err
	}
	dir, err := g.dir(parent, version)
	if err != nil {
		return err
	}
	if n.name == "" {
		g.next++
		n.name = strconv.Itoa(g.next)
	}
	path := filepath.Join(dir, n.name)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a control group: %w", err)
	}
	n.dirs[controller] = path
	return nil
}

func (n *group) open() (*os.File, error) {
	return os.OpenFile(n.dirs[""], unix.O_DIRECTORY|os.O_RDONLY, 0)
}

// holds tells whether a process was born in the group, or in one in it.
func (n *group) holds(pid int) bool {
	text, err := os.ReadFile(procPath(pid, "cgroup"))
	if err != nil || n.dirs[""] == "" {
		return false
	}
	own := "/" + groupPrefix + n.of.run + "/" + n.name
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if _, inside, found := strings.Cut(path, own); ok && found && (inside == "" || inside[0] == '/') {
			return true
		}
	}
	return false
}

// populated tells whether a process of the group runs.
func (n *group) populated() bool {
	return n.dirs[""] == "" || !strings.Contains(readGroup(n.dirs[""], "cgroup.events"), "populated 0")
}

// outOfMemory is how many of its processes the kernel killed as the group was
// at its limit.
func (n *group) outOfMemory() int {
	dir := n.dirs["memory"]
	if dir == "" {
		return 0
	}
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		for line := range strings.Lines(readGroup(dir, file)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				killed, _ := strconv.Atoi(strings.TrimSpace(count))
				return killed
			}
		}
	}
	return 0
}

func (n *group) remove() error {
	var errs []error
	for _, dir := range n.dirs {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}

// removeGroup removes a group with all that are in it, killing what runs there.
func removeGroup(dir string) error {
	for w := (waiter{}); ; {
		err := removeOnce(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || !w.wait(killedWithin) {
			return fmt.Errorf("cannot remove a control group: %w", err)
		}
	}
}

func removeOnce(dir string) error {
	err := syscall.Rmdir(dir)
	if err == nil || !errors.Is(err, unix.EBUSY) {
		return err
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeOnce(filepath.Join(dir, e.Name()))
		}
	}
	if writeGroup(dir, "cgroup.kill", "1") != nil { // version 1, or a kernel before 5.14
		for pid := range strings.FieldsSeq(readGroup(dir, "cgroup.procs")) {
			if pid, err := strconv.Atoi(pid); err == nil && pid > 1 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// limit sets the limits of a tree, in the place of those it has.
func (c *child) limit(l Limits) (reached int, err error) {
	c.faults.Lock()
	defer c.faults.Unlock()
	c.limiting.Lock()
	defer c.limiting.Unlock()
	if !c.alive() {
		return 0, os.ErrProcessDone
	}
	m := &c.mark
	var errs []error
	errs = append(errs, c.limitFiles(l.Files))
	quota := ""
	if l.CPU > 0 {
		quota = strconv.Itoa(int(math.Ceil(l.CPU * cpuPeriod)))
	}
	errs = append(errs, c.limitGroup("cpu", quota, func(dir, quota string) error {
		if quota == "" {
			return eitherGroup(dir, "cpu.max", "max", "cpu.cfs_quota_us", "-1")
		}
		return eitherGroup(dir, "cpu.max", quota+" "+strconv.Itoa(cpuPeriod), "cpu.cfs_quota_us", quota)
	}))
	memory := ""
	if l.Memory > 0 {
		memory = strconv.FormatInt(l.Memory, 10)
	}
	errs = append(errs, c.limitGroup("memory", memory, func(dir, bytes string) error {
		if bytes == "" {
			return eitherGroup(dir, "memory.max", "max", "memory.limit_in_bytes", "-1")
		}
		if _, err := os.Stat(filepath.Join(dir, "memory.swap.max")); err == nil {
			writeGroup(dir, "memory.swap.max", "0") // the limit is of RAM, and what is over it shall not go to disk
		}
		return eitherGroup(dir, "memory.max", bytes, "memory.limit_in_bytes", bytes)
	}))
	if m.group != nil && len(m.group.dirs) == 0 {
		m.group = nil
	}
	err = errors.Join(errs...)
	if !c.alive() { // and may not have been there to be limited
		return 0, os.ErrProcessDone
	}
	return 1 + len(c.members()), err
}

// cpuPeriod is the period of a CPU limit in microseconds, the kernel's default.
const cpuPeriod = 100_000

func eitherGroup(dir, file2, value2, file1, value1 string) error {
	if _, err := os.Stat(filepath.Join(dir, file2)); err == nil {
		return writeGroup(dir, file2, value2)
	}
	return writeGroup(dir, file1, value1)
}

// limitGroup sets one limit of the tree's group, and sees to it that all of the
// tree is in it. "" is no limit.
func (c *child) limitGroup(controller, value string, set func(dir, value string) error) error {
	m := &c.mark
	if m.group == nil || m.group.dirs[controller] == "" {
		if value == "" {
			return nil
		}
		if m.group == nil {
			m.group = &group{of: c.local.kin.groups, dirs: map[string]string{}}
		}
		if err := m.group.in(controller); err != nil {
			return err
		}
	}
	dir := m.group.dirs[controller]
	if err := set(dir, value); err != nil {
		return fmt.Errorf("cannot limit %s: %w", controller, err)
	}
	for w := (waiter{}); ; {
		inside := strings.Fields(readGroup(dir, "cgroup.procs"))
		outside := 0
		pids := []int{c.id}
		for _, s := range c.members() {
			pids = append(pids, s.pid)
		}
		for _, pid := range pids {
			if slices.Contains(inside, strconv.Itoa(pid)) {
				continue
			}
			err := writeGroup(dir, "cgroup.procs", strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("cannot move process %d into a control group: %w", pid, err)
			}
			outside++
		}
		if outside == 0 || !w.wait(stoppedWithin) {
			return nil
		}
	}
}

// limitFiles sets the soft limit of open files for every process of the tree;
// what they start inherits it. 0 puts back what it was.
func (c *child) limitFiles(files int) error {
	m := &c.mark
	if files == 0 && m.files == 0 {
		return nil
	}
	var before unix.Rlimit
	if err := unix.Prlimit(c.id, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return fmt.Errorf("cannot limit files: %w", err)
	}
	soft := uint64(files)
	if files == 0 {
		soft, m.files = m.files, 0
	} else if m.files == 0 {
		m.files = before.Cur
	}
	var errs []error
	set := func(pid int) {
		var has unix.Rlimit
		err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &has)
		if err == nil {
			has.Cur = min(soft, has.Max)
			err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &has, nil)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("cannot limit the files of process %d: %w", pid, err))
		}
	}
	set(c.id)
	for range 2 { // once more for what was started meanwhile
		for _, s := range c.members() {
			set(s.pid)
		}
	}
	return errors.Join(errs...)
}
