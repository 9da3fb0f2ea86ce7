package script

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

func TestVerdictsAreTests(t *testing.T) {
	c := Config{RunsDir: t.TempDir(), Source: []byte(`
verdicts = {"": "failed: 3 is odd", "n=4": "passed", "n=5 word=yes": "failed: 5 .* yes", "n=7": "passed", "n=9": "failed: even"}
n = param("n", default = 3)
if n % 2:
    fail(n, "is odd,", param("word", default = "no"))
`)}
	names, err := Tests(c)
	if want := []string{"[]", "[n=4]", "[n=5 word=yes]", "[n=7]", "[n=9]"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("tests %q, %v; want %q", names, err, want)
	}
	for name, want := range map[string]struct {
		outcome runtime.Outcome
		reason  string
	}{
		"":               {runtime.Failed, "3 is odd, no"},
		"[]":             {runtime.Passed, ""},
		"[n=4]":          {runtime.Passed, ""},
		"[n=5 word=yes]": {runtime.Passed, ""},
		"[n=7]":          {runtime.Failed, `the verdict was to be "passed", and is failed: fail: 7 is odd, no`},
		"[n=9]":          {runtime.Failed, `the verdict was to be "failed: even", and is failed: fail: 9 is odd, no`},
	} {
		c.Test = name
		c.Params = map[string]string{"word": "no"} // which a variant has its own in place of
		r, err := Run(t.Context(), c)
		if err != nil || r.Outcome != want.outcome || !strings.Contains(r.Reason, want.reason) {
			t.Errorf("%s: %v, %v", name, r, err)
			continue
		}
		told := slices.ContainsFunc(r.Beside, func(f verdict.Finding) bool { return strings.Contains(f.Reason, "as it was to be, failed") })
		if told != (name == "[]" || name == "[n=5 word=yes]") {
			t.Errorf("%s: beside it %v", name, r.Beside)
		}
	}
}

func TestVerdictsMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`verdicts = ["passed"]`:                         "a dict was expected",
		`verdicts = {}`:                                 "a dict was expected",
		`verdicts = {"": "lost"}`:                       "was expected",
		`verdicts = {"": "failed: ("}`:                  "missing closing",
		`verdicts = {"n": "passed"}`:                    "NAME=VALUE was expected",
		`verdicts = {1: "passed"}`:                      "and a verdict were expected",
		"verdicts = {'': 'passed'}\ndef test_a(): pass": "test_a is a test of its own",
		`requires = "redis-server"`:                     "a list of programs was expected",
		`requires = [1]`:                                "the name of a program was expected",
	} {
		err := Check(Config{Source: []byte(text + "\nprint(1)\n")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

// What a script requires and is not there skips it; a program that only its ini names
// is a mistake.
func TestRequires(t *testing.T) {
	present, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	ini := []byte("[a]\ncommand = none-such-server -x\n[b]\ncommand = " + present + "\n")
	c := Config{Source: []byte("requires = ['sh', 'none-such-server', 'none-such-client']\nprint(1)\n"), TopologySource: ini}
	err = Check(c)
	var mistakes Mistakes
	if !errors.As(err, &mistakes) || len(mistakes) != 2 || !IsUnsupported(err) || strings.Contains(err.Error(), "cannot start") {
		t.Errorf("with a program that it requires missing: %v", err)
	}
	if names, err := Tests(c); err != nil || len(names) != 1 {
		t.Errorf("it has the tests %q, %v", names, err)
	}
	c.Source = []byte("requires = ['sh']\nprint(1)\n")
	if err := Check(c); err == nil || IsUnsupported(err) || !strings.Contains(err.Error(), "none-such-server") {
		t.Errorf("with another one missing: %v", err)
	}
}
