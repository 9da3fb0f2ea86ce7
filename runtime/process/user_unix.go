//go:build unix

package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// String is the user as an error names it.
func (c *Credential) String() string {
	if c.Name == "" {
		return fmt.Sprintf("the user %d", c.UID)
	}
	return "the user " + c.Name
}

// refused says why a program could not be started as the user, with an error of the
// system: which folder keeps the user out, as far as modes tell.
func (c *Credential) refused(program, dir string, err error) string {
	if os.Geteuid() != 0 {
		return fmt.Sprintf("only root may start a process as another user, and it is to run as %s", c)
	}
	for _, p := range []struct{ what, path string }{{"its working folder", dir}, {"its program", program}} {
		path, err := filepath.EvalSymlinks(p.path)
		if err != nil {
			continue
		}
		for at := path; ; at = filepath.Dir(at) {
			if info, err := os.Stat(at); err == nil && !c.mayPass(info) {
				what := fmt.Sprintf("%s has mode %s, which keeps it out", at, info.Mode())
				if at == path {
					return fmt.Sprintf("%s is not for %s: %s", p.what, c, what)
				}
				return fmt.Sprintf("%s %s cannot be reached by %s: %s; have the run in a folder that others may pass, such as "+
					"by --runs-dir /tmp/runs, or chmod a+x what is above it",
					p.what, p.path, c, what)
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
	return fmt.Sprintf("the system does not let it run as %s: %v", c, err)
}

// mayPass reports whether the user may execute a file, or pass a folder.
func (c *Credential) mayPass(info os.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	switch {
	case !ok || c.UID == 0:
		return true
	case s.Uid == c.UID:
		return mode&0o100 != 0
	case s.Gid == c.GID || slices.Contains(c.Groups, s.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
