package script

import (
	"encoding/json"
	"os"
	goruntime "runtime"
	"time"

	"github.com/dagon-star/dagon-star/runtime"
)

// recipe is what a run is made of, as recipe.json in its folder keeps it.
type recipe struct {
	Format    int               `json:"format"`
	Script    recipeFile        `json:"script"`
	Loaded    []recipeFile      `json:"loaded,omitempty"`
	Topology  *recipeFile       `json:"topology,omitempty"`
	Params    map[string]string `json:"params,omitempty"`
	Seed      uint64            `json:"seed"`
	Settings  recipeSettings    `json:"settings"`
	Env       map[string]string `json:"env"` // what nodes inherit and is kept: PATH
	Version   string            `json:"version"`
	Argv      []string          `json:"argv,omitempty"`
	System    string            `json:"system"` // GOOS/GOARCH
	Kernel    string            `json:"kernel,omitempty"`
	StartedAt time.Time         `json:"started_at"`
}

type recipeFile struct {
	Name    string `json:"name"`
	Shipped bool   `json:"shipped,omitempty"`
	SHA256  string `json:"sha256"`
	Text    string `json:"text"`
}

type recipeSettings struct {
	Listen     string  `json:"listen,omitempty"`
	TimeoutS   float64 `json:"timeout_s"`
	DrainS     float64 `json:"drain_s"`
	GraceS     float64 `json:"grace_s"`
	TimeLimitS float64 `json:"time_limit_s"`
	Links      string  `json:"links"`
	Contain    string  `json:"contain"`
}

func (s *source) recipe() recipeFile {
	return recipeFile{Name: s.name, Shipped: s.shipped, SHA256: s.sum(), Text: string(s.data)}
}

// writeRecipe writes the recipe. All files that a script can load are known
// before it runs, for load takes only names that are written out.
func (p *plan) writeRecipe(run *runtime.Run) error {
	s := run.Settings()
	r := recipe{Format: 1, Script: p.main.recipe(), Params: p.config.Params, Seed: p.seed,
		Settings: recipeSettings{Listen: s.Listen, TimeoutS: s.Timeout.Seconds(), DrainS: s.Drain.Seconds(),
			GraceS: s.Grace.Seconds(), TimeLimitS: s.TimeLimit.Seconds(), Links: s.Links, Contain: s.Contain},
		Env:     map[string]string{"PATH": os.Getenv("PATH")},
		Version: p.version, Argv: p.config.Argv, System: goruntime.GOOS + "/" + goruntime.GOARCH, Kernel: kernel(),
		StartedAt: time.Now().UTC()}
	for _, m := range p.modules[1:] {
		r.Loaded = append(r.Loaded, m.recipe())
	}
	if p.ini != nil {
		f := p.ini.recipe()
		r.Topology = &f
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return run.WriteFile("recipe.json", append(data, '\n'))
}
