//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/report"
)

func TestAnnotation(t *testing.T) {
	place := func(file string) string {
		if strings.HasPrefix(file, "shipped") {
			return ""
		}
		return "in/" + file
	}
	for _, test := range []struct {
		test report.Test
		want string
	}{
		{report.Test{File: "a.star", Name: "test_x[1,2]", Outcome: "failed", Where: "a,b:c.star:3:14", Reason: "100%\r\nno::way", Repeat: "again"},
			"::error file=in/a%2Cb%3Ac.star,line=3,col=14,title=failed%3A a.star%3Atest_x[1%2C2]::100%25\\r%0Ano::way%0Arepeat: again\n"},
		{report.Test{File: "a.star", Outcome: "inconclusive", Source: "lib.star", Line: 7, Reason: "x"},
			"::error file=in/lib.star,line=7,title=inconclusive%3A a.star::x\n"},
		{report.Test{File: "shipped.star", Outcome: "failed", Where: "shipped.star:1:1", Reason: "x\x1b"},
			"::error title=failed%3A shipped.star::x\\x1b\n"},
	} {
		if got := annotation(test.test, place); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestSplitPlace(t *testing.T) {
	for where, want := range map[string]string{"": " 0 0", "a.star": "a.star 0 0", "a.star:3": "a.star 3 0", "a.star:3:4": "a.star 3 4",
		"a:5:3:4": "a:5 3 4", `C:\a.star:3:4`: `C:\a.star 3 4`, "a.star:x": "a.star:x 0 0"} {
		file, line, col := splitPlace(where)
		if got := fmt.Sprint(file, " ", line, " ", col); got != want {
			t.Errorf("%q is %q, want %q", where, got, want)
		}
	}
}

// TestPlace: files are told as the workspace has them, and those beside it are not.
func TestPlace(t *testing.T) {
	root := t.TempDir()
	work := filepath.Join(root, "work")
	os.Mkdir(work, 0o755)
	os.Symlink(work, filepath.Join(root, "link"))
	for _, name := range []string{"work/a.star", "b.star"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := github{workspace: filepath.Join(root, "link")}
	for name, want := range map[string]string{"work/a.star": "a.star", "link/a.star": "a.star", "b.star": "", "work/none.star": "", "work": ""} {
		if got := g.place(filepath.Join(root, name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestSummaryText: nothing in a text is markup, and it never has more than there is room for.
func TestSummaryText(t *testing.T) {
	told := github{}.told
	tests := []report.Test{{File: "p.star", Outcome: "passed"},
		{File: "<b>|`a`*.star", Outcome: "failed", Reason: "```\n````\n<script>", Where: "a_b.star:1:2", Repeat: "x", Folder: "f", Beside: []string{"also"}}}
	chart := func(folder string) string { return "sequenceDiagram\n  a->>b: " + folder }
	got := summaryText("t", tests, told, chart, 1<<20)
	want := "### t: 1 passed\\, 1 failed\n\n**failed** \\<b\\>\\|\\`a\\`\\*\\.star at a\\_b\\.star\\:1\\:2 after 0s, seed 0\n\n" +
		"`````text\n```\n````\n<script>\nbeside: also\n`````\n\n```mermaid\nsequenceDiagram\n  a->>b: f\n```\n\nAgain:\n\n```sh\nx\n```\n\n"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for range 300 {
		tests = append(tests, report.Test{File: "x.star", Outcome: "failed", Reason: strings.Repeat("x", 20_000)})
	}
	for _, room := range []int{0, 10, 200, 1000, 50_000, 1 << 20} {
		got := summaryText("t", tests, told, chart, room)
		if len(got) > room || room >= 1000 && !strings.Contains(got, "more, for which there is no room here") {
			t.Errorf("%d bytes for %d: %.200s", len(got), room, got)
		}
	}
}

// TestAppendWhole: who appends at the same time appends whole texts, and never too much.
func TestAppendWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "summary")
	const most = 100_000
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			text := strings.Repeat(fmt.Sprint(i%10), 5000) + "\n"
			if err := appendWhole(name, most, func(room int) string {
				if len(text) > room {
					return ""
				}
				return text
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	data, err := os.ReadFile(name)
	if err != nil || len(data) > most || len(data) < most-6000 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	for line := range strings.Lines(string(data)) {
		if len(line) != 5001 || strings.Trim(line, line[:1]+"\n") != "" {
			t.Errorf("a line of %d: %.20s", len(line), line)
		}
	}
}
