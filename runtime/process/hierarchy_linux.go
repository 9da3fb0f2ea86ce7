package process

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is a mounted hierarchy of control groups (cgroups(7)), held open: what
// is mounted over it later hides nothing of it.
type hierarchy struct {
	version     int
	controllers []string // of version 1
	top         *os.File // where it is mounted
	path        string   // where this process is in it, below top
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
		var h hierarchy
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
		if h.path, err = filepath.Rel(f[3], path); err != nil || path == "" || strings.HasPrefix(h.path, "..") {
			h.path = "." // the mount does not show where this process is
		}
		if h.top, err = detach(f[4]); err != nil {
			continue
		}
		all = append(all, h)
	}
	return all
}

func closeAll(all []hierarchy) {
	for _, h := range all {
		h.top.Close()
	}
}

// own is this process's own control group, and above are those from there up to
// the top.
func (h hierarchy) own() place { return place{h.top, h.path} }

func (h hierarchy) above() []place {
	var all []place
	for path := h.path; ; path = filepath.Dir(path) {
		all = append(all, place{h.top, path})
		if path == "." {
			return all
		}
	}
}

// place is a control group, by its path below the top of its hierarchy.
type place struct {
	top  *os.File
	path string
}

func (p place) String() string       { return filepath.Join(p.top.Name(), p.path) }
func (p place) in(name string) place { return place{p.top, filepath.Join(p.path, name)} }
func (p place) isNone() bool         { return p.top == nil }
func (p place) has(file string) bool { return p.can(file, unix.F_OK) }
func (p place) can(file string, mode uint32) bool {
	return unix.Faccessat(int(p.top.Fd()), filepath.Join(p.path, file), mode, 0) == nil
}

func (p place) writable() bool { return p.can(".", unix.W_OK) && p.can("cgroup.procs", unix.W_OK) }

func (p place) read(file string) string {
	text, _ := readAt(p.top, filepath.Join(p.path, file))
	return strings.TrimSpace(string(text))
}

func (p place) write(file, value string) error {
	f, err := openAt(p.top, filepath.Join(p.path, file), unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

func (p place) open() (*os.File, error) {
	return openAt(p.top, p.path, unix.O_RDONLY|unix.O_DIRECTORY)
}

// make makes the group; that it is there already is no error.
func (p place) make() error {
	if err := unix.Mkdirat(int(p.top.Fd()), p.path, 0o755); err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: p.String(), Err: err}
	}
	return nil
}

func (p place) rmdir() error {
	if err := unix.Unlinkat(int(p.top.Fd()), p.path, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: p.String(), Err: err}
	}
	return nil
}

// inside are the groups in it.
func (p place) inside() (all []place) {
	dir, err := p.open()
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1)
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, p.in(e.Name()))
		}
	}
	return all
}

// prove makes the group a proven one of a run: the name alone is no proof, for a
// stranger's may be named so, as the group of a systemd unit is.
func (p place) prove() error {
	proof, err := p.proof()
	if err == nil {
		err = proof.make()
	}
	return err
}

// isProven reports whether a run has made the group.
func (p place) isProven() bool {
	proof, err := p.proof()
	return err == nil && proof.has(".")
}

// proof is the group in a run's group that only runs make, and that is removed
// last. Its name says in which group it is, and that has no second one.
func (p place) proof() (place, error) {
	var s unix.Stat_t
	if err := unix.Fstatat(int(p.top.Fd()), p.path, &s, 0); err != nil {
		return place{}, &os.PathError{Op: "stat", Path: p.String(), Err: err}
	}
	return p.in("made-by-dagon-star-" + strconv.FormatUint(s.Ino, 10)), nil
}
