package script_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/script"
)

// BenchmarkStart starts runs, sealed and bare in turns, and prints the medians
// of the time until their first process is forked, and their difference; and beside
// them what it takes to execute this program, as which a keeper begins, for nothing.
func BenchmarkStart(b *testing.B) {
	took := map[process.Rung][]time.Duration{}
	start := func(rung process.Rung) {
		c := script.Config{Source: []byte("fork(one)\nkill(one)"), TopologySource: nodes("one"), RunsDir: b.TempDir()}
		began := time.Now()
		if rung == process.Bare {
			d, err := process.New(process.Options{Run: fmt.Sprintf("bench-%d", os.Getpid()), Contain: string(rung)})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			c.Driver = d
		} else {
			c.Contain = string(rung)
		}
		c.Observer = func(e event.Event) {
			if e.Kind() == event.KindForked {
				took[rung] = append(took[rung], time.Since(began))
			}
		}
		r, err := script.Run(context.Background(), c)
		if err != nil || r.Outcome != runtime.Passed {
			b.Fatal(r, err)
		}
	}
	for b.Loop() {
		start(process.Sealed)
		start(process.Bare)
		began := time.Now()
		if err := exec.Command(os.Args[0], "-test.list=^$").Run(); err != nil {
			b.Fatal(err)
		}
		took["exec"] = append(took["exec"], time.Since(began))
	}
	median := func(rung process.Rung) float64 {
		all := slices.Sorted(slices.Values(took[rung]))
		return all[len(all)/2].Seconds() * 1000
	}
	b.ReportMetric(median(process.Sealed), "sealed-ms")
	b.ReportMetric(median(process.Bare), "bare-ms")
	b.ReportMetric(median(process.Sealed)-median(process.Bare), "difference-ms")
	b.ReportMetric(median("exec"), "exec-ms")
	b.ReportMetric(0, "ns/op")
}
