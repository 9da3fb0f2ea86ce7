package await_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/await"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes a journal of nodes, of which nothing is known yet, with its log in a file.
func start(t testing.TB, nodes ...string) *journal.Journal {
	t.Helper()
	began := time.Now()
	j := journal.New(journal.Options{
		Roster:  roster.New(nodes, func(string) bool { return false }),
		Elapsed: func() time.Duration { return time.Since(began) }, Timeout: time.Minute,
		Ended: func() error { return nil }, Failed: func(err error) { t.Error(err) }, Tail: func(string, int) []string { return nil },
	})
	file, err := os.Create(filepath.Join(t.TempDir(), "events.jsonl"))
	must(t, err)
	j.Write(event.NewWriter(file), func() (journal.File, error) { return os.Open(file.Name()) })
	t.Cleanup(func() {
		j.Lock()
		j.Close(errors.New("the test is over"))
		j.Unlock()
		j.Wait()
		file.Close()
	})
	return j
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// say appends events of a node.
func say(j *journal.Journal, node string, details ...event.Detail) {
	j.Lock()
	defer j.Unlock()
	for _, d := range details {
		j.Append(node, d)
	}
}

// answer is what a condition finds now, in words.
func answer(j *journal.Journal, c journal.Condition) string {
	j.Lock()
	defer j.Unlock()
	switch a := c.Check(""); {
	case a.Err != nil:
		return a.Err.Error()
	case len(a.Impossible) > 0:
		return "impossible: " + strings.Join(a.Impossible, " ")
	case a.Met:
		return "met"
	}
	return "waits"
}

func sent(address string, args ...any) event.Received {
	return event.Received{Address: address, Args: args}
}

var (
	forked = event.Forked{PID: 1, Incarnation: 1}
	ready  = sent("/ready", "n")
	done   = sent("/done", "n")
	over   = sent("/done_shutdown", "n")
	clean  = event.Exited{Expected: true}
	crash  = event.Exited{Signal: "SEGV"}
)

// TestReached: a state that a node has had counts, whatever came since; one that it
// cannot have any more is impossible.
func TestReached(t *testing.T) {
	for _, test := range []struct {
		state roster.State
		said  []event.Detail
		want  string
	}{
		{roster.StateReady, nil, "n: cannot await ready: it has not been forked"},
		{roster.StateExited, nil, "n: cannot await exited: it has not been forked"},
		{roster.StateReady, []event.Detail{forked}, "waits"},
		{roster.StateReady, []event.Detail{forked, ready}, "met"},
		{roster.StateReady, []event.Detail{forked, ready, done}, "met"},
		{roster.StateReady, []event.Detail{forked, ready, crash}, "met"},
		{roster.StateReady, []event.Detail{forked, ready, crash, forked}, "waits"},
		{roster.StateReady, []event.Detail{forked, crash}, "impossible: n"},
		{roster.StateReady, []event.Detail{forked, event.Lost{}}, "impossible: n"},
		{roster.StateReady, []event.Detail{forked, event.Lost{}, event.Connected{}}, "waits"},
		{roster.StateDone, []event.Detail{forked, ready}, "waits"},
		{roster.StateDone, []event.Detail{forked, ready, over}, "met"},
		{roster.StateDoneShutdown, []event.Detail{forked, ready, over}, "met"},
		{roster.StateDoneShutdown, []event.Detail{forked, clean}, "met"},
		{roster.StateDoneShutdown, []event.Detail{forked, crash}, "impossible: n"},
		{roster.StateExited, []event.Detail{forked, crash}, "met"},
		{roster.StateExited, []event.Detail{forked, event.Lost{}}, "waits"},
	} {
		j := start(t, "n")
		say(j, "n", test.said...)
		if got := answer(j, await.Reached(j, []string{"n"}, test.state)); got != test.want {
			t.Errorf("%s after %T: %s, want %s", test.state, test.said, got, test.want)
		}
	}
	j := start(t, "n")
	if got := answer(j, await.Reached(j, nil, roster.StateReady)); got != "met" {
		t.Errorf("of nobody: %s", got)
	}
	if got := answer(j, await.Reached(j, []string{"m"}, roster.StateReady)); got != "m: no such node in the topology, which has n" {
		t.Errorf("of one that is not there: %s", got)
	}
}

// TestReachedAskedOnce: what waits for many nodes looks at one when there is news of
// one, and tells which have not come.
func TestReachedAskedOnce(t *testing.T) {
	all := []string{"a", "b", "c"}
	j := start(t, all...)
	for _, name := range all {
		say(j, name, forked)
	}
	c := await.Reached(j, all, roster.StateReady)
	var asked []string
	check := c.Check
	c.Check = func(node string) journal.Answer {
		asked = append(asked, node)
		return check(node)
	}
	ended := make(chan struct{})
	w := j.Watch(c, func() { close(ended) })
	say(j, "a", ready)
	say(j, "c", ready)
	j.Lock()
	missing := c.Missing()
	j.Unlock()
	if !slices.Equal(missing, []string{"b"}) {
		t.Errorf("it waits for %v", missing)
	}
	say(j, "b", ready)
	<-ended
	must(t, w.Err())
	if want := []string{"", "a", "c", "b"}; !slices.Equal(asked, want) {
		t.Errorf("it was asked of %q, want %q", asked, want)
	}
}

// TestReachedImpossible: the nodes that cannot come are the culprits, and the others are
// missing.
func TestReachedImpossible(t *testing.T) {
	all := []string{"a", "b", "c", "d"}
	j := start(t, all...)
	for _, name := range all {
		say(j, name, forked)
	}
	say(j, "a", ready)
	say(j, "c", crash)
	c := await.Reached(j, all, roster.StateReady)
	if got := answer(j, c); got != "impossible: c" {
		t.Error(got)
	}
	if got := c.Missing(); !slices.Equal(got, []string{"b", "d"}) {
		t.Errorf("%v are missing", got)
	}
	say(j, "c", forked) // it has another chance
	if got := answer(j, c); got != "waits" {
		t.Error(got)
	}
	for _, name := range all[1:] {
		say(j, name, ready)
	}
	if got := answer(j, c); got != "met" {
		t.Error(got)
	}
}

// TestCounted: the largest count that a node has reported is compared.
func TestCounted(t *testing.T) {
	count := func(n int64) event.Detail { return sent("/count", "n", n) }
	for _, test := range []struct {
		atLeast int64
		said    []event.Detail
		want    string
		found   int64
	}{
		{1, nil, "n: cannot await anything of it: it has not been forked", 0},
		{0, []event.Detail{forked}, "met", 0},
		{5, []event.Detail{forked, ready, count(4)}, "waits", 4},
		{5, []event.Detail{forked, ready, count(7), count(3)}, "met", 7},
		{5, []event.Detail{forked, ready, count(5), crash}, "met", 5},
		{5, []event.Detail{forked, ready, count(4), done}, "impossible: n", 4},
		{5, []event.Detail{forked, ready, count(4), crash}, "impossible: n", 4},
		{5, []event.Detail{forked, ready, count(4), event.Lost{}}, "impossible: n", 4},
		{5, []event.Detail{forked, ready, count(9), crash, forked}, "waits", 0},
	} {
		j := start(t, "n")
		say(j, "n", test.said...)
		c, found := await.Counted(j, "n", test.atLeast)
		if got := answer(j, c); got != test.want || found() != test.found {
			t.Errorf("%d after %v: %s with %d, want %s with %d", test.atLeast, test.said, got, found(), test.want, test.found)
		}
	}
}

// TestMessageFrom: each wait finds the first message of the present incarnation that no
// other has found.
func TestMessageFrom(t *testing.T) {
	j := start(t, "n", "m")
	next := func(address string, sinceNow bool) (string, any) {
		c, found := await.MessageFrom(j, "n", address, sinceNow)
		text := answer(j, c)
		if text != "met" {
			return text, nil
		}
		return text, found().Args[0]
	}
	if got, _ := next("/x", false); got != "n: cannot await anything of it: it has not been forked" {
		t.Error(got)
	}
	say(j, "n", forked, sent("/x", "a"), sent("/y", "b"), sent("/x", "c"))
	say(j, "m", forked, sent("/x", "of another"))
	for _, want := range []any{"a", "c", nil} {
		if _, got := next("/x", false); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	c, found := await.MessageFrom(j, "n", "/y", true)
	if got := answer(j, c); got != "waits" {
		t.Errorf("of what was said before: %s", got)
	}
	say(j, "n", sent("/y", "d"))
	if got := answer(j, c); got != "met" || found().Args[0] != "d" {
		t.Errorf("of what is said now: %s, %v", got, found())
	}
	say(j, "n", sent("/z", "last"), crash)
	if got, m := next("/z", false); got != "met" || m != "last" {
		t.Errorf("of one that has exited since: %s, %v", got, m)
	}
	if got, _ := next("/z", false); got != "impossible: n" {
		t.Error(got)
	}
	say(j, "n", forked)
	if got, _ := next("/x", false); got != "waits" {
		t.Errorf("of a new incarnation: %s", got)
	}
	say(j, "n", event.Lost{})
	if got, _ := next("/x", false); got != "impossible: n" {
		t.Errorf("of one that is lost: %s", got)
	}
}

// TestGivenUp: a wait that was met and given up leaves the message to the next one,
// also to one that waits already.
func TestGivenUp(t *testing.T) {
	j := start(t, "n")
	say(j, "n", forked)
	watch := func() (*journal.Watch, func() roster.Message, chan struct{}) {
		c, found := await.MessageFrom(j, "n", "/x", false)
		ended := make(chan struct{})
		return j.Watch(c, func() { close(ended) }), found, ended
	}
	first, _, one := watch()
	second, foundSecond, two := watch()
	third, foundThird, three := watch()
	say(j, "n", sent("/x", int32(1)))
	say(j, "n", sent("/x", int32(2)))
	<-one
	<-two
	first.Stop()
	<-three
	must(t, second.Err())
	must(t, third.Err())
	if a, b := foundSecond().Args[0], foundThird().Args[0]; a != int32(2) || b != int32(1) {
		t.Errorf("the second found %v, the third %v", a, b)
	}
	second.Stop() // too late
	say(j, "n", sent("/x", int32(3)))
	c, found := await.MessageFrom(j, "n", "/x", false)
	must(t, j.Await(c))
	if m := found(); m.Args[0] != int32(3) {
		t.Errorf("%v", m)
	}
}

// TestMessages: what a node has sent is listed as it was sent, from the disk too, and
// of the present incarnation alone.
func TestMessages(t *testing.T) {
	j := start(t, "n", "m")
	if _, err := await.Messages(j, "nobody", ""); err == nil || !strings.Contains(err.Error(), "no such node") {
		t.Errorf("%v", err)
	}
	say(j, "n", forked, sent("/x", "of the first"), crash, forked)
	odd := []any{int32(1), math.Inf(1), "\xff", []byte{1}, osc.Symbol("s"), osc.Array{int32(1)}}
	packet, err := osc.Append(nil, osc.NewMessage("/odd", odd...))
	must(t, err)
	say(j, "n", event.Received{Address: "/odd", Args: odd, Packet: packet})
	const count = 5000
	for i := range count {
		say(j, "n", sent("/x", int32(i)))
		say(j, "m", sent("/x", "of another"))
	}
	all, err := await.Messages(j, "n", "")
	if err != nil || len(all) != count+1 || !reflect.DeepEqual(all[0].Args, odd) {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	some, err := await.Messages(j, "n", "/x")
	if err != nil || !reflect.DeepEqual(some, all[1:]) {
		t.Errorf("%d messages to /x, %v", len(some), err)
	}
	for i, m := range some {
		if m.Args[0] != int32(i) {
			t.Fatalf("message %d is %v", i, m)
		}
	}
}

// TestMessagesUnreadable: that the log cannot be read back is said by who needs what is
// in it, and a wait ends at once.
func TestMessagesUnreadable(t *testing.T) {
	j := start(t, "n")
	gone := errors.New("the disk is gone")
	j.Lock()
	j.Write(event.NewWriter(io.Discard), func() (journal.File, error) { return nil, gone })
	j.Unlock()
	say(j, "n", forked)
	for range 5000 {
		say(j, "n", sent("/x", "y"))
	}
	if _, err := await.Messages(j, "n", "/x"); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	c, _ := await.MessageFrom(j, "n", "/x", false)
	if err := j.Await(c); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// TestElapsedAndChange: a sleep is met by its deadline, and a change by any event or by
// its deadline; neither is in the log.
func TestElapsedAndChange(t *testing.T) {
	j := start(t, "n")
	must(t, j.Await(await.Elapsed(0)))
	must(t, j.Await(await.Change(j, 0)))
	ended := make(chan struct{})
	w := j.Watch(await.Change(j, time.Hour), func() { close(ended) })
	select {
	case <-ended:
		t.Error("nothing has changed")
	default:
	}
	say(j, "", event.Print{Text: "x"})
	<-ended
	must(t, w.Err())
	events, err := event.Collect(j.Events(0, math.MaxInt64))
	if err != nil || len(events) != 1 {
		t.Errorf("%v, %v", events, err)
	}
}

// found is a search whose every answer the test chooses.
type found struct {
	recheck         func()
	calls           bytes.Buffer
	met             bool
	over, restarted bool
	err, lost       error
	written         string // is found by ReadNow and Finish
}

func (f *found) Follow(recheck func()) { f.recheck = recheck }
func (f *found) Met() bool             { return f.met }
func (f *found) Over() (bool, bool)    { return f.over, f.restarted }
func (f *found) Err() error            { return f.err }
func (f *found) Stop()                 { f.calls.WriteString("stop ") }
func (f *found) Finish() {
	f.calls.WriteString("finish ")
	if f.met = f.met || f.written == "read"; !f.met {
		f.err = f.lost
	}
}

func (f *found) readNow() {
	f.calls.WriteString("read ")
	if f.written != "" {
		f.written = "read"
	}
}

func (f *found) await(j *journal.Journal) journal.Condition {
	return await.OutputFrom(j, "n", await.Output{What: "output up", Search: f, ReadNow: f.readNow})
}

// TestOutputFrom: a line that was found counts, whatever became of the node.
func TestOutputFrom(t *testing.T) {
	for _, test := range []struct {
		found found
		said  []event.Detail
		want  string
	}{
		{found{met: true}, nil, "n: cannot await anything of it: it has not been forked"},
		{found{}, []event.Detail{forked}, "waits"},
		{found{met: true, over: true, restarted: true}, []event.Detail{forked}, "met"},
		{found{met: true, over: true}, []event.Detail{forked, crash}, "met"},
		{found{err: errors.New("cannot read")}, []event.Detail{forked}, "output up: log of n: cannot read"},
		{found{over: true}, []event.Detail{forked}, "waits"}, // until its exit is logged
		{found{over: true}, []event.Detail{forked, crash}, "impossible: n"},
		{found{over: true, restarted: true}, []event.Detail{forked}, "impossible: n"},
		{found{}, []event.Detail{forked, event.Lost{}}, "waits"}, // it may write all the same
	} {
		j := start(t, "n")
		say(j, "n", test.said...)
		f := test.found
		if got := answer(j, f.await(j)); got != test.want {
			t.Errorf("%+v after %v: %s, want %s", test.found, test.said, got, test.want)
		}
	}
}

// TestOutputFromLate: at the deadline what was written before it is read, and then
// looked at; that some is lost is why nothing was found, and not where something was.
func TestOutputFromLate(t *testing.T) {
	full := errors.New("disk full")
	for _, test := range []struct {
		found found
		want  string // of the error
		calls string
	}{
		{found{}, "output up: not within 1ms: missing n (forked; it has not phoned home)", "read finish stop "},
		{found{written: "up"}, "", "read finish "},
		{found{lost: full}, "output up: log of n: disk full", "read finish stop "},
		{found{written: "up", lost: full}, "", "read finish "},
	} {
		j := start(t, "n")
		say(j, "n", forked)
		f := test.found
		c := f.await(j)
		c.Timeout = time.Millisecond
		text := ""
		if err := j.Await(c); err != nil {
			text = err.Error()
		}
		if text != test.want || f.calls.String() != test.calls {
			t.Errorf("%+v: %q after %s, want %q after %s", test.found, text, &f.calls, test.want, test.calls)
		}
	}
}

// TestOutputFromRechecks: what the search finds ends the wait, without an event.
func TestOutputFromRechecks(t *testing.T) {
	j := start(t, "n")
	say(j, "n", forked)
	f := &found{}
	ended := make(chan struct{})
	w := j.Watch(f.await(j), func() { close(ended) })
	j.Lock()
	f.met = true
	j.Unlock()
	f.recheck()
	<-ended
	must(t, w.Err())
}

// BenchmarkAwaitBehind awaits a message behind many that are not awaited.
func BenchmarkAwaitBehind(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			j := start(b, "n")
			say(j, "n", forked)
			for at := 0; at < n; at += 1000 {
				j.Lock()
				for i := range 1000 {
					j.Append("n", sent("/progress", int32(i)))
				}
				j.Unlock()
			}
			b.ResetTimer()
			for i := range b.N {
				say(j, "n", sent("/total", int32(i)))
				c, _ := await.MessageFrom(j, "n", "/total", false)
				must(b, j.Await(c))
			}
		})
	}
}
