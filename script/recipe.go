package script

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// Recipe is what a run is made of: recipe.json in its folder, which is written
// before the first node is forked. From it the run can be run again, also where
// the scripts and the ini have changed since, or are gone: ReadRecipe reads it,
// and Config makes of it what Run takes. The programs and data files that the ini
// names are not in it, but for their sums.
//
// Its JSON has the fields below under the names that their tags tell. A byte of a
// name, parameter or other string that is no UTF-8 is written as package exact does:
// \udce9 is the byte e9. A reader passes over fields that it does not know.
type Recipe struct {
	Format int `json:"format"` // RecipeFormat
	// Folder is the absolute path of the folder that the run was started in, where
	// relative names begin. Another folder may take its place, on another machine
	// too: see Config.
	Folder   string       `json:"folder"`
	Script   RecipeText   `json:"script"`
	Loaded   []RecipeText `json:"loaded,omitempty"` // in the order in which they are loaded first
	Topology *RecipeText  `json:"topology,omitempty"`
	// Files are those of the machine that the ini names.
	Files    []RecipeFile      `json:"files,omitempty"`
	Test     string            `json:"test,omitempty"` // that was run, as Config.Test
	Params   map[string]string `json:"params,omitempty"`
	Seed     uint64            `json:"seed"`
	Settings RecipeSettings    `json:"settings"`
	// Env is what the run inherited and is kept: PATH. What the ini and the script
	// set is in their texts.
	Env       map[string]string `json:"env"`
	Version   string            `json:"version"` // of the program that ran it
	Argv      []string          `json:"argv,omitempty"`
	System    string            `json:"system"` // GOOS/GOARCH
	Kernel    string            `json:"kernel,omitempty"`
	Rung      string            `json:"rung"` // of the containment ladder that the run was on
	StartedAt time.Time         `json:"started_at"`
}

// RecipeFormat is the format of the recipes that this version writes and reads.
const RecipeFormat = 1

// RecipeText is a script or an ini, with its text.
type RecipeText struct {
	Name    string `json:"name"`              // as it was given, or found beside what names it
	Shipped bool   `json:"shipped,omitempty"` // with dagon-star
	Given   bool   `json:"given,omitempty"`   // by the program that ran it: there was no such file
	SHA256  string `json:"sha256"`            // of the text, in hex
	Text    string `json:"text"`
	Base64  bool   `json:"base64,omitempty"` // Text is base64, as the text itself is not UTF-8
}

// RecipeFile is a file that the ini names.
type RecipeFile struct {
	Kind string `json:"kind"` // "program", "component" (the dagon-star that runs them), or "data"
	// Name is its path: relative to Recipe.Folder, with slashes, where the ini's is
	// relative; else absolute.
	Name   string `json:"name"`
	Size   int64  `json:"size"`             // bytes
	SHA256 string `json:"sha256,omitempty"` // in hex; "" where it has over 1 GiB, or could not be read
}

// RecipeSettings are the settings that the run had, durations in seconds.
type RecipeSettings struct {
	Listen     string  `json:"listen,omitempty"`
	TimeoutS   float64 `json:"timeout_s"`
	DrainS     float64 `json:"drain_s"`
	GraceS     float64 `json:"grace_s"`
	TimeLimitS float64 `json:"time_limit_s"`
	Links      string  `json:"links"`   // what it came to, as texts say it
	Contain    string  `json:"contain"` // as it was asked for; Recipe.Rung is what came of it
}

// RecipeName is the name of the recipe in a run's folder.
const RecipeName = "recipe.json"

// What is read of a recipe, and of the files that it has the sums of.
const (
	maxRecipe = 128 << 20
	maxSummed = 1 << 30
)

// ReadRecipe reads a recipe: a file, or that of a run's folder. It is an error
// where its texts are not those that its sums are of.
func ReadRecipe(name string) (*Recipe, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, RecipeName)
	}
	f, _, err := userfile.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the recipe: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecipe+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the recipe: %w", err)
	}
	if len(data) > maxRecipe {
		return nil, fmt.Errorf("%s: no recipe: over %d MiB", name, maxRecipe>>20)
	}
	r := &Recipe{}
	if err := exact.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: no recipe: %.300v", name, err)
	}
	if r.Format != RecipeFormat {
		return nil, fmt.Errorf("%s: a recipe of format %d, this version reads format %d", name, r.Format, RecipeFormat)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// check finds what no run has written.
func (r *Recipe) check() error {
	for _, t := range r.texts() {
		data, err := t.data()
		if err != nil {
			return fmt.Errorf("the text of %.300q: %w", t.Name, err)
		}
		if t.Name == "" || sum(data) != t.SHA256 {
			return fmt.Errorf("the text of %.300q is not the one that its sha256 is of: the recipe has been changed", t.Name)
		}
	}
	s := r.Settings
	for _, seconds := range []float64{s.TimeoutS, s.DrainS, s.GraceS, s.TimeLimitS} {
		if _, err := topology.Seconds(seconds); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	return nil
}

// texts are all scripts and the ini.
func (r *Recipe) texts() []RecipeText {
	all := append([]RecipeText{r.Script}, r.Loaded...)
	if r.Topology != nil {
		all = append(all, *r.Topology)
	}
	return all
}

func (t RecipeText) data() ([]byte, error) {
	if t.Base64 {
		return base64.StdEncoding.DecodeString(t.Text)
	}
	return []byte(t.Text), nil
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

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
	for to, seconds := range map[**time.Duration]float64{&c.Timeout: s.TimeoutS, &c.Drain: s.DrainS, &c.Grace: s.GraceS, &c.TimeLimit: s.TimeLimitS} {
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
		switch present := now(path); {
		case present.Size < 0:
			notices = append(notices, fmt.Sprintf("%s is gone since the recipe was written", name))
		case present.Size != f.Size || present.SHA256 != f.SHA256:
			notices = append(notices, fmt.Sprintf("%s has changed since the recipe was written: it is used as it is now", name))
		}
	}
	if k.Version != p.version {
		notices = append(notices, fmt.Sprintf("the recipe is of version %s of dagon-star, and this is %s", k.Version, p.version))
	}
	if work := workingFolder(); k.base != work {
		notices = append(notices, fmt.Sprintf("relative names begin in %s, where the run's files are", k.base))
	}
	return notices
}

// readFiles sums the files that the ini names, and tells which of a recipe's have
// changed.
func (p *plan) readFiles() {
	seen := map[string]RecipeFile{}
	now := func(path string) RecipeFile {
		f, ok := seen[path]
		if !ok {
			f = summed(path)
			seen[path] = f
		}
		return f
	}
	listed := map[string]bool{}
	add := func(kind, path string) {
		f := now(path)
		if listed[path] || f.Size < 0 {
			return
		}
		listed[path] = true
		f.Kind, f.Name = kind, p.fileName(path)
		p.files = append(p.files, f)
	}
	for _, path := range p.programs {
		add("program", path)
	}
	if slices.ContainsFunc(p.topology.Nodes, func(n *topology.Node) bool { return n.Component != "" }) {
		add("component", p.config.Component)
	}
	for _, path := range p.topology.Files() {
		add("data", path)
	}
	if p.config.kept != nil {
		p.notices = append(p.notices, p.config.kept.changes(p, now)...)
	}
}

// fileName is the name of a file that the ini names, for the recipe.
func (p *plan) fileName(path string) string {
	if p.topology.Relative(path) {
		work := workingFolder()
		in, err := filepath.Rel(work, p.topology.Dir)
		movable := !filepath.IsAbs(p.ini.name) || err == nil && filepath.IsLocal(in)
		if rel, err := filepath.Rel(work, path); err == nil && movable {
			return filepath.ToSlash(rel)
		}
	}
	return path
}

// summed is a file's size and sum; its size is -1 where it is no regular file.
func summed(path string) RecipeFile {
	f := RecipeFile{Size: -1}
	info, err := userfile.Stat(path)
	if err != nil {
		return f
	}
	f.Size = info.Size()
	file, _, err := userfile.Open(path)
	if err != nil {
		return f
	}
	defer file.Close()
	if f.Size > maxSummed {
		return f
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err == nil {
		f.SHA256 = hex.EncodeToString(h.Sum(nil))
	}
	return f
}

func (s *source) recipe() RecipeText {
	t := RecipeText{Name: s.name, Shipped: s.shipped, Given: s.given, SHA256: sum(s.data), Text: string(s.data)}
	if !utf8.Valid(s.data) {
		t.Text, t.Base64 = base64.StdEncoding.EncodeToString(s.data), true
	}
	return t
}

// writeRecipe writes the recipe. All files that a script can load are known
// before it runs, for load takes only names that are written out.
func (p *plan) writeRecipe(run *runtime.Run) error {
	s := run.Settings()
	r := Recipe{Format: RecipeFormat, Folder: workingFolder(), Script: p.main.recipe(), Files: p.files, Test: p.config.Test,
		Params: p.config.Params, Seed: p.seed,
		Settings: RecipeSettings{Listen: s.Listen, TimeoutS: s.Timeout.Seconds(), DrainS: s.Drain.Seconds(),
			GraceS: s.Grace.Seconds(), TimeLimitS: s.TimeLimit.Seconds(), Links: s.Links, Contain: s.Contain},
		Env:     map[string]string{"PATH": os.Getenv("PATH")},
		Version: p.version, Argv: p.config.Argv, System: goruntime.GOOS + "/" + goruntime.GOARCH, Kernel: kernel(),
		Rung: string(run.Containment().Rung), StartedAt: time.Now().UTC()}
	for _, m := range p.modules[1:] {
		r.Loaded = append(r.Loaded, m.recipe())
	}
	if p.ini != nil {
		f := p.ini.recipe()
		r.Topology = &f
	}
	data, err := exact.MarshalIndent(r, "  ")
	if err != nil {
		return err
	}
	return run.WriteFile(RecipeName, append(data, '\n'))
}

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
