package scenarios_test

import (
	"path"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/scenarios"
	"github.com/dagon-star/dagon-star/script"
)

// Each system is an ini of at most 15 lines and a script of at most 25, in which nothing
// is wrong on a machine that has its programs, and the script says what its verdicts are.
func TestSystems(t *testing.T) {
	tests := 0
	for _, name := range scenarios.Names() {
		folder, isIn := strings.CutPrefix(path.Dir(name), "systems/")
		if !isIn {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, _ := scenarios.Open(name)
			limit := map[string]int{".ini": 15, ".star": 25}[path.Ext(name)]
			if lines := strings.Count(string(text), "\n"); lines > limit {
				t.Errorf("it has %d lines, and at most %d were expected", lines, limit)
			}
			if path.Ext(name) != ".star" {
				return
			}
			names, err := script.Tests(script.Config{Script: name})
			if err != nil || len(names) < 2 || !strings.HasPrefix(names[0], "[") {
				t.Errorf("its tests are %q, %v; two of its verdicts at least were expected", names, err)
			}
			tests += len(names)
		})
		if readme, _ := scenarios.Open("systems/README.md"); !strings.Contains(string(readme), "\n## "+folder+"\n") {
			t.Errorf("systems/README.md does not tell of %s", folder)
		}
	}
	if tests < 18 {
		t.Errorf("they have %d tests, 18 were expected", tests)
	}
}
