//go:build unix

package folder

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFolder: folders of runs that start in the same second differ, and are
// locked while they run.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	at := time.Now()
	seen := map[string]bool{}
	for range 3 {
		f, err := Make(dir, "some/strange name!.star", "id", at)
		must(t, err)
		defer f.Close()
		if seen[f.Path] || !strings.Contains(f.Path, "strange-name") {
			t.Errorf("%s", f.Path)
		}
		seen[f.Path] = true
		if latest, err := filepath.EvalSymlinks(filepath.Join(dir, "latest")); err != nil || filepath.Base(latest) != filepath.Base(f.Path) {
			t.Errorf("latest is %s (%v)", latest, err)
		}
		if again, err := lockFile(filepath.Join(f.Path, lockName)); err == nil {
			again.Close()
			t.Error("the folder is not locked")
		}
	}
	if _, err := Make(filepath.Join(dir, "latest", "lock", "x"), "x", "id", at); err == nil {
		t.Error("a folder was made below a file")
	}
}
