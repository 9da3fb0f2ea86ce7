package process

import (
	"slices"
	"strconv"
)

// beganBefore reports whether the process began before the other one.
func (s stat) beganBefore(other stat) bool {
	began, err := strconv.ParseUint(s.began, 10, 64)
	than, wrong := strconv.ParseUint(other.began, 10, 64)
	return err == nil && wrong == nil && began < than
}

// below are the processes that run and descend from one.
func below(all []stat, pid int) []stat {
	in := map[int]bool{pid: true}
	descendants(all, in)
	return slices.DeleteFunc(slices.Clone(all), func(s stat) bool { return !in[s.pid] || !s.runs() || s.pid == pid })
}

// descendants adds to the processes that are in those whose parent is.
func descendants(all []stat, in map[int]bool) {
	for found := true; found; {
		found = false
		for _, s := range all {
			if !in[s.pid] && in[s.parent] {
				in[s.pid], found = true, true
			}
		}
	}
}

// isOrphan reports whether a process descends from the keeper, and not by way of
// the leader of a tree, which is not among all.
func isOrphan(all []stat, pid, keeper int) bool {
	for range all {
		at := slices.IndexFunc(all, func(s stat) bool { return s.pid == pid })
		if pid == keeper || at < 0 {
			break
		}
		pid = all[at].parent
	}
	return pid == keeper
}

// foreign reports whether a process cannot be of the tree of a leader, by what
// everybody may see of it. It began before the leader, or it is in the session or
// group of the leader of another tree, or descends from what is. The leaders of
// trees are not among all.
func foreign(all []stat, pid int, leader stat, leads func(pid int) bool) bool {
	for i := range all {
		at := slices.IndexFunc(all, func(s stat) bool { return s.pid == pid })
		if at < 0 {
			return leads(pid) && pid != leader.pid
		}
		s := all[at]
		if i == 0 && s.beganBefore(leader) {
			return true
		}
		for _, of := range []int{s.group, s.session} {
			if leads(of) && of != leader.pid {
				return true
			}
		}
		pid = s.parent
	}
	return false
}
