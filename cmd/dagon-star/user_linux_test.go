package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/script"
)

// TestUser: a node with user = runs as it on each rung, in a folder of its own, with the
// environment, the setup, the templates and the probes that are its, and a user who cannot
// come to the run's folder is told so before anything is forked.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start a process as another user")
	}
	dir, err := os.MkdirTemp("", "user") // that of a test is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ini := write("t.ini", `[s]
user = nobody
command = sh -c "id -un; echo $HOME $USER $LOGNAME; cat conf; test -O conf && test -O made && echo mine > own;
  echo up > /dev/stdout; exec sleep 60"
setup = id -un > made
template.conf =
  for <NAME>
ready.log = ^up$
ready.exec = test -O own && test "$(id -un)" = nobody
`)
	star := write("s.star", `boot(s)
assert.eq(output(s), "nobody\n/nonexistent nobody nobody\nfor s\nup\n")
assert.eq(exec(s, "id -un; test -O own && cat own; (setsid sleep 1000 &); echo $HOME").out, "nobody\nmine\n/nonexistent\n")
assert.eq(catch(lambda: exec(s, "sleep 1000", timeout = "100ms")).outcome, "info")
shutdown(s)
wipe(s)
boot(s)
`)
	for _, rung := range []string{"sealed", "cgroup", "supervised", "bare"} {
		t.Run(rung, func(t *testing.T) {
			result, err := script.Run(t.Context(), script.Config{Script: star, Topology: ini, RunsDir: filepath.Join(dir, "runs"), Contain: rung})
			if err != nil && strings.Contains(err.Error(), "contain") {
				t.Skip(err)
			}
			if err != nil || result.Outcome != "passed" {
				t.Fatalf("%+v, %v", result, err)
			}
		})
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	result, err := script.Run(t.Context(), script.Config{Script: star, Topology: ini, RunsDir: closed})
	if err != nil || result.Outcome != "failed" || !strings.Contains(result.Reason, closed+" has mode drwx------") {
		t.Errorf("%+v, %v", result, err)
	}
	if result != nil && result.Nodes[0].PID != 0 {
		t.Error("it was forked")
	}
}
