// Package archive is the folder of runs: which runs are in it, and which of them go.
package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// The states of a run.
const (
	Running    = "running"
	Finished   = "finished"
	Unfinished = "unfinished" // whoever ran it was killed
)

// Run is what a run's folder tells in short.
type Run struct {
	Name      string    `json:"run"` // of the folder
	Path      string    `json:"path"`
	State     string    `json:"state"`
	Script    string    `json:"script,omitempty"`
	Test      string    `json:"test,omitempty"`
	Seed      uint64    `json:"seed"`
	StartedAt time.Time `json:"started_at"`
	// Outcome, Reason and Where are the verdict, "" where the log has none.
	Outcome   string  `json:"outcome,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	Where     string  `json:"where,omitempty"`
	DurationS float64 `json:"duration_s"` // up to the last event of one that is not finished
	Size      int64   `json:"size"`       // of the files, bytes
	// Unread is why not all of this could be read, "" where it could.
	Unread string `json:"unread,omitempty"`
}

// List are the runs of a folder, the newest first. What else is in it is passed over; no
// symbolic link is followed.
func List(runs string) ([]Run, error) {
	entries, err := os.ReadDir(runs)
	if err != nil {
		return nil, err
	}
	all := []Run{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if r, ok := Read(filepath.Join(runs, e.Name())); ok {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b Run) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), strings.Compare(b.Name, a.Name))
	})
	return all, nil
}

// logName is the log in a run's folder, recipeName its recipe.
const (
	logName    = "events.jsonl"
	recipeName = "recipe.json"
)

// Read reads what a folder tells of its run; false where it is none, or one that is just
// being made: it has a lock and a log.
func Read(path string) (Run, bool) {
	lives, err := folder.Lives(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Run{}, false
	}
	r := Run{Name: filepath.Base(path), Path: path, State: Unfinished}
	if lives || err != nil { // what cannot be told may live
		r.State = Running
	}
	r.Unread = text(err)
	log, info, err := userfile.Open(filepath.Join(path, logName))
	if err != nil {
		return Run{}, false
	}
	defer log.Close()
	r.StartedAt = info.ModTime()
	if err := r.readLog(log, info.Size()); err != nil && r.Unread == "" {
		r.Unread = err.Error()
	}
	r.readRecipe(filepath.Join(path, recipeName))
	filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				r.Size += info.Size()
			}
		}
		return nil // what cannot be read has no size that is known
	})
	return r, true
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// readLog reads the first line of a log, and the last ones.
func (r *Run) readLog(log *os.File, size int64) error {
	line, err := bufio.NewReader(io.LimitReader(log, maxTail)).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return errors.New("its log has no whole line")
	}
	if err != nil {
		return err
	}
	first, err := event.Parse(line)
	if err != nil {
		return fmt.Errorf("its log: %.300s", err)
	}
	started, ok := first.Detail.(event.RunStarted)
	if !ok {
		return event.ErrNotALog
	}
	r.Script, r.Seed, r.StartedAt = started.Script, started.Seed, started.StartedAt
	last, err := tail(log, size, 2)
	if err != nil {
		return err
	}
	for _, line := range last {
		e, err := event.Parse(line)
		if err != nil {
			return fmt.Errorf("its log: %.300s", err)
		}
		r.DurationS = e.T.Seconds()
		switch d := e.Detail.(type) {
		case event.Verdict:
			r.Outcome, r.Reason, r.Where = d.Outcome, d.Reason, d.Where
		case event.RunFinished:
			r.DurationS = d.DurationS
			if r.State == Unfinished {
				r.State = Finished
			}
		}
	}
	return nil
}

// maxTail bounds what is read of a log at its beginning and at its end, in bytes.
const maxTail = 16 << 20

// tail are the last n whole lines of a file, fewer where they are longer than maxTail.
func tail(f io.ReaderAt, size int64, n int) (lines [][]byte, err error) {
	for length := int64(16 << 10); ; length *= 8 {
		length = min(length, size, maxTail)
		b := make([]byte, length)
		if _, err := f.ReadAt(b, size-length); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		lines = bytes.SplitAfter(b[:bytes.LastIndexByte(b, '\n')+1], []byte("\n"))
		lines = lines[:len(lines)-1] // what follows the last newline
		if length < size && len(lines) > 0 {
			lines = lines[1:] // it may have begun before
		}
		if len(lines) >= n || length == size || length == maxTail {
			return lines[max(0, len(lines)-n):], nil
		}
	}
}

// readRecipe reads which test a run was of.
func (r *Run) readRecipe(name string) {
	data, err := userfile.Read(name, 2*maxTail)
	if err != nil {
		return
	}
	var recipe struct {
		Test string `json:"test"`
	}
	if exact.Unmarshal(data, &recipe) == nil {
		r.Test = recipe.Test
	}
}
