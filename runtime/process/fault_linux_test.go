package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
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
	if how, ok := strings.CutPrefix(os.Getenv("CHILD"), "refused "); ok {
		if !Keeper() {
			sealWithout(how)
		}
		os.Exit(0)
	}
	if os.Getenv("CHILD") != "uncalled" {
		return
	}
	for _, contain := range Containments() { // Keeper has not been called
		d, err := New(Options{Run: fmt.Sprint("test-", os.Getpid()), Contain: contain})
		if err != nil {
			fmt.Printf("%s: %v\n", contain, err)
			continue
		}
		fmt.Printf("%s: %s %v\n", contain, d.Containment().Rung, d.Containment().Refused)
		d.Close()
	}
	os.Exit(0)
}

func TestFaults(t *testing.T) {
	for _, rung := range rungs() {
		for name, test := range map[string]func(*testing.T, Driver){
			"Pause":          testPause,
			"Signal":         testSignal,
			"Limits":         testLimits,
			"OutOfMemory":    testOutOfMemory,
			"KeeperDies":     testKeeperDies,
			"NothingOutside": testNothingOutside,
			"Escaped":        testEscaped,
			"Hidden":         testHidden,
			"Headless":       testHeadless,
			"HeadlessDaemon": testHeadlessDaemon,
			"Undumpable":     testUndumpable,
			"Unknown":        testUnknown,
			"KeeperStuck":    testKeeperStuck,
			"Relay":          testRelay,
		} {
			t.Run(string(rung)+"/"+name, func(t *testing.T) { test(t, newDriver(t, rung)) })
		}
	}
}

// eventually waits until ok, of what nothing tells.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// startTree starts a process that has started one in its group and one that is
// a daemon, and returns the numbers of all three, the leader's first.
func startTree(t *testing.T, d Driver, tag string) (Process, []int) {
	t.Helper()
	up := newLines("up\n")
	p := start(t, d, "tree", Spec{Stdout: up, Tag: "TAG=" + tag})
	<-up.seen
	pids := []int{p.PID()}
	for _, m := range FindMarked("TAG") {
		if m.Variables["TAG"] == fmt.Sprintf("%s-%d", tag, os.Getpid()) && m.PID != p.PID() {
			pids = append(pids, m.PID)
		}
	}
	if len(pids) != 3 {
		t.Fatalf("the tree is %v, want three", pids)
	}
	return p, pids
}

// procPath is a file of a process.
func procPath(pid int, file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }

// states are those of processes in /proc, such as "SSS".
func states(pids []int) string {
	proc, err := openProc()
	if err != nil {
		return err.Error()
	}
	defer proc.close()
	var all strings.Builder
	for _, pid := range pids {
		if s, ok, err := proc.stat(pid); err == nil && ok && s.runs() {
			all.WriteByte(s.state)
		} else {
			all.WriteByte('-')
		}
	}
	return all.String()
}

// readGroup reads a file of a control group.
func readGroup(dir, file string) string {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(text))
}

// eachGroup calls fn for the folder of each control group that a run's own could
// be in.
func eachGroup(fn func(dir string)) {
	all := hierarchies()
	defer closeAll(all)
	for _, h := range all {
		for _, p := range h.above() {
			fn(p.String())
		}
	}
}

// testPause: a pause stops all of a tree before it returns, and what had been
// stopped before it stays so.
func testPause(t *testing.T, d Driver) {
	p, pids := startTree(t, d, t.Name())
	eventually(t, "all asleep", func() bool { return states(pids) == "SSS" })
	if err := syscall.Kill(pids[2], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one stopped", func() bool { return states(pids) == "SST" })
	for i, want := range []int{2, 0} {
		if reached, err := p.Pause(); reached != want || err != nil || states(pids) != "TTT" {
			t.Errorf("pause %d: reached %d, %s, %v", i, reached, states(pids), err)
		}
	}
	if err := errors.Join(p.Resume(), p.Resume()); err != nil {
		t.Error(err)
	}
	eventually(t, "the other two asleep", func() bool { return states(pids) == "SST" })
	if reached, err := p.Pause(); reached != 2 || err != nil {
		t.Errorf("reached %d, %v", reached, err)
	}
	if reached, err := p.Signal(os.Kill, Tree); reached != 3 || err != nil || states(pids) != "---" {
		t.Errorf("killed while it was paused: reached %d, %s, %v", reached, states(pids), err)
	}
	<-p.Done()
	if e := p.Exit(); e.Signal != "KILL" || e.Left != nil {
		t.Errorf("%+v", e)
	}
	if err := p.Resume(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("resume of what has ended: %v", err)
	}
}

// testSignal: a signal reaches the whole tree, or the leader alone.
func testSignal(t *testing.T, d Driver) {
	p, pids := startTree(t, d, t.Name())
	if reached, err := p.Signal(syscall.SIGSTOP, Leader); reached != 1 || err != nil {
		t.Fatalf("reached %d, %v", reached, err)
	}
	eventually(t, "the leader stopped", func() bool { return states(pids) == "TSS" })
	if reached, err := p.Signal(syscall.SIGSTOP, Tree); reached != 3 || err != nil {
		t.Fatalf("reached %d, %v", reached, err)
	}
	eventually(t, "all stopped", func() bool { return states(pids) == "TTT" })
	if _, err := p.Signal(syscall.SIGCONT, Tree); err != nil { // the kernel hangs up on stopped groups that are orphaned
		t.Fatal(err)
	}
	eventually(t, "none stopped", func() bool { return states(pids) == "SSS" })
	if reached, err := p.Signal(syscall.SIGKILL, Leader); reached != 1 || err != nil {
		t.Fatalf("reached %d, %v", reached, err)
	}
	<-p.Done()
	left := slices.Sorted(slices.Values(p.Exit().Left))
	if want := slices.Sorted(slices.Values(pids[1:])); !slices.Equal(left, want) || states(pids) != "---" {
		t.Errorf("left %v, want %v; their states are %s", left, want, states(pids))
	}
}

func openFiles(t *testing.T, pid int) string {
	t.Helper()
	limits, err := os.ReadFile(procPath(pid, "limits"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			return strings.Fields(rest)[0]
		}
	}
	t.Fatalf("%s", limits)
	return ""
}

// testLimits: limits hold for all of a tree, and end with it or before.
func testLimits(t *testing.T, d Driver) {
	p, pids := startTree(t, d, t.Name())
	files := openFiles(t, pids[0])
	all := Limits{Files: 20}
	can := map[string]bool{"cpu": d.Can(FaultLimitCPU) == nil, "memory": d.Can(FaultLimitMemory) == nil}
	if can["cpu"] {
		all.CPU = 0.25
	}
	if can["memory"] {
		all.Memory = 512 << 20
	}
	if reached, err := p.Limit(all); reached != 3 || err != nil {
		t.Fatalf("reached %d, %v", reached, err)
	}
	limited := func() (members map[string]int, value map[string]string) {
		members, value = map[string]int{}, map[string]string{}
		for _, dir := range treeGroups(t, d) {
			inside := strings.Fields(readGroup(dir, "cgroup.procs"))
			for controller, files := range map[string][]string{"cpu": {"cpu.max", "cpu.cfs_quota_us"},
				"memory": {"memory.max", "memory.limit_in_bytes"}} {
				for _, file := range files {
					if v := readGroup(dir, file); v != "" {
						members[controller] += len(inside)
						value[controller] = strings.Fields(v)[0]
					}
				}
			}
		}
		return members, value
	}
	for _, pid := range pids {
		if got := openFiles(t, pid); got != "20" {
			t.Errorf("%d may open %s files, want 20", pid, got)
		}
	}
	members, value := limited()
	if can["cpu"] && (members["cpu"] != 3 || value["cpu"] != "25000") {
		t.Errorf("cpu: %d processes have the limit %s", members["cpu"], value["cpu"])
	}
	if can["memory"] && (members["memory"] != 3 || value["memory"] != strconv.Itoa(512<<20)) {
		t.Errorf("memory: %d processes have the limit %s", members["memory"], value["memory"])
	}
	if _, err := p.Limit(Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := openFiles(t, pids[2]); got != files {
		t.Errorf("without a limit %s files, before it %s", got, files)
	}
	if _, value = limited(); can["cpu"] && value["cpu"] != "max" && value["cpu"] != "-1" {
		t.Errorf("without a limit: cpu %s", value["cpu"])
	}
	_, limitErr := p.Limit(all)
	_, killErr := p.Signal(os.Kill, Tree)
	if err := errors.Join(limitErr, killErr); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if left := treeGroups(t, d); len(left) > 0 {
		t.Errorf("groups %v are left of it", left)
	}
}

// treeGroups are the groups of the driver's trees. The driver is this test's.
func treeGroups(t *testing.T, d Driver) []string {
	t.Helper()
	var all []string
	eachGroup(func(dir string) {
		found, err := filepath.Glob(filepath.Join(dir, groupPrefix+testRun(t, d.Containment().Rung), "[0-9]*", "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			if dir := filepath.Dir(file); !slices.Contains(all, dir) {
				all = append(all, dir)
			}
		}
	})
	return all
}

// testOutOfMemory: that the kernel killed a process at its limit is told.
func testOutOfMemory(t *testing.T, d Driver) {
	if err := d.Can(FaultLimitMemory); err != nil {
		t.Skip(err)
	}
	up := newLines("up\n")
	p := start(t, d, "hog", Spec{Stdout: up})
	<-up.seen
	if _, err := p.Limit(Limits{Memory: 32 << 20}); err != nil {
		t.Fatal(err)
	}
	p.Signal(syscall.SIGUSR1, Leader)
	<-p.Done()
	if e := p.Exit(); e.OutOfMemory < 1 || e.Signal != "KILL" {
		t.Errorf("%+v", e)
	}
}

// testKeeperDies: when its keeper is killed nothing runs on unwatched: all ends,
// is told so, and the driver says why it can start nothing more.
func testKeeperDies(t *testing.T, d Driver) {
	k, ok := d.(*driver).forker.(*kept)
	if !ok {
		return // none to die
	}
	p, pids := startTree(t, d, t.Name())
	k.process.Kill()
	<-p.Done()
	if got := states(pids); got != "---" {
		t.Errorf("the tree is %s", got)
	}
	if e := p.Exit(); e.Signal != "KILL" || !strings.Contains(e.Note, "the keeper of the run's processes has ended") {
		t.Errorf("%+v", e)
	}
	if _, err := d.Start(Spec{Argv: []string{os.Args[0]}}); err == nil || !strings.Contains(err.Error(), "keeper") {
		t.Errorf("started after it: %v", err)
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "keeper") {
		t.Errorf("Close: %v", err)
	}
}

// testNothingOutside: a driver that has closed has left no control group.
func testNothingOutside(t *testing.T, d Driver) {
	p, _ := startTree(t, d, t.Name())
	if d.Can(FaultLimitCPU) == nil {
		if _, err := p.Limit(Limits{CPU: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Signal(os.Kill, Tree); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left := runGroups(t, testRun(t, d.Containment().Rung)); len(left) > 0 {
		t.Errorf("groups %v are left", left)
	}
}

// runGroups are the groups of a run.
func runGroups(t *testing.T, run string) (all []string) {
	t.Helper()
	eachGroup(func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, groupPrefix+run)); err == nil {
			all = append(all, filepath.Join(dir, groupPrefix+run))
		}
	})
	return all
}

// TestKilledWithLimits: an orchestrator that is killed while limits are in force
// leaves no process, and what it leaves of control groups is gone at once with a
// keeper that outlives it, and with the next sweep without.
func TestKilledWithLimits(t *testing.T) {
	if err := Can(FaultLimitCPU); err != nil {
		t.Skip(err)
	}
	for _, rung := range rungs() {
		t.Run(string(rung), func(t *testing.T) {
			c, pids := orchestrator(t, "orchestrate-limited "+string(rung))
			run := fmt.Sprint("test-", c.Process.Pid)
			if len(runGroups(t, run)) == 0 {
				t.Fatal("there is no group")
			}
			if removed, err := SweepGroups(); err != nil ||
				slices.ContainsFunc(removed, func(dir string) bool { return strings.HasSuffix(dir, run) }) {
				t.Errorf("swept while it lives: %v, %v", removed, err)
			}
			c.Process.Kill()
			c.Wait()
			for _, pid := range pids {
				eventually(t, fmt.Sprint(pid), func() bool { return !alive(pid) })
			}
			if rung == Bare || rung == Sealed {
				eventually(t, "the sweep", func() bool { SweepGroups(); return len(runGroups(t, run)) == 0 })
			}
			eventually(t, "no group", func() bool { return len(runGroups(t, run)) == 0 })
		})
	}
}

// TestNoSuchRung: what was asked for and cannot be had is an error that says why.
func TestNoSuchRung(t *testing.T) {
	if _, err := New(Options{Run: "test-none", Contain: "tight"}); err == nil ||
		err.Error() != `containment is "tight": expected one of auto, sealed, cgroup, supervised` {
		t.Error(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "CHILD=uncalled")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	why := "this program does not call process.Keeper at the top of its main"
	for _, line := range []string{
		`sealed: containment "sealed" cannot be had: ` + why,
		`cgroup: containment "cgroup" cannot be had: ` + why,
		`supervised: containment "supervised" cannot be had: ` + why,
		fmt.Sprintf("auto: bare %v", []Refusal{{Sealed, why}, {Cgroup, why}, {Supervised, why}}),
	} {
		if !bytes.Contains(out, []byte(line+"\n")) {
			t.Errorf("%q is missing in\n%s", line, out)
		}
	}
}

// sealWithout asks for a sealed driver where the kernel gives none, and prints
// what it is told.
func sealWithout(how string) {
	must := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if how == "" {
		_, err := New(Options{Run: fmt.Sprint("test-", os.Getpid()), Contain: string(Sealed)})
		fmt.Println(err)
		return
	}
	goruntime.LockOSThread()
	if sysctl, ok := strings.CutPrefix(how, "sysctl "); ok {
		must(os.WriteFile("/proc/sys/user/"+sysctl, []byte("0"), 0))
	} else {
		must(unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0))
	}
	must(unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
	must(syscall.Exec("/proc/self/exe", os.Args[:1], append([]string{"CHILD=refused "}, os.Environ()...))) // of two the first one counts
}

// TestRefusedByKernel: a run that the kernel gives no namespaces is told why.
func TestRefusedByKernel(t *testing.T) {
	for _, test := range []struct {
		user      int
		how, want string
	}{
		{0, "sysctl max_pid_namespaces", "PID namespaces are switched off (sysctl user.max_pid_namespaces is 0)"},
		{0, "sysctl max_mnt_namespaces", "mount namespaces are switched off (sysctl user.max_mnt_namespaces is 0)"},
		{0, "capability", "the kernel refuses a PID namespace: CAP_SYS_ADMIN is needed, which containers mostly lack"},
		{1000, "sysctl max_user_namespaces", "user namespaces are switched off (sysctl user.max_user_namespaces is 0)"},
		{1000, "sysctl max_pid_namespaces", "PID namespaces are switched off (sysctl user.max_pid_namespaces is 0)"},
	} {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "CHILD=refused "+test.how)
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE},
			UidMappings: []syscall.SysProcIDMap{{ContainerID: test.user, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: test.user, HostID: os.Getegid(), Size: 1}}}
		out, err := c.CombinedOutput()
		if want := `containment "sealed" cannot be had: ` + test.want + "\n"; err != nil || string(out) != want {
			t.Errorf("user %d without %s: %v, %q, want %q", test.user, test.how, err, out, want)
		}
	}
}

// TestDriverGone: what is read from a driver that was killed with replies unread
// is an error like any other.
func TestDriverGone(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(pair[0]), "keeper")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("a reply")); err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[1])
	r := bufio.NewReader(&rightsReader{conn: conn.(*net.UnixConn)})
	if _, err := r.ReadByte(); !errors.Is(err, unix.ECONNRESET) {
		t.Error(err)
	}
}

// TestNumbersBeginAgain: what a process has started is found also where its
// number is lower, as the numbers have begun again. That is so in a PID namespace of
// the test's own: nobody else's numbers begin again, and nobody else takes them.
func TestNumbersBeginAgain(t *testing.T) {
	if os.Getenv("NUMBERS") == "" {
		c := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0],
			"-test.run=^TestNumbersBeginAgain$", "-test.v")
		c.Env = append(os.Environ(), "NUMBERS=own")
		out, err := c.CombinedOutput()
		if bytes.HasPrefix(out, []byte("unshare: ")) {
			t.Skipf("%s", out)
		}
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestNumbersBeginAgain/")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, rung := range rungs() {
		t.Run(string(rung), func(t *testing.T) {
			d := newDriver(t, rung)
			again := false
			for before := range 60 { // threads take numbers too
				if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(most-before)), 0); err != nil {
					t.Fatal(err)
				}
				p, pids := startTree(t, d, fmt.Sprint(t.Name(), before))
				if _, err := p.Signal(os.Kill, Leader); err != nil {
					t.Fatal(err)
				}
				<-p.Done()
				if len(p.Exit().Left) != 2 || states(pids) != "---" {
					t.Errorf("of the tree %v, %v was left; the states are %s", pids, p.Exit().Left, states(pids))
				}
				again = again || pids[0] > slices.Min(pids[1:])
			}
			if !again {
				t.Error("the numbers have not begun again inside a tree")
			}
		})
	}
}
