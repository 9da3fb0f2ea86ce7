package builtins_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/script"
)

// slow is a driver that takes its time to pause and to resume: each time another.
type slow struct {
	process.Driver
	calls *atomic.Int64
}

type slowProcess struct {
	process.Process
	calls *atomic.Int64
}

func (d slow) Start(s process.Spec) (process.Process, error) {
	p, err := d.Driver.Start(s)
	if err != nil {
		return nil, err
	}
	return slowProcess{p, d.calls}, nil
}

func (p slowProcess) take() { time.Sleep(time.Duration(p.calls.Add(1)*17%60) * time.Millisecond) }

func (p slowProcess) Pause() error {
	p.take()
	return p.Process.Pause()
}

func (p slowProcess) Resume() error {
	p.take()
	return p.Process.Resume()
}

// TestClockStandsStill: how long it takes to apply faults changes neither how many
// there are nor in which order those of several tasks come.
func TestClockStandsStill(t *testing.T) {
	for range 3 {
		driver, err := process.New(process.Options{Run: "test-slow", Contain: string(process.Bare)})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := run(t, script.Config{Driver: slow{driver, new(atomic.Int64)}, TopologySource: ini(t, "a", "b"), Source: []byte(`
fork(topology.nodes)
await_ready(topology.nodes)
def harm(node):
    pause(node).heal()
x = every("40ms", harm, a, times = 6)
sleep("10ms")
y = every("60ms", harm, b, times = 4)
x.wait()
y.wait()
`)})
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
		if r.Outcome != runtime.Passed {
			t.Fatalf("%s at %s: %s", r.Outcome, r.Where, r.Reason)
		}
		f, err := os.Open(filepath.Join(r.Folder, "events.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		events, err := event.Read(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		var struck []string
		for _, e := range events {
			if d, ok := e.Detail.(event.Fault); ok {
				struck = append(struck, d.Nodes...)
			}
		}
		// a at 40, 80, 120, 160, 200 and 240, b at 70, 130, 190 and 250.
		if got := strings.Join(struck, " "); got != "a b a a b a b a a b" {
			t.Errorf("%s", got)
		}
	}
}
