package script

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// kept is a recipe that is run again, and where its relative names begin now.
type kept struct {
	*Recipe
	base  string
	loads map[string]*source // by their keys
}

// Config is what runs the recipe again: its scripts, its ini, its test,
// parameters, seed and settings. All of Config may be changed but what names or
// has the texts. What the recipe cannot have is left out: Component, and what an
// embedding program has of its own, such as Builtins.
//
// No script or ini is read from the disk; a notice of the run tells which of them
// have changed since or are gone, and the same of the files that the ini names,
// which are used as they are now. Relative names, and what is in Recipe.Folder,
// begin in the working folder; where this does not have all relative files of the
// recipe, and Recipe.Folder does, in that one.
func (r *Recipe) Config() (Config, error) {
	work, err := os.Getwd()
	if err != nil {
		return Config{}, err
	}
	if err := r.check(); err != nil {
		return Config{}, err
	}
	k := &kept{Recipe: r, base: work, loads: map[string]*source{}}
	if len(r.missing(work)) > 0 && filepath.IsAbs(r.Folder) && len(r.missing(r.Folder)) == 0 {
		k.base = filepath.Clean(r.Folder)
	}
	for _, t := range r.Loaded {
		s := k.source(t, k.name(t, work))
		k.loads[s.key] = s
	}
	seed, s := r.Seed, r.Settings
	c := Config{Script: k.name(r.Script, work), Test: r.Test, Params: maps.Clone(r.Params), Seed: &seed,
		Listen: s.Listen, Contain: s.Contain, kept: k}
	if r.Topology != nil {
		c.Topology = k.name(*r.Topology, work)
	}
	for to, seconds := range map[**time.Duration]float64{&c.Timeout: s.TimeoutS, &c.Drain: s.DrainS, &c.Grace: s.GraceS,
		&c.TimeLimit: s.TimeLimitS} {
		d, _ := topology.Seconds(seconds) // checked above
		*to = &d
	}
	return c, nil
}

// missing are the relative files that a folder does not have in their places.
func (r *Recipe) missing(folder string) (names []string) {
	for _, f := range r.Files {
		if name := filepath.FromSlash(f.Name); !filepath.IsAbs(name) {
			if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// path is where a file of the recipe is now.
func (k *kept) path(name string) string {
	if !filepath.IsAbs(name) {
		return filepath.Join(k.base, name)
	}
	if in, err := filepath.Rel(k.Folder, name); err == nil && filepath.IsLocal(in) {
		return filepath.Join(k.base, in)
	}
	return name
}

// name is the name of a text as it is seen from the working folder.
func (k *kept) name(t RecipeText, work string) string {
	if t.Shipped || k.base == work && (k.Folder == work || !filepath.IsAbs(t.Name)) {
		return t.Name
	}
	path := k.path(t.Name)
	if in, err := filepath.Rel(work, path); err == nil && filepath.IsLocal(in) {
		return in
	}
	return path
}

// source is a text under the name that it has now.
func (k *kept) source(t RecipeText, name string) *source {
	data, _ := t.data() // checked before
	s := &source{name: name, data: data, shipped: t.Shipped, given: t.Given}
	if s.key = "shipped:" + name; !t.Shipped {
		s.key, _ = filepath.Abs(name) // the working folder was known
	}
	return s
}

// inPlaceOf is the program that is run now where the recipe has the one of a path:
// one of the same name that PATH gives, for it is the ini that names both. It is ""
// where that path is run still, or none is in its place.
func (k *kept) inPlaceOf(path string, programs []string) string {
	if slices.Contains(programs, path) {
		return ""
	}
	i := slices.IndexFunc(programs, func(program string) bool {
		return filepath.Base(program) == filepath.Base(path) && !slices.ContainsFunc(k.Files, func(f RecipeFile) bool {
			return f.Kind == "program" && k.path(filepath.FromSlash(f.Name)) == program
		})
	})
	if i < 0 {
		return ""
	}
	return programs[i]
}

// changes tells what has changed since the recipe was written; now has the files
// that it names, by their paths.
func (k *kept) changes(p *plan, now func(path string) RecipeFile) (notices []string) {
	for _, s := range append(slices.Collect(maps.Values(k.loads)), &p.main.source, p.ini) {
		if s == nil || s.given {
			continue
		}
		data, err := userfile.Read(s.name, maxFile)
		if s.shipped {
			data, err = nil, fs.ErrNotExist
			if shipped := openShipped(s.name); shipped != nil {
				data, err = shipped.data, nil
			}
		}
		switch {
		case err != nil:
			notices = append(notices, fmt.Sprintf("%s is gone since the recipe was written, which has its text", s.name))
		case !bytes.Equal(data, s.data):
			notices = append(notices, fmt.Sprintf("%s has changed since the recipe was written: its text is that of the recipe", s.name))
		}
	}
	slices.Sort(notices)
	for _, f := range k.Files {
		name, path := f.Name, k.path(filepath.FromSlash(f.Name))
		if f.Kind == "component" {
			name, path = "dagon-star, which runs components,", p.config.Component
		}
		if f.Kind == "program" {
			if other := k.inPlaceOf(path, p.programs); other != "" {
				same := "it is another program"
				if present := now(other); f.SHA256 != "" && present.SHA256 == f.SHA256 {
					same = "it has the same bytes"
				}
				notices = append(notices, fmt.Sprintf("%s is run now, as it is what PATH gives, and %s was when the recipe was "+
					"written: %s", other, path, same))
				continue
			}
		}
		switch present := now(path); {
		case present.Size < 0:
			notices = append(notices, fmt.Sprintf("%s is gone since the recipe was written", name))
		case present.Size != f.Size || present.SHA256 != f.SHA256:
			notices = append(notices, fmt.Sprintf("%s has changed since the recipe was written: it is used as it is now", name))
		}
	}
	if path, now := k.Env["PATH"], os.Getenv("PATH"); path != now {
		notices = append(notices, "PATH is not the one that the recipe was written with: nodes may find other programs in it")
	}
	if k.Version != p.version {
		notices = append(notices, fmt.Sprintf("the recipe is of version %s of dagon-star, and this is %s", k.Version, p.version))
	}
	if work := workingFolder(); k.base != work {
		notices = append(notices, fmt.Sprintf("relative names begin in %s, where the run's files are", k.base))
	}
	return notices
}
