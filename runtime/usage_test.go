package runtime

import (
	goruntime "runtime"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
)

// TestSampled: what nodes use is in the log, as often as it is asked for, only while they
// run, and wakes nobody.
func TestSampled(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("it takes Linux")
	}
	top := ini(t, "a", "b", "never")
	top.Settings.Usage = 50 * time.Millisecond
	seen := make(chan string, 1000)
	r := begin(t, Config{Topology: top, Observer: func(e event.Event) {
		if e.Kind() == event.KindUsage {
			seen <- e.Node
		}
	}})
	must(t, r.Fork("a", ForkOptions{}))
	must(t, r.Fork("b", ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"a", "b"}, StateReady)))
	checks := 0
	w := r.Watch(journal.Condition{What: "nothing", Nodes: []string{"a"}, Always: true, Check: func(string) journal.Answer {
		checks++
		return journal.Answer{}
	}}, func() {})
	r.j.Lock()
	deeds, checked := r.j.Deeds(), checks
	r.j.Unlock()
	for n := 0; n < 6; {
		if <-seen == "a" {
			n++
		}
	}
	r.j.Lock()
	if checks != checked || r.j.Deeds() != deeds {
		t.Errorf("a wait was woken %d times, and nodes did %d things", checks-checked, r.j.Deeds()-deeds)
	}
	r.j.Unlock()
	w.Stop()
	must(t, r.Shutdown([]string{"a"}))
	must(t, r.Wait(r.Reached([]string{"a"}, StateExited)))
	result, err := r.End(nil)
	must(t, err)

	runs := map[string]bool{}
	usage := map[string][]event.Usage{}
	for e, err := range result.Events() {
		must(t, err)
		switch d := e.Detail.(type) {
		case event.Forked:
			runs[e.Node] = true
		case event.Exited:
			runs[e.Node] = false
		case event.Usage:
			if !runs[e.Node] {
				t.Errorf("%s uses something and does not run", e.Node)
			}
			usage[e.Node] = append(usage[e.Node], d)
		}
	}
	for _, name := range []string{"a", "b"} {
		last := event.Usage{}
		for _, u := range usage[name] {
			if u.CPUS < last.CPUS || u.MemoryBytes <= 0 || u.Processes < 1 {
				t.Errorf("%s used %+v, and then %+v", name, last, u)
			}
			last = u
		}
		if len(usage[name]) < 5 {
			t.Errorf("%s was looked at %d times", name, len(usage[name]))
		}
	}
	if len(usage["never"]) > 0 {
		t.Errorf("a node that does not run uses %v", usage["never"])
	}
}
