package script

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/userfile"
	"github.com/dagon-star/dagon-star/scenarios"
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

// ParseTopology reads the ini that the run had; one without nodes where it had none. It
// reads templates again, which may have changed.
func (r *Recipe) ParseTopology() (*topology.Topology, error) {
	if r.Topology == nil {
		return &topology.Topology{Name: "none", Settings: topology.DefaultSettings()}, nil
	}
	data, err := r.Topology.data()
	if err != nil {
		return nil, err
	}
	if r.Topology.Shipped {
		return topology.ParseIn(scenarios.Files(), r.Topology.Name, data)
	}
	name := filepath.FromSlash(r.Topology.Name)
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.Folder, name)
	}
	return topology.Parse(name, data)
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
