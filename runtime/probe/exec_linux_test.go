package probe

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// onEachRung runs a test on each rung that this machine gives.
func onEachRung(t *testing.T, test func(*testing.T, process.Driver)) {
	for _, rung := range []process.Rung{process.Sealed, process.Cgroup, process.Supervised, process.Bare} {
		t.Run(string(rung), func(t *testing.T) {
			d, err := process.New(process.Options{Run: fmt.Sprintf("probe-%d-%s", os.Getpid(), rung), Contain: string(rung)})
			if err != nil {
				t.Skip(err)
			}
			defer func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}()
			test(t, d)
		})
	}
}

// marker is a variable by which a test finds whatever its commands have left.
func marker(t *testing.T) string { return fmt.Sprintf("PROBE_TEST=%d-%s", os.Getpid(), t.Name()) }

// command is a command with the test's marker.
func command(t *testing.T, line string) Command {
	return Command{Node: "n1", Argv: Shell(line), Env: append(os.Environ(), marker(t)), Dir: t.TempDir(), Check: true}
}

// nothingLeft fails if a process has the test's marker.
func nothingLeft(t *testing.T) {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		env, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(env), marker(t)+"\x00") {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			t.Errorf("left behind: %s %q", filepath.Dir(path), line)
		}
	}
}

// TestExec holds what a command is given, and what it gives.
func TestExec(t *testing.T) {
	onEachRung(t, func(t *testing.T, d process.Driver) {
		run := func(c Command) *Output {
			t.Helper()
			out, err := Exec(within(t, patience), d, c)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		c := command(t, `pwd; cat; echo "$DAGON_NAME$DAGON_TOKEN" >&2; echo kept > file`)
		c.Stdin = "read\n"
		c.Env = append(c.Env, "DAGON_NAME=n1", "DAGON_TOKEN=secret")
		out := run(c)
		if got, want := string(out.Stdout), c.Dir+"\nread\n"; got != want {
			t.Errorf("stdout %q, want %q", got, want)
		}
		if got, want := string(out.Stderr), "n1\n"; got != want {
			t.Errorf("stderr %q, want %q", got, want)
		}
		if text, err := os.ReadFile(filepath.Join(c.Dir, "file")); string(text) != "kept\n" {
			t.Errorf("the file has %q, %v", text, err)
		}
		c = command(t, "")
		c.Argv = []string{"printf", "%s,", "a b", "$HOME", "*"}
		if out = run(c); string(out.Stdout) != "a b,$HOME,*," {
			t.Errorf("words came as %q", out.Stdout)
		}
		c = command(t, "wc -c")
		c.Stdin = strings.Repeat("x", 5<<20)
		if out = run(c); strings.TrimSpace(string(out.Stdout)) != "5242880" {
			t.Errorf("of 5242880 bytes came %q", out.Stdout)
		}
		for _, line := range []string{"exec <&-; echo done", "head -c 1 > /dev/null; echo done", "echo done"} {
			c = command(t, line)
			c.Stdin = strings.Repeat("x", 1<<20)
			if out = run(c); string(out.Stdout) != "done\n" {
				t.Errorf("%s: %q", line, out.Stdout)
			}
		}
		if out = run(command(t, "cat; read line; echo $?")); string(out.Stdout) != "1\n" {
			t.Errorf("without input: %q", out.Stdout)
		}
		c = command(t, "echo out; echo why >&2; exit 3")
		c.Check = false
		if out = run(c); out.Code != 3 || string(out.Stdout) != "out\n" {
			t.Errorf("%+v", out)
		}
		nothingLeft(t)
	})
}

// TestExecMistake holds that a command that there cannot be has no outcome.
func TestExecMistake(t *testing.T) {
	onEachRung(t, func(t *testing.T, d process.Driver) {
		for _, c := range []Command{
			{}, {Argv: []string{""}}, {Argv: []string{"echo", "a\x00"}}, {Argv: []string{"true"}, Env: []string{"A=\x00"}},
			{Argv: []string{"/bin/echo", strings.Repeat("x", 4<<20)}},
		} {
			c.Dir = t.TempDir()
			out, err := Exec(within(t, patience), d, c)
			if wantsMistake(t, err); out != nil {
				t.Errorf("%.80v: %+v", c, out)
			}
		}
	})
}

// TestExecOutcomes holds the outcomes of what is not ok.
func TestExecOutcomes(t *testing.T) {
	onEachRung(t, func(t *testing.T, d process.Driver) {
		for _, c := range []struct {
			argv    []string
			timeout time.Duration
			want    history.Outcome
			texts   []string
		}{
			{Shell("echo early >&2; echo why >&2; exit 3"), patience, history.Fail, []string{`exec "echo early`, "on n1", "code 3",
				`"why"`, "exit code 0"}},
			{Shell("no-such-program"), patience, history.Fail, []string{"code 127"}},
			{[]string{"no-such-program"}, patience, history.Fail, []string{"not started", "no such program"}},
			{Shell("timeout 0.05 sleep 1000"), patience, history.Info, []string{"code 124"}},
			{Shell("kill -9 $$"), patience, history.Info, []string{"signal KILL"}},
			{Shell("sh -c 'kill -9 $$'; exit $?"), patience, history.Info, []string{"code 137"}},
			{Shell("echo x; sleep 1000"), time.Second, history.Info, []string{"given up and killed", "1s have passed"}},
			{Shell("true"), 0, history.Fail, []string{"not started"}},
			{[]string{"yes"}, patience, history.Info, []string{"more than 100000 bytes to stdout"}},
			{Shell("yes >&2"), patience, history.Info, []string{"more than 100000 bytes to stderr"}},
			{Shell("head -c 100001 /dev/zero"), patience, history.Info, []string{"more than 100000 bytes to stdout"}},
		} {
			cmd := command(t, "")
			cmd.Argv, cmd.MaxOutput = c.argv, 100_000
			out, err := Exec(within(t, c.timeout), d, cmd)
			wants(t, err, c.want, c.texts...)
			if out != nil && len(out.Stdout)+len(out.Stderr) > 100_000 {
				t.Errorf("%v: %d bytes were kept", c.argv, len(out.Stdout)+len(out.Stderr))
			}
		}
		cmd := command(t, "cat")
		cmd.Dir = filepath.Join(cmd.Dir, "none")
		_, err := Exec(within(t, patience), d, cmd)
		wants(t, err, history.Fail, "working folder")
		nothingLeft(t)
	})
}

// TestExecTree holds that nothing of a command outlives it: neither when it ends nor
// when it is given up.
func TestExecTree(t *testing.T) {
	const daemon = "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000 & sleep 1000'"
	onEachRung(t, func(t *testing.T, d process.Driver) {
		for _, line := range []string{
			"sleep 1000 & echo started",                                               // it has the output still
			daemon + " > /dev/null 2>&1 < /dev/null & echo started",                   // a session of its own
			"(" + daemon + " > /dev/null 2>&1 < /dev/null &) ; sleep 0; echo started", // by a parent that is gone
		} {
			out, err := Exec(within(t, patience), d, command(t, line))
			if err != nil || string(out.Stdout) != "started\n" {
				t.Errorf("%s: %+v, %v", line, out, err)
			}
			nothingLeft(t)
		}
		for _, line := range []string{
			"trap '' TERM HUP INT; echo started; while :; do sleep 1000; done",
			daemon + " & echo started; wait",
			"(" + daemon + " &) ; echo started; exec sleep 1000",
			"echo started; exec > /dev/null 2>&1; sleep 1000",
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			seen := &firstWrite{Driver: d, then: func() { cancel(fmt.Errorf("it has started")) }}
			_, err := Exec(ctx, seen, command(t, line))
			wants(t, err, history.Info, "it has started")
			nothingLeft(t)
			cancel(nil)
		}
	})
}

// TestExecLateGiveUp holds that a command that had ended by itself when it was given up
// has its own outcome.
func TestExecLateGiveUp(t *testing.T) {
	onEachRung(t, func(t *testing.T, d process.Driver) {
		for code, want := range map[int]history.Outcome{0: history.OK, 3: history.Fail} {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := Exec(ctx, &unseenEnd{d, cancel}, command(t, fmt.Sprintf("exit %d", code)))
			wants(t, err, want)
		}
	})
}

// unseenEnd is a driver whose processes are given up when they have ended, before that
// shows.
type unseenEnd struct {
	process.Driver
	giveUp func()
}

func (d *unseenEnd) Start(s process.Spec) (process.Process, error) {
	p, err := d.Driver.Start(s)
	if err != nil {
		return nil, err
	}
	<-p.Done()
	d.giveUp()
	return &ended{p, make(chan struct{})}, nil
}

type ended struct {
	process.Process
	seen chan struct{}
}

func (p *ended) Done() <-chan struct{} { return p.seen }

func (p *ended) Signal(s os.Signal, to process.Reach) (int, error) {
	close(p.seen)
	return p.Process.Signal(s, to)
}

// firstWrite is a driver that calls a function when a process first writes.
type firstWrite struct {
	process.Driver
	then func()
}

func (d *firstWrite) Start(s process.Spec) (process.Process, error) {
	to, once := s.Stdout, sync.OnceFunc(d.then)
	s.Stdout = writerFunc(func(p []byte) (int, error) { defer once(); return to.Write(p) })
	return d.Driver.Start(s)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestExecBesideNode holds that a node and a command leave each other alone.
func TestExecBesideNode(t *testing.T) {
	onEachRung(t, func(t *testing.T, d process.Driver) {
		up := make(chan struct{})
		tag := fmt.Sprintf("DAGON_TOKEN=node-%d-%s", os.Getpid(), t.Name()) // by which trees are found: no other may have it
		node, err := d.Start(process.Spec{Argv: Shell("echo up; sleep 1000 & wait"), Env: append(os.Environ(), tag, marker(t)),
			Tag: tag, Stdout: writerFunc(func(p []byte) (int, error) { close(up); return len(p), nil })})
		if err != nil {
			t.Fatal(err)
		}
		<-up
		c := command(t, "echo during")
		c.Env = append(c.Env, tag)
		if _, err := node.Pause(); err != nil {
			t.Fatal(err)
		}
		if out, err := Exec(within(t, patience), d, c); err != nil || string(out.Stdout) != "during\n" {
			t.Errorf("beside a paused node: %+v, %v", out, err)
		}
		if err := node.Resume(); err != nil {
			t.Error(err)
		}
		if !node.Alive() {
			t.Error("the end of a command has ended the node")
		}
		c.Argv = Shell("echo up; sleep 0.2; echo over")
		ended := make(chan error)
		started := make(chan struct{})
		go func() {
			out, err := Exec(within(t, patience), &firstWrite{Driver: d, then: func() { close(started) }}, c)
			if err == nil && string(out.Stdout) != "up\nover\n" {
				err = fmt.Errorf("%+v", out)
			}
			ended <- err
		}()
		<-started
		if _, err := node.Signal(os.Kill, process.Tree); err != nil {
			t.Error(err)
		}
		<-node.Done()
		if err := <-ended; err != nil {
			t.Error("beside a node that was killed: ", err)
		}
		if out, err := Exec(within(t, patience), d, c); err != nil {
			t.Errorf("beside a node that has ended: %+v, %v", out, err)
		}
		nothingLeft(t)
	})
}

// TestExecMany runs 1,000 commands, 100 at a time, and looks for what they leave. To be
// bare is to look at all processes when one ends, so that it is given a tenth.
func TestExecMany(t *testing.T) {
	onEachRung(t, func(t *testing.T, d process.Driver) {
		dir, n := t.TempDir(), 1000
		if d.Containment().Rung == process.Bare {
			n /= 10
		}
		before := openFiles(t)
		slots := make(chan struct{}, 100)
		var all sync.WaitGroup
		for i := range n {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				c := command(t, "cat")
				c.Dir, c.Stdin = dir, strconv.Itoa(i)
				if out, err := Exec(within(t, 3*patience), d, c); err != nil || string(out.Stdout) != strconv.Itoa(i) {
					t.Errorf("%d: %+v, %v", i, out, err)
				}
			})
		}
		all.Wait()
		nothingLeft(t)
		if after := openFiles(t); after > before+8 { // the runtime's own may have come
			t.Errorf("%d files are open, and were %d before", after, before)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%v is left", entries)
		}
	})
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestExecUser holds who a command runs as.
func TestExecUser(t *testing.T) {
	if os.Geteuid() != 0 {
		c := command(t, "id -u")
		c.Credential = &process.Credential{UID: 0}
		d, err := process.New(process.Options{Run: fmt.Sprintf("probe-%d", os.Getpid())})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_, err = Exec(within(t, patience), d, c)
		wants(t, err, history.Fail, "only root may start a process as another user")
		return
	}
	onEachRung(t, func(t *testing.T, d process.Driver) {
		c := command(t, "id -u; id -g; id -G")
		c.Dir = "/"
		c.Credential = &process.Credential{UID: 65534, GID: 65533, Groups: []uint32{65533, 7}}
		out, err := Exec(within(t, patience), d, c)
		if err != nil || string(out.Stdout) != "65534\n65533\n65533 7\n" {
			t.Errorf("%+v, %v", out, err)
		}
		c.Argv = Shell("(setsid sh -c 'sleep 1000' > /dev/null 2>&1 &); exec sleep 1000")
		_, err = Exec(within(t, time.Second), d, c)
		wants(t, err, history.Info, "given up")
		c.Dir = t.TempDir()
		os.Chmod(c.Dir, 0o700)
		_, err = Exec(within(t, patience), d, c)
		wants(t, err, history.Fail, "keeps it out", "user 65534")
		nothingLeft(t)
	})
}

// TestExecWithoutRoot runs the tests of commands as a user who is not root.
func TestExecWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this user is not root")
	}
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "probe.test")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o777)
	c := exec.Command(path, "-test.run=^TestExec(|Outcomes|Tree|BesideNode|User)$")
	c.Dir, c.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
}
