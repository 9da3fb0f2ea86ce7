package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes a journal of some nodes with its log in a file. change may change its
// options.
func start(t testing.TB, nodes int, change func(*journal.Options)) (*journal.Journal, *os.File) {
	t.Helper()
	var names []string
	for i := range nodes {
		names = append(names, fmt.Sprint("n", i))
	}
	began := time.Now()
	o := journal.Options{
		Roster:  roster.New(names, func(string) bool { return false }),
		Elapsed: func() time.Duration { return time.Since(began) }, Timeout: time.Hour,
		Ended: func() error { return nil }, Failed: func(err error) { t.Error(err) }, Tail: func(string, int) []string { return nil },
	}
	if change != nil {
		change(&o)
	}
	j := journal.New(o)
	file, err := os.Create(filepath.Join(t.TempDir(), "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	j.Write(event.NewWriter(file), func() (journal.File, error) { return os.Open(file.Name()) })
	t.Cleanup(func() {
		j.Lock()
		j.CancelWatches(errors.New("the test is over"))
		j.Close(context.Canceled)
		j.Unlock()
		j.Wait()
		file.Close()
	})
	say(j, "", event.RunStarted{Format: event.Format})
	for _, name := range names {
		say(j, name, event.Forked{PID: 1, Incarnation: 1})
	}
	return j, file
}

func say(j *journal.Journal, node string, d event.Detail) {
	j.Lock()
	defer j.Unlock()
	j.Append(node, d)
}

// message is the i-th message of a test: of any length, and one in seven is not plain.
func message(i int) event.Received {
	text := strings.Repeat("x", i*i%977)
	if i%1000 == 999 {
		text = strings.Repeat("long", 40_000)
	}
	if i%7 == 0 {
		text += "\"é\xff"
	}
	return event.Received{Address: fmt.Sprint("/", i%3), Args: event.Args{text, int32(i)}}
}

// TestReadBack: a log is read back as it was, from any place, by whoever is how far
// behind; and the file is the same.
func TestReadBack(t *testing.T) {
	j, file := start(t, 1, nil)
	const n = 6000
	var slow []event.Event
	var observing sync.WaitGroup
	goOn := make(chan struct{})
	observing.Go(func() {
		j.Observe(func(e event.Event) {
			if slow = append(slow, e); len(slow) == 10 {
				<-goOn // until all has been said
			}
		}, func(err error, _ int64) { t.Error(err) })
	})
	for i := range n {
		say(j, "n0", message(i))
	}
	close(goOn)
	all, err := event.Collect(j.Events(0, math.MaxInt64))
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for i, e := range all {
		if e.Seq != int64(i) {
			t.Fatalf("event %d has seq %d", i, e.Seq)
		}
		if d, ok := e.Detail.(event.Received); ok {
			want := message(next)
			if got := d.Args[1]; d.Address != want.Address || got != want.Args[1] || len(fmt.Sprint(d.Args[0])) < len(want.Args[0].(string)) {
				t.Fatalf("message %d is %v", next, d)
			}
			next++
		}
	}
	if next != n {
		t.Errorf("%d messages of %d", next, n)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if read, err := event.Read(bytes.NewReader(text)); err != nil || len(read) != len(all) {
		t.Errorf("the file has %d events of %d: %v", len(read), len(all), err)
	}
	for _, from := range []int64{0, 1, 255, 256, 257, 5000, 5999, int64(len(all)) - 1, int64(len(all))} {
		some, err := event.Collect(j.Events(from, from+300))
		if want := min(int64(len(all)), from+300) - from; err != nil || int64(len(some)) != want || want > 0 && some[0].Seq != from {
			t.Errorf("from %d: %d events, %v", from, len(some), err)
		}
		j.Lock()
		e, ok, err := j.Find(from, from+300, func(e event.Event) bool { return e.Seq%100 == 17 })
		j.Unlock()
		want := from + (117-from%100)%100
		if found := want < min(from+300, int64(len(all))); err != nil || ok != found || ok && e.Seq != want {
			t.Errorf("from %d: found %d, %v, %v, want %d", from, e.Seq, ok, err, want)
		}
	}
	j.Lock()
	j.Close(context.Canceled)
	j.Unlock()
	observing.Wait()
	if len(slow) != len(all) {
		t.Errorf("%d events of %d were observed", len(slow), len(all))
	}
	for i, e := range slow {
		if e.Seq != int64(i) {
			t.Fatalf("event %d was observed as number %d", e.Seq, i)
		}
	}
}

// TestBounded: a long log takes no more memory than a short one, with somebody who
// observes it and has stopped to.
func TestBounded(t *testing.T) {
	j, _ := start(t, 1, nil)
	var observing sync.WaitGroup
	goOn := make(chan struct{})
	observing.Go(func() { j.Observe(func(e event.Event) { <-goOn }, func(err error, _ int64) { t.Error(err) }) })
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	fill := func(n int) {
		for range n {
			j.Lock()
			for i := range 100 {
				j.Append("n0", event.Received{Address: "/x", Args: event.Args{int32(i), "some text of a message"}})
			}
			j.Unlock()
		}
	}
	fill(200)
	short := used()
	fill(4000)
	if long := used(); long > short+2<<20 {
		t.Errorf("%d bytes for 20,000 messages, %d for 420,000", short, long)
	}
	close(goOn)
	j.Lock()
	j.Close(context.Canceled)
	j.Unlock()
	observing.Wait()
}

// counted counts how often a file is read.
type counted struct {
	journal.File
	reads *int
}

func (c counted) ReadAt(p []byte, at int64) (int, error) {
	*c.reads++
	return c.File.ReadAt(p, at)
}

// TestKept: what Find has read back it does not read again while it is used, in however
// many places of the log, and it keeps a bounded part of the log.
func TestKept(t *testing.T) {
	j, file := start(t, 1, nil)
	reads := 0
	j.Lock()
	defer j.Unlock()
	j.Write(event.NewWriter(file), func() (journal.File, error) {
		f, err := os.Open(file.Name())
		return counted{f, &reads}, err
	})
	const apart = 1000
	for i := range 400 * apart {
		j.Append("n0", event.Received{Address: "/x", Args: event.Args{int32(i)}})
		if i%apart == 0 {
			j.Flush()
		}
	}
	j.Flush()
	look := func(places int) int {
		reads = 0
		for range 3 {
			for i := range int64(places) {
				e, ok, err := j.Find(i*apart, j.Next(), func(event.Event) bool { return true })
				if !ok || err != nil || e.Seq != i*apart {
					t.Fatalf("%v, %v, %v at %d", e, ok, err, i*apart)
				}
			}
		}
		return reads
	}
	if got := look(40); got != 40 {
		t.Errorf("40 places took %d reads", got)
	}
	if got := look(390); got < 3*390-40 { // those places it has
		t.Errorf("390 places took %d reads: more of the log is kept than is meant to be", got)
	}
}

// TestWrittenFirst: whoever is told of an event finds it on the disk, and what was
// appended together is one write.
func TestWrittenFirst(t *testing.T) {
	writes := 0
	var log bytes.Buffer
	j, _ := start(t, 2, nil)
	j.Write(event.NewWriter(writer(func(p []byte) (int, error) {
		writes++
		return log.Write(p)
	})), nil)
	onDisk := -1
	j.Watch(journal.Condition{What: "x", Nodes: []string{"n0"}, Check: func(string) journal.Answer {
		return journal.Answer{Met: j.Roster().Node("n0").Messages.Count > 0}
	}}, func() { onDisk = strings.Count(log.String(), `"met"`) })
	before := writes
	j.Lock()
	for range 500 {
		j.Append("n0", event.Received{Address: "/x"})
	}
	if onDisk >= 0 {
		t.Error("it was told before the lock was given back")
	}
	j.Unlock()
	if onDisk != 1 || writes != before+1 {
		t.Errorf("when it was told the end was on the disk %d times, after %d writes", onDisk, writes-before)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestFullDisk: where nothing can be written, what was appended stays to be read, in
// order and corrected; but messages are not taken without end.
func TestFullDisk(t *testing.T) {
	full := errors.New("no space left on device")
	failed := 0
	j, _ := start(t, 1, func(o *journal.Options) { o.Failed = func(error) { failed++ } })
	j.Write(event.NewWriter(writer(func([]byte) (int, error) { return 0, full })), func() (journal.File, error) { return nil, full })
	heard := 0
	for i := range 400 {
		j.Lock()
		for range 1000 {
			if j.Hears() {
				j.Append("n0", event.Received{Address: "/x", Args: event.Args{int32(i), strings.Repeat("x", 100)}})
				heard++
			}
		}
		j.Unlock()
	}
	if failed == 0 || heard > 200_000 || heard < 10_000 {
		t.Errorf("it failed %d times, and %d messages were heard", failed, heard)
	}
	j.Lock()
	j.Append("", event.Verdict{Outcome: "passed"})
	j.Append("", event.RunFinished{})
	j.Flush()
	j.Correct(2, event.Verdict{Outcome: "failed"})
	lost := j.Lost()
	j.Close(context.Canceled)
	j.Unlock()
	if !errors.Is(lost, full) || !strings.Contains(lost.Error(), fmt.Sprintf("%d messages that came then were not heard", 400_000-heard)) {
		t.Errorf("%v", lost)
	}
	all, err := event.Collect(j.Events(0, math.MaxInt64))
	if err != nil || len(all) != heard+5 || all[len(all)-2].Detail != event.Detail(event.Verdict{Outcome: "failed"}) {
		t.Errorf("%d events, %v, the verdict is %v", len(all), err, all[max(0, len(all)-2)].Detail)
	}
}

// TestUnreadable: a log that cannot be read back is an error of who reads it. Who
// observes it goes on with what can be read, and is told how much cannot.
func TestUnreadable(t *testing.T) {
	j, file := start(t, 1, nil)
	for i := range 10_000 {
		say(j, "n0", message(i))
	}
	if err := os.Truncate(file.Name(), 1000); err != nil {
		t.Fatal(err)
	}
	if all, err := event.Collect(j.Events(0, math.MaxInt64)); err == nil || len(all) > 256 {
		t.Errorf("%d events, %v", len(all), err)
	}
	j.Lock()
	if _, _, err := j.Find(0, 1000, func(event.Event) bool { return false }); err == nil {
		t.Error("it found nothing in what cannot be read")
	}
	j.Append("", event.Verdict{Outcome: "failed"})
	last := j.Next() - 1
	j.Close(context.Canceled)
	j.Unlock()
	seen, missed := []int64{}, int64(0)
	j.Observe(func(e event.Event) { seen = append(seen, e.Seq) }, func(err error, events int64) {
		if err == nil {
			t.Error("no reason")
		}
		missed += events
	})
	if len(seen) == 0 || seen[len(seen)-1] != last || int64(len(seen))+missed != last+1 {
		t.Errorf("it has seen %d events and missed %d of %d", len(seen), missed, last+1)
	}
}

// TestAsked: a condition is asked when a node of its own has changed, with that node,
// and those that one event ends end in the order in which they began.
func TestAsked(t *testing.T) {
	j, _ := start(t, 100, nil)
	var order []string
	asked := map[string][]string{}
	watch := func(what string, always bool, nodes ...string) {
		j.Watch(journal.Condition{What: what, Nodes: nodes, Always: always, Quiet: true, Check: func(node string) journal.Answer {
			asked[what] = append(asked[what], node)
			return journal.Answer{Met: len(asked[what]) == 3}
		}}, func() { order = append(order, what) })
	}
	watch("a", false, "n1", "n2")
	watch("always", true)
	watch("b", false, "n2")
	watch("none", false)
	watch("c", false, "n2", "n2", "n1")
	say(j, "n7", event.Received{Address: "/x"})
	say(j, "n2", event.Received{Address: "/x"})
	say(j, "n2", event.Received{Address: "/x"})
	say(j, "n1", event.Received{Address: "/x"})
	for what, want := range map[string][]string{"a": {"", "n2", "n2"}, "always": {"", "n7", "n2"}, "b": {"", "n2", "n2"},
		"none": {""}, "c": {"", "n2", "n2"}} {
		if !slices.Equal(asked[what], want) {
			t.Errorf("%s was asked %q, want %q", what, asked[what], want)
		}
	}
	if got := strings.Join(order, " "); got != "always a b c" {
		t.Errorf("they ended in the order %s", got)
	}
}

// TestGivenBack: what a condition has found is given back if the wait is stopped
// before anybody has taken it, and others are asked then; so is what it may find, if
// the wait ends otherwise.
func TestGivenBack(t *testing.T) {
	for _, test := range []struct {
		name  string
		met   bool
		end   func(w *journal.Watch)
		back  bool
		asked int
	}{
		{"taken", true, func(w *journal.Watch) { w.Err(); w.Stop() }, false, 1},
		{"given up", true, func(w *journal.Watch) { w.Stop(); w.Stop(); w.Err() }, true, 2},
		{"not met", false, func(w *journal.Watch) { w.Stop() }, true, 1},
	} {
		j, _ := start(t, 1, nil)
		back, asked := 0, 0
		j.Watch(journal.Condition{What: "other", Nodes: []string{"n0"}, Check: func(string) journal.Answer {
			asked++
			return journal.Answer{}
		}}, func() {})
		w := j.Watch(journal.Condition{What: "x", Nodes: []string{"n0"}, GiveBack: func() { back++ },
			Check: func(string) journal.Answer { return journal.Answer{Met: test.met} }}, func() {})
		test.end(w)
		if back > 0 != test.back || asked != test.asked {
			t.Errorf("%s: given back %d times, and another was asked %d times", test.name, back, asked)
		}
	}
}

// TestRechecked: a condition is asked again when what it has begun says so, and for the
// last time after what had been late.
func TestRechecked(t *testing.T) {
	var due func()
	j, _ := start(t, 1, func(o *journal.Options) {
		o.AfterFunc = func(d time.Duration, f func()) journal.Timer {
			due = f
			return time.NewTimer(time.Hour)
		}
	})
	var recheck func()
	asked := 0
	late := false
	ended := make(chan struct{})
	w := j.Watch(journal.Condition{What: "x", Nodes: []string{"n0"}, Begin: func(f func()) { recheck = f }, Late: func() { late = true },
		Check: func(string) journal.Answer {
			asked++
			return journal.Answer{Met: late}
		}}, func() { close(ended) })
	recheck()
	if asked != 2 {
		t.Errorf("it was asked %d times", asked)
	}
	due()
	<-ended
	if err := w.Err(); err != nil || asked != 3 {
		t.Errorf("it was asked %d times: %v", asked, err)
	}
	recheck()
	if asked != 3 {
		t.Error("it was asked after its end")
	}
}

// TestDeadline: what had arrived before a deadline counts, whenever it is looked at.
func TestDeadline(t *testing.T) {
	var j *journal.Journal
	const missing = ": missing n0 (forked; it has not phoned home)"
	for _, test := range []struct {
		arrived bool
		took    time.Duration // to be looked at, after the deadline
		want    string
	}{
		{arrived: true}, {arrived: true, took: time.Minute},
		{took: 99 * time.Millisecond, want: "x: not within 1s" + missing},
		{took: 2 * time.Second, want: "x: not within 1s, nor in what had come by then, which took until 3s to be heard" + missing},
	} {
		var due func()
		var now atomic.Int64
		settled := 0
		j, _ = start(t, 2, func(o *journal.Options) {
			o.AfterFunc = func(d time.Duration, f func()) journal.Timer {
				due = f
				return time.NewTimer(time.Hour)
			}
			o.Elapsed = func() time.Duration { return time.Duration(now.Load()) }
			o.Settle = func(nodes []string) {
				settled++
				now.Add(int64(test.took))
				if !slices.Equal(nodes, []string{"n0"}) {
					t.Errorf("it waits for %v", nodes)
				}
				if test.arrived {
					say(j, "n0", event.Received{Address: "/x"})
				}
			}
		})
		ended := make(chan struct{})
		w := j.Watch(journal.Condition{What: "x", Nodes: []string{"n0"}, Timeout: time.Second, Check: func(string) journal.Answer {
			return journal.Answer{Met: j.Roster().Node("n0").Messages.Count > 0}
		}}, func() { close(ended) })
		now.Store(int64(time.Second))
		due()
		<-ended
		if err := w.Err(); settled != 1 || (err == nil) != test.arrived || err != nil && err.Error() != test.want {
			t.Errorf("settled %d times: %v", settled, err)
		}
	}
}

// TestQuotes: a wait quotes the incarnation that the node had when it ended, though
// another has followed by the time that it is asked.
func TestQuotes(t *testing.T) {
	j, _ := start(t, 1, func(o *journal.Options) {
		o.Tail = func(node string, incarnation int) []string { return []string{fmt.Sprint(node, " as ", incarnation)} }
	})
	w := j.Watch(journal.Condition{What: "x", Nodes: []string{"n0"}, Check: func(string) (a journal.Answer) {
		if j.Roster().Node("n0").State == roster.StateExited {
			a.Impossible = []string{"n0"}
		}
		return a
	}}, func() {})
	say(j, "n0", event.Exited{Code: 3})
	say(j, "n0", event.Forked{PID: 2, Incarnation: 2})
	if err := w.Err(); err == nil || !strings.Contains(err.Error(), "n0 as 1") {
		t.Errorf("%v", err)
	}
}

// TestManyWatches: waits that have ended are let go of.
func TestManyWatches(t *testing.T) {
	j, _ := start(t, 1, nil)
	asked := 0
	for range 1000 {
		w := j.Watch(journal.Condition{What: "x", Quiet: true, Nodes: []string{"n0"}, Check: func(string) journal.Answer {
			asked++
			return journal.Answer{}
		}}, func() {})
		w.Stop()
		if err := w.Err(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	asked = 0
	say(j, "n0", event.Received{Address: "/x"})
	if asked > 0 {
		t.Errorf("%d that have ended were asked", asked)
	}
}
