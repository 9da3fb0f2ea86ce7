package runtime

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// gated is a driver that calls before with the node's name before it starts a
// process, and after when it has.
type gated struct {
	process.Driver
	before, after func(name string)
}

func (g gated) Start(s process.Spec) (process.Process, error) {
	name := ""
	for _, v := range s.Env {
		if n, ok := strings.CutPrefix(v, "DAGON_NAME="); ok {
			name = n
		}
	}
	if g.before != nil {
		g.before(name)
	}
	p, err := g.Driver.Start(s)
	if g.after != nil {
		g.after(name)
	}
	return p, err
}

// witness is a driver that keeps the token of the process that was started last.
type witness struct {
	process.Driver
	token string
}

func (w *witness) Start(s process.Spec) (process.Process, error) {
	w.token = strings.TrimPrefix(s.Tag, "DAGON_TOKEN=")
	return w.Driver.Start(s)
}

func driver(t *testing.T) process.Driver {
	t.Helper()
	d, err := process.New(process.Options{Run: "test"})
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// forked are the nodes whose forks are in the log, in its order.
func forked(events []event.Event) (names []string) {
	for _, e := range events {
		if e.Kind() == event.KindForked {
			names = append(names, e.Node)
		}
	}
	return names
}

// TestForkAllInOrder: nodes are started side by side, and each is heard only when its
// fork, and those of the ones before it, are in the log.
func TestForkAllInOrder(t *testing.T) {
	started := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{}), "c": make(chan struct{})}
	awaits := map[string]string{"a": "b", "b": "c"} // so that they are started in the other order
	d := gated{Driver: driver(t), before: func(name string) {
		if other := awaits[name]; other != "" {
			<-started[other]
		}
	}, after: func(name string) { close(started[name]) }}
	r := begin(t, Config{Topology: ini(t, "a", "b", "c"), Driver: d})
	all := []string{"a", "b", "c"}
	must(t, r.ForkAll(t.Context(), all, ForkOptions{}))
	must(t, r.Wait(r.Reached(all, StateReady)))
	if got := forked(collect(t, r.Events())); !slices.Equal(got, all) {
		t.Errorf("forked %v, want %v", got, all)
	}
	isForked := map[string]bool{}
	for _, e := range collect(t, r.Events()) {
		switch {
		case e.Kind() == event.KindForked:
			isForked[e.Node] = true
		case e.Node != "" && e.Kind() != event.KindListening && !isForked[e.Node]:
			t.Errorf("%s of %s came before its fork", e.Kind(), e.Node)
		}
	}
	must(t, second(r.End(nil)))
}

// TestForkAllFails: the first node of the list that cannot be forked is the error, and
// those before it have been forked; but none of a list that is wrong itself.
func TestForkAllFails(t *testing.T) {
	top := ini(t, "a", "b", "c", "gone", "d")
	top.Node("gone").Path = t.TempDir() + "/no such program"
	r := begin(t, Config{Topology: top})
	var state *StateError
	var start *process.StartError
	must(t, r.Fork("c", ForkOptions{}))
	for _, test := range []struct {
		names []string
		is    any
		says  string
		want  []string
	}{
		{[]string{"a", "c", "b"}, &state, "c: cannot fork it: it runs already, as pid", []string{"c", "a"}},
		{[]string{"b", "nobody"}, &state, "nobody: no such node", []string{"c", "a"}},
		{[]string{"d", "d", "gone"}, &state, "d: cannot fork it: it is named twice", []string{"c", "a"}},
		{[]string{"gone", "a"}, &start, "gone: cannot start", []string{"c", "a"}},
		{nil, nil, "", []string{"c", "a"}},
	} {
		err := r.ForkAll(t.Context(), test.names, ForkOptions{})
		if test.is == nil {
			must(t, err)
		} else if err == nil || !errors.As(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v, want %q", test.names, err, test.says)
		}
		if got := forked(collect(t, r.Events())); !slices.Equal(got, test.want) {
			t.Errorf("%v: forked %v, want %v", test.names, got, test.want)
		}
	}
	must(t, second(r.End(nil)))
}

// TestForkAllEndsAtOnce: when the run's work is aborted nothing more is started, what
// is being started is not waited for, and it is ended with all others.
func TestForkAllEndsAtOnce(t *testing.T) {
	var specs []string
	for i := range 5 * startersAtOnce {
		specs = append(specs, fmt.Sprintf("n%d", i))
	}
	var begun atomic.Int32
	held, release := make(chan struct{}, len(specs)), make(chan struct{})
	d := gated{Driver: driver(t), before: func(name string) {
		if begun.Add(1); name != "n0" {
			held <- struct{}{}
			<-release
		}
	}}
	r := begin(t, Config{Topology: ini(t, specs...), Driver: d})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error)
	go func() { result <- r.ForkAll(ctx, specs, ForkOptions{}) }()
	for range startersAtOnce {
		<-held
	}
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("%v, want %v", err, cause)
	}
	var state *StateError
	if err := r.Fork("n1", ForkOptions{}); !errors.As(err, &state) || !strings.Contains(err.Error(), "is being forked") {
		t.Errorf("a second fork of a node that is being forked: %v", err)
	}
	go close(release)
	end, err := r.End(nil)
	must(t, err)
	if end.Outcome != Passed || len(end.LeftBehind) > 0 {
		t.Errorf("%s: %s", end.Outcome, end.Reason)
	}
	exited := 0
	for _, e := range collect(t, end.Events()) {
		if e.Kind() == event.KindExited {
			exited++
		}
	}
	if n := len(forked(collect(t, end.Events()))); n != int(begun.Load()) || n > 1+startersAtOnce || n != exited {
		t.Errorf("%d were started, %d of %d forked, %d exited", begun.Load(), n, len(specs), exited)
	}
}

func collect(t testing.TB, all iter.Seq2[event.Event, error]) []event.Event {
	t.Helper()
	events, err := event.Collect(all)
	must(t, err)
	return events
}
