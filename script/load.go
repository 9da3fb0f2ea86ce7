package script

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/dagon-star/dagon-star/runtime/topology"
)

// load reads what a load statement loads.
func (p *plan) load(m *module, load *syntax.LoadStmt, known map[string]starlark.Value, byKey map[string]*module, chain []*module) {
	name := load.ModuleName()
	pos, _ := load.Module.Span()
	var s *source
	var err error
	kept := p.config.kept
	shipped := func() *source {
		if known := byKey["shipped:"+name]; known != nil {
			return &known.source
		}
		if kept != nil {
			return kept.loads["shipped:"+name]
		}
		return openShipped(name)
	}
	if m.shipped {
		s = shipped()
	} else {
		path := name
		if !filepath.IsAbs(name) {
			path = filepath.Join(filepath.Dir(m.name), name)
		}
		key, _ := filepath.Abs(path)
		switch known := byKey[key]; {
		case known != nil:
			s = &known.source
		case kept != nil:
			s = kept.loads[key]
		default:
			if s, err = open(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				p.mistake(pos, "cannot load %q: %v", name, cause(err))
				return
			}
		}
		if s == nil {
			s = shipped()
		}
	}
	if s == nil && kept != nil {
		p.mistake(pos, "cannot load %q: the recipe does not have it", name)
		return
	}
	if s == nil {
		p.mistake(pos, "cannot load %q: there is no such file beside %s, and no shipped one", name, m.name)
		return
	}
	for i, above := range chain {
		if above.key == s.key {
			var names []string
			for _, c := range append(chain[i:], above) {
				names = append(names, c.name)
			}
			p.mistake(pos, "load goes in a circle: %s", strings.Join(names, " loads "))
			return
		}
	}
	next := byKey[s.key]
	if next == nil {
		next = p.readModule(s, known, byKey, chain)
	}
	m.loads[name] = next
	if next.file == nil || next.file.Module == nil {
		return
	}
	if next.exported == nil {
		next.exported = map[string]bool{}
		for _, b := range next.file.Module.(*resolve.Module).Globals {
			if name := b.First.Name; !strings.HasPrefix(name, "_") {
				next.exported[name] = true
			}
		}
	}
	for _, from := range load.From {
		switch {
		case strings.HasPrefix(from.Name, "_"):
			p.mistake(from.NamePos, "%s cannot be loaded: a name that begins with _ is its file's own", from.Name)
		case !next.exported[from.Name]:
			meant := ""
			if !p.full(m.name) {
				if n := topology.Nearest(from.Name, slices.Sorted(maps.Keys(next.exported))); n != "" {
					meant = fmt.Sprintf(" (did you mean %s?)", n)
				}
			}
			p.mistake(from.NamePos, "%s has no %s%s", next.name, from.Name, meant)
		}
	}
}
