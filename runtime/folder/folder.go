// Package folder makes the folders of runs, holds them locked while their runs
// live, and sweeps what the runs of others have left when they were killed.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// lockName is the file in a run's folder that is locked while the run lives; it
// holds the run's id, and which file it is itself (see lockText).
const lockName = "lock"

// Variable is the variable of every node's environment that holds the run's
// folder.
const Variable = "DAGON_FOLDER"

// Folder is a run's folder, locked while the run lives.
type Folder struct {
	Path   string   // absolute
	Events *os.File // its log, for the run to write

	lock *os.File
}

// Make makes <runs>/<time>-<script> with its log, locks it, and points
// <runs>/latest at it.
func Make(runs, script, id string, at time.Time) (*Folder, error) {
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder for runs: %w", err)
	}
	runs, err := filepath.Abs(runs)
	if err != nil {
		return nil, err
	}
	name := at.Format("20060102-150405") + "-" + folderName(script)
	f := &Folder{}
	for try := 1; ; try++ {
		f.Path = filepath.Join(runs, name)
		if try > 1 {
			f.Path += fmt.Sprintf("-%d", try)
		}
		err := os.Mkdir(f.Path, 0o755)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("cannot make the run's folder: %w", err)
		}
	}
	if err := f.open(id); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot make the run's folder: %w", err)
	}
	// A link that cannot be made is no reason not to run: some file systems
	// have none, and another run may be making it at this moment.
	link := filepath.Join(runs, fmt.Sprintf(".latest-%s", filepath.Base(f.Path)))
	if os.Symlink(filepath.Base(f.Path), link) == nil {
		if os.Rename(link, filepath.Join(runs, "latest")) != nil {
			os.Remove(link)
		}
	}
	return f, nil
}

func (f *Folder) open(id string) (err error) {
	for _, sub := range []string{"logs", "nodes"} {
		if err := os.Mkdir(filepath.Join(f.Path, sub), 0o755); err != nil {
			return err
		}
	}
	if f.lock, err = lockFile(filepath.Join(f.Path, lockName)); err != nil {
		return err
	}
	text, err := lockText(f.lock, id)
	if err != nil {
		return err
	}
	if _, err := f.lock.WriteString(text); err != nil {
		return err
	}
	f.Events, err = os.Create(filepath.Join(f.Path, "events.jsonl"))
	return err
}

// Close unlocks the folder.
func (f *Folder) Close() error {
	var errs []error
	for _, file := range []*os.File{f.Events, f.lock} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	f.Events, f.lock = nil, nil
	return errors.Join(errs...)
}

// folderName makes a script's name fit for a folder: its last part, without
// its ending, and of plain characters only.
func folderName(script string) string {
	name := strings.TrimSuffix(filepath.Base(script), ".star")
	name = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			return c
		}
		return '-'
	}, name)
	if name = strings.Trim(name, ".-"); name == "" {
		return "run"
	}
	return name[:min(len(name), 64)]
}
