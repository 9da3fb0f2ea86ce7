package builtins_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/script"
)

// slow is a driver that takes its time to pause and to resume, each time another.
type slow struct{ process.Driver }

type slowProcess struct{ process.Process }

func (d slow) Start(s process.Spec) (process.Process, error) {
	p, err := d.Driver.Start(s)
	if err != nil {
		return nil, err
	}
	return slowProcess{p}, nil
}

func (p slowProcess) Pause() (int, error) {
	dawdle()
	return p.Process.Pause()
}

func (p slowProcess) Resume() error {
	dawdle()
	return p.Process.Resume()
}

// dawdle takes up to 25 ms, as a busy machine may.
func dawdle() { time.Sleep(time.Duration(rand.IntN(25)) * time.Millisecond) }

// faults runs a script against four nodes on a machine that is busy now and then:
// it has a function dawdle. What it did to whom is returned.
func faults(t *testing.T, source string) string {
	t.Helper()
	driver, err := process.New(process.Options{Run: "test-slow", Contain: string(process.Bare)})
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(7)
	r, _ := run(t, script.Config{Driver: slow{driver}, TopologySource: ini(t, "a", "b", "c", "d"), Seed: &seed,
		Source: []byte("fork(topology.nodes)\nawait_ready(topology.nodes)\n" + source),
		Builtins: starlark.StringDict{"dawdle": starlark.NewBuiltin("dawdle", func(*starlark.Thread, *starlark.Builtin,
			starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			dawdle()
			return starlark.None, nil
		})}})
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
	if r.Outcome != runtime.Passed && r.Outcome != runtime.Inconclusive { // some befall a node that is dead
		t.Fatalf("%s at %s: %s", r.Outcome, r.Where, r.Reason)
	}
	f, err := os.Open(filepath.Join(r.Folder, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := event.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var struck []string
	for _, e := range events {
		if d, ok := e.Detail.(event.FaultPlanned); ok {
			struck = append(struck, d.What+" "+strings.Join(d.Nodes, "+"))
		}
	}
	return strings.Join(struck, ", ")
}

// TestClockStandsStill: how long it takes to apply faults changes neither how many
// there are nor in which order those of several tasks come.
func TestClockStandsStill(t *testing.T) {
	for range 3 {
		got := faults(t, `
def harm(node):
    dawdle()
    pause(node).heal()
x = every("40ms", harm, a, times = 6)
sleep("10ms")
y = every("60ms", harm, b, times = 4)
dawdle()
x.wait()
y.wait()
`)
		// a at 40, 80, 120, 160, 200 and 240, b at 70, 130, 190 and 250.
		if got := strings.ReplaceAll(got, "pause ", ""); got != "a, b, a, a, b, a, b, a, a, b" {
			t.Errorf("%s", got)
		}
	}
}

// TestSameFaults: tasks that wait for times, for each other and for their faults
// have the same faults in the same order, also those that are due at the same time
// or only a moment apart, however busy the machine is.
func TestSameFaults(t *testing.T) {
	const source = `
def both(n):
    dawdle()
    for node in pick.one(topology.nodes):
        signal(node, "URG")
    dawdle()
    sleep(random.uniform(0, 0.01))
    signal(pick.minority(topology.nodes), "URG")
    sleep(random.uniform(0.001, 0.003))
    signal(random.choice(topology.nodes), "CHLD")

def again():
    ts = [spawn(both, n) for n in range(random.randint(1, 3))]
    dawdle()
    for t in ts:
        t.wait()
    signal("a", "URG")

def stop(node):
    dawdle()
    f = pause(node)
    signal(node, "URG")
    dawdle()
    f.heal()

ts = [every("20ms", again, times = 4), every("10ms", stop, "c", times = 8), every("30ms", stop, "d", times = 3),
    after("20ms", both, 0), after("20ms", stop, "b"), every("41ms", kill, "a", times = 1), spawn(both, 1)]
dawdle()
for t in ts:
    t.wait()
restart("a", graceful = False)
`
	want := faults(t, source)
	for range 2 {
		if got := faults(t, source); got != want {
			t.Fatalf("%s\nand before\n%s", got, want)
		}
	}
	if n := strings.Count(want, ","); n < 40 {
		t.Errorf("only %d faults: %s", n, want)
	}
}
