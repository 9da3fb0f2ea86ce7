package script_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	runfolder "github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/script"
)

// ours are the processes of runs in a folder, by the names of their nodes.
func ours(folder string) (names []string) {
	for _, m := range process.FindMarked("DAGON_NAME", "DAGON_FOLDER") {
		if strings.HasPrefix(m.Variables["DAGON_FOLDER"], folder+"/") {
			names = append(names, m.Variables["DAGON_NAME"])
		}
	}
	slices.Sort(names)
	return names
}

// TestEmbedders kills programs that embed dagon-star, and looks at what their
// runs leave.
func TestEmbedders(t *testing.T) {
	for name, test := range map[string]struct {
		embed string
		runs  int
		rung  process.Rung
		left  []string // at most, after 2 s, and until a run sweeps it
	}{
		"called":   {"called 1", 1, process.Sealed, nil},
		"bare":     {"bare 1", 1, process.Bare, []string{"loud"}}, // the daemon
		"two runs": {"called 2", 2, process.Sealed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), "EMBED="+test.embed, "EMBED_FOLDER="+folder)
			c.Stderr = os.Stderr
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for range test.runs {
				if !lines.Scan() || lines.Text() != "up" {
					c.Process.Kill()
					t.Fatalf("%q: a run is not up", lines.Text())
				}
			}
			want := slices.Repeat([]string{"loud", "loud", "quiet"}, test.runs)
			slices.Sort(want)
			// For a moment the daemon's exec hides its environment.
			for deadline := time.Now().Add(time.Minute); !slices.Equal(ours(folder), want); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					c.Process.Kill()
					t.Fatalf("before: %v, want %v", ours(folder), want)
				}
			}
			logs, err := filepath.Glob(filepath.Join(folder, "*/latest/events.jsonl"))
			if err != nil || len(logs) != test.runs {
				t.Fatalf("%v, %v", logs, err)
			}
			for _, log := range logs {
				text, err := os.ReadFile(log)
				if err != nil || !strings.Contains(string(text), fmt.Sprintf(`"kind":"contained","rung":%q`, test.rung)) {
					t.Errorf("no %s in %s, %v", test.rung, text, err)
				}
			}
			c.Process.Kill()
			killed := time.Now()
			c.Wait()
			for {
				left := ours(folder)
				if len(left) == 0 || slices.Equal(left, test.left) {
					break
				}
				if time.Since(killed) > 2*time.Second {
					t.Fatalf("2 s after: %v, want at most %v", left, test.left)
				}
				time.Sleep(time.Millisecond)
			}
			if swept := runfolder.Sweep(); swept.Err != nil { // as every run begins
				t.Error(swept.Err)
			}
			for deadline := time.Now().Add(10 * time.Second); len(ours(folder)) > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("after the sweep: %v", ours(folder))
				}
			}
		})
	}
}

// TestKeeperKilled: a run whose keeper is killed does not go on unwatched. Its
// nodes end with it, and it fails and says why.
func TestKeeperKilled(t *testing.T) {
	kill := starlark.NewBuiltin("kill_keeper", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple,
		[]starlark.Tuple) (starlark.Value, error) {
		children, err := filepath.Glob("/proc/self/task/*/children")
		for _, file := range children {
			text, _ := os.ReadFile(file)
			for pid := range strings.FieldsSeq(string(text)) {
				name, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				if n, _ := strconv.Atoi(pid); n > 1 && strings.HasPrefix(string(name), "dagon-star-keeper\x00") {
					return starlark.None, syscall.Kill(n, syscall.SIGKILL)
				}
			}
		}
		return starlark.None, errors.Join(err, errors.New("there is no keeper"))
	})
	for _, contain := range []string{"sealed", "supervised"} {
		r := run(t, script.Config{
			Source:         []byte("fork(one)\nawait_ready(one)\nkill_keeper()\nawait_done(one)"),
			TopologySource: nodes("one"), Contain: contain,
			Builtins: starlark.StringDict{"kill_keeper": kill},
		})
		if r.Outcome != runtime.Failed || !strings.Contains(r.Reason, "one exited by signal KILL") ||
			!strings.Contains(r.Reason, "the keeper of the run's processes has ended") {
			t.Errorf("%s: %s: %s", contain, r.Outcome, r.Reason)
		}
	}
}

// unable is a machine that cannot limit memory.
type unable struct{ process.Driver }

func (unable) Can(fault string) error {
	if fault == process.FaultLimitMemory {
		return errors.New("there is no memory controller")
	}
	return nil
}

// newUnable is a driver of a machine that cannot limit memory.
func newUnable(t *testing.T) process.Driver {
	d, err := process.New(process.Options{Run: "test-unable", Contain: string(process.Bare)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return unable{d}
}

// notes reports whether a run's log has a notice.
func notes(r *script.Result, text string) bool {
	for e, err := range r.Events() {
		if err == nil && e.Detail == event.Detail(event.Notice{Text: text}) {
			return true
		}
	}
	return false
}

// TestUnsupported: what the machine cannot do is found before the first fork
// where the text shows it, and fails the call elsewhere; a script that asks
// first runs, and a note says that it did none.
func TestUnsupported(t *testing.T) {
	const why = "this machine cannot do limit.memory: there is no memory controller"
	c := script.Config{Script: "s.star", TopologySource: nodes("one"), RunsDir: t.TempDir(), Driver: newUnable(t)}
	c.Source = []byte("fork(one)\nif one.restarts > 0:\n    limit(one, cpu=1, memory='1 GiB')\nlimit(one, memory=None, files=9)")
	want := "s.star:3:5: " + why + `; a script that asks can("limit.memory") first may run without it`
	if err := script.Check(c); err == nil || err.Error() != want {
		t.Errorf("check: %v", err)
	}
	if _, err := script.Run(context.Background(), c); err == nil || err.Error() != want {
		t.Errorf("run: %v", err)
	}
	c.Source = []byte(`
fork(one)
assert.true(can("limit.cpu"))
if can("limit.memory"):
    limit(one, memory="1 GiB")
else:
    e = catch(lambda: limit(one, memory="1 GiB"))
    assert.eq(e.kind, "unsupported")
    assert.contains(e.message, "` + why + `")
`)
	if r := run(t, c); r.Outcome != runtime.Passed || !notes(r, "the script has limit at s.star:5:5, and no fault was applied") {
		t.Errorf("asked: %s: %s", r.Outcome, r.Reason)
	}
	c.Driver = newUnable(t)
	c.Source = []byte("fork(one)\nharm = limit\nharm(one, memory=10000)")
	if r := run(t, c); r.Outcome != runtime.Skipped || r.ExitCode() != 3 || !strings.HasPrefix(r.Where, "s.star:3:") ||
		!strings.Contains(r.Reason, why) {
		t.Errorf("elsewhere: %s at %s: %s", r.Outcome, r.Where, r.Reason)
	}
}
