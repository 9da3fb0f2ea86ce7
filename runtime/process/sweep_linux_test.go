package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAbandoned: a keeper that was stopped before its orchestrator was killed is
// seen to be abandoned, and with it what it keeps ends; of a sealed one there is
// nothing to be seen, whatever limits are in force. That of one that lives is not.
func TestAbandoned(t *testing.T) {
	for _, rung := range rungs() {
		for _, mode := range []string{"orchestrate ", "orchestrate-limited "} {
			if rung == Bare || mode == "orchestrate-limited " && Can(FaultLimitCPU) != nil {
				continue
			}
			t.Run(mode+string(rung), func(t *testing.T) {
				c, pids := orchestrator(t, mode+string(rung))
				defer SweepGroups()
				run := fmt.Sprint("test-", c.Process.Pid)
				keeper := func(of func(Seen) bool) (found []Seen) {
					all, err := Look()
					if err != nil {
						t.Fatal(err)
					}
					return slices.DeleteFunc(all, func(s Seen) bool { return !of(s) })
				}
				kept := keeper(func(s Seen) bool { return s.Parent == c.Process.Pid })
				if len(kept) != 1 || kept[0].Abandoned != "" {
					t.Fatalf("keepers while it lives: %+v", kept)
				}
				if err := syscall.Kill(kept[0].PID, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				eventually(t, "stopped", func() bool {
					return len(keeper(func(s Seen) bool { return s.PID == kept[0].PID && s.Abandoned == "" })) == 1
				})
				c.Process.Kill()
				waitUnreaped(t, c.Process.Pid) // dead, and there still
				if rung != Sealed {
					left := keeper(func(s Seen) bool { return s.Abandoned == run })
					found := len(left) == 1 && left[0].PID == kept[0].PID
					if !found && alive(kept[0].PID) { // any other sweep of this machine may have found it before
						t.Errorf("abandoned: %+v, want %d", left, kept[0].PID)
					}
					if err := kept[0].Kill(); err != nil && !errors.Is(err, syscall.ESRCH) {
						t.Error(err)
					}
					AwaitEnd(kept)
				}
				c.Wait()
				for _, pid := range append(pids, kept[0].PID) {
					eventually(t, fmt.Sprint(pid), func() bool { return !alive(pid) })
				}
			})
		}
	}
}

// waitUnreaped waits until a child has ended, and leaves it unreaped.
func waitUnreaped(t *testing.T, pid int) {
	t.Helper()
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

// TestKeeps: whose command line is a keeper's.
func TestKeeps(t *testing.T) {
	for command, want := range map[string]string{
		keeperName + "\x00supervised\x00abc\x00":         "abc",
		keeperName + "\x00supervised\x00\x00":            "",
		keeperName + "\x00supervised\x00":                "",
		keeperName + "\x00supervised\x00abc\x00more\x00": "",
		"grep\x00" + keeperName + "\x00abc\x00":          "",
		"":                                               "",
	} {
		if got, ok := keeps([]byte(command)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", command, got, ok)
		}
	}
}

// TestReferred: whom the fdinfo of a pidfd says it refers to.
func TestReferred(t *testing.T) {
	for info, want := range map[string]struct {
		pid  int
		dead bool
	}{
		"pos:\t0\nflags:\t02000002\nPid:\t77\nNSpid:\t77\n": {77, false},
		"pos:\t0\nPid:\t-1\nNSpid:\t-1\n":                   {0, true},
		"pos:\t0\nPid:\t0\nNSpid:\t0\n":                     {0, false}, // of another namespace
		"pos:\t0\nflags:\t02\n":                             {0, false}, // no pidfd
		"pos:\t0\nPid:\tx\n":                                {0, false},
		"":                                                  {0, false},
	} {
		if pid, dead := referred([]byte(info)); pid != want.pid || dead != want.dead {
			t.Errorf("%q: %d, %v", info, pid, dead)
		}
	}
}

// TestSweepStrangersGroup: a group is left alone that is named as a run's, and that
// no run has made, with what runs in it.
func TestSweepStrangersGroup(t *testing.T) {
	all := hierarchies()
	defer closeAll(all)
	made := false
	for _, h := range all {
		within := h.own().in(fmt.Sprint("strangers-", os.Getpid())) // where no other sweep looks
		if within.make() != nil {
			continue
		}
		for name, want := range map[string]bool{"ci.service": false, "0123456789abcdef": false, "0123456789abcde": false, "empty": true} {
			if want {
				name = "0123456789abcdef"
			}
			p := within.in(groupPrefix + name)
			if err := p.make(); err != nil {
				t.Fatal(err)
			}
			c := exec.Command("sleep", "3600")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if !want {
				if err := p.write("cgroup.procs", strconv.Itoa(c.Process.Pid)); err != nil {
					p.in("x").make() // it takes no process, as cpuset's
				}
				made = true
			}
			was, err := sweepGroup(p)
			if was != want || err != nil || p.has(".") == want {
				t.Errorf("%s: removed: %v, there is one: %v, %v", p, was, p.has("."), err)
			}
			if !alive(c.Process.Pid) {
				t.Errorf("%s: what runs in it was killed", p)
			}
			c.Process.Kill()
			c.Wait()
			if err := removeGroup(p); err != nil {
				t.Error(err)
			}
		}
		if err := removeGroup(within); err != nil {
			t.Error(err)
		}
	}
	if !made {
		t.Skip("no control groups can be made")
	}
}

// TestProof: what a run has made is proven, and what is removed of it is proven to
// the last.
func TestProof(t *testing.T) {
	if err := canGroup(""); err != nil {
		t.Skip(err)
	}
	g := newGroups(testRun(t, Cgroup))
	defer g.close()
	n, err := g.make()
	if err != nil {
		t.Fatal(err)
	}
	tree := n.dirs[""]
	run := place{tree.top, filepath.Dir(tree.path)}
	if !run.isProven() || tree.isProven() {
		t.Errorf("the run's is proven: %v, the tree's: %v", run.isProven(), tree.isProven())
	}
	if was, err := sweepGroup(run); was || err != nil || !run.isProven() {
		t.Errorf("swept while its run holds it: %v, %v, proven: %v", was, err, run.isProven())
	}
	if err := removeGroup(run); err != nil || run.has(".") {
		t.Errorf("removed: %v, there is one: %v", err, run.has("."))
	}
}
