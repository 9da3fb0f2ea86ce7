//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// survivalScript boots six nodes and waits to be killed. One of them is evil:
// see child.
const survivalScript = `
fork(topology.nodes)
await_ready(topology.nodes)
print("up")
sleep("10m")
`

func survivalTopology(mark string) string {
	var b strings.Builder
	for i := range 5 {
		fmt.Fprintf(&b, "[node-%d]\npath = child\n", i)
	}
	fmt.Fprintf(&b, "[evil]\npath = child\nmode = evil\nenv.EVIL = %s\n", mark)
	return b.String()
}

// strategy is a row of the table: who is killed on which rung by which user,
// and what is promised.
type strategy struct {
	contain string
	user    uint32
	helpers bool // are killed together with the orchestrator
	trials  int
}

// trialsOf is how many trials DAGON_TRIALS asks for, and the times that DAGON_SEED
// draws for a test.
func trialsOf(t *testing.T, stream uint64) (trials int, random *rand.Rand) {
	trials = 4
	if n, err := strconv.Atoi(os.Getenv("DAGON_TRIALS")); err == nil {
		trials = n
	}
	seed, err := strconv.ParseUint(os.Getenv("DAGON_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("DAGON_SEED=%d", seed)
	random = rand.New(rand.NewPCG(seed, stream))
	return trials, random
}

// TestSurvival kills orchestrators at random times of a run, and counts what of
// it is left 2 s later. It prints a table. DAGON_TRIALS is the number of trials
// of a row, half of it where the helpers are killed too; DAGON_SEED repeats the
// times.
func TestSurvival(t *testing.T) {
	trials, random := trialsOf(t, 0)
	const nobody = 65534
	own := uint32(os.Geteuid())
	rows := []strategy{
		{"sealed", own, false, trials},
		{"sealed", own, true, (trials + 1) / 2},
		{"supervised", own, false, (trials + 3) / 4},
	}
	if own == 0 {
		rows = append(rows,
			strategy{"sealed", nobody, false, trials},
			strategy{"sealed", nobody, true, (trials + 1) / 2},
			strategy{"cgroup", own, false, (trials + 3) / 4},
			strategy{"supervised", nobody, false, (trials + 3) / 4})
	}
	dir := programs(t)
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 2, 0, 2, ' ', 0)
	fmt.Fprintln(w, "rung\tuser\tkilled\ttrials\tclean\tmedian clean after\tslowest")
	for i, row := range rows {
		var took []time.Duration
		window := time.Duration(0) // of the time of death: measured by a run that is killed when it is up
		mark := func(trial int) string { return fmt.Sprintf("%d.%d%04d", 100000+os.Getpid(), i+1, trial) }
		for trial := range row.trials {
			after, left := row.trial(t, dir, mark(trial), random, &window)
			if left == nil {
				took = append(took, after)
			} else {
				t.Errorf("%+v, trial %d: left after 2 s: %v", row, trial, left)
			}
		}
		for trial := range row.trials { // a process that was just being executed has no environment to know it by
			if left := survivors(mark(trial)); len(left) > 0 {
				t.Errorf("%+v, trial %d: left in the end: %v", row, trial, left)
			}
		}
		who, killed := "root", "orchestrator"
		if row.user != 0 {
			who = "ordinary"
		}
		if row.helpers {
			killed += " and helpers"
		}
		median, slowest := spread(took)
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%v\t%v\n", row.contain, who, killed, row.trials, len(took), median, slowest)
	}
	w.Flush()
	t.Logf("\n%s", table.String())
}

func spread(d []time.Duration) (median, most time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	for i := range d { // few
		for j := range i {
			if d[i] < d[j] {
				d[i], d[j] = d[j], d[i]
			}
		}
	}
	return d[len(d)/2].Round(10 * time.Microsecond), d[len(d)-1].Round(10 * time.Microsecond)
}

// programs makes a folder that every user may read, with this test's binary as
// dagon-star and as child.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dagon-star-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	path := filepath.Join(dir, "dagon-star")
	err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(path, binary, 0o755), os.Chmod(path, 0o755),
		os.Link(path, filepath.Join(dir, "child")))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// trial starts a run, kills it at a random time, and returns how long it took
// until nothing of it was left, or what was left after 2 s.
func (s strategy) trial(t *testing.T, programs, mark string, random *rand.Rand, window *time.Duration) (time.Duration, []string) {
	t.Helper()
	dir := filepath.Join(programs, mark)
	err := errors.Join(os.Mkdir(dir, 0o777), os.Chown(dir, int(s.user), int(s.user)),
		os.WriteFile(filepath.Join(dir, "s.star"), []byte(survivalScript), 0o644),
		os.WriteFile(filepath.Join(dir, "s.ini"), []byte(survivalTopology(mark)), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command(filepath.Join(programs, "dagon-star"), "run", "s.star", "s.ini", "--contain", s.contain)
	c.Dir = dir
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = time.Second
	c.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "SURVIVAL="+mark, "GORACE=atexit_sleep_ms=0",
		"HOME="+dir, "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.user != uint32(os.Geteuid()) {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: s.user, Gid: s.user}
	}
	began := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if *window == 0 {
		for up := []byte(`"text":"up"`); ; time.Sleep(time.Millisecond) {
			if log, _ := os.ReadFile(filepath.Join(dir, "runs/latest/events.jsonl")); bytes.Contains(log, up) && sleepers(mark) == 4 {
				break
			}
			if time.Since(began) > time.Minute {
				c.Process.Kill()
				t.Fatalf("the run is not up, or the evil node has not started 4 others but %d:\n%s", sleepers(mark), out.String())
			}
		}
		*window = 3 * time.Since(began) / 2
	} else {
		time.Sleep(time.Duration(random.Int64N(int64(*window))))
	}
	var helpers []int
	if s.helpers {
		for _, p := range survivors(mark) {
			if p.name == "dagon-star-keeper" {
				helpers = append(helpers, p.pid)
			}
		}
	}
	died := time.Now()
	c.Process.Kill()
	for _, pid := range helpers {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	c.Wait()
	for ; ; time.Sleep(time.Millisecond) {
		left := survivors(mark)
		if len(left) == 0 {
			break
		}
		if time.Since(died) > 2*time.Second {
			var names []string
			for _, p := range left {
				names = append(names, fmt.Sprintf("%d %s", p.pid, p.name))
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
			return 0, names
		}
	}
	clean := time.Since(died)
	// What it has written reads back as the log of a run that did not finish.
	if f, err := os.Open(filepath.Join(dir, "runs/latest/events.jsonl")); err == nil {
		defer f.Close()
		if events, err := event.Read(f); err != nil || event.Finished(events) {
			t.Errorf("the log of a killed run: %d events, finished %v, %v", len(events), event.Finished(events), err)
		}
	}
	return clean, nil
}

// sleepers counts what the evil node has started.
func sleepers(mark string) (n int) {
	for _, p := range survivors(mark) {
		if p.name == "sleep" {
			n++
		}
	}
	return n
}

type survivor struct {
	pid  int
	name string
}

// survivors are the processes, but for zombies, that have a run's mark in their
// environment or in their command line.
func survivors(mark string) []survivor {
	var left []survivor
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		threads, _ := filepath.Glob(filepath.Join(folder, "task/*/stat"))
		if len(threads) > 1 { // its main thread may have ended
			folder = filepath.Dir(threads[len(threads)-1])
		}
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		if !bytes.Contains(environ, []byte("SURVIVAL="+mark+"\x00")) && !bytes.Contains(cmdline, []byte(mark+"\x00")) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err != nil || stat[bytes.LastIndexByte(stat, ')')+2] == 'Z' {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(folder, "/")[2])
		name, _, _ := strings.Cut(string(cmdline), "\x00")
		left = append(left, survivor{pid, name})
	}
	return left
}
