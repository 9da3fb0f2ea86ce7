package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// Run is a run's folder, read from the disk: one that has ended, was killed, or still
// runs.
type Run struct {
	Folder string // as it is told
	files  fs.FS
	*Overview
	Texts []Text // the script, what it loads, the ini
}

// Text is a text of the recipe.
type Text struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "script", "loaded" or "topology"
	Text string `json:"text"`
}

// Open reads the files of a run's folder, which is told as folder. It is an error where
// its log cannot be read; what else is missing, such as the recipe, is left out.
func Open(folder string, files fs.FS) (*Run, error) {
	r := &Run{Folder: folder, files: files}
	var err error
	if r.Overview, err = Survey(r.Log()); err == nil && r.Started.Format == 0 {
		err = event.ErrNotALog
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	if data, err := r.read("recipe.json"); err == nil {
		r.Texts = readTexts(data)
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		tail, _, _ := r.Tail(n.Name, lastLine)
		n.Output, n.OutputS = lastOutput(tail, r.BrokeS)
	}
	return r, nil
}

// logName is the log in a run's folder.
const logName = "events.jsonl"

// open opens a file of the folder, and tells its size. What is no regular file is an error:
// to open a pipe could take for ever.
func (r *Run) open(name string) (fs.File, int64, error) {
	info, err := fs.Stat(r.files, name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		return nil, 0, err
	}
	f, err := r.files.Open(name)
	return f, info.Size(), err
}

func (r *Run) read(name string) ([]byte, error) {
	f, _, err := r.open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, cmp.Or(err, f.Close())
}

// lastLine is how many bytes of a log are looked through for the last line.
const lastLine = 64 << 10

// Log goes through the log.
func (r *Run) Log() iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		f, _, err := r.open(logName)
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		defer f.Close()
		event.All(f)(yield)
	}
}

// Tail returns the last lines of what a node has written, most bytes of them at most, as
// its log has them, and how many bytes are before them.
func (r *Run) Tail(node string, most int64) (text []byte, before int64, err error) {
	f, size, err := r.open("logs/" + node + ".log")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, 0, err
	}
	defer f.Close()
	before = max(0, size-most)
	if at, ok := f.(io.ReaderAt); ok {
		text, err = io.ReadAll(io.NewSectionReader(at, before, size-before))
	} else if _, err = io.CopyN(io.Discard, f, before); err == nil {
		text, err = io.ReadAll(f)
	}
	if cut := bytes.IndexByte(text, '\n'); before > 0 && cut >= 0 {
		text, before = text[cut+1:], before+int64(cut)+1
	}
	return text, before, err
}

// lastOutput returns the last line of a log's text that was written by a time, without
// its stamp. The marks are those of output.Log.
func lastOutput(tail []byte, by float64) (text string, at float64) {
	for line := range bytes.Lines(tail) {
		stamp, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		mark, words, _ := strings.Cut(rest, " ")
		t, err := strconv.ParseFloat(stamp, 64)
		if err != nil || t > by || mark == "---" || strings.TrimSpace(words) == "" {
			continue
		}
		text, at = words, t
	}
	return text, at
}

// readTexts are the texts of a recipe, none where it is none.
func readTexts(data []byte) (texts []Text) {
	type text struct {
		Name, Text string
		Base64     bool
	}
	var recipe struct {
		Script   text
		Loaded   []text
		Topology *text
	}
	if json.Unmarshal(data, &recipe) != nil {
		return nil
	}
	add := func(kind string, t text) {
		if !t.Base64 {
			texts = append(texts, Text{t.Name, kind, t.Text})
		}
	}
	add("script", recipe.Script)
	for _, t := range recipe.Loaded {
		add("loaded", t)
	}
	if recipe.Topology != nil {
		add("topology", *recipe.Topology)
	}
	return texts
}

// Line is a line of a text of the recipe, and the text: that of a place file:line:col. It is
// "" where there is none.
func (r *Run) Line(where string) string {
	file, line := splitPlace(where)
	for _, t := range r.Texts {
		lines := strings.Split(t.Text, "\n")
		if t.Name == file && line > 0 && line <= len(lines) {
			return strings.TrimSpace(lines[line-1])
		}
	}
	return ""
}
