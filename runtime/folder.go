package runtime

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

// folder is a run's folder, locked while the run lives.
type folder struct {
	path   string
	lock   *os.File
	events *os.File
}

// makeFolder makes <runs>/<time>-<script> with its log, and points
// <runs>/latest at it.
func makeFolder(runs, script, id string, at time.Time) (*folder, error) {
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder for runs: %w", err)
	}
	runs, err := filepath.Abs(runs)
	if err != nil {
		return nil, err
	}
	name := at.Format("20060102-150405") + "-" + folderName(script)
	f := &folder{}
	for try := 1; ; try++ {
		f.path = filepath.Join(runs, name)
		if try > 1 {
			f.path += fmt.Sprintf("-%d", try)
		}
		err := os.Mkdir(f.path, 0o755)
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
	link := filepath.Join(runs, fmt.Sprintf(".latest-%s", filepath.Base(f.path)))
	if os.Symlink(filepath.Base(f.path), link) == nil {
		if os.Rename(link, filepath.Join(runs, "latest")) != nil {
			os.Remove(link)
		}
	}
	return f, nil
}

func (f *folder) open(id string) (err error) {
	for _, sub := range []string{"logs", "nodes"} {
		if err := os.Mkdir(filepath.Join(f.path, sub), 0o755); err != nil {
			return err
		}
	}
	if f.lock, err = lockFile(filepath.Join(f.path, lockName)); err != nil {
		return err
	}
	text, err := lockText(f.lock, id)
	if err != nil {
		return err
	}
	if _, err := f.lock.WriteString(text); err != nil {
		return err
	}
	f.events, err = os.Create(filepath.Join(f.path, "events.jsonl"))
	return err
}

// Close unlocks the folder.
func (f *folder) Close() error {
	var errs []error
	for _, file := range []*os.File{f.events, f.lock} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	f.events, f.lock = nil, nil
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
