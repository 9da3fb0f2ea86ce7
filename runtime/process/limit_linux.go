package process

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

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
	errs = append(errs, c.limitGroup("cpu", quota, func(p place, quota string) error {
		if quota == "" {
			return either(p, "cpu.max", "max", "cpu.cfs_quota_us", "-1")
		}
		return either(p, "cpu.max", quota+" "+strconv.Itoa(cpuPeriod), "cpu.cfs_quota_us", quota)
	}))
	memory := ""
	if l.Memory > 0 {
		memory = strconv.FormatInt(l.Memory, 10)
	}
	errs = append(errs, c.limitGroup("memory", memory, func(p place, bytes string) error {
		if bytes == "" {
			return either(p, "memory.max", "max", "memory.limit_in_bytes", "-1")
		}
		if p.has("memory.swap.max") {
			p.write("memory.swap.max", "0") // the limit is of RAM, and what is over it shall not go to disk
		}
		return either(p, "memory.max", bytes, "memory.limit_in_bytes", bytes)
	}))
	if m.group != nil && len(m.group.dirs) == 0 {
		m.group = nil
	}
	err = errors.Join(errs...)
	if !c.alive() { // and may not have been there to be limited
		return 0, os.ErrProcessDone
	}
	members, unseen := c.members()
	return 1 + len(members), errors.Join(err, unseen)
}

// cpuPeriod is the period of a CPU limit in microseconds, the kernel's default.
const cpuPeriod = 100_000

// either writes a file of version 2, or one of version 1 where that is not there.
func either(p place, file2, value2, file1, value1 string) error {
	if p.has(file2) {
		return p.write(file2, value2)
	}
	return p.write(file1, value1)
}

// limitGroup sets one limit of the tree's group, and sees to it that all of the
// tree is in it. "" is no limit.
func (c *child) limitGroup(controller, value string, set func(p place, value string) error) error {
	m := &c.mark
	if m.group == nil || m.group.dirs[controller].isNone() {
		if value == "" {
			return nil
		}
		if m.group == nil {
			m.group = &group{of: c.local.trees.groups, dirs: map[string]place{}}
		}
		if err := m.group.in(controller); err != nil {
			return err
		}
	}
	p := m.group.dirs[controller]
	if err := set(p, value); err != nil {
		return fmt.Errorf("cannot limit %s: %w", controller, err)
	}
	for w := (waiter{}); ; {
		inside := strings.Fields(p.read("cgroup.procs"))
		outside := 0
		pids := []int{c.id}
		members, err := c.members()
		if err != nil {
			return err
		}
		for _, s := range members {
			pids = append(pids, s.pid)
		}
		for _, pid := range pids {
			if slices.Contains(inside, strconv.Itoa(pid)) {
				continue
			}
			err := p.write("cgroup.procs", strconv.Itoa(pid))
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
		members, err := c.members()
		if err != nil {
			errs = append(errs, err)
		}
		for _, s := range members {
			set(s.pid)
		}
	}
	return errors.Join(errs...)
}
