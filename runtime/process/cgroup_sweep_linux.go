package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SweepGroups removes the control groups of runs that are dead, with what runs
// in them, and returns their paths. A run that lives holds a lock on its own. Those
// stay that this process or one of its ancestors is in, and those that are named as
// a run's and are a stranger's (see prove).
func SweepGroups() (removed []string, err error) {
	all := hierarchies()
	defer closeAll(all)
	var own map[string]bool
	seen := map[string]bool{}
	var errs []error
	for _, h := range all {
		for _, above := range h.above() {
			for _, p := range above.inside() {
				name := filepath.Base(p.path)
				if !strings.HasPrefix(name, groupPrefix) || seen[p.String()] {
					continue
				}
				seen[p.String()] = true
				if own == nil {
					if own, err = ownGroups(); err != nil {
						return nil, err
					}
				}
				if own[name] {
					continue
				}
				switch was, err := sweepGroup(p); {
				case err != nil:
					errs = append(errs, err)
				case was:
					removed = append(removed, p.String())
				}
			}
		}
	}
	return removed, errors.Join(errs...)
}

// sweepGroup removes a group that is named as a run's, and reports whether it did:
// one that is proven, if nobody holds it; and one that has a run's id and is empty,
// which was made by who was killed before it had proven it.
func sweepGroup(p place) (was bool, err error) {
	proven := p.isProven()
	if !proven && !isRunID(strings.TrimPrefix(filepath.Base(p.path), groupPrefix)) {
		return false, nil
	}
	lock, err := lockGroup(p)
	if err != nil { // it lives, or is another user's
		return false, nil
	}
	defer lock.Close()
	if !proven {
		return p.rmdir() == nil, nil
	}
	err = removeGroup(p)
	return err == nil, err
}

// isRunID reports whether a name has the form of a run's id.
func isRunID(name string) bool {
	return len(name) == 16 && strings.Trim(name, "0123456789abcdef") == ""
}

// ownGroups are the names of the control groups that this process and its
// ancestors are in.
func ownGroups() (map[string]bool, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	own := map[string]bool{}
	for pid := os.Getpid(); pid > 0; {
		folder, _ := proc.teller(pid)
		text, err := readAt(proc.dir, folder+"/cgroup")
		if err != nil && !isGone(err) {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			for name := range strings.SplitSeq(strings.TrimSpace(line), "/") {
				own[name] = true
			}
		}
		s, ok, err := proc.stat(pid)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		pid = s.parent
	}
	return own, nil
}

// removeGroup removes a group with all that are in it, killing what runs there.
func removeGroup(p place) error {
	for w := (waiter{}); ; {
		err := removeOnce(p)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || !w.wait(killedWithin) {
			return fmt.Errorf("cannot remove a control group: %w", err)
		}
	}
}

func removeOnce(p place) error {
	err := p.rmdir()
	if err == nil || !errors.Is(err, unix.EBUSY) {
		return err
	}
	proof, _ := p.proof()
	var busy error
	for _, inside := range p.inside() {
		if inside == proof { // the last, or what is left would be taken for a stranger's
			continue
		}
		if err := removeOnce(inside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			busy = err
		}
	}
	if p.write("cgroup.kill", "1") != nil { // version 1, or a kernel before 5.14
		for pid := range strings.FieldsSeq(p.read("cgroup.procs")) {
			if pid, err := strconv.Atoi(pid); err == nil && pid > 1 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	if busy != nil {
		return busy
	}
	if !proof.isNone() {
		proof.rmdir()
	}
	return p.rmdir()
}
