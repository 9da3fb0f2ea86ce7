package task

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/clock"
)

// scheduled runs body as the first task of a group. trace is what it has to give back.
func scheduled(t *testing.T, ctx context.Context, body func(x *Task, trace *[]string)) []string {
	t.Helper()
	c := clock.New()
	defer c.Close()
	s := New(c)
	var trace []string
	if err := s.Run(ctx, "main", time.Minute, nil, nobody{}, func(x *Task) { body(x, &trace) }); err != nil {
		t.Error(err)
	}
	if !s.Close(time.Minute) {
		t.Error("goroutines are left")
	}
	return trace
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestApply: nobody goes on while a fault is being applied, but who waited for what is
// no task's doing; and script time does not pass.
func TestApply(t *testing.T) {
	heard, applied := make(chan func(), 1), make(chan struct{})
	got := scheduled(t, t.Context(), func(x *Task, trace *[]string) {
		say := func(what string) { *trace = append(*trace, what) }
		x.Spawn(0, nobody{}, func(x *Task) {
			x.Wait(func(wake func()) { heard <- wake })
			say("heard")
			close(applied)
		})
		x.Sleep(0)
		x.Spawn(0, nobody{}, func(*Task) { say("spawned") })
		before := x.Now()
		err := x.Apply(func() (func(context.Context) error, error) {
			return func(context.Context) error {
				(<-heard)()
				<-applied
				return errors.New("it failed")
			}, nil
		})
		say(err.Error())
		if now := x.Now(); now != before {
			t.Errorf("applying took %s", now-before)
		}
		x.Sleep(0)
		err = x.Apply(func() (func(context.Context) error, error) { return nil, errors.New("no plan") })
		say(err.Error())
	})
	expect(t, got, "heard", "it failed", "spawned", "no plan")
}

// TestCancelled: a task that is cancelled ends in its wait, or before it begins, and one
// that applies a fault when that is done.
func TestCancelled(t *testing.T) {
	why := errors.New("cancelled")
	got := scheduled(t, t.Context(), func(x *Task, trace *[]string) {
		say := func(what string, err error) { *trace = append(*trace, what+": "+err.Error()) }
		sleeping := x.Spawn(0, nobody{}, func(x *Task) { say("sleeps", x.Sleep(time.Hour)) })
		waiting := x.Spawn(0, nobody{}, func(x *Task) { say("waits", x.Wait(func(func()) {})) })
		doing := x.Spawn(0, nobody{}, func(x *Task) {
			say("does", x.While(func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}))
		})
		joining := x.Spawn(0, nobody{}, func(x *Task) { _, err := x.Join(sleeping, time.Hour); say("joins", err) })
		x.Sleep(0)
		begins := x.Spawn(time.Hour, nobody{}, func(x *Task) { say("begins", x.Err()) })
		for _, other := range []*Task{joining, doing, waiting, begins, sleeping} {
			other.Cancel(why)
			other.Cancel(errors.New("once more"))
		}
		for _, other := range []*Task{joining, doing, waiting, begins, sleeping} {
			if over, err := x.Join(other, time.Hour); !over || err != nil || other.Cancelled() != why {
				t.Errorf("%s: over %v, %v, %v", other.Path(), over, err, other.Cancelled())
			}
		}
		x.Cancel(why)
		say("itself", x.Sleep(0))
		say("applies", x.Apply(nil))
	})
	expect(t, got, "joins: cancelled", "does: cancelled", "waits: cancelled", "begins: cancelled", "sleeps: cancelled",
		"itself: cancelled", "applies: cancelled")
}

// TestCancelledWhileApplying: the fault is applied all the same.
func TestCancelledWhileApplying(t *testing.T) {
	why, done := errors.New("cancelled"), false
	go1 := make(chan func(), 1)
	got := scheduled(t, t.Context(), func(x *Task, trace *[]string) {
		planned := make(chan struct{})
		var harm *Task
		x.Spawn(0, nobody{}, func(x *Task) {
			x.Wait(func(wake func()) { go1 <- wake })
			harm.Cancel(why)
			close(planned)
		})
		harm = x.Spawn(0, nobody{}, func(x *Task) {
			err := x.Apply(func() (func(context.Context) error, error) {
				return func(context.Context) error {
					(<-go1)()
					<-planned
					done = true
					return nil
				}, nil
			})
			*trace = append(*trace, err.Error())
		})
		x.Join(harm, time.Hour)
	})
	expect(t, got, "cancelled")
	if !done {
		t.Error("it was not applied")
	}
}

// TestBriefly: what is done at once lets nobody run; what lasts does.
func TestBriefly(t *testing.T) {
	got := scheduled(t, t.Context(), func(x *Task, trace *[]string) {
		x.Spawn(0, nobody{}, func(*Task) { *trace = append(*trace, "another") })
		before := x.Now()
		x.Briefly(func(context.Context) error { return nil })
		if x.Now() != before {
			t.Error("script time passed")
		}
		*trace = append(*trace, "at once")
		other := make(chan struct{})
		x.Spawn(0, nobody{}, func(*Task) { close(other) })
		err := x.Briefly(func(context.Context) error { <-other; return errors.New("at last") })
		*trace = append(*trace, err.Error())
	})
	expect(t, got, "at once", "another", "at last")
}

// TestLimit: a wait within others ends at the first of their limits, the outer one of
// two at the same time, and one that would have ended by then does not.
func TestLimit(t *testing.T) {
	scheduled(t, t.Context(), func(x *Task, _ *[]string) {
		outer, liftOuter := x.Limit(20 * time.Millisecond)
		inner, liftInner := x.Limit(10 * time.Millisecond)
		same, liftSame := x.Limit(10 * time.Millisecond)
		began := x.Now()
		for _, wait := range []struct {
			name string
			wait func() error
			want error
			at   time.Duration
		}{
			{"a short one", func() error { return x.Sleep(4 * time.Millisecond) }, nil, 4 * time.Millisecond},
			{"one that ends with it", func() error { return x.Sleep(6 * time.Millisecond) }, nil, 10 * time.Millisecond},
			{"a sleep", func() error { return x.Sleep(time.Hour) }, inner, 10 * time.Millisecond},
			{"a wait", func() error { return x.Wait(func(func()) {}) }, inner, 10 * time.Millisecond},
			{"a join", func() error {
				_, err := x.Join(x.Spawn(time.Hour, nobody{}, func(*Task) {}), time.Hour)
				return err
			}, inner, 10 * time.Millisecond},
		} {
			if err := wait.wait(); err != wait.want || x.Now()-began != wait.at {
				t.Errorf("%s: %v after %s", wait.name, err, x.Now()-began)
			}
		}
		if x.Cut() != inner {
			t.Error("another has cut a wait short")
		}
		liftSame()
		liftInner()
		if x.Cut() != nil || same.cut {
			t.Error("what was lifted holds")
		}
		err := x.While(func(ctx context.Context) error { <-ctx.Done(); return nil })
		if err != outer || x.Now()-began != 20*time.Millisecond {
			t.Errorf("%v after %s", err, x.Now()-began)
		}
		liftOuter()
		if err := x.Sleep(time.Millisecond); err != nil {
			t.Error(err)
		}
	})
}

// TestGroupEnds: when a group is to end, all its waits end with the cause.
func TestGroupEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the end")
	got := scheduled(t, ctx, func(x *Task, trace *[]string) {
		say := func(what string, err error) { *trace = append(*trace, what+": "+err.Error()) }
		x.Spawn(0, nobody{}, func(x *Task) { say("sleeps", x.Sleep(time.Hour)) })
		x.Spawn(0, nobody{}, func(x *Task) {
			say("applies", x.Apply(func() (func(context.Context) error, error) {
				return func(ctx context.Context) error {
					cancel(cause)
					<-ctx.Done()
					return nil
				}, nil
			}))
		})
		x.Spawn(time.Hour, nobody{}, func(x *Task) { say("begins", x.Err()) })
		say("waits", x.Wait(func(func()) {}))
		say("waits again", x.Wait(func(func()) {}))
	})
	slices.Sort(got)
	expect(t, got, "applies: the end", "begins: the end", "sleeps: the end", "waits again: the end", "waits: the end")
}

// TestEndKeepsOrder: the end of a group leaves a task in its place whose fault has just
// been applied, before those of others.
func TestEndKeepsOrder(t *testing.T) {
	c := clock.New()
	defer c.Close()
	s := New(c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ends := &Group{ctx: ctx, tasks: map[*Task]bool{}}
	applied, other := s.task(ends, "applied", nobody{}, nil), s.task(&Group{ctx: t.Context()}, "other", nobody{}, nil)
	ends.tasks[applied] = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = other // nobody goes on meanwhile
	s.enter(applied, s.now, applies)
	applied.unready = false
	s.enter(other, s.now, applies)
	ends.end()
	if s.line[0] != applied || s.line.Less(1, 0) {
		t.Error("the task has lost its place")
	}
}

// TestStuck: a task that does not come back is left, and those that wait end.
func TestStuck(t *testing.T) {
	for name, hurried := range map[string]bool{"after a while": false, "in a hurry": true} {
		c := clock.New()
		s := New(c)
		ctx, cancel := context.WithCancelCause(t.Context())
		back, hurry := make(chan struct{}), make(chan struct{})
		others := make(chan error, 1)
		patience := time.Millisecond
		if hurried {
			patience = time.Hour
			close(hurry)
		}
		var stuckIn *Task
		err := s.Run(ctx, "main", patience, hurry, nobody{}, func(x *Task) {
			x.Spawn(0, nobody{}, func(x *Task) { others <- x.Sleep(time.Hour) })
			x.Spawn(time.Hour, nobody{}, func(x *Task) { t.Error("it began") })
			x.Sleep(time.Millisecond)
			stuckIn = x.Spawn(0, nobody{}, func(*Task) {
				cancel(errors.New("the end"))
				<-back
			})
			x.Sleep(time.Hour)
		})
		var stuck *StuckError
		if !errors.As(err, &stuck) || stuck.Task != stuckIn {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-others; err == nil || err.Error() != "the end" {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Run(t.Context(), "more", time.Hour, nil, nobody{}, func(*Task) { t.Error("it ran") }); !errors.As(err, &stuck) {
			t.Errorf("%s: %v", name, err)
		}
		if !s.Close(time.Minute) {
			t.Errorf("%s: goroutines are left", name)
		}
		close(back)
		c.Close()
	}
}

// TestForgotten: what was given to While may forget to end; Close does not.
func TestForgotten(t *testing.T) {
	c := clock.New()
	defer c.Close()
	s := New(c)
	ctx, cancel := context.WithCancel(t.Context())
	forgotten := make(chan struct{})
	s.Run(ctx, "main", time.Minute, nil, nobody{}, func(x *Task) {
		x.While(func(context.Context) error {
			cancel()
			<-forgotten
			return nil
		})
	})
	if s.Close(time.Millisecond) {
		t.Error("nothing is left")
	}
	close(forgotten)
	if !s.Close(time.Minute) {
		t.Error("something is left")
	}
}
