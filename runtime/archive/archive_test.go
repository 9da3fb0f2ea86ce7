package archive

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/folder"
)

// TestChoose: what goes, by each limit, and what never does.
func TestChoose(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	age := func(name, state, outcome string, hours int, size int64) Run {
		return Run{Name: name, State: state, Outcome: outcome, StartedAt: now.Add(-time.Duration(hours) * time.Hour), Size: size}
	}
	runs := []Run{age("a", Finished, "passed", 1, 10), age("b", Running, "", 2, 100), age("c", Finished, "failed", 3, 10),
		age("d", Finished, "passed", 4, 10), age("e", Unfinished, "", 50, 1), age("f", Running, "", 60, 1), age("g", Finished, "passed", 70, 1)}
	hours := func(n int) *time.Duration { d := time.Duration(n) * time.Hour; return &d }
	number := func(n int) *int { return &n }
	bytes := func(n int64) *int64 { return &n }
	for name, test := range map[string]struct {
		limits Limits
		want   string
	}{
		"none":              {Limits{}, ""},
		"age":               {Limits{Older: hours(10)}, "eg"},
		"an age of nothing": {Limits{Older: hours(0)}, "acdeg"},
		"number":            {Limits{Keep: number(3)}, "deg"},
		"none to keep":      {Limits{Keep: number(0)}, "acdeg"},
		"size":              {Limits{Size: bytes(120)}, "deg"},
		"no size":           {Limits{Size: bytes(0)}, "acdeg"},
		"number, failed":    {Limits{Keep: number(1), Failed: true}, "dg"},
		"age, failed":       {Limits{Older: hours(10), Failed: true}, "eg"},
		"both":              {Limits{Older: hours(65), Keep: number(4)}, "eg"},
	} {
		got := ""
		for _, r := range Choose(runs, test.limits, now) {
			got += r.Name
		}
		if got != test.want {
			t.Errorf("%s: %q goes, want %q", name, got, test.want)
		}
	}
}

// TestTail: the last lines are found, however long they are and wherever the file is cut.
func TestTail(t *testing.T) {
	for _, long := range []int{1, 16 << 10, 300 << 10} {
		for _, rest := range []string{"", "cut"} {
			text := strings.Repeat("first\n", 100) + strings.Repeat("x", long) + "\nlast\n" + rest
			got, err := tail(bytes.NewReader([]byte(text)), int64(len(text)), 2)
			if err != nil || len(got) != 2 || len(got[0]) != long+1 || string(got[1]) != "last\n" {
				t.Errorf("%d %q: %.100q, %v", long, rest, got, err)
			}
		}
	}
	for text, want := range map[string]int{"": 0, "a": 0, "a\n": 1, "\n\n\n": 2} {
		if got, err := tail(bytes.NewReader([]byte(text)), int64(len(text)), 2); err != nil || len(got) != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestLives: a run that lives is listed as such, is not removed, and latest leads to what
// is there.
func TestLives(t *testing.T) {
	runs := t.TempDir()
	made := func(second int) *folder.Folder {
		f, err := folder.Make(runs, "x.star", "0123", time.Unix(int64(second), 0))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f.Events, `{"seq":0,"t":0,"kind":"run_started","format":1,"run":"r","script":"x.star","seed":7,"version":"v","started_at":%q}`+"\n",
			time.Unix(int64(second), 0).UTC().Format(time.RFC3339))
		return f
	}
	old, dead, living := made(1), made(3), made(2)
	old.Close()
	dead.Close()
	defer living.Close()
	for _, name := range []string{"notes", "empty"} {
		os.Mkdir(filepath.Join(runs, name), 0o755)
	}
	os.WriteFile(filepath.Join(runs, "notes", logName), []byte("{}\n"), 0o644)
	outside := t.TempDir()
	os.Symlink(outside, filepath.Join(dead.Path, "nodes", "out"))
	os.WriteFile(filepath.Join(outside, "kept"), nil, 0o644)
	os.Mkdir(filepath.Join(dead.Path, "nodes", "closed"), 0o755)
	os.WriteFile(filepath.Join(dead.Path, "nodes", "closed", "x"), nil, 0o644)
	os.Chmod(filepath.Join(dead.Path, "nodes", "closed"), 0o500)
	os.Remove(filepath.Join(runs, "latest"))
	os.Symlink(filepath.Base(dead.Path), filepath.Join(runs, "latest"))

	all, err := List(runs)
	if err != nil || len(all) != 3 || all[0].Path != dead.Path || all[1].Path != living.Path || all[2].Path != old.Path ||
		all[0].State != Unfinished || all[1].State != Running || all[0].Seed != 7 {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := Remove(all[1]); err == nil || !strings.Contains(err.Error(), "the run lives") {
		t.Errorf("a run that lives was removed: %v", err)
	}
	if err := Remove(all[0]); err != nil {
		t.Error(err)
	}
	if err := Latest(runs); err != nil {
		t.Error(err)
	}
	if to, err := os.Readlink(filepath.Join(runs, "latest")); to != filepath.Base(living.Path) {
		t.Errorf("latest leads to %s, %v", to, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(living.Path, logName)); err != nil {
		t.Error(err)
	}
}
