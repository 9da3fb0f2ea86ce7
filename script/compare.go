package script

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/topology"
)

// RecipeDifference is something in which two recipes differ; A and B are what
// they have, "" where one has nothing of the kind.
type RecipeDifference struct {
	What, A, B string
	// Aside tells that it is of the machine that the run was on, and not of what
	// was run.
	Aside bool
}

// Compare finds where another recipe differs: in scripts and the ini, of which
// the name and the first line that differs is told, the files that the ini names,
// the test, parameters, seed, settings and version; and, aside, in the machine.
func (r *Recipe) Compare(o *Recipe) (all []RecipeDifference) {
	differ := func(what, a, b string) {
		if a != b {
			all = append(all, RecipeDifference{What: what, A: a, B: b})
		}
	}
	differ("test", r.Test, o.Test)
	differ("seed", fmt.Sprint(r.Seed), fmt.Sprint(o.Seed))
	differMaps := func(prefix string, a, b map[string]string) {
		names := map[string]bool{}
		for _, m := range []map[string]string{a, b} {
			for name := range m {
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			differ(prefix+name, a[name], b[name])
		}
	}
	given := func(params map[string]string) map[string]string { // so that "" is told from none
		quoted := map[string]string{}
		for name, value := range params {
			quoted[name] = fmt.Sprintf("%q", value)
		}
		return quoted
	}
	differMaps("param ", given(r.Params), given(o.Params))
	all = append(all, differentTexts(r.Script, o.Script)...)
	for i := range max(len(r.Loaded), len(o.Loaded)) {
		switch {
		case i >= len(r.Loaded):
			differ("loaded "+o.Loaded[i].Name, "", o.Loaded[i].SHA256)
		case i >= len(o.Loaded):
			differ("loaded "+r.Loaded[i].Name, r.Loaded[i].SHA256, "")
		default:
			all = append(all, differentTexts(r.Loaded[i], o.Loaded[i])...)
		}
	}
	switch {
	case r.Topology != nil && o.Topology != nil:
		all = append(all, differentTexts(*r.Topology, *o.Topology)...)
	case r.Topology != nil:
		differ("topology "+r.Topology.Name, r.Topology.SHA256, "")
	case o.Topology != nil:
		differ("topology "+o.Topology.Name, "", o.Topology.SHA256)
	}
	sums := func(files []RecipeFile) map[string]string {
		sums := map[string]string{}
		for _, f := range files {
			name := f.Kind + " " + f.Name
			if f.Kind == "component" {
				name = "dagon-star, which runs components,"
			}
			if sums[name] = f.SHA256; f.SHA256 == "" {
				sums[name] = fmt.Sprintf("%d bytes", f.Size)
			}
		}
		return sums
	}
	differMaps("", sums(r.Files), sums(o.Files))
	settings := func(s RecipeSettings) map[string]string {
		seconds := func(s float64) string { return fmt.Sprintf("%gs", s) }
		return map[string]string{"listen": s.Listen, "timeout": seconds(s.TimeoutS), "drain": seconds(s.DrainS), "grace": seconds(s.GraceS),
			"time_limit": seconds(s.TimeLimitS), "links": s.Links, "contain": s.Contain}
	}
	differMaps("setting ", settings(r.Settings), settings(o.Settings))
	differ("version", r.Version, o.Version)
	counts := len(all)
	differ("system", r.System, o.System)
	differ("kernel", r.Kernel, o.Kernel)
	differ("containment", r.Rung, o.Rung)
	differMaps("environment ", r.Env, o.Env)
	for i := range all[counts:] {
		all[counts+i].Aside = true
	}
	return all
}

// differentTexts tells the first line in which two texts differ.
func differentTexts(a, b RecipeText) []RecipeDifference {
	if a.SHA256 == b.SHA256 {
		return nil
	}
	name := a.Name
	if b.Name != a.Name {
		name += ", " + b.Name
	}
	if a.Base64 || b.Base64 {
		return []RecipeDifference{{What: name, A: a.SHA256, B: b.SHA256}}
	}
	linesOfA, linesOfB := strings.Split(a.Text, "\n"), strings.Split(b.Text, "\n")
	at := 0
	for at < min(len(linesOfA), len(linesOfB)) && linesOfA[at] == linesOfB[at] {
		at++
	}
	line := func(lines []string) string {
		if at >= len(lines) {
			return "the end of the file"
		}
		return fmt.Sprintf("%q", topology.Brief(lines[at], maxText))
	}
	return []RecipeDifference{{What: fmt.Sprintf("%s:%d", name, at+1), A: line(linesOfA), B: line(linesOfB)}}
}
