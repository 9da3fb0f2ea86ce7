//go:build unix

package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain makes a child of the test binary: with CHILD set it behaves as that
// says.
func TestMain(m *testing.M) {
	if Keeper() {
		return
	}
	if mode := os.Getenv("CHILD"); mode != "" {
		os.Exit(behave(mode))
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or every child takes a second to exit
	goleak.VerifyTestMain(m)
}

func behave(mode string) int {
	mode, argument, _ := strings.Cut(mode, " ")
	n, _ := strconv.Atoi(argument)
	switch mode {
	case "exit":
		return n
	case "linger": // for so many µs
		for began := time.Now(); time.Since(began) < time.Duration(n)*time.Microsecond; {
		}
		return 3
	case "echo":
		fmt.Println(argument)
		fmt.Fprintln(os.Stderr, "err", argument)
	case "crash": // after so many bytes
		os.Stdout.Write(bytes.Repeat([]byte("x"), n))
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour)
	case "hush": // it would die of writing to a pipe that nobody reads any more
		time.Sleep(time.Hour)
	case "sleep":
		fmt.Println("up")
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		time.Sleep(time.Hour)
	case "burn":
		for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
		}
		b := make([]byte, 64<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
	case "grandchild", "daemon": // in the group, or in a session of its own, holding the pipe
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "CHILD=hush")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: mode == "daemon"}
		if c.Start() != nil {
			return 9
		}
		fmt.Println("pid", c.Process.Pid)
	case "unshared": // a daemon that is up, in namespaces of its own
		c := exec.Command("unshare", "-U", "--uts", os.Args[0])
		c.Env = append(os.Environ(), "CHILD=sleep")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := c.StdoutPipe()
		if err != nil || c.Start() != nil {
			return 9
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			return 9
		}
		fmt.Println("pid", c.Process.Pid)
	case "tty":
		_, err := os.Open("/dev/tty")
		fmt.Println("tty", err == nil)
	case "group":
		fmt.Println("own group", syscall.Getpgrp() == os.Getpid())
	case "tree": // two more that are up
		for _, setsid := range []bool{false, true} {
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), "CHILD=sleep")
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
			out, err := c.StdoutPipe()
			if err != nil || c.Start() != nil {
				return 9
			}
			if _, err := out.Read(make([]byte, 1)); err != nil {
				return 9
			}
		}
		fmt.Println("up")
		time.Sleep(time.Hour)
	case "hog": // once it is told to
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGUSR1)
		fmt.Println("up")
		<-told
		b := make([]byte, 256<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		goruntime.KeepAlive(b)
	case "patient": // it is suspended for longer than it waits, and the answer comes meanwhile
		answers := make(chan byte)
		go func() {
			var b [1]byte
			os.Stdin.Read(b[:])
			answers <- b[0]
		}()
		time.AfterFunc(beatEvery/2, func() { syscall.Kill(os.Getpid(), syscall.SIGSTOP) })
		_, ok, late := receive(answers, time.Second)
		fmt.Println(ok, late)
	case "orchestrate", "orchestrate-limited": // start two, say who they are, and wait to be killed
		d, err := New(Options{Run: fmt.Sprint("test-", os.Getpid()), Contain: argument})
		if err != nil {
			return 9
		}
		for _, kid := range []string{"sleep", "deaf"} {
			// of two the first one counts
			p, err := d.Start(Spec{Argv: []string{os.Args[0]}, Env: append([]string{"CHILD=" + kid}, os.Environ()...)})
			if err != nil {
				return 9
			}
			if mode == "orchestrate-limited" {
				if _, err := p.Limit(Limits{CPU: 1}); err != nil {
					return 9
				}
			}
			fmt.Println(p.PID())
		}
		fmt.Println("up")
		time.Sleep(time.Hour)
	}
	return 0
}

func newDriver(t testing.TB, rung Rung) Driver {
	t.Helper()
	d, err := New(Options{Run: testRun(t, rung), Contain: string(rung)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// testRun is the run of a test's driver.
func testRun(t testing.TB, rung Rung) string {
	return fmt.Sprintf("test-%d-%s", os.Getpid(), rung)
}

// rungs are those that the tests run on: all that the machine can be expected
// to give.
func rungs() []Rung {
	if goruntime.GOOS != "linux" {
		return []Rung{Bare}
	}
	if os.Geteuid() != 0 { // control groups are root's, unless they are delegated
		return []Rung{Sealed, Supervised, Bare}
	}
	return []Rung{Sealed, Cgroup, Supervised, Bare}
}

func TestRungs(t *testing.T) {
	for _, rung := range rungs() {
		for name, test := range map[string]func(*testing.T, Driver){
			"Exit":             testExit,
			"Output":           testOutput,
			"CrashKeepsOutput": testCrashKeepsOutput,
			"ManyAtOnce":       testManyAtOnce,
			"Term":             testTerm,
			"OwnGroupAndTTY":   testOwnGroupAndTTY,
			"StartErrors":      testStartErrors,
			"UnrelatedThreads": testUnrelatedThreads,
			"Left":             testLeft,
			"EndedBefore":      testEndedBefore,
			"KilledOrEnded":    testKilledOrEnded,
		} {
			t.Run(string(rung)+"/"+name, func(t *testing.T) { test(t, newDriver(t, rung)) })
		}
	}
}

// TestOrdinaryUser runs the tests again as a user without rights.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 || goruntime.GOOS != "linux" {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "dagon-star-test-") // go test's own folder is root's
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "process.test")
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(path, binary, 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "-test.run=^Test(Rungs|Faults|NoSuchRung|RefusedByKernel)$")
	c.Dir = dir
	c.Env = append(os.Environ(), "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// start starts the test binary as a child.
func start(t testing.TB, d Driver, mode string, s Spec) Process {
	t.Helper()
	s.Argv = []string{os.Args[0]}
	s.Env = append(os.Environ(), "CHILD="+mode)
	if s.Tag != "" { // which no other test on the machine has
		s.Tag += fmt.Sprintf("-%d", os.Getpid())
		s.Env = append(s.Env, s.Tag)
	}
	p, err := d.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the driver's, which waits for it
		p.Signal(os.Kill, Tree)
		<-p.Done()
	})
	return p
}

// lines is a writer that tells of lines.
type lines struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	seen chan struct{}
	want string
}

func newLines(want string) *lines { return &lines{seen: make(chan struct{}), want: want} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := strings.Contains(l.buf.String(), l.want)
	l.buf.Write(p)
	if !before && strings.Contains(l.buf.String(), l.want) {
		close(l.seen)
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func testExit(t *testing.T, d Driver) {
	for _, code := range []int{0, 1, 3, 255} {
		p := start(t, d, fmt.Sprintf("exit %d", code), Spec{})
		<-p.Done()
		if e := p.Exit(); e.Code != code || e.Signal != "" || len(e.Left) != 0 {
			t.Errorf("exit %d: %+v", code, e)
		}
		if _, err := p.Signal(os.Kill, Tree); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("a signal after its end: %v", err)
		}
	}
	p := start(t, d, "burn", Spec{})
	<-p.Done()
	if e := p.Exit(); e.User+e.System < 20*time.Millisecond || e.MaxRSS < 60<<20 || e.MaxRSS > 4<<30 {
		t.Errorf("usage: %+v", e)
	}
}

func testOutput(t *testing.T, d Driver) {
	var out, errs bytes.Buffer
	<-start(t, d, "echo hello", Spec{Stdout: &out, Stderr: &errs}).Done()
	if out.String() != "hello\n" || errs.String() != "err hello\n" {
		t.Errorf("out %q, err %q", out.String(), errs.String())
	}
	// A writer that fails holds nothing up.
	p := start(t, d, "crash 1000000", Spec{Stdout: failing{}})
	<-p.Done()
	if p.Exit().Signal != "KILL" {
		t.Errorf("%+v", p.Exit())
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestCrashKeepsOutput: every byte that was written before a crash is read.
func testCrashKeepsOutput(t *testing.T, d Driver) {
	for _, n := range []int{1, 4096, 65536, 1 << 20} {
		var out bytes.Buffer
		p := start(t, d, fmt.Sprintf("crash %d", n), Spec{Stdout: &out})
		<-p.Done()
		if out.Len() != n || p.Exit().Signal != "KILL" || p.Exit().Code != -1 {
			t.Errorf("%d of %d bytes, %+v", out.Len(), n, p.Exit())
		}
	}
}

func testManyAtOnce(t *testing.T, d Driver) {
	echo, err := exec.LookPath("echo") // starts sooner than the test binary
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			var out bytes.Buffer
			p, err := d.Start(Spec{Argv: []string{echo, strconv.Itoa(i)}, Stdout: &out})
			if err != nil {
				t.Error(err)
				return
			}
			<-p.Done()
			if out.String() != fmt.Sprintf("%d\n", i) || p.Exit().Code != 0 {
				t.Errorf("%d: %q, %+v", i, out.String(), p.Exit())
			}
		})
	}
	wg.Wait()
}

// testTerm: TERM ends a process, be it stopped, as long as it is let go on. One
// that is deaf to it is ended by KILL.
func testTerm(t *testing.T, d Driver) {
	for name, test := range map[string]struct {
		child        string
		tty, stopped bool
		want         string
	}{
		"running":         {child: "sleep", want: "TERM"},
		"with a terminal": {child: "sleep", tty: true, want: "TERM"},
		"stopped":         {child: "sleep", stopped: true, want: "TERM"},
		"deaf":            {child: "deaf", want: "KILL"},
	} {
		up := newLines("up\n")
		p := start(t, d, test.child, Spec{Stdout: up, TTY: test.tty})
		<-up.seen
		var signals []os.Signal
		if test.stopped {
			signals = append(signals, syscall.SIGSTOP)
		}
		signals = append(signals, syscall.SIGTERM, ContinueSignal)
		if test.want == "KILL" {
			signals = append(signals, os.Kill)
		}
		for _, s := range signals {
			if _, err := p.Signal(s, Tree); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("%s: %v: %v", name, s, err)
			}
		}
		<-p.Done()
		if p.Exit().Signal != test.want {
			t.Errorf("%s: %+v, want %s", name, p.Exit(), test.want)
		}
	}
}

// testLeft: what a process leaves of its tree is killed, in its group or
// outside of it or out of its namespaces, and told; it does not hold up the end.
func testLeft(t *testing.T, d Driver) {
	if goruntime.GOOS != "linux" {
		t.Skip("who is in a tree is known on Linux")
	}
	modes := []string{"grandchild", "daemon"}
	if exec.Command("unshare", "-U", "--uts", "true").Run() == nil {
		modes = append(modes, "unshared")
	} else {
		t.Log("not with namespaces of its own, which the machine refuses")
	}
	for i, mode := range modes {
		var out bytes.Buffer
		p := start(t, d, mode, Spec{Stdout: &out, Tag: fmt.Sprintf("TAG=left-%s-%d", d.Containment().Rung, i)})
		<-p.Done()
		if !strings.HasPrefix(out.String(), "pid ") {
			t.Errorf("%s: output %q", mode, out.String())
		}
		e := p.Exit()
		if len(e.Left) != 1 {
			t.Fatalf("%s: left %v, want one", mode, e.Left)
		}
		if alive(e.Left[0]) {
			t.Errorf("%s: %d is alive", mode, e.Left[0])
		}
	}
}

// testEndedBefore: what has ended by itself is reached by nothing, from the moment
// at which the kernel says so, and no act takes its end for its own work.
func testEndedBefore(t *testing.T, d Driver) {
	if goruntime.GOOS != "linux" {
		t.Skip("the moment is seen in /proc")
	}
	acts := map[string]func(Process) (int, error){
		"pause":       Process.Pause,
		"limit":       func(p Process) (int, error) { return p.Limit(Limits{Files: 10}) },
		"signal":      func(p Process) (int, error) { return p.Signal(syscall.SIGTERM, Leader) },
		"signal tree": func(p Process) (int, error) { return p.Signal(syscall.SIGTERM, Tree) },
		"kill":        func(p Process) (int, error) { return p.Signal(os.Kill, Leader) },
		"kill tree":   func(p Process) (int, error) { return p.Signal(os.Kill, Tree) },
	}
	for _, mode := range []string{"exit 3", "daemon"} {
		for what, act := range acts {
			p := start(t, d, mode, Spec{Tag: "TAG=" + t.Name() + mode + what})
			// The leader of a dying process is a zombie a moment before its last thread
			// ends.
			for alive(p.PID()) || p.Alive() {
			}
			reached, err := act(p)
			if !errors.Is(err, os.ErrProcessDone) || reached > 0 && (what != "kill tree" || reached > 1 || mode == "exit 3") {
				t.Errorf("%s, %s: reached %d, %v", mode, what, reached, err)
			}
			<-p.Done()
			e := p.Exit()
			if want := map[string]int{"exit 3": 3}[mode]; e.Code != want || e.Signal != "" || len(e.Left) != map[string]int{"daemon": 1}[mode] {
				t.Errorf("%s, %s: %+v", mode, what, e)
			}
		}
	}
}

// testKilledOrEnded: a kill that comes as a process ends by itself has killed it,
// or says that it had ended.
func testKilledOrEnded(t *testing.T, d Driver) {
	for i := range 50 {
		p := start(t, d, fmt.Sprint("linger ", i*100), Spec{})
		to := Leader
		if i%2 == 1 {
			to = Tree
		}
		reached, err := p.Signal(os.Kill, to)
		<-p.Done()
		e := p.Exit()
		switch {
		case err == nil && reached == 1 && e.Signal == "KILL":
		case errors.Is(err, os.ErrProcessDone) && reached == 0 && e.Signal == "" && e.Code == 3:
		default:
			t.Errorf("reached %d, %v, and it ended so: %+v", reached, err, e)
		}
	}
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && stat[bytes.LastIndexByte(stat, ')')+2] != 'Z'
}

func testOwnGroupAndTTY(t *testing.T, d Driver) {
	var out bytes.Buffer
	<-start(t, d, "group", Spec{Stdout: &out}).Done()
	if out.String() != "own group true\n" {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	<-start(t, d, "tty", Spec{Stdout: &out, TTY: true}).Done()
	if out.String() != "tty true\n" {
		t.Errorf("with a terminal: %q", out.String())
	}
}

func testStartErrors(t *testing.T, d Driver) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		spec Spec
		want string
	}{
		"nothing":        {Spec{}, "command line is empty"},
		"missing":        {Spec{Argv: []string{filepath.Join(dir, "none")}}, "no such file"},
		"not in PATH":    {Spec{Argv: []string{"none"}, Env: []string{"PATH=" + dir}}, "no such program in PATH (" + dir + ")"},
		"not executable": {Spec{Argv: []string{write("plain", "x", 0o644)}}, "not executable (mode -rw-r--r--)"},
		"folder":         {Spec{Argv: []string{dir}}, "it is a folder"},
		"no interpreter": {Spec{Argv: []string{write("script", "#!/no/such/sh\n", 0o755)}}, "names the interpreter /no/such/sh"},
		"not a program":  {Spec{Argv: []string{write("text", "hello", 0o755)}}, "no program for this machine"},
		"working folder": {Spec{Argv: []string{os.Args[0]}, Dir: filepath.Join(dir, "none")}, "working folder"},
	} {
		_, err := d.Start(test.spec)
		var startError *StartError
		if !errors.As(err, &startError) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestParentDeath: the children of an orchestrator that is killed die with it.
func TestParentDeath(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("the parent-death signal is Linux's")
	}
	c, pids := orchestrator(t, "orchestrate bare")
	c.Process.Kill()
	c.Wait()
	for _, pid := range pids {
		for deadline := time.Now().Add(time.Minute); alive(pid); goruntime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d is alive", pid)
			}
		}
	}
}

// orchestrator starts one that has a driver, and tells who the two are that it
// has started.
func orchestrator(t *testing.T, mode string) (c *exec.Cmd, pids []int) {
	t.Helper()
	c = exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "CHILD="+mode)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "up"; {
		pid, err := strconv.Atoi(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 2 {
		c.Process.Kill()
		t.Fatalf("it has started %v, want two", pids)
	}
	return c, pids
}

// testUnrelatedThreads: threads that come and go do not take children with
// them, which the parent-death signal of a thread that ends would.
func testUnrelatedThreads(t *testing.T, d Driver) {
	var all []Process
	for range 10 {
		for range 5 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				goruntime.LockOSThread() // and is never unlocked: the thread ends
			}()
			<-done
		}
		up := newLines("up\n")
		all = append(all, start(t, d, "sleep", Spec{Stdout: up}))
		<-up.seen
	}
	for _, p := range all {
		select {
		case <-p.Done():
			t.Errorf("a child has died: %+v", p.Exit())
		default:
		}
	}
}

// TestLineEnds: the carriage returns at the ends of lines are left out, however they
// come, and no others.
func TestLineEnds(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb\r\n": "a\nb\n", "a\r\r\nb": "a\nb", "1%\r2%\r\n": "1%\r2%\n", "\r": "\r", "a\r": "a\r", "\r\n": "\n", "\n\r\rx\n": "\n\r\rx\n",
	} {
		for cut := range len(in) + 1 {
			var out bytes.Buffer
			w := &lineEnds{to: &out}
			for _, part := range []string{in[:cut], in[cut:]} {
				if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
					t.Errorf("%q: %d, %v", part, n, err)
				}
			}
			w.flush()
			if out.String() != want {
				t.Errorf("%q, %q: %q, want %q", in[:cut], in[cut:], out.String(), want)
			}
		}
	}
}

// taker is a function as a Writer.
type taker func(p []byte) (int, error)

func (f taker) Write(p []byte) (int, error) { return f(p) }

// TestReadNow: what is in a pipe is read at once, also while its own reader waits.
func TestReadNow(t *testing.T) {
	d, err := New(Options{Run: fmt.Sprint("test-", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 50 {
		var mu sync.Mutex
		var out []byte
		p := start(t, d, "group", Spec{Stdout: taker(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, b...)
			return len(b), nil
		})})
		for p.Alive() {
			goruntime.Gosched()
		}
		p.(Reader).ReadNow()
		mu.Lock()
		got := string(out)
		mu.Unlock()
		<-p.Done()
		if got != "own group true\n" {
			t.Fatalf("%q", got)
		}
	}
}
