package script

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/userfile"
	"github.com/dagon-star/dagon-star/scenarios"
)

// Mistake is something wrong in a script or an ini, found before a run.
type Mistake struct {
	File      string
	Line, Col int // 0 where it is of the whole file, or line
	Text      string
	Err       error // where it is one that has a type, such as a *runtime.UnsupportedError
}

// Unwrap is Err.
func (m Mistake) Unwrap() error { return m.Err }

func (m Mistake) Error() string {
	at := m.File
	if at == "" { // it is of the call, and not of a file
		return m.Text
	}
	if m.Line > 0 {
		at += fmt.Sprintf(":%d", m.Line)
	}
	if m.Col > 0 {
		at += fmt.Sprintf(":%d", m.Col)
	}
	return at + ": " + m.Text
}

// Mistakes are all mistakes that were found, by file and line. The run of a
// program that finds them exits with 2.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, one := range m {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sort() {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
}

// found are the mistakes of the plan, sorted, and how many of a file are not told.
func (p *plan) found() Mistakes {
	m := p.mistakes
	for file, count := range p.count {
		if count > maxMistakes { // at the end of the file, wherever that is sorted
			m = append(m, Mistake{File: file, Line: math.MaxInt, Text: fmt.Sprintf("… and %d more", count-maxMistakes)})
		}
	}
	m.sort()
	for i := range m {
		if m[i].Line == math.MaxInt {
			m[i].Line = 0
		}
	}
	return m
}

// add adds a mistake, as long as there are not too many of its file.
func (p *plan) add(m Mistake) {
	if p.count[m.File]++; p.count[m.File] <= maxMistakes {
		m.Text = topology.Brief(m.Text, maxText)
		p.mistakes = append(p.mistakes, m)
	}
}

// full reports whether no more mistakes of a file are told: there is no use in
// looking for what was meant.
func (p *plan) full(file string) bool { return p.count[file] >= maxMistakes }

// What is read of a file, and told of it.
const (
	maxScript   = 4 << 20  // bytes of a script
	maxFile     = 16 << 20 // bytes of any file: an ini has no more
	maxMistakes = 101      // of one file: as many as package topology tells of an ini
	maxText     = 400      // bytes of a mistake's text
)

// source is a file of a run as it was read.
type source struct {
	name    string // as messages have it
	key     string // one for each file, whatever it is called
	data    []byte
	shipped bool
	given   bool // by the caller: there is no such file
}

// text is what the file says: without the mark that some editors begin UTF-8
// with.
func (s *source) text() []byte { return bytes.TrimPrefix(s.data, []byte("\xef\xbb\xbf")) }

// open reads a file, or a shipped scenario where there is no such file.
func open(name string) (*source, error) {
	data, err := userfile.Read(name, maxFile)
	if err == nil {
		key, err := filepath.Abs(name)
		return &source{name: name, key: key, data: data}, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		if shipped := openShipped(name); shipped != nil {
			return shipped, nil
		}
	}
	return nil, err
}

func openShipped(name string) *source {
	data, ok := scenarios.Open(name)
	if !ok {
		return nil
	}
	return &source{name: name, key: "shipped:" + name, data: data, shipped: true}
}

func (c *Config) findScript() (*source, error) {
	if c.kept != nil {
		return c.kept.source(c.kept.Script, c.Script), nil
	}
	if c.Source != nil {
		name := c.Script
		if name == "" {
			name = "script.star"
		}
		return &source{name: name, key: filepath.Join(workingFolder(), name), data: c.Source, given: true}, nil
	}
	if c.Script == "" {
		return nil, Mistakes{{File: "script", Text: "none was given: a file such as default.star was expected"}}
	}
	s, err := open(c.Script)
	if err != nil {
		return nil, Mistakes{{File: c.Script, Text: fmt.Sprintf("cannot read the script: %v; shipped are %s", cause(err),
			strings.Join(scenarios.Names(), ", "))}}
	}
	return s, nil
}

// findTopology finds the ini of a script; nil where it needs none.
func (c *Config) findTopology(script *source) (*source, error) {
	if c.kept != nil {
		if c.kept.Topology == nil {
			return nil, nil
		}
		return c.kept.source(*c.kept.Topology, c.Topology), nil
	}
	if c.TopologySource != nil {
		name := c.Topology
		if name == "" {
			name = "topology.ini"
		}
		return &source{name: name, key: filepath.Join(workingFolder(), name), data: c.TopologySource, given: true}, nil
	}
	if c.Topology != "" {
		s, err := open(c.Topology)
		if err != nil {
			return nil, Mistakes{{File: c.Topology, Text: fmt.Sprintf("cannot read the topology: %v", cause(err))}}
		}
		return s, nil
	}
	if c.Source != nil {
		return nil, nil
	}
	dir, base := filepath.Split(script.name)
	own := strings.TrimSuffix(base, filepath.Ext(base)) + ".ini"
	for _, name := range []string{own, "topology.ini"} {
		if script.shipped {
			if s := openShipped(dir + name); s != nil {
				return s, nil
			}
			continue
		}
		data, err := userfile.Read(dir+name, maxFile)
		if err == nil {
			return &source{name: dir + name, key: dir + name, data: data}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, Mistakes{{File: dir + name, Text: fmt.Sprintf("cannot read the topology: %v", cause(err))}}
		}
	}
	return nil, Mistakes{{File: script.name, Text: fmt.Sprintf("it has no topology beside it: %s or topology.ini was "+
		"expected there, or one on the command line", own), Err: errNoTopology}}
}

var errNoTopology = errors.New("no topology")

// cause is an error without the path that messages have already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
