//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// harming boots two programs that talk through a link, and two more; then it does
// harm to all of them, and goes on as told.
const harming = `
def harm():
    faults = [net.partition(server, ping), net.delay(server, ping, "10ms"), pause(paused), limit(limited, files = 100)]
    for kind in ("cpu", "memory"):
        if can("limit." + kind):
            faults.append(limit(limited, **{kind: 0.5 if kind == "cpu" else "256MiB"}))
    return faults
fork(server)
await_output(server, "listening")
fork([ping, paused, limited])
await_output(ping, "round 3 ")
await_ready([paused, limited])
`

const harmed = `
[server]
path = foreign
args = serve <SELF:x>
listen.x = auto
[ping]
path = foreign
args = ping <server:x>
[paused]
path = child
[limited]
path = child
`

// TestKilledInFault kills orchestrators while faults of all kinds are in force, and
// while they are applied and healed in turn. Of them nothing is left: no process,
// stopped or not, no relay that takes calls, no control group, but for an empty one
// of a sealed run, which the next sweep removes. DAGON_TRIALS is the
// number of trials; DAGON_SEED repeats the times.
func TestKilledInFault(t *testing.T) {
	trials, random := trialsOf(t, 1)
	rungs := []string{"sealed", "supervised"}
	if os.Geteuid() == 0 {
		rungs = append(rungs, "cgroup")
	}
	dir := programs(t)
	if err := os.Link(filepath.Join(dir, "child"), filepath.Join(dir, "foreign")); err != nil {
		t.Fatal(err)
	}
	for _, rung := range rungs {
		for what, script := range map[string]string{
			"fault": "harm()\nprint('up')\nsleep('10m')\n",
			"heal":  "print('up')\nwhile True:\n    faults = harm()\n    for f in faults:\n        f.heal()\n",
		} {
			for trial := range trials {
				name := fmt.Sprintf("harm-%d-%s-%s-%d", os.Getpid(), rung, what, trial)
				killedInFault(t, dir, name, rung, harming+script, what == "fault", random)
			}
		}
	}
}

func killedInFault(t *testing.T, programs, mark, rung, script string, still bool, random *rand.Rand) {
	t.Helper()
	dir := filepath.Join(programs, mark)
	err := errors.Join(os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "s.star"), []byte(script), 0o644),
		os.WriteFile(filepath.Join(dir, "s.ini"), []byte(harmed), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command(filepath.Join(programs, "dagon-star"), "run", "s.star", "s.ini", "--contain", rung)
	c.Dir, c.Stdout, c.Stderr, c.WaitDelay = dir, &out, &out, time.Second
	c.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "SURVIVAL="+mark, "GORACE=atexit_sleep_ms=0")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Wait()
	}()
	kill := func() {
		c.Process.Kill()
		<-ended
	}
	defer func() {
		kill()
		for _, p := range survivors(mark) {
			syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}()
	log := filepath.Join(dir, "runs/latest/events.jsonl")
	for deadline := time.After(time.Minute); ; {
		if b, _ := os.ReadFile(log); bytes.Contains(b, []byte(`"text":"up"`)) {
			break
		}
		select {
		case <-time.After(time.Millisecond):
			continue
		case <-ended:
		case <-deadline:
		}
		kill()
		t.Fatalf("%s is not up:\n%s", mark, out.String())
	}
	relay := relayOf(t, log)
	if call, err := net.Dial("tcp", relay); err != nil {
		t.Fatalf("%s: the link: %v", mark, err)
	} else {
		call.Close()
	}
	groups := groupsOf(mark)
	if alive := survivors(mark); len(alive) < 5 {
		t.Errorf("%s: of the orchestrator and four nodes there live only %v", mark, alive)
	}
	if still && rung != "supervised" && len(groups) == 0 {
		t.Errorf("%s: the run has no control group", mark)
	}
	if !still {
		time.Sleep(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
	}
	kill()
	died := time.Now()
	for left := []string{"?"}; len(left) > 0; time.Sleep(time.Millisecond) {
		left = nil
		for _, p := range survivors(mark) {
			left = append(left, fmt.Sprintf("%d %s", p.pid, p.name))
		}
		if call, err := net.Dial("tcp", relay); !errors.Is(err, syscall.ECONNREFUSED) {
			left = append(left, fmt.Sprint("the link at ", relay, ": ", err))
			if err == nil {
				call.Close()
			}
		}
		if len(left) == 0 && rung == "sealed" {
			process.SweepGroups()
		}
		for _, path := range groups {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				left = append(left, path)
			}
		}
		if len(left) > 0 && time.Since(died) > 5*time.Second {
			t.Errorf("%s: after 5 s there are left: %s", mark, strings.Join(left, ", "))
			return
		}
	}
}

// relayOf is the address that the log of a run says ping was given.
func relayOf(t *testing.T, log string) string {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, _ := event.Read(f) // the last line may not be whole
	for _, e := range events {
		if d, ok := e.Detail.(event.Forked); ok && e.Node == "ping" {
			for i, arg := range d.Argv {
				if arg == "ping" && i+1 < len(d.Argv) {
					return d.Argv[i+1]
				}
			}
		}
	}
	t.Fatal("ping has no address to call")
	return ""
}

// groupsOf are the control groups of a run, as its nodes know which one it is.
func groupsOf(mark string) (paths []string) {
	for _, p := range survivors(mark) {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		for _, v := range strings.Split(string(environ), "\x00") {
			if run, ok := strings.CutPrefix(v, "DAGON_RUN="); ok {
				filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.Name() == "dagon-star-"+run {
						paths = append(paths, path)
						return fs.SkipDir
					}
					return nil
				})
				return paths
			}
		}
	}
	return nil
}
