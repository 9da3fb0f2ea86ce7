package process

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// compile compiles a C program of testdata.
func compile(b testing.TB, name string, flags ...string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), name)
	c := exec.Command("cc", append([]string{"-O2", "-Wall", "-o", path, "testdata/" + name + ".c"}, flags...)...)
	if out, err := c.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
			b.Skip(err)
		}
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// children is how many BenchmarkSpawn starts and reaps in each round.
const children = 1000

// onTwo calls fn for each of n on two goroutines, as the peer does on two threads.
func onTwo(n int, fn func(i int)) {
	var all sync.WaitGroup
	for half := range 2 {
		all.Go(func() {
			for i := half; i < n; i += 2 {
				fn(i)
			}
		})
	}
	all.Wait()
}

// BenchmarkSpawn starts 1,000 trivial children, all at once, from two spawners,
// and reaps them: bare, sealed, by exec.Cmd, and in C by posix_spawn, in turns.
// Of each child two pipes are read to their end, but in C-plain it has none. It
// prints the medians of the rounds' ratios, of time and of processor time: who
// shares the machine takes turns with each of the former. Then it starts 1,000 that stay, and
// prints what each adds to the memory of the orchestrator, its keeper included.
func BenchmarkSpawn(b *testing.B) {
	program, peer := compile(b, "child", "-static"), compile(b, "spawn", "-pthread")
	drivers := map[string]Driver{"bare": newDriver(b, Bare), "sealed": newDriver(b, Sealed)}
	inC := func(how string) func() time.Duration {
		return func() time.Duration {
			out, err := exec.Command(peer, program, strconv.Itoa(children), how).Output()
			if err != nil {
				b.Fatal(err)
			}
			ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(ns)
		}
	}
	by := func(d Driver) func() time.Duration {
		return func() time.Duration {
			began := time.Now()
			started := make([]Process, children)
			onTwo(children, func(i int) {
				p, err := d.Start(Spec{Argv: []string{program}, Env: os.Environ()})
				if err != nil {
					b.Error(err)
					return
				}
				started[i] = p
			})
			if b.Failed() {
				b.FailNow()
			}
			for _, p := range started {
				<-p.Done()
			}
			return time.Since(began)
		}
	}
	byExec := func() time.Duration {
		began := time.Now()
		started := make([]*exec.Cmd, children)
		onTwo(children, func(i int) {
			c := exec.Command(program)
			c.Stdout, c.Stderr = new(bytes.Buffer), new(bytes.Buffer)
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := c.Start(); err != nil {
				b.Error(err)
				return
			}
			started[i] = c
		})
		if b.Failed() {
			b.FailNow()
		}
		for _, c := range started {
			if err := c.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began)
	}
	ways := []struct {
		name string
		run  func() time.Duration
	}{{"C", inC("pipes")}, {"C-plain", inC("plain")}, {"exec", byExec}, {"bare", by(drivers["bare"])}, {"sealed", by(drivers["sealed"])}}
	took, used := map[string][]time.Duration{}, map[string][]time.Duration{}
	for b.Loop() {
		for _, way := range ways {
			before := processorTime(drivers)
			took[way.name] = append(took[way.name], way.run())
			used[way.name] = append(used[way.name], processorTime(drivers)-before)
		}
	}
	ratio := func(ours, theirs []time.Duration) float64 {
		ratios := make([]float64, len(ours))
		for i := range ratios {
			ratios[i] = float64(ours[i]) / float64(theirs[i])
		}
		slices.Sort(ratios)
		return ratios[len(ratios)/2]
	}
	for _, ours := range []string{"bare", "sealed"} {
		for _, theirs := range []string{"C", "C-plain", "exec"} {
			b.ReportMetric(ratio(took[ours], took[theirs]), ours+"/"+theirs)
			b.ReportMetric(ratio(used[ours], used[theirs]), ours+"/"+theirs+"-CPU")
		}
		all := slices.Sorted(slices.Values(took[ours]))
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/children, ours+"-µs/child")
		b.ReportMetric(perChild(b, drivers[ours], program), ours+"-KiB/child")
	}
	b.ReportMetric(0, "ns/op")
}

// processorTime is what this process, those that it has reaped, and the keepers
// of drivers with theirs have used.
func processorTime(drivers map[string]Driver) (used time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		syscall.Getrusage(who, &usage)
		used += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	for _, d := range drivers {
		if k, ok := d.(*driver).forker.(*kept); ok {
			text, _ := os.ReadFile(procPath(k.process.Pid, "stat"))
			f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
			for _, ticks := range f[min(11, len(f)):min(15, len(f))] { // utime stime cutime cstime
				n, _ := strconv.Atoi(string(ticks))
				used += time.Duration(n) * time.Second / 100 // USER_HZ (proc_pid_stat(5))
			}
		}
	}
	return used
}

// perChild is how many KiB a live child adds to what is resident of this process
// and the driver's keeper.
func perChild(b *testing.B, d Driver, program string) float64 {
	b.Helper()
	resident := func() (kib int) {
		debug.FreeOSMemory()
		pids := []int{os.Getpid()}
		if k, ok := d.(*driver).forker.(*kept); ok {
			pids = append(pids, k.process.Pid)
		}
		for _, pid := range pids {
			status, err := os.ReadFile(procPath(pid, "status"))
			if err != nil {
				b.Fatal(err)
			}
			for line := range strings.Lines(string(status)) {
				if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
					n, _ := strconv.Atoi(strings.Fields(rest)[0])
					kib += n
				}
			}
		}
		return kib
	}
	before := resident()
	started := make([]Process, children)
	for i := range started {
		p, err := d.Start(Spec{Argv: []string{program, "stay"}, Env: os.Environ()})
		if err != nil {
			b.Fatal(err)
		}
		started[i] = p
	}
	with := resident()
	for _, p := range started {
		p.Signal(os.Kill, Leader)
	}
	for _, p := range started {
		<-p.Done()
	}
	return float64(with-before) / children
}
