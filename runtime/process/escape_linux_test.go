package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	mode, argument, _ := strings.Cut(os.Getenv("CHILD"), " ")
	switch mode {
	case "escaped": // it starts a daemon that drops what a tree is known by, and lives on
		script := "(setsid unshare " + argument + " &); echo up; exec sleep 3600"
		syscall.Exec("/bin/sh", []string{"sh", "-c", script}, os.Environ())
		os.Exit(9)
	case "hide": // it mounts over what a keeper reads
		for _, path := range append(mountsOf("proc"), mountsOf("cgroup")...) {
			if err := unix.Mount("none", path, "tmpfs", 0, ""); err != nil {
				fmt.Println(path, err)
				os.Exit(9)
			}
		}
		fmt.Println("up")
		time.Sleep(time.Hour)
	case "headless-daemon": // it starts one that goes on without its main thread, and lives on
		script := `(CHILD=headless HEADLESS=$1 setsid "$0" &); exec sleep 3600`
		syscall.Exec("/bin/sh", []string{"sh", "-c", script, os.Args[0], argument}, os.Environ())
		os.Exit(9)
	case "headless": // it goes on without its main thread
		goruntime.LockOSThread()
		go func() {
			fmt.Println("up")
			time.Sleep(time.Hour)
		}()
		syscall.Syscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// mountsOf are where file systems of a type are mounted, the deepest first.
func mountsOf(prefix string) (all []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if strings.HasPrefix(after, prefix) {
			all = append(all, strings.Fields(before)[4])
		}
	}
	slices.Reverse(all)
	return all
}

// executed waits for a process that was executed with the argument as its last,
// and returns its number.
func executed(t *testing.T, argument string) (pid int) {
	t.Helper()
	eventually(t, "a process with "+argument, func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			if text, _ := os.ReadFile(file); strings.HasPrefix(string(text), "sleep\x00") &&
				strings.HasSuffix(string(text), "\x00"+argument+"\x00") {
				pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file)))
				return true
			}
		}
		return false
	})
	return pid
}

// forkedAll waits until a shell that starts a daemon has executed what it lives on as:
// the process between the two, which is of the tree too, is gone then.
func forkedAll(t *testing.T, p Process) {
	t.Helper()
	eventually(t, "the shell's last program", func() bool {
		text, _ := os.ReadFile(procPath(p.PID(), "cmdline"))
		return strings.HasPrefix(string(text), "sleep\x00")
	})
}

// testEscaped: a daemon in namespaces of its own, with an environment of its own,
// that is in no session or group of its tree, and that nobody of the tree is a
// parent of, is in the tree all the same where it is sealed.
func testEscaped(t *testing.T, d Driver) {
	if d.Containment().Rung != Sealed {
		return
	}
	for i, namespaces := range []string{"-U --uts", "-U --uts --ipc --mount --cgroup", "-U --uts --pid --fork"} {
		if exec.Command("sh", "-c", "unshare "+namespaces+" true").Run() != nil {
			t.Log("not with namespaces", namespaces, "which the machine refuses")
			continue
		}
		argument := fmt.Sprintf("3600.%d%d", os.Getpid(), i)
		up := newLines("up\n")
		p := start(t, d, "escaped "+namespaces+" env -i sleep "+argument, Spec{Stdout: up, Tag: "TAG=" + argument})
		<-up.seen
		pids := []int{p.PID(), executed(t, argument)}
		most := 2 + strings.Count(namespaces, "--fork") // unshare waits for what it has forked
		if reached, err := p.Pause(); reached != most || err != nil || states(pids) != "TT" {
			t.Errorf("%s: paused: reached %d, %s, %v", namespaces, reached, states(pids), err)
		}
		if err := p.Resume(); err != nil {
			t.Error(err)
		}
		eventually(t, "both asleep", func() bool { return states(pids) == "SS" })
		if reached, err := p.Limit(Limits{Files: 20}); reached != most || err != nil || openFiles(t, pids[1]) != "20" {
			t.Errorf("%s: limited: reached %d, %s, %v", namespaces, reached, openFiles(t, pids[1]), err)
		}
		if reached, err := p.Signal(os.Kill, Tree); reached != most || err != nil || states(pids) != "--" {
			t.Errorf("%s: killed: reached %d, %s, %v", namespaces, reached, states(pids), err)
		}
	}
}

// testHidden: a node that mounts over /proc and the control groups hides nobody.
func testHidden(t *testing.T, d Driver) {
	if d.Containment().Rung != Sealed || os.Geteuid() != 0 {
		return // it would mount over the machine's, or may not
	}
	before, pids := startTree(t, d, t.Name())
	up := newLines("up\n")
	start(t, d, "hide", Spec{Stdout: up})
	<-up.seen
	up = newLines("up\n")
	after := start(t, d, "sleep", Spec{Stdout: up})
	<-up.seen
	for _, p := range []Process{before, after} {
		if reached, err := p.Pause(); reached == 0 || err != nil {
			t.Errorf("reached %d, %v", reached, err)
		}
	}
	if got := states(append(pids, after.PID())); got != "TTTT" {
		t.Errorf("paused: %s", got)
	}
	if d.Can(FaultLimitCPU) == nil {
		if reached, err := before.Limit(Limits{CPU: 1}); reached != 3 || err != nil {
			t.Errorf("limited: reached %d, %v", reached, err)
		}
	}
	if reached, err := before.Signal(os.Kill, Tree); reached != 3 || err != nil || states(pids) != "---" {
		t.Errorf("killed: reached %d, %s, %v", reached, states(pids), err)
	}
}

// testHeadless: a process that goes on without its main thread is alive, and is
// reached as any other.
func testHeadless(t *testing.T, d Driver) {
	up := newLines("up\n")
	p := start(t, d, "headless", Spec{Stdout: up})
	<-up.seen
	eventually(t, "no main thread", func() bool { return !alive(p.PID()) })
	if !p.Alive() {
		t.Error("it is not alive")
	}
	if reached, err := p.Pause(); reached != 1 || err != nil {
		t.Errorf("paused: reached %d, %v", reached, err)
	}
	if err := p.Resume(); err != nil {
		t.Error(err)
	}
	if reached, err := p.Signal(os.Kill, Tree); reached != 1 || err != nil {
		t.Errorf("killed: reached %d, %v", reached, err)
	}
	if p.Alive() {
		t.Error("it is alive")
	}
}

// testHeadlessDaemon: a daemon that goes on without its main thread, where alone
// the kernel shows what it was executed with, is in its tree by that.
func testHeadlessDaemon(t *testing.T, d Driver) {
	word := fmt.Sprintf("%d-%s", os.Getpid(), d.Containment().Rung)
	up := newLines("up\n")
	p := start(t, d, "headless-daemon "+word, Spec{Stdout: up, Tag: "TAG=" + word})
	<-up.seen
	forkedAll(t, p)
	daemon := 0
	eventually(t, "no main thread", func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/task/*/environ")
		for _, file := range files {
			text, _ := os.ReadFile(file)
			if strings.Contains("\x00"+string(text), "\x00HEADLESS="+word+"\x00") {
				daemon, _ = strconv.Atoi(strings.Split(file, "/")[2])
				return !alive(daemon)
			}
		}
		return false
	})
	proc, err := openProc()
	if err != nil {
		t.Fatal(err)
	}
	defer proc.close()
	is := func(what func(stat) bool) bool {
		s, ok, err := proc.stat(daemon)
		return ok && err == nil && what(s)
	}
	if !slices.ContainsFunc(FindMarked("HEADLESS"), func(s Seen) bool { return s.PID == daemon && s.Variables["HEADLESS"] == word }) {
		t.Error("it is not found by its variables")
	}
	if reached, err := p.Pause(); reached != 2 || err != nil || !is(stat.stopped) {
		t.Errorf("paused: reached %d, %v", reached, err)
	}
	if err := p.Resume(); err != nil || is(stat.stopped) {
		t.Errorf("resumed: %v", err)
	}
	if d.Can(FaultLimitCPU) == nil {
		if reached, err := p.Limit(Limits{CPU: 1}); reached != 2 || err != nil {
			t.Errorf("limited: reached %d, %v", reached, err)
		}
		text, _ := os.ReadFile(procPath(daemon, "task/"+strconv.Itoa(lastThread(t, daemon))+"/cgroup"))
		if !strings.Contains(string(text), groupPrefix) {
			t.Errorf("limited: it is in %s", text)
		}
	}
	// One that had been stopped before stays so.
	if err := syscall.Kill(daemon, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stopped", func() bool { return is(stat.stopped) })
	if _, err := p.Pause(); err != nil {
		t.Error(err)
	}
	if err := p.Resume(); err != nil || !is(stat.stopped) {
		t.Errorf("resumed what was not paused: %v", err)
	}
	if reached, err := p.Signal(os.Kill, Tree); reached != 2 || err != nil || is(stat.runs) {
		t.Errorf("killed: reached %d, %v", reached, err)
	}
}

// lastThread is a thread of the process that is not its main one.
func lastThread(t *testing.T, pid int) (last int) {
	t.Helper()
	threads, err := os.ReadDir(procPath(pid, "task"))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if n, _ := strconv.Atoi(thread.Name()); n != pid {
			last = n
		}
	}
	return last
}

// TestHasNoEnvironment: what a thread's stat says of its environment.
func TestHasNoEnvironment(t *testing.T) {
	for name, test := range map[string]struct {
		flags, start, end string
		want              bool
	}{
		"a program":         {"4194304", "140000", "140900", false},
		"without variables": {"4194304", "140000", "140000", true},
		"between programs":  {"4194304", "0", "0", false},
		"between them yet":  {"4194304", "140000", "0", false},
		"exiting":           {"4194308", "0", "0", true},
		"exiting, with it":  {"4194308", "140000", "140900", true},
		"the kernel's":      {"2129984", "0", "0", true},
	} {
		stat := slices.Repeat([][]byte{[]byte("0")}, 50)
		stat[6], stat[47], stat[48] = []byte(test.flags), []byte(test.start), []byte(test.end)
		if got := hasNoEnvironment(stat); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !hasNoEnvironment(nil) {
		t.Error("one that is gone has an environment")
	}
}

// TestUnreadable: what cannot be read is an error, and nothing else is.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"7/stat": "7 (x) S", "7/task": "", "8/x": ""} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := &procfs{dir: f}
	if _, ok, err := p.stat(8); ok || err != nil {
		t.Errorf("of what is not there: %v, %v", ok, err)
	}
	if _, _, err := p.stat(7); err == nil {
		t.Error("no error of a file that says nothing")
	}
	if _, err := p.processes(nil); err == nil {
		t.Error("a list without what cannot be read")
	}
	if p.isEnding(7) {
		t.Error("what cannot be read is ending")
	}
	f.Close()
	if _, err := p.processes(nil); err == nil {
		t.Error("a list of what cannot be read")
	}
}

// TestThreadEnds: which flags and pending signals say that a thread is ending.
func TestThreadEnds(t *testing.T) {
	for _, test := range []struct {
		thread
		want bool
	}{
		{thread{}, false},
		{thread{flags: 0x400040}, false},
		{thread{flags: 0x40004c}, true},
		{thread{flags: 0x400400}, true},
		{thread{pending: 1 << (unix.SIGTERM - 1)}, false},
		{thread{pending: 1 << (unix.SIGKILL - 1)}, true},
	} {
		if got := test.ends(); got != test.want {
			t.Errorf("%+v: %v", test.thread, got)
		}
	}
}
