package script

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/scenarios"
)

// plan is a run that is ready to be started.
type plan struct {
	config   Config
	main     *module
	modules  []*module // main first, then as they are loaded
	ini      *source   // nil where there is none
	topology *topology.Topology
	seed     uint64
	version  string
	notices  []string
	mistakes Mistakes
	count    map[string]int  // of mistakes, by file, those not told included
	asked    map[string]bool // faults that the scripts ask for with can

	faulty    map[string]string // the first fault in the text of each function, by its place; nil until one is asked for
	usesLinks bool              // a script's text refers to net
	variants  []test            // of the whole script, from verdicts
	test      *test             // that is run, or nil
	programs  []string          // of the ini, absolute paths
	files     []RecipeFile
}

// prepare finds and reads all that a run needs, and all that is wrong with it.
// The error is one of reading; mistakes are in the plan.
func prepare(c Config) (*plan, error) {
	p := &plan{config: c, version: c.Version, asked: map[string]bool{}, count: map[string]int{}}
	if p.version == "" {
		p.version = Version()
	}
	script, err := c.findScript()
	if err != nil {
		return nil, p.besides(err)
	}
	if script.shipped && c.kept == nil {
		p.notices = append(p.notices, fmt.Sprintf("%s is the scenario that is shipped with dagon-star", script.name))
	}
	ini, err := c.findTopology(script)
	var missing Mistakes
	switch p.ini = ini; {
	case errors.As(err, &missing): // the script is checked all the same
		for _, m := range missing {
			p.add(m)
		}
		p.topology = topology.Unreadable(missing[0].File)
	case err != nil:
		return nil, err
	case ini != nil:
		if ini.shipped && c.kept == nil {
			p.notices = append(p.notices, fmt.Sprintf("%s is the topology that is shipped with dagon-star", ini.name))
		}
		p.readTopology(ini)
	default:
		p.topology = &topology.Topology{Name: "none", Settings: topology.DefaultSettings()}
	}
	p.read(script)
	p.readVariants()
	p.checkRequires()
	if c.Test != "" {
		p.choose(c.Test)
		p.config.Params = p.params()
	}
	p.settle()
	if c.kept != nil && len(p.mistakes) > 0 {
		if missing := c.kept.missing(c.kept.base); len(missing) > 0 {
			p.add(Mistake{Text: fmt.Sprintf("the run began relative names in %s; there is no %s in %s: call it from a "+
				"folder that has the files of the run",
				c.kept.Folder, strings.Join(missing, " and no "), c.kept.base)})
		}
	}
	return p, nil
}

// besides is the error of a script that cannot be read, with what is wrong in the ini
// that is given for it.
func (p *plan) besides(err error) error {
	var mistakes Mistakes
	c := p.config
	if c.Source = nil; !errors.As(err, &mistakes) || c.kept != nil || c.Topology == "" && c.TopologySource == nil {
		return err
	}
	ini, iniErr := c.findTopology(nil)
	var more Mistakes
	switch {
	case iniErr == nil:
		p.readTopology(ini)
	case errors.As(iniErr, &more):
		mistakes = append(mistakes, more...)
	}
	for _, m := range mistakes {
		p.add(m)
	}
	return p.found()
}

func (p *plan) readTopology(ini *source) {
	var files fs.FS
	if ini.shipped {
		files = scenarios.Files()
	}
	t, err := topology.ParseIn(files, ini.name, ini.data)
	var mistakes topology.Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		p.add(Mistake{File: ini.name, Text: err.Error()})
		t = topology.Unreadable(ini.name)
	}
	p.topology = t
	look := func(program, dir string, env []string) error {
		path, err := lookPath(program, dir, env)
		if err == nil {
			p.programs = append(p.programs, path)
		}
		return err
	}
	mistakes = append(mistakes, t.CheckPrograms(p.config.Component, p.config.Components, look)...)
	for _, m := range mistakes {
		p.add(Mistake{File: m.File, Line: m.Line, Col: m.Col, Text: m.Text, Err: m.Err})
	}
}

// settle puts the caller's settings in the place of the ini's.
func (p *plan) settle() {
	s := &p.topology.Settings
	for to, from := range map[*time.Duration]*time.Duration{
		&s.Timeout: p.config.Timeout, &s.TimeLimit: p.config.TimeLimit,
		&s.Drain: p.config.Drain, &s.Grace: p.config.Grace,
	} {
		if from != nil {
			*to = *from
		}
	}
	if t := p.config.Timeout; t != nil && *t == 0 {
		p.add(Mistake{Text: "timeout is 0: no await could be met"})
	}
	if p.config.Listen != "" {
		s.Listen = p.config.Listen
	}
	s.Links = p.linksOf(s.Links)
	if contain := p.config.Contain; contain != "" {
		s.Contain = contain
		if !slices.Contains(process.Containments(), contain) {
			p.add(Mistake{Text: fmt.Sprintf("contain is %q: expected one of %s", contain, strings.Join(process.Containments(), ", "))})
		}
	}
	switch {
	case p.config.Seed != nil:
		p.seed = *p.config.Seed
	case s.Seed != nil:
		p.seed = *s.Seed
	default:
		p.seed = NewSeed()
	}
	s.Seed = &p.seed
}

// NewSeed draws a seed, one that JSON can carry: below 2^53.
func NewSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) >> 11
}

// Version is the version of this module in the program that it is built into.
func Version() string {
	const path = "github.com/dagon-star/dagon-star"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == path && m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return "devel"
}

// workingFolder is the folder that relative names begin in.
func workingFolder() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	return dir
}
