package script_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/script"
)

// TestRecipe: a Go program runs a run again from its recipe alone, with another
// seed where it wants to, and compares.
func TestRecipe(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.star", "load('lib.star', 'draw')\nprint(draw(), param('n', default = 1), config.timeout, '\xc3\xa9')\n# \xff\n")
	write("lib.star", "def draw(): return random.randint(1, 1 << 40)\n")
	write("a.ini", string(nodes("node"))+"x = /dev/null\n[dagon]\ntimeout = 7s\n")
	again := func(r *script.Recipe, change func(*script.Config)) (*script.Result, string) {
		t.Helper()
		c, err := r.Config()
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&c)
		}
		var out bytes.Buffer
		c.RunsDir, c.Output = t.TempDir(), &out
		result, err := script.Run(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		return result, out.String()
	}
	read := func(r *script.Result) *script.Recipe {
		t.Helper()
		recipe, err := script.ReadRecipe(r.Folder)
		if err != nil {
			t.Fatal(err)
		}
		return recipe
	}
	var out bytes.Buffer
	first := run(t, script.Config{Script: "a.star", Params: map[string]string{"n": "5"}, Output: &out})
	if first.Outcome != runtime.Passed || !strings.Contains(out.String(), " 5 ") {
		t.Fatalf("%s: %s; it printed %s", first.Outcome, first.Reason, &out)
	}
	recipe := read(first)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if len(recipe.Files) != 1 || recipe.Files[0].Kind != "program" || recipe.Files[0].Name != own || len(recipe.Files[0].SHA256) != 64 {
		t.Errorf("files %+v", recipe.Files)
	}
	if data, err := base64.StdEncoding.DecodeString(recipe.Script.Text); err != nil || !recipe.Script.Base64 ||
		!strings.Contains(string(data), "\xff") {
		t.Errorf("a text that is not UTF-8: %+v", recipe.Script)
	}

	for _, name := range []string{"a.star", "lib.star", "a.ini"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	second, printed := again(recipe, nil)
	if second.Outcome != runtime.Passed || printed != out.String() {
		t.Errorf("%s: %s; it printed %s, want %s", second.Outcome, second.Reason, printed, &out)
	}
	if d := recipe.Compare(read(second)); len(d) > 0 {
		t.Errorf("%+v", d)
	}
	seed := recipe.Seed + 1
	third, printed := again(recipe, func(c *script.Config) { c.Seed = &seed })
	if printed == out.String() {
		t.Error("another seed draws the same")
	}
	if d := recipe.Compare(read(third)); len(d) != 1 || d[0].What != "seed" {
		t.Errorf("%+v", d)
	}

	// What is given in place of files is kept too.
	out.Reset()
	given := run(t, script.Config{Source: []byte("print(node.name)"), TopologySource: nodes("node"), Output: &out})
	if _, printed := again(read(given), nil); printed != "node\n" {
		t.Errorf("it printed %q", printed)
	}
	bare := run(t, script.Config{Source: []byte("print(len(topology.nodes))")})
	if _, printed := again(read(bare), nil); printed != "0\n" {
		t.Errorf("it printed %q", printed)
	}
}

// TestRecipesDiffer: each part in which two recipes may differ is told.
func TestRecipesDiffer(t *testing.T) {
	text := func(name, text string) script.RecipeText {
		sum := sha256.Sum256([]byte(text))
		return script.RecipeText{Name: name, Text: text, SHA256: hex.EncodeToString(sum[:])}
	}
	ini := text("t.ini", "[a]\n")
	base := func() *script.Recipe {
		return &script.Recipe{Format: script.RecipeFormat, Script: text("a.star", "1\n2\n3\n"), Loaded: []script.RecipeText{text("l.star", "x")},
			Topology: &ini, Files: []script.RecipeFile{{Kind: "program", Name: "p", SHA256: "aa"},
				{Kind: "component", Name: "/x/dagon-star", SHA256: "bb"}},
			Params: map[string]string{"n": ""}, Env: map[string]string{"PATH": "/bin"}, Version: "1", Kernel: "k", Rung: "sealed"}
	}
	for want, change := range map[string]func(r *script.Recipe){
		"":                     func(r *script.Recipe) {},
		"seed: 0, 1":           func(r *script.Recipe) { r.Seed = 1 },
		"test: , test_x":       func(r *script.Recipe) { r.Test = "test_x" },
		`param n: "", `:        func(r *script.Recipe) { r.Params = nil },
		`param m: , "3"`:       func(r *script.Recipe) { r.Params["m"] = "3" },
		`a.star:2: "2", "two"`: func(r *script.Recipe) { r.Script = text("a.star", "1\ntwo\n3\n") },
		`a.star, b.star:4: "", the end of the file`: func(r *script.Recipe) { r.Script = text("b.star", "1\n2\n3") },
		`l.star:1: "x", ""`:                         func(r *script.Recipe) { r.Loaded[0] = text("l.star", "") },
		"loaded m.star: , " + text("", "m").SHA256:  func(r *script.Recipe) { r.Loaded = append(r.Loaded, text("m.star", "m")) },
		"topology t.ini: " + ini.SHA256 + ", ":      func(r *script.Recipe) { r.Topology = nil },
		"program p: aa, cc":                         func(r *script.Recipe) { r.Files[0].SHA256 = "cc" },
		"dagon-star, which runs components,: bb, dd": func(r *script.Recipe) {
			r.Files[1] = script.RecipeFile{Kind: "component", Name: "/y", SHA256: "dd"}
		},
		"program p: aa, 7 bytes": func(r *script.Recipe) {
			r.Files[0] = script.RecipeFile{Kind: "program", Name: "p", Size: 7}
		},
		"setting drain: 0s, 0.25s":                          func(r *script.Recipe) { r.Settings.DrainS = 0.25 },
		"version: 1, 2":                                     func(r *script.Recipe) { r.Version = "2" },
		"aside kernel: k, l":                                func(r *script.Recipe) { r.Kernel = "l" },
		"aside containment: sealed, bare":                   func(r *script.Recipe) { r.Rung = "bare" },
		"aside environment PATH: /bin, ":                    func(r *script.Recipe) { r.Env = nil },
		"seed: 0, 1; version: 1, 2; aside system: , linux/": func(r *script.Recipe) { r.Seed, r.Version, r.System = 1, "2", "linux/" },
	} {
		other := base()
		change(other)
		var got []string
		for _, d := range base().Compare(other) {
			line := d.What + ": " + d.A + ", " + d.B
			if d.Aside {
				line = "aside " + line
			}
			got = append(got, line)
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// hostile reads a recipe that is no recipe, or makes no sense, and does with it
// what is done before a run. With its sums set right it gets past them.
func hostile(t *testing.T, folder string, data []byte) (errs []error) {
	t.Helper()
	name := filepath.Join(folder, script.RecipeName)
	var whole map[string]any
	for _, mend := range []bool{false, true} {
		if mend {
			if json.Unmarshal(data, &whole) != nil {
				return errs
			}
			mendSums(whole)
			data, _ = json.Marshal(whole) // it was decoded
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := script.ReadRecipe(folder)
		if err != nil {
			if len(err.Error()) > 1000+len(name) {
				t.Errorf("an error of %d bytes: %.1000v", len(err.Error()), err)
			}
			errs = append(errs, err)
			continue
		}
		r.Compare(&script.Recipe{})
		if d := r.Compare(r); len(d) > 0 {
			t.Errorf("it differs from itself: %+v", d)
		}
		c, err := r.Config()
		if err != nil {
			t.Errorf("a recipe that was read: %v", err)
			continue
		}
		c.Component = "dagon-star"
		err = script.Check(c)
		var mistakes script.Mistakes
		if err != nil && !errors.As(err, &mistakes) {
			t.Errorf("an error of type %T: %v", err, err)
		}
		errs = append(errs, err)
	}
	return errs
}

// mendSums gives every text the sum that it has, whichever object it is in.
func mendSums(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			mendSums(e)
		}
	case map[string]any:
		if text, ok := v["text"].(string); ok {
			data := []byte(text)
			if v["base64"] == true {
				data, _ = base64.StdEncoding.DecodeString(text)
			}
			sum := sha256.Sum256(data)
			v["sha256"] = hex.EncodeToString(sum[:])
		}
		for _, e := range v {
			mendSums(e)
		}
	}
}

const wellFormed = `{"format":1,"folder":"/x","script":{"name":"a.star","text":"load('l.star','x')\nfork(a)"},` +
	`"loaded":[{"name":"l.star","text":"x=1"}],"topology":{"name":"sub/t.ini","text":"[a]\ncomponent = dagon-child\nfile = ../d\n"},` +
	`"files":[{"kind":"program","name":"../p","size":3,"sha256":"00"},{"kind":"data","name":"/etc/passwd","size":-5}],` +
	`"params":{"n":"5"},"seed":7,"settings":{"timeout_s":30,"drain_s":0.5,"grace_s":5,"time_limit_s":600,"links":"direct","contain":"auto"},` +
	`"env":{"PATH":"/bin"},"version":"devel","argv":["x"],"system":"linux/amd64","rung":"sealed","started_at":"2026-11-25T20:00:00Z"}`

// FuzzRecipe: no recipe makes reading it, or what comes before a run, panic.
func FuzzRecipe(f *testing.F) {
	f.Add([]byte(wellFormed))
	f.Add([]byte(
		`{"format":1,"script":{"name":"default.star","shipped":true,"base64":true,"text":"eA=="},"topology":null,"seed":18446744073709551615}`))
	f.Add([]byte(`{"format":2}`))
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		defer ends()()
		hostile(t, folder, data)
	})
}

// TestHostileRecipes: what is wrong with a recipe is told, and nothing else comes
// of it.
func TestHostileRecipes(t *testing.T) {
	swap := func(from, to string) string {
		if !strings.Contains(wellFormed, from) {
			t.Errorf("no %s", from)
		}
		return strings.Replace(wellFormed, from, to, 1)
	}
	for name, test := range map[string]struct{ data, want string }{
		"well-formed":      {wellFormed, ""},
		"empty":            {"", "no recipe"},
		"not JSON":         {"hello", "no recipe"},
		"a list":           {"[]", "no recipe"},
		"null":             {"null", "format 0"},
		"another format":   {swap(`"format":1`, `"format":2`), "a recipe of format 2, this version reads format 1"},
		"more after it":    {wellFormed + "{}", "no recipe"},
		"a number":         {swap(`"seed":7`, `"seed":-7`), "no recipe"},
		"a long wrong one": {swap(`"seed":7`, `"seed":"`+strings.Repeat("x", 1<<20)+`"`), "no recipe"},
		"no script":        {swap(`"script":`, `"skript":`), `the text of ""`},
		"no name":          {swap(`"name":"a.star"`, `"name":""`), `the text of ""`},
		"negative":         {swap(`"grace_s":5`, `"grace_s":-5`), "settings: -5 seconds is no duration"},
		"too long":         {swap(`"grace_s":5`, `"grace_s":1e300`), "settings: 1e+300 seconds is no duration"},
		"a load it lacks":  {swap("l.star','x", "m.star','x"), `a.star:1:6: cannot load "m.star": the recipe does not have it`},
		"a circle":         {swap(`"x=1"`, `"load('a.star','x')"`), "load goes in a circle"},
		"no node":          {swap("fork(a)", "fork(b)"), "undefined: b"},
		"a bad ini":        {swap("component = dagon-child", "path ="), "sub/t.ini:2"},
		"contained how":    {swap(`"contain":"auto"`, `"contain":"luck"`), `contain is "luck"`},
		"folder":           {swap(`"folder":"/x"`, `"folder":"..\u0000/`+strings.Repeat("x", 1<<16)+`"`), ""},
		"files":            {swap(`"../p"`, `"\u0000"`), ""},
		"deep":             {swap(`"params":{`, `"more":`+strings.Repeat("[", 1<<16)+strings.Repeat("]", 1<<16)+`,"params":{`), "no recipe"},
		"not base64":       {swap(`"text":"x=1"`, `"base64":true,"text":"x"`), "the text of"},
	} {
		var err error
		for _, err = range hostile(t, t.TempDir(), []byte(test.data)) {
			continue
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	for _, err := range hostile(t, t.TempDir(), []byte(wellFormed))[:1] {
		if err == nil || !strings.Contains(err.Error(), "the recipe has been changed") {
			t.Errorf("texts without sums: %v", err)
		}
	}
	if _, err := script.ReadRecipe(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if r := (&script.Recipe{}); !reflect.DeepEqual(r.Compare(r), []script.RecipeDifference(nil)) {
		t.Error("an empty one differs from itself")
	}
}
