// Package folder makes the folders of runs, holds them locked while their runs
// live, and sweeps what the runs of others have left when they were killed.
package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/internal/logfile"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// lockName is the file in a run's folder that is locked while the run lives; it
// holds the run's id, which file it is itself (see lockText), and when the run
// lived (see lifeText).
const lockName = "lock"

// logName is the log in a run's folder.
const logName = "events.jsonl"

// Variable is the variable of every node's environment that holds the run's
// folder.
const Variable = "DAGON_FOLDER"

// Folder is a run's folder, locked while the run lives.
type Folder struct {
	Path   string   // absolute
	Events *os.File // its log, for the run to write

	reading sync.RWMutex // held whole while Events is closed
	written fs.FileInfo  // of Events
	lock    *os.File
	said    int64 // how many bytes of the lock say which run it is
	born    process.Moment
	closing chan struct{}
	renewed chan struct{} // closed when nothing renews the lease any more
}

// A run says in its lock when it began, and, for as long as it lives, until when
// it will have ended unless it says so again: what began later is not of the run,
// whatever variables it has. leaseFor is more than a busy machine holds up a
// run that renews every renewEvery.
const (
	leaseFor   = 3 * time.Second
	renewEvery = time.Second
)

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
	f.said, f.born = int64(len(text)), process.Now()
	if err := f.lease(f.born.Add(leaseFor)); err != nil {
		return err
	}
	f.closing, f.renewed = make(chan struct{}), make(chan struct{})
	go f.renew()
	// It is appended to, so that no hole is made where somebody else has cut it.
	f.Events, err = os.OpenFile(filepath.Join(f.Path, logName), os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o666)
	if err == nil {
		f.written, err = f.Events.Stat()
	}
	return err
}

// CheckEvents returns why the log at its path is not the one that was written, of so
// many bytes, or nil.
func (f *Folder) CheckEvents(size int64) error {
	return logfile.Check(filepath.Join(f.Path, logName), f.written, size)
}

// Lives reports whether the run lives whose folder this is. The error is one of its lock,
// fs.ErrNotExist where the folder is no run's.
func Lives(path string) (bool, error) { return locked(filepath.Join(path, lockName)) }

// Log is a run's log that is read.
type Log struct {
	f    *Folder
	file *os.File // nil while that of the folder is read
}

// ReadEvents returns the log for one goroutine to read. As long as the folder is open
// it is what was written, whatever has become of the file at its path.
func (f *Folder) ReadEvents() *Log { return &Log{f: f} }

// ReadAt reads the log. The error names it where it is not all there.
func (l *Log) ReadAt(b []byte, off int64) (n int, err error) {
	path := filepath.Join(l.f.Path, logName)
	l.f.reading.RLock()
	if open := l.f.Events; open != nil {
		n, err = open.ReadAt(b, off)
		l.f.reading.RUnlock()
	} else {
		l.f.reading.RUnlock()
		if l.file == nil {
			if l.file, err = os.Open(path); err != nil {
				return 0, err
			}
		}
		n, err = l.file.ReadAt(b, off)
	}
	if err == io.EOF {
		err = fmt.Errorf("%s ends before byte %d: who has changed it?", path, off+int64(len(b)))
	}
	return n, err
}

// Close ends the reading.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// renew renews the lease until the folder is closed.
func (f *Folder) renew() {
	defer close(f.renewed)
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f.lease(process.Now().Add(leaseFor)) // what cannot be written shows in the log first
		case <-f.closing:
			return
		}
	}
}

// lease writes the end of the run's life into the lock.
func (f *Folder) lease(end process.Moment) error {
	_, err := f.lock.WriteAt([]byte(lifeText(f.born, end)), f.said)
	return err
}

// lifeText is the line of a lock that says when the run lived. It has one length,
// so that it is written over.
func lifeText(start, end process.Moment) string {
	return fmt.Sprintf("%s %020d %020d\n", start.Boot, start.Ticks, end.Ticks)
}

// parseLife reads a line of lifeText.
func parseLife(line string) (l life, ok bool) {
	f := strings.Fields(line)
	if len(f) != 3 {
		return l, false
	}
	var startErr, endErr error
	l.boot = f[0]
	l.start, startErr = strconv.ParseUint(f[1], 10, 64)
	l.end, endErr = strconv.ParseUint(f[2], 10, 64)
	return l, startErr == nil && endErr == nil
}

// Close ends the run's life and unlocks the folder.
func (f *Folder) Close() error {
	var errs []error
	if f.closing != nil {
		close(f.closing)
		<-f.renewed
		f.closing = nil
		errs = append(errs, f.lease(process.Now()))
	}
	f.reading.Lock()
	defer f.reading.Unlock()
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
