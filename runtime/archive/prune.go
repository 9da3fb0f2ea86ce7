package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dagon-star/dagon-star/runtime/folder"
)

// Limits say which runs of a folder stay. What is nil limits nothing.
type Limits struct {
	Older *time.Duration // those begun longer ago go
	Keep  *int           // so many stay at most, the newest
	Size  *int64         // their files have so many bytes in all at most
	// Failed has runs stay that have failed or have not come to their end, unless they are
	// Older. They count as others do.
	Failed bool
}

// Choose are those of runs, the newest first, that go. A run that lives stays, whatever it is, and counts.
func Choose(runs []Run, l Limits, now time.Time) (gone []Run) {
	count, size := 0, int64(0)
	for _, r := range runs {
		old := l.Older != nil && now.Sub(r.StartedAt) > *l.Older
		over := l.Keep != nil && count+1 > *l.Keep || l.Size != nil && size+r.Size > *l.Size
		spared := l.Failed && (r.State == Unfinished || r.Outcome == "failed")
		if r.State != Running && (old || over && !spared) {
			gone = append(gone, r)
			continue
		}
		count++
		size += r.Size
	}
	return gone
}

// Remove removes a run's folder. It is an error if the run lives. Where something cannot be
// removed, as a file of another user, the folder stays one of a run, and the error says
// what it was.
func Remove(r Run) error {
	lives, err := folder.Lives(r.Path)
	if err != nil {
		return err
	}
	if lives {
		return fmt.Errorf("%s: the run lives", r.Path)
	}
	entries, err := os.ReadDir(r.Path)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != logName && e.Name() != "lock" {
			errs = append(errs, removeAll(filepath.Join(r.Path, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(r.Path)
}

// removeAll removes a tree, folders that are not to be written to included.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	filepath.WalkDir(path, func(name string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			os.Chmod(name, 0o700) // where it is ours
		}
		return nil
	})
	return os.RemoveAll(path)
}

// Latest has latest lead to the newest run of a folder where the one that it led to is
// gone. A run that begins meanwhile has it lead to itself.
func Latest(runs string) error {
	link := filepath.Join(runs, "latest")
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return nil // there is none
	}
	if _, err := os.Stat(link); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	left, err := List(runs)
	if err != nil {
		return err
	}
	if _, err := os.Stat(link); err == nil {
		return nil
	}
	if len(left) == 0 {
		return os.Remove(link)
	}
	fresh := filepath.Join(runs, fmt.Sprintf(".latest-%d", os.Getpid()))
	if err := os.Symlink(left[0].Name, fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, link); err != nil {
		os.Remove(fresh)
		return err
	}
	return nil
}
