//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/report"
	"github.com/dagon-star/dagon-star/scenarios/buffy"
	"github.com/dagon-star/dagon-star/script"
)

const (
	chaosBound    = time.Minute      // of a run, whatever is done to it
	chaosSlow     = 10 * time.Second // is worth a line
	chaosTold     = time.Second      // from a signal to its being heard, however busy the machine is
	chaosMessages = 10_000           // of the shipped topology
	chaosDisk     = 2 << 20          // bytes of the runs folder's, where it is filled

	// The harms.
	noHarm     = "none"
	harmNode   = "kill node"
	harmKeeper = "kill keeper"
	harmCut    = "cut connection"
	harmStop   = "stop"
	harmSignal = "interrupt"
	harmFill   = "fill disk"
)

// cutByReset is a way to cut a connection besides unix.SHUT_RD, SHUT_WR and
// SHUT_RDWR.
const cutByReset = 3

var cuts = [...]string{unix.SHUT_RD: "from the node", unix.SHUT_WR: "to the node", unix.SHUT_RDWR: "both ways", cutByReset: "by a reset"}

// chaos is what is done to one run: all of it is drawn from the seed, but which
// process is hit and how far the run is then.
type chaos struct {
	seed    uint64
	contain string
	listen  string
	drain   time.Duration
	harms   []*harm
}

type harm struct {
	kind  string
	at    time.Duration // after the start
	lasts time.Duration // or 0
	which int           // of those that may be hit, or how
	how   int           // one of cuts, for harmCut
	twice bool          // for harmSignal

	// What came of it.
	struck bool
	when   time.Time
	pid    int
	err    error
}

// signals are those that interrupt.
var signals = [...]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}

// signal is the one that interrupts. What is ignored here, as HUP is under nohup
// and INT in the background of a shell, is ignored by the run too: HUP to its
// end, INT until it listens.
func (h *harm) signal() syscall.Signal {
	if s := signals[h.which%len(signals)]; !signal.Ignored(s) {
		return s
	}
	return syscall.SIGTERM
}

func (h *harm) String() string {
	text := fmt.Sprintf("%s at %v", h.kind, h.at.Round(time.Millisecond))
	switch h.kind {
	case harmSignal:
		text += " by " + h.signal().String()
	case harmCut:
		text += " " + cuts[h.how]
	}
	if h.lasts > 0 {
		text += fmt.Sprintf(" for %v", h.lasts.Round(time.Millisecond))
	}
	switch {
	case h.err != nil:
		text += ": " + h.err.Error()
	case !h.struck:
		text += ", came to nothing"
	case h.pid != 0:
		text += fmt.Sprintf(", hit %d", h.pid)
	}
	return text
}

func (c chaos) String() string {
	var all []string
	for _, h := range c.harms {
		all = append(all, h.String())
	}
	return fmt.Sprintf("seed %d: --contain %s --listen %q --drain %v: %s", c.seed, c.contain, c.listen, c.drain, strings.Join(all, "; "))
}

// sole is the one harm that struck, or nil.
func (c chaos) sole() *harm {
	struck := slices.DeleteFunc(slices.Clone(c.harms), func(h *harm) bool { return !h.struck })
	if len(struck) == 1 {
		return struck[0]
	}
	return nil
}

// did reports whether a harm of one of the kinds struck.
func (c chaos) did(kinds ...string) bool {
	return slices.ContainsFunc(c.harms, func(h *harm) bool { return h.struck && slices.Contains(kinds, h.kind) })
}

// drawChaos draws a plan; bare is how long a run takes without its drain.
func drawChaos(seed uint64, kinds, rungs []string, bare time.Duration) chaos {
	random := rand.New(rand.NewPCG(seed, 0))
	c := chaos{seed: seed, contain: "auto", drain: []time.Duration{10, 100, 500}[random.IntN(3)] * time.Millisecond}
	if random.IntN(2) == 0 {
		c.contain = rungs[random.IntN(len(rungs))]
	}
	if random.IntN(4) == 0 {
		c.listen = "127.0.0.1:0"
	}
	n := 1 + random.IntN(3)
	if random.IntN(10) == 0 {
		n = 0
	}
	interruptsOnly := n > 0
	for range n {
		h := &harm{kind: kinds[random.IntN(len(kinds))], which: random.IntN(1 << 20), how: random.IntN(len(cuts)), twice: random.IntN(4) == 0}
		switch {
		case h.kind == harmStop && random.IntN(5) == 0: // beyond every wait of a second
			h.lasts = time.Second + time.Duration(random.IntN(500))*time.Millisecond
		case h.kind == harmStop, h.kind == harmFill && random.IntN(2) == 0:
			h.lasts = time.Duration(50+random.IntN(450)) * time.Millisecond
		case h.kind == harmSignal:
			h.lasts = time.Duration(random.IntN(50)) * time.Millisecond // between the first and the second
		}
		interruptsOnly = interruptsOnly && h.kind == harmSignal
		c.harms = append(c.harms, h)
	}
	if interruptsOnly {
		c.drain = 2 * time.Second // so that it can be told whether it was heard
	}
	for _, h := range c.harms {
		window := bare // most happens before and after the drain
		if random.IntN(2) == 0 {
			window += c.drain
		}
		h.at = time.Duration(random.Int64N(int64(window)))
	}
	if n == 0 {
		c.harms = []*harm{{kind: noHarm}}
	}
	return c
}

// victim is a run under way, as whoever harms it sees it.
type victim struct {
	mark   string
	runs   string                     // the folder
	pid    int                        // of the orchestrator
	signal func(syscall.Signal) error // to the orchestrator
	over   chan struct{}              // closed when it has ended
}

// harm does what the plan says until the run is over.
func (v victim) harm(c chaos) {
	var all sync.WaitGroup
	for _, h := range c.harms {
		all.Go(func() {
			if h.kind == noHarm || !v.wait(h.at) {
				return
			}
			for again := true; again; again = again && v.wait(time.Millisecond) {
				again = v.try(h)
			}
		})
	}
	all.Wait()
}

func (v victim) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-v.over:
		return false
	}
}

// try does one harm, or returns true where there is nothing yet to be harmed.
func (v victim) try(h *harm) (again bool) {
	strike := func(err error) bool {
		if errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH) {
			h.pid = 0
			return true
		}
		h.err, h.struck = err, err == nil
		return false
	}
	h.when = time.Now()
	switch h.kind {
	case harmNode, harmCut:
		nodes := slices.DeleteFunc(process.FindMarked("SURVIVAL", "DAGON_NAME", "DAGON_PHONE_HOME"), func(m process.Seen) bool {
			return m.Variables["SURVIVAL"] != v.mark
		})
		if len(nodes) == 0 {
			return true
		}
		if h.kind == harmNode {
			node := nodes[h.which%len(nodes)]
			h.pid = node.PID
			return strike(node.Kill())
		}
		var homes []uint16
		for _, node := range nodes {
			home, _ := netip.ParseAddrPort(node.Variables["DAGON_PHONE_HOME"])
			homes = append(homes, home.Port())
		}
		return strike(v.cut(homes, h.which, h.how))
	case harmKeeper:
		for _, p := range survivors(v.mark) {
			if p.name == "dagon-star-keeper" {
				h.pid = p.pid
				return strike(syscall.Kill(p.pid, syscall.SIGKILL))
			}
		}
		return true
	case harmStop:
		if strike(v.signal(syscall.SIGSTOP)) {
			return false
		}
		v.wait(h.lasts)
		v.signal(syscall.SIGCONT)
	case harmSignal:
		if !strike(v.signal(h.signal())) && h.twice && v.wait(h.lasts) {
			v.signal(h.signal())
		}
	case harmFill:
		filler := filepath.Join(v.runs, fmt.Sprint("filler-", h.which))
		err := os.WriteFile(filler, make([]byte, chaosDisk), 0o644)
		if errors.Is(err, unix.ENOSPC) {
			err = nil // it is full
		}
		if strike(err); h.lasts > 0 {
			v.wait(h.lasts)
			os.Remove(filler)
		}
	}
	return false
}

// cut cuts a control connection, by a duplicate of the orchestrator's end of it
// (pidfd_getfd(2)). By the node's end it might be cut while the node still
// connects, which no network can do. It is ESRCH where there is none.
func (v victim) cut(homes []uint16, which, how int) error {
	pidfd, err := unix.PidfdOpen(v.pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.pid))
	if err != nil {
		return unix.ESRCH
	}
	var found []int
	for _, entry := range entries {
		n, _ := strconv.Atoi(entry.Name())
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if errors.Is(err, unix.EPERM) {
			return err
		}
		if err != nil {
			continue
		}
		defer unix.Close(fd)
		own, err1 := unix.Getsockname(fd)
		_, err2 := unix.Getpeername(fd) // one that listens has none
		if at, ok := own.(*unix.SockaddrInet4); ok && err1 == nil && err2 == nil && slices.Contains(homes, uint16(at.Port)) {
			found = append(found, fd)
		}
	}
	if len(found) == 0 {
		return unix.ESRCH
	}
	fd := found[which%len(found)]
	if how != cutByReset {
		return unix.Shutdown(fd, how)
	}
	none := unix.RawSockaddr{Family: unix.AF_UNSPEC} // to connect to it is to reset
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)); errno != 0 {
		return errno
	}
	return nil
}

func mountDisk(at string) error {
	return unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprint("size=", chaosDisk))
}

// ended is what is known of a run that is over.
type ended struct {
	code     int // -1 where a signal ended the orchestrator
	by       syscall.Signal
	out, err string // what it printed
	took     time.Duration
	outcome  string // by the terminal, "" where it tells none
	events   []event.Event
	wrong    []string // what must not be
}

func (e *ended) must(ok bool, format string, args ...any) {
	if !ok {
		e.wrong = append(e.wrong, fmt.Sprintf(format, args...))
	}
}

// judge holds what every run must keep, whatever was done to it.
func (e *ended) judge(c chaos, runs string) {
	if m := regexp.MustCompile(`(?m)^(\w+)( at \S+)? after \S+s`).FindStringSubmatch(e.out); m != nil {
		e.outcome = m[1]
	}
	for _, bad := range []string{"panic: ", "fatal error: ", "DATA RACE", "goroutine 1 ["} {
		e.must(!strings.Contains(e.out+e.err, bad), "it printed %q", bad)
	}
	logs, _ := filepath.Glob(filepath.Join(runs, "2*", "events.jsonl"))
	if e.must(len(logs) <= 1, "%d logs", len(logs)); len(logs) == 1 {
		f, err := os.Open(logs[0])
		if err == nil {
			e.events, err = event.Read(f)
			f.Close()
		}
		e.must(err == nil, "its log does not read back: %v", err)
	}
	var signals []syscall.Signal // any may be heard first, where it was stopped
	var told time.Time
	for _, h := range c.harms {
		if h.kind == harmSignal && h.struck {
			if signals = append(signals, h.signal()); told.IsZero() || h.when.Before(told) {
				told = h.when
			}
		}
	}
	forked, exited := map[string]int{}, map[string]event.Exited{}
	verdict := event.Verdict{}
	var started, drained time.Time // the script goes on no sooner
	for _, at := range e.events {
		switch d := at.Detail.(type) {
		case event.RunStarted:
			started = d.StartedAt
		case event.Forked:
			forked[at.Node] = d.PID
		case event.Exited:
			exited[at.Node] = d
		case event.Received:
			if d.Address == "/done" {
				drained = started.Add(at.T + c.drain)
			}
		case event.Verdict:
			verdict = d
		case event.RunFinished:
			e.must(len(d.LeftBehind) == 0, "it left processes behind: %v", d.LeftBehind)
		}
	}
	switch {
	case e.by != 0: // before it listened to signals
		e.must(slices.Contains(signals, e.by) && len(e.events) == 0 && e.outcome == "",
			"it was ended by signal %v, after %d events", e.by, len(e.events))
		return
	case len(e.events) == 0 && e.outcome == "": // it had no folder, or no keeper, and nothing was forked
		e.must(e.code == exitMistake && c.did(harmFill, harmKeeper), "exit code %d, and no log", e.code)
		return
	}
	if !event.Finished(e.events) {
		e.must(c.did(harmFill) && e.outcome != "passed" && strings.Contains(e.out, "event log: cannot write"), "its log has no end")
	} else {
		e.must(verdict.Outcome == e.outcome, "its log says %s", verdict.Outcome)
		for node, pid := range forked {
			d, ok := exited[node]
			e.must(ok, "%s was forked and has not exited", node)
			if h := c.sole(); h != nil && h.kind == harmNode && h.pid == pid { // else it may have been ending when it was hit
				e.must(d.Signal == "KILL" || d.Code == 0 && d.Expected, "%s was killed, its log says %+v", node, d)
			}
		}
	}
	ok := false
	switch e.outcome {
	case "passed":
		ok = e.code == 0
		for line := range strings.Lines(e.out) { // the report can be made again from the rest
			e.must(!strings.Contains(line, "no space left") || strings.Contains(line, report.PageName),
				"it passed, and some of what it had to write was lost")
		}
		err := documented(e.events, c.did(harmCut))
		e.must(err == nil, "it passed, and %v", err)
		sent, err1 := payloads(filepath.Join(runs, "2*/nodes/*/sent.txt"))
		received, err2 := payloads(filepath.Join(runs, "2*/nodes/*/received.txt"))
		e.must(err1 == nil && err2 == nil && len(sent) == chaosMessages && slices.Equal(sent, received),
			"it passed, and %d payloads were sent and %d received, or other ones (%v, %v)", len(sent), len(received), err1, err2)
		e.must(told.IsZero() || c.did(harmStop) || told.Add(chaosTold).After(drained),
			"it passed, and was told to end %v before it could", drained.Sub(told))
	case "failed":
		ok = e.code == 1
		e.must(c.did(harmNode, harmKeeper, harmCut, harmFill), "it failed, and nothing was done to it that could be why")
	case "interrupted":
		ok = slices.Contains(signals, syscall.Signal(e.code-128))
	}
	e.must(ok, "it said %q, and its exit code is %d", e.outcome, e.code)
}

// left is what there must be nothing of after a run.
func left(mark, dir, runs string, mounts []string) (wrong []string) {
	for _, p := range survivors(mark) {
		wrong = append(wrong, fmt.Sprintf("process %d %s is left", p.pid, p.name))
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
	locks, _ := filepath.Glob(filepath.Join(runs, "2*", "lock"))
	for _, lock := range locks {
		text, _ := os.ReadFile(lock)
		id, _, _ := strings.Cut(string(text), "\n")
		filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
			if len(id) > 0 && err == nil && strings.Contains(filepath.Base(path), id) {
				wrong = append(wrong, "control group "+path+" is left")
			}
			return nil
		})
	}
	for _, mount := range mountsOf(dir) {
		if !slices.Contains(mounts, mount) {
			wrong = append(wrong, "mount "+mount+" is left")
		}
	}
	return wrong
}

// mountsOf are the mounts in a folder, and those that a run could have mounted:
// a /proc, a namespace.
func mountsOf(dir string) (all []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 4 && (strings.HasPrefix(f[4], dir+"/") || f[4] == "/proc" || strings.Contains(line, " - nsfs ")) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// chaosTest is one test: how a run is run, and what it came to.
type chaosTest struct {
	t        *testing.T
	programs string
	own      bool // in this process
	kinds    []string
	rungs    []string

	mu   sync.Mutex
	rows map[string]*chaosRow
}

// chaosRow is of the runs that a harm was part of.
type chaosRow struct {
	runs, struck    int
	refused         error // of the kernel, to do the harm
	outcomes, codes map[string]int
	longest         time.Duration
}

// TestChaos harms whole runs of default.star, and holds what each of them must
// keep. DAGON_CHAOS_RUNS is their number, and DAGON_CHAOS_SEED repeats what was
// done to them: that of one run with the number 1 repeats that run. What is
// repeated is what was planned, not how far the run was when it struck.
func TestChaos(t *testing.T) { runChaos(t, false, 2) }

// TestChaosInProcess does the same to runs of a program that embeds dagon-star,
// this one, and counts its goroutines and files.
func TestChaosInProcess(t *testing.T) { runChaos(t, true, 1) }

func runChaos(t *testing.T, own bool, atOnce int) {
	n := 5
	if v, err := strconv.Atoi(os.Getenv("DAGON_CHAOS_RUNS")); err == nil {
		n = v
	}
	seed, err := strconv.ParseUint(os.Getenv("DAGON_CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64() >> 11
	}
	t.Logf("DAGON_CHAOS_SEED=%d", seed)
	ct := &chaosTest{t: t, programs: programs(t), own: own, rows: map[string]*chaosRow{},
		kinds: []string{harmNode, harmKeeper, harmCut, harmSignal}, rungs: []string{"auto", "supervised"}}
	if !own {
		ct.kinds = append(ct.kinds, harmStop)
	}
	if err := mountDisk(ct.programs); err == nil {
		unix.Unmount(ct.programs, 0)
		ct.kinds = append(ct.kinds, harmFill)
	} else {
		t.Logf("no disk is filled: cannot mount one: %v", err)
	}
	if d, err := process.New(process.Options{Run: fmt.Sprintf("chaos-%d", seed), Contain: string(process.Cgroup)}); err == nil {
		ct.rungs = append(ct.rungs, "cgroup")
		d.Close()
	}
	// How long a run takes here and now, and what is only ever opened once.
	calm := ct.run("calm", chaos{contain: "auto", drain: time.Millisecond, harms: []*harm{{kind: noHarm}}})
	if len(calm.wrong) > 0 || calm.outcome != "passed" {
		t.Fatalf("%s\n%s\n%s", strings.Join(calm.wrong, "\n"), calm.out, calm.err)
	}
	var workers sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				c := drawChaos(seed+uint64(i), ct.kinds, ct.rungs, calm.took)
				e := ct.run(fmt.Sprint("run-", i), c)
				if len(e.wrong) > 0 {
					t.Errorf("%v\n  %s\nits plan again, not how far it was when it struck: DAGON_CHAOS_SEED=%d DAGON_CHAOS_RUNS=1 "+
						"go test ./cmd/dagon-star -count=1 -run '^%s$'\n%s\n%s",
						c, strings.Join(e.wrong, "\n  "), c.seed, t.Name(), e.out, e.err)
				}
				if e.took > chaosSlow {
					t.Logf("%v\nended after %v only:\n%s\n%s", c, e.took, e.out, e.err)
				}
				ct.count(c, e)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	t.Logf("\n%s", ct.table())
}

// run is one run, with its harms.
func (ct *chaosTest) run(name string, c chaos) *ended {
	mark := fmt.Sprintf("chaos-%d-%s", os.Getpid(), name)
	dir := filepath.Join(ct.programs, mark)
	runs := filepath.Join(dir, "runs")
	e := &ended{}
	err := os.MkdirAll(runs, 0o755)
	filled := slices.ContainsFunc(c.harms, func(h *harm) bool { return h.kind == harmFill })
	if filled {
		err = errors.Join(err, mountDisk(runs))
	}
	e.must(err == nil, "cannot make its folder: %v", err)
	mounts := mountsOf(dir)
	v := victim{mark: mark, runs: runs, over: make(chan struct{})}
	began := time.Now()
	if ct.own {
		ct.embedded(e, c, v)
	} else {
		ct.outside(e, c, v, dir)
	}
	e.took = time.Since(began)
	e.wrong = append(e.wrong, left(mark, dir, runs, mounts)...)
	e.judge(c, runs)
	if filled {
		// A keeper of another run that is begun or ended at this moment has it
		// among its mounts, and the kernel takes those apart in its own time.
		err := unix.Unmount(runs, 0)
		for deadline := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
			err = unix.Unmount(runs, 0)
		}
		if err != nil {
			e.must(false, "the small disk is still held: %v", err)
			unix.Unmount(runs, unix.MNT_DETACH)
		}
	}
	if len(e.wrong) == 0 {
		os.RemoveAll(dir)
	}
	return e
}

// outside runs the command.
func (ct *chaosTest) outside(e *ended, c chaos, v victim, dir string) {
	args := []string{"run", "default.star", "topology.ini", "--contain", c.contain, "--drain", c.drain.String(), "--listen", c.listen}
	cmd := exec.Command(filepath.Join(ct.programs, "dagon-star"), args...)
	cmd.Dir = dir
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "SURVIVAL="+v.mark, "GORACE=atexit_sleep_ms=0", "HOME="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		e.must(false, "%v", err)
		return
	}
	v.pid, v.signal = cmd.Process.Pid, func(s syscall.Signal) error { return cmd.Process.Signal(s) }
	var harming sync.WaitGroup
	harming.Go(func() { v.harm(c) })
	overdue := time.AfterFunc(chaosBound, func() {
		cmd.Process.Signal(syscall.SIGQUIT) // it tells what its goroutines do
	})
	dead := time.AfterFunc(chaosBound+10*time.Second, func() { cmd.Process.Kill() })
	waited := cmd.Wait()
	e.must(overdue.Stop(), "it did not end within %v", chaosBound)
	dead.Stop()
	close(v.over)
	harming.Wait()
	e.must(!errors.Is(waited, exec.ErrWaitDelay), "a process that it left holds its output")
	e.out, e.err = out.String(), err.String()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if e.code = status.ExitStatus(); status.Signaled() {
		e.by = status.Signal()
	}
}

// embedded runs the script in this process.
func (ct *chaosTest) embedded(e *ended, c chaos, v victim) {
	before, files := goruntime.NumGoroutine(), openFiles()
	ct.t.Setenv("SURVIVAL", v.mark) // for the nodes
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry := make(chan struct{})
	var interrupted atomic.Int32
	v.pid, v.signal = os.Getpid(), func(s syscall.Signal) error {
		switch interrupted.Add(1) {
		case 1:
			cancel(&runtime.InterruptedError{Signal: s})
		case 2:
			close(hurry)
		}
		return nil
	}
	var harming sync.WaitGroup
	harming.Go(func() { v.harm(c) })
	overdue := time.AfterFunc(chaosBound, func() {
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		panic("the run did not end in time")
	})
	program := filepath.Join(ct.programs, "dagon-star")
	result, err := script.Run(ctx, script.Config{Script: "default.star", Topology: "topology.ini", RunsDir: v.runs, Contain: c.contain,
		Listen: c.listen, Drain: &c.drain, Component: program, Components: buffy.Names(), Hurry: hurry})
	overdue.Stop()
	close(v.over)
	harming.Wait()
	cancel(nil)
	if err != nil {
		e.code, e.err = exitMistake, err.Error()
	} else {
		var out bytes.Buffer
		conclude(&out, result, "")
		e.code, e.out = result.ExitCode(), out.String()
	}
	// One that has been waited for may still be on its way out.
	for deadline := time.Now().Add(5 * time.Second); goruntime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := goruntime.NumGoroutine(); n > before {
		var stacks bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		e.must(false, "%d goroutines, and %d before:\n%s", n, before, stacks.String())
	}
	after := openFiles()
	e.must(len(after) <= len(files), "open files %q, and before %q", after, files)
	children, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range children {
		text, _ := os.ReadFile(file)
		e.must(len(bytes.TrimSpace(text)) == 0, "children %s are left", text)
	}
}

// openFiles are what this process has open.
func openFiles() (names []string) {
	entries, _ := filepath.Glob("/proc/self/fd/*")
	for _, entry := range entries {
		name, _ := os.Readlink(entry)
		names = append(names, name)
	}
	return names
}

func (ct *chaosTest) count(c chaos, e *ended) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	counted := map[string]bool{}
	for _, h := range append(c.harms, &harm{kind: "all"}) {
		row := ct.rows[h.kind]
		if row == nil {
			row = &chaosRow{outcomes: map[string]int{}, codes: map[string]int{}}
			ct.rows[h.kind] = row
		}
		if h.struck {
			row.struck++
		}
		row.refused = cmp.Or(row.refused, h.err)
		if counted[h.kind] {
			continue
		}
		counted[h.kind] = true
		row.runs++
		code := fmt.Sprint(e.code)
		if e.by != 0 {
			code = e.by.String()
		}
		row.outcomes[cmp.Or(e.outcome, "no run")]++
		row.codes[code]++
		row.longest = max(row.longest, e.took)
	}
}

// table tells of each harm what the runs came to that it was part of.
func (ct *chaosTest) table() string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 2, 0, 2, ' ', 0)
	fmt.Fprintln(w, "harm\truns\tstruck\tverdicts\texit codes\tlongest")
	tally := func(counts map[string]int) string {
		var parts []string
		for _, what := range slices.Sorted(maps.Keys(counts)) {
			parts = append(parts, fmt.Sprintf("%d %s", counts[what], what))
		}
		return strings.Join(parts, ", ")
	}
	for _, kind := range slices.Concat([]string{noHarm}, ct.kinds, []string{"all"}) {
		if row := ct.rows[kind]; row != nil {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%v\n", kind, row.runs, row.struck, tally(row.outcomes), tally(row.codes),
				row.longest.Round(time.Millisecond))
			if row.refused != nil {
				fmt.Fprintf(w, "\t\trefused: %v\n", row.refused)
			}
		}
	}
	w.Flush()
	return b.String()
}
