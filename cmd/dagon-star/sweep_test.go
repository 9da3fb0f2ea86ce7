//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// orphaning is a run whose node starts a daemon.
const orphaning = "fork(a)\nawait_ready(a)\nprint('up')\nsleep('1h')"

// TestSweep kills orchestrators with their keepers on the lowest rung that the
// command has, or when those have been stopped, and finds what they leave swept by
// the next run and by doctor, while a run that lives keeps all that it has.
func TestSweep(t *testing.T) {
	programs := programs(t)
	lives := background(t, programs, "lives")
	for _, how := range []string{"run killed", "doctor killed", "run stopped", "doctor stopped"} {
		by, what, _ := strings.Cut(how, " ")
		r := background(t, programs, by+"-"+what)
		helpers := r.helpers()
		if len(helpers) != 1 {
			t.Fatalf("keepers %v, want one", helpers)
		}
		r.command.Process.Signal(syscall.SIGSTOP) // or it would bury its keeper, and sweep
		syscall.Kill(helpers[0], map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP}[what])
		r.command.Process.Kill()
		r.command.Wait()
		args := []string{"doctor"}
		if by == "run" {
			args = []string{"run", "s.star", "t.ini", "--runs-dir", "others", "--time-limit", "1ms"}
		}
		c := exec.Command(filepath.Join(programs, "dagon-star"), args...)
		c.Dir = r.dir
		c.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
		out, _ := c.CombinedOutput()
		// Any other run of this machine may have swept it before.
		t.Logf("%s:\n%s", how, out)
		for deadline := time.Now().Add(10 * time.Second); len(survivors(r.mark)) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%v are left", survivors(r.mark))
			}
		}
	}
	if got := fmt.Sprint(names(survivors(lives.mark))); got != fmt.Sprint(names(lives.before)) {
		t.Errorf("of the run that lives there are %s, want %v", got, names(lives.before))
	}
}

// TestSweepByHand: a shell that has the variables of a run that is over, as one in
// which a node is reproduced, is left alone with all that it has started: by a run
// and by doctor, which are started in it, and by those of others.
func TestSweepByHand(t *testing.T) {
	programs := programs(t)
	dir := filepath.Join(programs, "by-hand")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"s.star": "print('x')\n", "t.ini": "[a]\npath = child\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run(filepath.Join(programs, "dagon-star"), "run", "s.star", "t.ini", "-q")
	// Each shell checks that what it has started before still lives.
	shell := `
		export DAGON_FOLDER=$(readlink -f runs/latest) DAGON_NAME=a
		export DAGON_RUN=$(head -n 1 $DAGON_FOLDER/lock)
		sleep 3600 &
		editor=$!
		trap "kill -KILL $editor" EXIT
		sh -c '"$@"' sh %s || exit 1
		kill -0 $editor`
	run("sh", "-c", fmt.Sprintf(shell, "dagon-star run s.star t.ini --runs-dir others"))
	run("sh", "-c", fmt.Sprintf(shell, "dagon-star doctor"))
	run("sh", "-c", fmt.Sprintf(shell, "env -u DAGON_RUN dagon-star doctor"))
}

// living is a run that goes on until it is killed.
type living struct {
	command *exec.Cmd
	dir     string
	mark    string
	before  []survivor
}

func (r living) helpers() (pids []int) {
	for _, p := range survivors(r.mark) {
		if p.name == "dagon-star-keeper" {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

func names(all []survivor) (names []string) {
	for _, p := range all {
		names = append(names, p.name)
	}
	return names
}

// background starts a run of orphaning, and returns when it is up.
func background(t *testing.T, programs, name string) living {
	t.Helper()
	r := living{dir: filepath.Join(programs, name), mark: fmt.Sprintf("sweep-%d-%s", os.Getpid(), name)}
	for file, text := range map[string]string{"s.star": orphaning, "t.ini": "[a]\npath = child\nmode = grandchild-holds-pipe\n"} {
		if err := os.MkdirAll(r.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.command = exec.Command(filepath.Join(programs, "dagon-star"), "run", "s.star", "t.ini", "--contain", "supervised")
	r.command.Dir = r.dir
	r.command.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "SURVIVAL="+r.mark, "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	r.command.Stdout = &out
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.command.Process.Kill()
		r.command.Wait()
		for _, p := range survivors(r.mark) {
			syscall.Kill(p.pid, syscall.SIGKILL)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		log, _ := os.ReadFile(filepath.Join(r.dir, "runs/latest/events.jsonl"))
		if strings.Contains(string(log), `"text":"up"`) {
			break
		}
		if time.Now().After(deadline) {
			r.command.Process.Kill()
			r.command.Wait()
			t.Fatalf("it is not up:\n%s", out.String())
		}
	}
	// The orchestrator, its keeper, the node and the node's daemon.
	if r.before = survivors(r.mark); len(r.before) != 4 {
		t.Fatalf("%v, want four processes", r.before)
	}
	return r
}
