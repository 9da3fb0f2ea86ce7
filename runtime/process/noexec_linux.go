package process

import "golang.org/x/sys/unix"

// onNoexec reports whether a file is on a file system from which nothing is
// executed.
func onNoexec(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && s.Flags&unix.ST_NOEXEC != 0
}
