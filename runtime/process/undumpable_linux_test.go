package process

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goruntime "runtime"

	"golang.org/x/sys/unix"
)

func init() {
	mode, argument, _ := strings.Cut(os.Getenv("CHILD"), " ")
	switch mode {
	case "undumpable-daemon": // it starts one whose files in /proc are root's, and lives on
		script := `(CHILD="undumpable $1" setsid "$0" &); exec sleep 3600`
		syscall.Exec("/bin/sh", []string{"sh", "-c", script, os.Args[0], argument}, os.Environ())
		os.Exit(9)
	case "undumpable":
		err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
		if argument == "unlimited" && err == nil {
			err = unix.Setrlimit(unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
		}
		if err != nil {
			os.Exit(9)
		}
		fmt.Printf("pid %d\n", os.Getpid())
		time.Sleep(time.Hour)
	}
}

// startUndumpable starts a tree with a daemon whose files in /proc its user cannot
// read, and returns the daemon's number as the machine shows it.
func startUndumpable(t *testing.T, d Driver, argument string) (Process, int) {
	t.Helper()
	up := newLines("\n")
	p := start(t, d, "undumpable-daemon "+argument, Spec{Stdout: up, Tag: "UNDUMPABLE=" + argument})
	<-up.seen
	forkedAll(t, p)
	inside := strings.TrimSpace(strings.TrimPrefix(up.String(), "pid "))
	for _, s := range mustLook(t) {
		text, _ := os.ReadFile(procPath(s.PID, "status"))
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "NSpid:"); ok && strings.HasPrefix(s.command(), os.Args[0]+"\x00") {
				if f := strings.Fields(rest); f[len(f)-1] == inside && (len(f) > 1) == (d.Containment().Rung == Sealed) {
					return p, s.PID
				}
			}
		}
	}
	t.Fatalf("no process %s", inside)
	return nil, 0
}

func mustLook(t *testing.T) []Seen {
	t.Helper()
	all, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s Seen) command() string {
	text, _ := os.ReadFile(procPath(s.PID, "cmdline"))
	return string(text)
}

// testUndumpable: a daemon that nobody but root can ask is its tree's, and is in the
// way of no other tree.
func testUndumpable(t *testing.T, d Driver) {
	if d.Containment().Rung == Bare {
		return // it is missed
	}
	other := start(t, d, "sleep", Spec{Tag: "UNDUMPABLE=other"})
	p, daemon := startUndumpable(t, d, "kept")
	if reached, err := other.Pause(); reached != 1 || err != nil || states([]int{other.PID()}) != "T" || states([]int{daemon}) == "T" {
		t.Errorf("the other paused: reached %d, %s, %v", reached, states([]int{other.PID(), daemon}), err)
	}
	if reached, err := other.Signal(syscall.SIGCONT, Tree); reached != 1 || err != nil {
		t.Errorf("the other signalled: reached %d, %v", reached, err)
	}
	if reached, err := p.Pause(); reached != 2 || err != nil || states([]int{p.PID(), daemon}) != "TT" {
		t.Errorf("paused: reached %d, %s, %v", reached, states([]int{p.PID(), daemon}), err)
	}
	if reached, err := other.Signal(os.Kill, Tree); reached != 1 || err != nil || alive(other.PID()) || !alive(daemon) {
		t.Errorf("the other killed: reached %d, %v, %v", reached, states([]int{other.PID(), daemon}), err)
	}
	if reached, err := p.Signal(os.Kill, Tree); reached != 2 || err != nil || alive(daemon) {
		t.Errorf("killed: reached %d, %s, %v", reached, states([]int{p.PID(), daemon}), err)
	}
	<-p.Done()
}

// testUnknown: a daemon that nothing tells of ends with the keeper, and is not in
// the way of a tree that began after it.
func testUnknown(t *testing.T, d Driver) {
	if d.Containment().Rung != Supervised || os.Geteuid() == 0 {
		return
	}
	p, daemon := startUndumpable(t, d, "unlimited")
	began := Now()
	eventually(t, "a later moment", func() bool { return Now().Ticks > began.Ticks })
	other := start(t, d, "sleep", Spec{Tag: "UNDUMPABLE=other"})
	if reached, err := other.Pause(); reached != 1 || err != nil {
		t.Errorf("paused: reached %d, %v", reached, err)
	}
	if reached, err := p.Pause(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cannot see whose process %d is", daemon)) {
		t.Errorf("paused: reached %d, %v", reached, err)
	}
	if _, err := p.Signal(os.Kill, Leader); err != nil {
		t.Error(err)
	}
	d.(Reaper).KillKeeper()
	for _, p := range []Process{p, other} {
		<-p.Done()
	}
	if pids := []int{p.PID(), other.PID(), daemon}; states(pids) != "---" {
		t.Errorf("left: %s", states(pids))
	}
	if err := d.Close(); err == nil {
		t.Error("a keeper that is gone was closed without a word")
	}
}

// testKeeperStuck: a keeper that has been stopped ends what it keeps all the same,
// and where it cannot, that is done for it.
func testKeeperStuck(t *testing.T, d Driver) {
	if d.Containment().Rung == Bare {
		return
	}
	for _, how := range []string{"stopped", "traced"} {
		t.Run(how, func(t *testing.T) {
			d := newDriver(t, d.Containment().Rung)
			p, daemon := startUndumpable(t, d, "kept")
			keeper := d.(*driver).forker.(*kept).process.Pid
			if how == "stopped" {
				if err := unix.Kill(keeper, unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			} else {
				goruntime.LockOSThread() // whose the tracee is
				defer goruntime.UnlockOSThread()
				if err := unix.PtraceSeize(keeper); err != nil {
					t.Fatal(err)
				}
				if err := unix.PtraceInterrupt(keeper); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "a keeper that stands still", func() bool { return strings.ContainsAny(states([]int{keeper}), "Tt") })
			d.(Reaper).KillKeeper()
			<-p.Done()
			if pids := []int{p.PID(), daemon, keeper}; states(pids) != "---" {
				t.Errorf("left: %s", states(pids))
			}
			if e := p.Exit(); e.Signal != "KILL" {
				t.Errorf("it ended by %q: %s", e.Signal, e.Note)
			}
			if err := d.Close(); err == nil {
				t.Error("a keeper that is gone was closed without a word")
			}
		})
	}
}

// TestForeign: what everybody may see of a process says that it is another tree's,
// or not.
func TestForeign(t *testing.T) {
	leads := func(pid int) bool { return pid == 10 || pid == 20 } // 10 is the leader
	leader := stat{pid: 10, began: "1000"}
	keeper := stat{pid: 2, parent: 1, group: 2, session: 2, began: "900"}
	is := func(pid, parent, group, session int, began string) stat {
		return stat{pid: pid, parent: parent, group: group, session: session, began: began}
	}
	for _, c := range []struct {
		what string
		all  []stat
		want bool
	}{
		{"an orphan in a session of its own", []stat{is(30, 2, 30, 30, "1001")}, false},
		{"one that began in the same tick", []stat{is(30, 2, 30, 30, "1000")}, false},
		{"one that began before", []stat{is(30, 2, 30, 30, "999")}, true},
		{"one whose start is not known", []stat{is(30, 2, 30, 30, "")}, false},
		{"in another's group", []stat{is(30, 2, 20, 2, "1001")}, true},
		{"in another's session", []stat{is(30, 2, 30, 20, "1001")}, true},
		{"in its own group", []stat{is(30, 2, 10, 2, "1001")}, false},
		{"a child of another leader", []stat{is(30, 20, 30, 30, "1001")}, true},
		{"a child of its own leader", []stat{is(30, 10, 30, 30, "1001")}, false},
		{"a grandchild of another leader", []stat{is(30, 29, 30, 30, "1001"), is(29, 20, 29, 29, "1001")}, true},
		{"a child of one in another's session", []stat{is(30, 29, 30, 30, "1001"), is(29, 2, 29, 20, "1001")}, true},
		{"a child of one that began before", []stat{is(30, 29, 30, 30, "1001"), is(29, 2, 29, 29, "999")}, false},
		{"its own parent", []stat{is(30, 30, 30, 30, "1001")}, false},
	} {
		all := append(slices.Clone(c.all), keeper)
		if got := foreign(all, 30, leader, leads); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestSerials: a serial is told of a process by either way, and is one keeper's.
func TestSerials(t *testing.T) {
	line := "Max msgqueue size  819200  819200  bytes\nMax realtime timeout      %s            unlimited            us        \n"
	for soft, want := range map[string]uint64{"1152921504606846977": 1<<60 + 1, "unlimited": 0, "": 0} {
		if got := rtTimeIn(fmt.Appendf(nil, line, soft)); got != want {
			t.Errorf("%q: %d, want %d", soft, got, want)
		}
	}
	text, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	if got, has := rtTimeIn(text), serialOf(stat{pid: os.Getpid()}); has == unix.RLIM_INFINITY && got != 0 ||
		has != unix.RLIM_INFINITY && got != has {
		t.Errorf("%s: %d, and %d", strconv.Quote(string(text)), got, has)
	}
	s := &serials{first: 1 << 60}
	for serial, want := range map[uint64]bool{0: false, 1 << 60: false, 1<<60 + 1: true, 1<<60 + serialsOf: false, unix.RLIM_INFINITY: false} {
		if s.gave(serial) != want {
			t.Errorf("%d: %v, want %v", serial, !want, want)
		}
	}
}
