//go:build unix

package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// credential is what the kernel is asked for; nil where the user is the one that this
// process runs as already.
func (u *User) credential() (*syscall.Credential, error) {
	if u == nil {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		if int(u.UID) == os.Geteuid() {
			return nil, nil
		}
		return nil, fmt.Errorf("it is to run as %s, and only root may start a process as another user", u.Name)
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}, nil
}

// closed says why a user cannot come to a program or to its working folder, as far as
// modes tell; "" where they do not.
func (u *User) closed(program, dir string) string {
	if u == nil {
		return ""
	}
	for _, p := range []struct{ what, path string }{{"its working folder", dir}, {"its program", program}} {
		path, err := filepath.EvalSymlinks(p.path)
		if err != nil {
			continue
		}
		for at := path; ; at = filepath.Dir(at) {
			if info, err := os.Stat(at); err == nil && !u.mayPass(info) {
				what := fmt.Sprintf("%s has mode %s, which keeps it out", at, info.Mode())
				if at == path {
					return fmt.Sprintf("%s is to run as %s, and %s", p.what, u.Name, what)
				}
				return fmt.Sprintf("%s %s cannot be reached by the user %s, as whom it is to run: %s; "+
					"have the run where others may go, such as by --runs-dir /tmp/runs, or open it by chmod a+x", p.what, p.path, u.Name, what)
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
	return ""
}

// mayPass reports whether the user may execute a file, or pass a folder.
func (u *User) mayPass(info os.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	switch {
	case !ok || u.UID == 0:
		return true
	case s.Uid == u.UID:
		return mode&0o100 != 0
	case s.Gid == u.GID || slices.Contains(u.Groups, s.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
