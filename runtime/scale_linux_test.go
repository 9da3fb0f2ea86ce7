package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// compile compiles a C program of testdata.
func compile(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("cc", "-O2", "-Wall", "-pthread", "-static", "-o", path, "testdata/"+name+".c").CombinedOutput()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// manyNodes is a topology of nodes that are one program, n0 and so on.
func manyNodes(t testing.TB, program string, count int) *topology.Topology {
	t.Helper()
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "[n%d]\npath = %s\n", i, program)
	}
	top, err := topology.Parse("many.ini", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	top.Settings.Timeout, top.Settings.Grace = time.Minute, time.Minute
	return top
}

// BenchmarkScale forks DAGON_NODES nodes in C, 1,000 of them where it does not say,
// until all are ready, and ends them, in turns with a program in C that spawns as many
// and hears each. It prints the median of the rounds' ratios, how long each node took
// in the last round, and what each adds to what is resident of this process.
func BenchmarkScale(b *testing.B) {
	count := 1000
	if text := os.Getenv("DAGON_NODES"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	program, herd := compile(b, "node"), compile(b, "herd")
	top := manyNodes(b, program, count)
	var ratios []float64
	var up time.Duration
	var kib float64
	for b.Loop() {
		out, err := exec.Command(herd, program, strconv.Itoa(count)).Output()
		if err != nil {
			b.Fatal(err)
		}
		peer, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		up, kib = raise(b, top)
		ratios = append(ratios, float64(up)/float64(peer))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "up/C")
	b.ReportMetric(float64(up.Microseconds())/float64(count), "µs/node")
	b.ReportMetric(kib, "KiB/node")
	b.ReportMetric(0, "ns/op")
}

// TestSpeed holds wide gates, of nodes that are forked and of messages that
// are heard. It runs with DAGON_SPEED=1, and tries a noisy machine three times.
func TestSpeed(t *testing.T) {
	if os.Getenv("DAGON_SPEED") == "" {
		t.Skip("a measurement: DAGON_SPEED=1 runs it")
	}
	t.Setenv("DAGON_NODES", "500")
	for try := 1; ; try++ {
		var slow []string
		for _, m := range []struct {
			bench func(*testing.B)
			most  map[string]float64
		}{
			{BenchmarkScale, map[string]float64{"up/C": 4, "KiB/node": 30}},
			{func(b *testing.B) { hearing(b, 100_000) }, map[string]float64{"to-plain": 300, "heap-MB": 12}},
		} {
			got := testing.Benchmark(m.bench).Extra
			for unit, most := range m.most {
				if got[unit] == 0 || got[unit] > most {
					slow = append(slow, fmt.Sprintf("%.1f %s, want %v", got[unit], unit, most))
				}
			}
		}
		if len(slow) == 0 {
			return
		}
		t.Logf("try %d: %s", try, strings.Join(slow, "; "))
		if try == 3 {
			t.Fatal("too slow")
		}
	}
}

// raise runs all nodes of a topology until they are ready, and ends them.
func raise(b *testing.B, top *topology.Topology) (up time.Duration, kib float64) {
	b.Helper()
	debug.FreeOSMemory()
	before := resident(b)
	r := begin(b, Config{Topology: top})
	all := r.names(func(*node.Node) bool { return true })
	must(b, r.ForkAll(b.Context(), all, ForkOptions{}))
	must(b, r.Wait(r.Reached(all, StateReady)))
	kib = float64(resident(b)-before) / float64(len(all))
	must(b, r.Shutdown(all))
	must(b, r.Wait(r.Reached(all, StateExited)))
	result, err := r.End(nil)
	must(b, err)
	if result.Outcome != Passed {
		b.Fatal(result.Reason)
	}
	var first, last time.Duration
	for _, e := range collect(b, result.Events()) {
		if _, forked := e.Detail.(event.Forked); forked && first == 0 {
			first = e.T
		}
		if s, state := e.Detail.(event.State); state && s.To == string(StateReady) {
			last = e.T
		}
	}
	return last - first, kib
}

// resident is how many KiB are resident of this process.
func resident(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	t.Fatal("no VmRSS in /proc/self/status")
	return 0
}
