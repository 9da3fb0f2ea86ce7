package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// book is the book of a run of two nodes.
func book(t *testing.T) (*journal.Journal, *fault.Book) {
	t.Helper()
	j := journal.New(journal.Options{
		Roster:  roster.New([]string{"a", "b"}, func(string) bool { return false }),
		Elapsed: func() time.Duration { return 0 }, Timeout: time.Minute,
		Ended: func() error { return nil }, Failed: func(err error) { t.Error(err) }, Tail: func(string, int) []string { return nil },
	})
	j.Write(event.NewWriter(io.Discard), nil)
	return j, fault.NewBook(j)
}

// deed is a fault that does what it is told.
type deed struct {
	begun, goOn chan struct{} // begun is closed when it is applied, which ends when goOn is closed
	err         error
	reach       fault.Reach
	touched     event.Touched
	healed      []string
}

func (d *deed) Apply(ctx context.Context) (fault.Reach, error) {
	if d.begun != nil {
		close(d.begun)
		select {
		case <-d.goOn:
		case <-ctx.Done():
			return fault.Reach{}, context.Cause(ctx)
		}
	}
	return d.reach, d.err
}
func (d *deed) Heal(nodes []string) error {
	d.healed = append(d.healed, nodes...)
	return nil
}
func (d *deed) Touched() event.Touched { return d.touched }

func plan(j *journal.Journal, b *fault.Book, p fault.Plan, d *deed) *fault.Step {
	j.Lock()
	defer j.Unlock()
	return b.Plan(p, d)
}

// lives is what a log tells of faults, a word an event.
func lives(j *journal.Journal) string {
	var words []string
	for e := range j.Events(0, math.MaxInt64) {
		switch d := e.Detail.(type) {
		case event.Scheduled:
			words = append(words, fmt.Sprint("scheduled ", d.ID))
		case event.Fired:
			words = append(words, fmt.Sprint("fired ", d.ID))
		case event.FaultPlanned:
			words = append(words, fmt.Sprint("planned ", d.ID))
		case event.FaultApplied:
			words = append(words, fmt.Sprint("applied ", d.ID))
		case event.FaultTouched:
			words = append(words, fmt.Sprint("touched ", d.ID))
		case event.FaultHealed:
			words = append(words, fmt.Sprint("healed ", d.ID))
		case event.Abandoned:
			words = append(words, fmt.Sprint("abandoned ", d.ID, " by ", d.By))
		}
	}
	return strings.Join(words, ", ")
}

func expect(t *testing.T, j *journal.Journal, want string) {
	t.Helper()
	if got := lives(j); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

var (
	both    = []string{"a", "b"}
	lasting = fault.Plan{What: "pause", Nodes: both, Lasting: true}
	reached = fault.Reach{To: both}
	some    = event.Touched{Processes: 2}
)

// TestLife is the life of a fault that stays in force, from its plan to its end.
func TestLife(t *testing.T) {
	j, b := book(t)
	d := &deed{reach: reached, touched: some}
	step := plan(j, b, lasting, d)
	if err := step.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	life := step.Life()
	if !step.Lasting() || !slices.Equal(life.Nodes(), both) {
		t.Errorf("%v is in force on %v", life.What, life.Nodes())
	}
	for range 2 { // once more does nothing
		if err := life.Heal().Do(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(d.healed, both) || len(life.Nodes()) != 0 {
		t.Errorf("healed %v, in force on %v", d.healed, life.Nodes())
	}
	if err := step.Do(context.Background()); err == nil {
		t.Error("it was done twice")
	}
	expect(t, j, "planned 1, applied 1, touched 1, healed 1")
}

// TestTurns: steps that change what is in force are done in the order of their
// plans, whoever does them when.
func TestTurns(t *testing.T) {
	j, b := book(t)
	first := &deed{reach: reached, touched: some, begun: make(chan struct{}), goOn: make(chan struct{})}
	second := &deed{reach: reached, touched: some, begun: make(chan struct{}), goOn: make(chan struct{})}
	one, two := plan(j, b, lasting, first), plan(j, b, lasting, second)
	heal := one.Life().Heal()
	done := make(chan string, 3)
	for name, step := range map[string]*fault.Step{"heal": heal, "two": two, "one": one} {
		go func() { done <- fmt.Sprint(name, step.Do(context.Background())) }()
	}
	<-first.begun
	select {
	case <-second.begun:
		t.Error("the second was done before the first")
	case name := <-done:
		t.Error(name)
	default:
	}
	close(first.goOn)
	<-second.begun
	close(second.goOn)
	for range 3 {
		if got := <-done; !strings.HasSuffix(got, "<nil>") {
			t.Error(got)
		}
	}
	expect(t, j, "planned 1, planned 2, applied 1, touched 1, applied 2, touched 2, healed 1")
}

// TestGivenUp: a step whose context is done before its turn has come is given up,
// and holds up nobody; so is one that is dropped, at the end of the run.
func TestGivenUp(t *testing.T) {
	j, b := book(t)
	dropped := plan(j, b, lasting, &deed{reach: reached, touched: some})
	byScript, cancel := context.WithCancelCause(context.Background())
	cancel(fault.ErrGivenUp)
	byEnd, stop := context.WithCancelCause(context.Background())
	stop(errors.New("the run is over"))
	for _, ctx := range []context.Context{byScript, byEnd} {
		if err := plan(j, b, lasting, &deed{}).Do(ctx); err != context.Cause(ctx) {
			t.Errorf("%v", err)
		}
	}
	plan(j, b, fault.Plan{What: "kill", Nodes: both}, &deed{}).GiveUp(errors.New("not needed"))
	if err := b.End(context.Background(), errors.New("the run has ended")); err != nil {
		t.Error(err)
	}
	if err := dropped.Do(context.Background()); err == nil {
		t.Error("it was done after the end")
	}
	expect(t, j, "planned 1, planned 2, abandoned 2 by script, planned 3, abandoned 3 by end, planned 4, abandoned 4 "+
		"by script, abandoned 1 by end")
}

// TestForgottenStep: who waits behind a step that nobody does waits no longer than it likes,
// and no longer than the work that both are part of.
func TestForgottenStep(t *testing.T) {
	j, b := book(t)
	forgotten := plan(j, b, lasting, &deed{reach: reached, touched: some})
	late, tooLate := make(chan struct{}), errors.New("too late")
	close(late)
	if err := plan(j, b, lasting, &deed{}).DoInTime(context.Background(), late, tooLate); err != tooLate {
		t.Errorf("%v", err)
	}
	done, ended := make(chan error), errors.New("the work has ended")
	second := plan(j, b, lasting, &deed{})
	go func() { done <- second.Do(context.Background()) }()
	j.Lock()
	b.GiveUp(ended)
	j.Unlock()
	for _, err := range []error{<-done, second.Do(context.Background()), forgotten.Do(context.Background())} {
		if err != ended {
			t.Errorf("%v", err)
		}
	}
	// Whose turn it is does it, however late.
	if err := plan(j, b, lasting, &deed{reach: reached, touched: some}).DoInTime(context.Background(), late, tooLate); err != nil {
		t.Error(err)
	}
	expect(t, j, "planned 1, planned 2, abandoned 2 by script, planned 3, abandoned 1 by end, abandoned 3 by end, "+
		"planned 4, applied 4, touched 4")
}

// TestFails: a fault that cannot be applied is undone, and abandoned. The script,
// which is told by the error, is who gave it up.
func TestFails(t *testing.T) {
	j, b := book(t)
	d := &deed{err: errors.New("no")}
	if err := plan(j, b, lasting, d).Do(context.Background()); err == nil || !slices.Equal(d.healed, both) {
		t.Errorf("%v, healed %v", err, d.healed)
	}
	expect(t, j, "planned 1, abandoned 1 by script")
}

// TestEnd closes all lives: what is being done is cut off by its context, what is
// in force is healed, what was scheduled and did not fire is given up.
func TestEnd(t *testing.T) {
	j, b := book(t)
	scheduled := b.Schedule("after(…, kill)", "x.star:1:1")
	fired := b.Schedule("every(…, kill)", "x.star:2:1")
	fired.Fire()
	fired.Fire()
	cancelled := b.Schedule("spawn(kill)", "")
	cancelled.Cancel()
	cancelled.Fire()
	forced := &deed{reach: fault.Reach{To: both[:1], Dead: both[1:]}, touched: some}
	if err := plan(j, b, lasting, forced).Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	stuck := &deed{begun: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.Background())
	over := make(chan error)
	go func() {
		over <- plan(j, b, fault.Plan{What: "restart", Nodes: both}, stuck).Do(ctx)
	}()
	<-stuck.begun
	cancel(errors.New("the part of the script has ended"))
	if err := b.End(context.Background(), errors.New("the run has ended")); err != nil {
		t.Error(err)
	}
	<-over
	scheduled.Fire()
	if !slices.Equal(forced.healed, both[:1]) {
		t.Errorf("healed %v", forced.healed)
	}
	all := lives(j)
	for _, want := range []string{"abandoned 1 by end", "fired 2", "abandoned 3 by script", "applied 4, touched 4", "healed 4",
		"abandoned 5 by end"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("no %q, or twice, in %s", want, all)
		}
	}
	if strings.Contains(all, "fired 1") || strings.Contains(all, "fired 3") || strings.Count(all, "fired") != 1 {
		t.Error(all)
	}
}

// TestExited: a fault of processes ends with them; one of links does not.
func TestExited(t *testing.T) {
	j, b := book(t)
	for _, p := range []fault.Plan{lasting, {What: "net.delay", Nodes: both, Links: [][2]string{{"a", "b"}}, Lasting: true}} {
		if err := plan(j, b, p, &deed{reach: reached, touched: some}).Do(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	j.Lock()
	b.Exited("a")
	b.Exited("a")
	j.Unlock()
	expect(t, j, "planned 1, applied 1, touched 1, planned 2, applied 2, healed 1")
	if err := b.End(context.Background(), errors.New("the run has ended")); err != nil {
		t.Error(err)
	}
	expect(t, j, "planned 1, applied 1, touched 1, planned 2, applied 2, healed 1, touched 2, healed 2, healed 1")
}
