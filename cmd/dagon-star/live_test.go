//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds what a terminal is waited for.
const patience = 60 * time.Second

// pane is a terminal of tmux with a shell in it.
type pane struct {
	t      *testing.T
	server string
	dir    string
}

// openPane opens a terminal of so many columns and rows.
func openPane(t *testing.T, columns, rows int, env ...string) *pane {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	p := &pane{t: t, server: filepath.Join(t.TempDir(), "s"), dir: t.TempDir()}
	command := []string{"-f", os.DevNull, "new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows), "-c", p.dir,
		"env", "-u", "CI", "-u", "NO_COLOR", "LC_ALL=C.UTF-8", "PS1=$ ", "GORACE=atexit_sleep_ms=0"}
	p.tmux(append(append(command, env...), "sh")...)
	t.Cleanup(func() { exec.Command("tmux", "-S", p.server, "kill-server").Run() })
	p.await(`^\$`)
	return p
}

func (p *pane) tmux(args ...string) string {
	p.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", p.server}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

func (p *pane) keys(keys ...string) {
	p.t.Helper()
	p.tmux(append([]string{"send-keys"}, keys...)...)
}

// shown is what the terminal shows; with escapes, colours are written out.
func (p *pane) shown(flags ...string) string {
	p.t.Helper()
	return p.tmux(append([]string{"capture-pane", "-p"}, flags...)...)
}

// await waits until what the terminal shows matches, and returns it.
func (p *pane) await(pattern string, flags ...string) string {
	p.t.Helper()
	matches := regexp.MustCompile("(?m)" + pattern).MatchString
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		shown := p.shown(flags...)
		if matches(shown) {
			return shown
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%q is not shown within %s:\n%s", pattern, patience, shown)
		}
	}
}

// liveRun has the terminal's shell run a script for a while, with three nodes.
func (p *pane) liveRun(flags string) {
	p.t.Helper()
	p.write("live.star", `
fork(topology.nodes)
await_ready(topology.nodes)
print("all are up")
progress(3, 12, what = "rounds")
pause(talks)
await_message(talks, "/never", timeout = "10m")
`)
	p.write("live.ini", `[talks]
command = sh -c "echo up; while read -r x; do :; done </dev/zero & while :; do echo tick; sleep 0.05; done"
ready.log = up
[a-node-with-a-name-that-is-long]
command = sh -c "echo up; printf '日本語 \\033[2Jcleared?\\n'; exec sleep 1000"
ready.log = up
[busy]
command = sh -c "echo up; while :; do :; done"
ready.log = up
`)
	program, err := exec.LookPath("dagon-star")
	if err != nil {
		p.t.Fatal(err)
	}
	if flags == "&" {
		p.keys("-l", "set -m; "+program+" run live.star live.ini &")
		p.keys("Enter")
		return
	}
	p.keys("-l", program+" run live.star live.ini "+flags+"; echo code=$? $(stty -a | grep -o -e '.icanon')")
	p.keys("Enter")
}

func (p *pane) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o666); err != nil {
		p.t.Fatal(err)
	}
}

// wholeTable fails the test unless a table with such columns is shown.
func wholeTable(t *testing.T, shown string, columns ...string) {
	t.Helper()
	for _, line := range strings.Split(shown, "\n") {
		if !strings.HasPrefix(line, "node ") {
			continue
		}
		if got := strings.Join(strings.Fields(line), " "); got != strings.Join(columns, " ") {
			t.Errorf("the columns are %q, want %q", got, columns)
		}
		return
	}
	t.Errorf("there is no table in\n%s", shown)
}

// TestLive: the table is there, as wide as the terminal; keys open an output, the faults,
// and end the run in order; the terminal is as it was after that, with all that was printed.
func TestLive(t *testing.T) {
	p := openPane(t, 120, 24)
	p.liveRun("")
	shown := p.await(`^busy +ready .* [1-9][0-9]+% .* up$`)
	wholeTable(t, shown, "node", "state", "for", "pid", "cpu", "mem", "in", "out", "last", "line")
	for _, want := range []string{`live\.star .*live\.ini  \d+\.?\d*s  seed \d+`, `waits \S+ of 10m00s for .*/never`, `rounds 3 of 12  ##-------- 25%`,
		`fault pause talks`, `^talks +paused `, `^a-node-with-a-name-that… ready .* 日本語 \\x1b\[2Jcleared\?$`, `all are up$`, `q end$`} {
		if !regexp.MustCompile("(?m)" + want).MatchString(shown) {
			t.Errorf("%q is not shown in\n%s", want, shown)
		}
	}
	p.tmux("resize-window", "-x", "80", "-y", "24")
	wholeTable(t, p.await(`^busy +ready .{0,50} up$`), "node", "state", "for", "pid", "cpu", "mem", "in", "out", "last", "line")
	p.tmux("resize-window", "-x", "40", "-y", "15")
	wholeTable(t, p.await(`^node +state +for +cpu +mem +out$`), "node", "state", "for", "cpu", "mem", "out")
	p.tmux("resize-window", "-x", "100", "-y", "24")
	p.await(`^busy +ready .* up$`)

	p.keys("Down", "Enter")
	p.await(`^a-node-with-a-name-that-is-long  ready  Esc: back\n\d+\.\d+  --- incarnation 1\n\d+\.\d+  up\n\d+\.\d+  日本語`)
	p.keys("Escape")
	p.await(`^busy +ready`)
	p.keys("f")
	p.await(`in force  pause talks`)
	p.keys("?")
	p.await(`^Enter +its output`)
	p.keys("?")
	p.await(`^busy +ready`)
	p.keys("q")
	shown = p.await(`^code=`, "-S", "-")
	for _, want := range []string{`all are up\n`, `fault: pause talks\n`, `dagon-star: interrupt: shutting down`, `healed: pause talks`,
		`busy +← TERM`, `^interrupted at live\.star:7:14 after`, `^  repeat: `, `^code=130 ?icanon$`} {
		if !regexp.MustCompile("(?m)" + want).MatchString(shown) {
			t.Errorf("after the run %q is not shown in\n%s", want, shown)
		}
	}
	if strings.Contains(shown, "last line") {
		t.Errorf("the table is left behind:\n%s", shown)
	}
}

// TestLiveStopped: ctrl-Z gives the terminal to the shell, and fg takes it again; a second q
// ends the run at once.
func TestLiveStopped(t *testing.T) {
	p := openPane(t, 100, 24)
	p.keys("-l", "set -m")
	p.keys("Enter")
	p.liveRun("")
	p.await(`^busy +ready .* up$`)
	p.keys("C-z")
	p.await(`^code=1\d\d ?icanon\n.*Stopped`)
	p.keys("fg", "Enter")
	p.await(`^busy +ready .* up$`)
	p.keys("q")
	p.keys("q")
	p.await(`^interrupted at live`)
	p.keys("stty -a | grep -o -e '.icanon'", "Enter")
	p.await(`^ ?icanon\n\$`)
}

// TestLiveNoColor: without NO_COLOR there are colours, with it there is the table, and none.
func TestLiveNoColor(t *testing.T) {
	colour := regexp.MustCompile(`\x1b\[([0-9]+;)*[39][0-7]m`).MatchString
	p := openPane(t, 100, 24)
	p.liveRun("")
	if shown := p.await(`q end`, "-e"); !colour(shown) {
		t.Errorf("there is no colour in %q", shown)
	}
	p = openPane(t, 100, 24, "NO_COLOR=1")
	p.liveRun("")
	if shown := p.await(`q end`, "-e"); colour(shown) {
		t.Errorf("there is a colour in %q", shown)
	}
	p.keys("C-c")
	p.await(`code=130 ?icanon`)
}

// TestLiveNot: lines are printed, as anywhere else, where it is asked for, or where nobody
// looks, or the terminal cannot be painted.
func TestLiveNot(t *testing.T) {
	for name, test := range map[string]struct{ env, flags string }{
		"plain": {"A=b", "--plain"}, "dumb": {"TERM=dumb", ""}, "CI": {"CI=true", ""}, "quiet": {"A=b", "--quiet"}, "json": {"A=b", "--json"},
		"background": {"A=b", "&"}, "a pipe": {"A=b", "| (trap '' INT; cat)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPane(t, 150, 50, test.env)
			p.liveRun(test.flags)
			if name != "quiet" {
				p.await(`all are up`)
			}
			time.Sleep(time.Second) // longer than it takes to open a screen
			if shown := p.shown(); strings.Contains(shown, "Enter output") {
				t.Errorf("there is a table:\n%s", shown)
			}
			if test.flags == "&" {
				p.keys("fg", "Enter")
				p.await(`^fg|\$ fg`)
				time.Sleep(100 * time.Millisecond)
			}
			p.keys("C-c")
			p.await(`interrupted`, "-S", "-")
		})
	}
}

// TestLiveClosed: the run of a terminal that is closed ends in order, as without a table.
func TestLiveClosed(t *testing.T) {
	p := openPane(t, 100, 24)
	p.liveRun("")
	shown := p.await(`^busy +ready .* up$`)
	pid := 0
	if m := regexp.MustCompile(`(?m)^busy +ready +\S+ +(\d+)`).FindStringSubmatch(shown); m != nil {
		pid, _ = strconv.Atoi(m[1])
	}
	p.tmux("kill-server")
	log := filepath.Join(p.dir, "runs", "latest", "events.jsonl")
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(log)
		if strings.Contains(string(text), `"kind":"run_finished"`) {
			if !strings.Contains(string(text), "hangup") {
				t.Errorf("it was not interrupted:\n%.300s", text[max(0, len(text)-300):])
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the run does not end:\n%s", text[max(0, len(text)-3000):])
		}
	}
	if pid == 0 || syscall.Kill(pid, 0) != syscall.ESRCH {
		t.Errorf("a node is left, process %d", pid)
	}
}

// TestLiveTests: tests that run have a line each, below those that have ended.
func TestLiveTests(t *testing.T) {
	p := openPane(t, 80, 24)
	p.write("t.star", `
def test_fails():
    fail("as it is to")

def test_waits():
    progress(1, 2)
    fork(n)
    await_message(n, "/never", timeout = "10m")

def test_waits_too():
    fork(n)
    await_message(n, "/never", timeout = "10m")
`)
	p.write("t.ini", "[n]\ncommand = sleep 1000\n")
	program, err := exec.LookPath("dagon-star")
	if err != nil {
		t.Fatal(err)
	}
	p.keys("-l", program+" test t.star --topology t.ini --parallel 2; echo code=$? $(stty -a | grep -o -e '.icanon')")
	p.keys("Enter")
	p.await(`^failed (?s:.*)as it is to(?s:.*)^1 of 3 tests  ###------- 33%  1 did not pass .*\n +\S+s  t\.star:test_waits  #####----- 50%  waits for message /never\n +\S+s  t\.star:test_waits_too  waits for message /never`)
	p.keys("q")
	shown := p.await(`^code=`, "-S", "-")
	if !regexp.MustCompile(`(?s)failed .*interrupted .*1 failed, 2 interrupted.*code=1 ?icanon`).MatchString(shown) {
		t.Errorf("after the tests this is shown:\n%s", shown)
	}
}
