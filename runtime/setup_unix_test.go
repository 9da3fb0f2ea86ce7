//go:build unix

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// TestSetupsOverlap: the setups of one fork run at the same time, and no process is started
// before all of them have ended; one that fails keeps the nodes after it from being forked,
// and no other.
func TestSetupsOverlap(t *testing.T) {
	dir := t.TempDir()
	// Each setup waits for the other's beginning. Who is started writes which had ended.
	text := "[first]\ncommand = sh -c 'ls DIR/*.ended > DIR/first.saw; echo up; sleep 600'\nready.log = up\n"
	for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
		text += fmt.Sprintf("[%s]\ncommand = sleep 600\nsetup =\n  echo x >> DIR/%[1]s.begun\n"+
			"  while ! test -e DIR/%[2]s.begun; do sleep 0.01; done\n  touch DIR/%[1]s.ended\n", pair[0], pair[1])
	}
	text += "[bad]\ncommand = sleep 600\nsetup = exit 3\n[c]\ncommand = sleep 600\nsetup = echo x >> DIR/c.begun\n[last]\ncommand = sleep 600\n"
	top, err := topology.Parse("test.ini", []byte(strings.ReplaceAll(text, "DIR", dir)))
	must(t, err)
	top.Settings.Timeout, top.Settings.Grace = time.Minute, time.Minute
	r := begin(t, Config{Topology: top})
	all := []string{"first", "b", "a"}
	must(t, r.ForkAll(t.Context(), all, ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"first"}, StateReady)))
	saw, err := os.ReadFile(filepath.Join(dir, "first.saw"))
	must(t, err)
	if want := fmt.Sprintf("%s/a.ended\n%[1]s/b.ended\n", dir); string(saw) != want {
		t.Errorf("the first process saw %q, want %q", saw, want)
	}
	var failed *node.SetupError
	if err := r.ForkAll(t.Context(), []string{"last", "bad", "c"}, ForkOptions{}); !errors.As(err, &failed) || failed.Node != "bad" {
		t.Errorf("a setup that fails: %v", err)
	}
	must(t, r.Fork("c", ForkOptions{}))
	if got, want := forked(collect(t, r.Events())), append(all, "last", "c"); !slices.Equal(got, want) {
		t.Errorf("forked %v, want %v", got, want)
	}
	for _, name := range []string{"a", "b", "c"} {
		if begun, err := os.ReadFile(filepath.Join(dir, name+".begun")); string(begun) != "x\n" {
			t.Errorf("the setup of %s ran %q, %v", name, begun, err)
		}
	}
	must(t, second(r.End(nil)))
}
