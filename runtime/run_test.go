package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// ini is a topology of nodes that are the test binary: "name" or "name mode".
func ini(t testing.TB, nodes ...string) *topology.Topology {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, n := range nodes {
		name, mode, _ := strings.Cut(n, " ")
		text += fmt.Sprintf("[%s]\npath = %s\nenv.MODE = %s\n", name, own, mode)
	}
	top, err := topology.Parse("test.ini", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	top.Settings.Timeout = time.Minute
	top.Settings.Grace = time.Minute
	top.Settings.Usage = 0 // logs are compared
	return top
}

func begin(t testing.TB, cfg Config) *Run {
	t.Helper()
	if cfg.RunsDir == "" {
		cfg.RunsDir = t.TempDir()
	}
	cfg.Settings = cfg.Topology.Settings
	cfg.Script = "test.star"
	r, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.End(nil) })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLifecycle holds the event log of one node's life.
func TestLifecycle(t *testing.T) {
	var mu sync.Mutex
	var observed []event.Event
	r := begin(t, Config{Topology: ini(t, "worker-1"), Seed: 7, Observer: func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		observed = append(observed, e)
	}})
	one := []string{"worker-1"}
	must(t, r.Fork("worker-1", ForkOptions{Args: []string{"-v"}, Env: map[string]string{"COLOUR": "blue"}}))
	must(t, r.Wait(r.Reached(one, StateReady)))
	must(t, r.Send("worker-1", osc.NewMessage("/start")))
	must(t, r.Wait(r.Reached(one, StateDone)))
	r.Print("hello")
	must(t, r.Shutdown(one))
	must(t, r.Wait(r.Reached(one, StateDoneShutdown)))
	must(t, r.Wait(r.Reached(one, StateExited)))
	must(t, r.Shutdown(one)) // of one that has: nothing
	info, _ := r.Node("worker-1")
	if info.Env["COLOUR"] != "blue" || info.Args[len(info.Args)-1] != "-v" || info.State != StateExited || *info.ExitCode != 0 ||
		info.Restarts != 0 {
		t.Errorf("%+v", info)
	}
	result, err := r.End(nil)
	must(t, err)
	if _, err := r.End(nil); !errors.Is(err, ErrEnded) {
		t.Errorf("a second End: %v", err)
	}
	if err := r.Fork("worker-1", ForkOptions{}); !errors.Is(err, ErrEnded) {
		t.Errorf("a fork after the end: %v", err)
	}
	if err := r.Wait(Elapsed(time.Hour)); !errors.Is(err, ErrEnded) {
		t.Errorf("a wait after the end: %v", err)
	}

	all, err := event.Collect(result.Events())
	must(t, err)
	var log bytes.Buffer
	w := event.NewWriter(&log)
	n := int64(0)
	for _, e := range all {
		switch e.Kind() {
		case event.KindAwait, event.KindAwaitEnded: // whether it began before what it awaits came is chance
		case event.KindNotice: // any run may find what a dead one of this machine has left, and says so
		default:
			e.Seq = n
			n++
			w.Write(e)
		}
	}
	own, _ := os.Executable()
	got := strings.ReplaceAll(log.String(), own, "TEST")
	for pattern, with := range map[string]string{
		`"t":[0-9.]+`: `"t":0`, `"pid":[0-9]+`: `"pid":1`, `"run":"[0-9a-f]+"`: `"run":"R"`, `127\.[0-9.]+:[0-9]+`: "HOME",
		`"(user_s|system_s|max_rss_kb|duration_s)":[0-9.e-]+`: `"$1":0`, `"rung":"[a-z]*"(,"refused":\[[^]]*\])?`: `"rung":"R"`,
		`"started_at":"[^"]*"`: `"started_at":"T"`,
	} {
		got = regexp.MustCompile(pattern).ReplaceAllString(got, with)
	}
	const golden = "testdata/lifecycle.jsonl"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	file, err := os.Open(filepath.Join(result.Folder, "events.jsonl"))
	must(t, err)
	defer file.Close()
	read, err := event.Read(file)
	must(t, err)
	if len(read) != len(all) || !event.Finished(read) {
		t.Errorf("the file has %d events, the result %d", len(read), len(all))
	}
	if !reflect.DeepEqual(observed, all) {
		t.Errorf("%d events were observed of %d", len(observed), len(all))
	}
}

// TestRefusals: a connection that is not the present incarnation's of this run
// changes nothing, and the await says why nobody came.
func TestRefusals(t *testing.T) {
	for mode, want := range map[string]string{
		"stranger": "the token is not that of node", "late": "it is incarnation 7 of node, the present one is 1",
		"other-run": `node belongs to run "another"`,
	} {
		top := ini(t, "node "+mode)
		top.Settings.Timeout = time.Minute
		r := begin(t, Config{Topology: top})
		must(t, r.Fork("node", ForkOptions{}))
		must(t, r.Wait(Condition{What: "refusal", Nodes: []string{"node"}, Check: func(string) (a journal.Answer) {
			_, a.Met, a.Err = r.j.Find(0, r.j.Next(), func(e event.Event) bool { return e.Kind() == event.KindRefused })
			return a
		}}))
		if info, _ := r.Node("node"); info.Connected {
			t.Fatalf("%s is connected", mode)
		}
		c := r.Reached([]string{"node"}, StateReady)
		c.Timeout = time.Millisecond
		var timeout *TimeoutError
		if err := r.Wait(c); !errors.As(err, &timeout) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
		must(t, second(r.End(nil)))
	}
}

func second[T any](_ T, err error) error { return err }

// TestSharedSocket: with --listen all nodes use one port, and are told apart by
// what they say.
func TestSharedSocket(t *testing.T) {
	top := ini(t, "a", "b")
	top.Settings.Listen = "127.0.0.1:0"
	r := begin(t, Config{Topology: top})
	both := []string{"a", "b"}
	for _, n := range both {
		must(t, r.Fork(n, ForkOptions{}))
	}
	must(t, r.Wait(r.Reached(both, StateReady)))
	a, _ := r.Node("a")
	b, _ := r.Node("b")
	if a.Args[len(a.Args)-1] != b.Args[len(b.Args)-1] {
		t.Errorf("%q and %q phone home to different ports", a.Args, b.Args)
	}
	must(t, r.ShutdownTopology(context.Background()))
	top.Settings.Listen = "256.0.0.1:1"
	if _, err := Start(context.Background(), Config{Topology: top, Settings: top.Settings, RunsDir: t.TempDir()}); err == nil ||
		!strings.Contains(err.Error(), "control socket") {
		t.Errorf("listening on nonsense: %v", err)
	}
}

// TestCalledAtOnce: who calls as soon as the run listens is answered, and the log begins
// with the run all the same.
func TestCalledAtOnce(t *testing.T) {
	for range 8 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		top := ini(t, "node")
		top.Settings.Listen = free.Addr().String()
		must(t, free.Close())
		var calling sync.WaitGroup
		calling.Go(func() {
			for t.Context().Err() == nil {
				c, err := net.Dial("tcp", top.Settings.Listen)
				if err != nil {
					continue
				}
				osc.NewConn(c, osc.ConnOptions{}).Send(osc.NewMessage("/ready", "node"))
				io.Copy(io.Discard, c)
				c.Close()
				return
			}
		})
		r := begin(t, Config{Topology: top})
		if reason := refusal(t, r); reason != "node is not running" {
			t.Error(reason)
		}
		calling.Wait()
		result, err := r.End(nil)
		must(t, err)
		if all := collect(t, result.Events()); all[0].Kind() != event.KindRunStarted {
			t.Errorf("the log begins with %s", all[0].Kind())
		}
	}
}

// TestCalledInVain: who calls a run that cannot be started brings nothing down.
func TestCalledInVain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	for range 8 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		top := ini(t, "node")
		top.Settings.Listen = free.Addr().String()
		must(t, free.Close())
		ctx, cancel := context.WithCancel(t.Context())
		var calling sync.WaitGroup
		calling.Go(func() {
			for ctx.Err() == nil {
				if c, err := net.Dial("tcp", top.Settings.Listen); err == nil {
					osc.NewConn(c, osc.ConnOptions{}).Send(osc.NewMessage("/ready", "node"))
					io.Copy(io.Discard, c)
					c.Close()
				}
			}
		})
		if _, err := Start(t.Context(), Config{Topology: top, Settings: top.Settings, RunsDir: file}); err == nil {
			t.Error("it was started in a folder that is a file")
		}
		cancel()
		calling.Wait()
	}
}

// TestToken: a socket that other machines reach believes nobody without the
// token, and tells nobody what was wrong.
func TestToken(t *testing.T) {
	top := ini(t, "node silent")
	top.Settings.Listen = "0.0.0.0:0"
	d := &witness{Driver: driver(t)}
	r := begin(t, Config{Topology: top, Driver: d})
	must(t, r.Fork("node", ForkOptions{}))
	token := d.token
	_, port, err := net.SplitHostPort(r.means.Shared.String())
	must(t, err)
	say := func(args ...any) net.Conn {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		must(t, err)
		t.Cleanup(func() { c.Close() })
		must(t, osc.NewConn(c, osc.ConnOptions{}).Send(osc.NewMessage("/ready", args...)))
		return c
	}
	for _, args := range [][]any{
		{"node"}, {"node", r.ID()}, {"node", r.ID(), int32(1)}, {"node", r.ID(), int32(1), ""},
		{"node", r.ID(), int32(1), token[1:]}, {"node", r.ID(), int32(1), token[1:] + "x"},
		{"nobody", r.ID(), int32(1), token}, {"node", "another", int32(1), token}, {"node", r.ID(), int32(2), token},
	} {
		if answer, err := io.ReadAll(say(args...)); len(answer) > 0 || err != nil {
			t.Errorf("%v: answered %q, %v", args, answer, err)
		}
	}
	reasons := map[string]int{}
	must(t, r.Wait(Condition{What: "refusals", Always: true, Check: func(string) journal.Answer {
		clear(reasons)
		n := 0
		_, _, err := r.j.Find(0, r.j.Next(), func(e event.Event) bool {
			if d, ok := e.Detail.(event.Refused); ok {
				reasons[d.Reason]++
				n++
			}
			return false
		})
		return journal.Answer{Met: n == 9, Err: err}
	}}))
	if reasons["the token is not that of node: DAGON_TOKEN of its environment is expected"] != 6 || len(reasons) != 4 {
		t.Errorf("%v", reasons)
	}
	say("node", r.ID(), int32(1), token)
	must(t, r.Wait(r.Reached([]string{"node"}, StateReady)))
}

// TestIncarnations: a node that is forked again is another, with messages and
// output of its own.
func TestIncarnations(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node")})
	one := []string{"node"}
	var ports []string
	for i := range 3 {
		must(t, r.Fork("node", ForkOptions{}))
		if err := r.Fork("node", ForkOptions{}); err == nil {
			t.Fatal("it was forked while it ran")
		}
		must(t, r.Wait(r.Reached(one, StateReady)))
		info, _ := r.Node("node")
		if info.Incarnation != i+1 || info.Restarts != i || info.ExitCode != nil {
			t.Errorf("%+v", info)
		}
		if sent, _ := r.Messages("node", ""); len(sent) != 1 {
			t.Errorf("messages of incarnation %d: %v", i+1, sent)
		}
		c, found := r.OutputFrom("node", regexp.MustCompile("^u(p)$"), "", OutputSince{})
		must(t, r.Wait(c))
		if found().Text != "up" || found().Stream != "out" {
			t.Errorf("%+v", found())
		}
		if out, err := r.Output("node", OutputQuery{}); err != nil || out != "up\n" {
			t.Errorf("output of incarnation %d: %q, %v", i+1, out, err)
		}
		ports = append(ports, info.Args[len(info.Args)-1])
		must(t, r.Shutdown(one))
		must(t, r.Wait(r.Reached(one, StateExited)))
	}
	if ports[0] == ports[1] || ports[1] == ports[2] {
		t.Errorf("incarnations phone home to the same port: %v", ports)
	}
}

// TestHeardOut: what a node said before it exited is heard before its exit,
// however short it lived, also where it shares a socket with others.
func TestHeardOut(t *testing.T) {
	for _, listen := range []string{"", "127.0.0.1:0"} {
		top := ini(t, "node exit-at-once")
		top.Settings.Listen = listen
		r := begin(t, Config{Topology: top})
		for range 30 {
			must(t, r.Fork("node", ForkOptions{}))
			must(t, r.Wait(r.Reached([]string{"node"}, StateExited)))
			info, _ := r.Node("node")
			if !info.WasReady || !info.WasDone || !info.Finished {
				t.Fatalf("%q: %+v", listen, info)
			}
		}
	}
}

// TestHeardOutLong: a node that has said much is heard for as long as it takes.
func TestHeardOutLong(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node talks-and-exits")})
	must(t, r.Fork("node", ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"node"}, StateExited)))
	all, err := r.Messages("node", "/word")
	if info, _ := r.Node("node"); err != nil || len(all) != manyWords || !info.Finished {
		t.Errorf("%d messages, %v, %+v", len(all), err, info)
	}
}

// TestWatch: waits end in the order in which they began, each once, and one
// that is stopped not at all.
func TestWatch(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node")})
	var mu sync.Mutex
	var order []int
	var watches []*Watch
	for i := range 5 {
		watches = append(watches, r.Watch(r.Change(time.Hour), func() {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, i)
		}))
	}
	watches[2].Stop()
	r.Print("x")
	r.Print("y")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(order, []int{0, 1, 3, 4}) {
		t.Errorf("order %v", order)
	}
	for i, w := range watches {
		if err := w.Err(); (err == nil) != (i != 2) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := r.Wait(r.Reached([]string{"nobody"}, StateReady)); err == nil || !strings.Contains(err.Error(), "no such node") {
		t.Errorf("%v", err)
	}
	if err := r.Wait(r.Reached(nil, StateReady)); err != nil {
		t.Errorf("of nobody: %v", err)
	}
	cause := errors.New("enough")
	w := r.Watch(Elapsed(time.Hour), func() {})
	r.Abort(cause)
	if err := w.Err(); err != cause {
		t.Errorf("%v", err)
	}
	if context.Cause(r.Context()) != cause {
		t.Errorf("%v", context.Cause(r.Context()))
	}
	result, err := r.End(nil)
	must(t, err)
	if result.Outcome != Failed || result.Reason != "enough" {
		t.Errorf("%+v", result.Verdict)
	}
}

// TestLogFails: an event log that cannot be written ends the run.
func TestLogFails(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node")})
	r.folder.Events.Close()
	r.Print("x")
	var failed *LogError
	if err := r.Wait(Elapsed(time.Hour)); !errors.As(err, &failed) {
		t.Errorf("%v", err)
	}
	result, err := r.End(nil)
	if err == nil || result.Outcome != Failed {
		t.Errorf("%+v, %v", result, err)
	}
}

// full is a disk on which some lines cannot be written.
type full struct{ refused string }

func (f full) Write(p []byte) (int, error) {
	if strings.Contains(string(p), f.refused) {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

// TestLogWithoutEnd: a run whose log has no end has not passed, however late the
// disk was full.
func TestLogWithoutEnd(t *testing.T) {
	for refused, want := range map[string]Outcome{`"verdict"`: Failed, `"run_finished"`: Failed, `"nothing"`: Passed} {
		var observed []string
		r := begin(t, Config{Topology: ini(t, "node"), Observer: func(e event.Event) {
			if v, ok := e.Detail.(event.Verdict); ok {
				observed = append(observed, v.Outcome)
			}
		}})
		r.j.Lock()
		r.j.Write(event.NewWriter(full{refused}), nil)
		r.j.Unlock()
		result, err := r.End(nil)
		if result.Outcome != want || (err == nil) != (want == Passed) || !slices.Equal(observed, []string{string(want)}) {
			t.Errorf("%s: %+v, %v, observed %v", refused, result.Verdict, err, observed)
		}
	}
}

// TestOutputLost: a run that lost what a node wrote has not passed.
func TestOutputLost(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node")})
	r.nodes["node"].Log.Close()
	r.nodes["node"].Log.Begin(1)
	result, err := r.End(nil)
	if err != nil || result.Outcome != Failed || !strings.HasPrefix(result.Reason, "log of node: cannot write: ") {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestListenerFails: a control socket that goes down ends the run, and says so.
func TestListenerFails(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "node")})
	w := r.Watch(Elapsed(time.Hour), func() {})
	(*handler)(r).Failed(errors.New("127.0.0.1:1 no longer listens"))
	if err := w.Err(); err == nil || err.Error() != "control socket: 127.0.0.1:1 no longer listens" {
		t.Errorf("%v", err)
	}
}

// TestForgotten: what a caller has begun and forgets hangs neither the end of the run
// nor itself after it.
func TestForgotten(t *testing.T) {
	r := begin(t, Config{Topology: ini(t, "a")})
	must(t, r.Fork("a", ForkOptions{}))
	must(t, r.Wait(r.Reached([]string{"a"}, StateReady)))
	_, err := r.Pause([]string{"a"})
	must(t, err)
	r.Schedule("pause", "")
	r.Watch(r.Reached([]string{"a"}, StateDone), func() {})
	waited := make(chan error, 2)
	go func() { waited <- r.Wait(Elapsed(time.Hour)) }()
	result, err := r.End(func(context.Context) {
		r.Watch(Elapsed(time.Hour), func() { waited <- nil })
	})
	must(t, err)
	if result.Outcome != Inconclusive {
		t.Errorf("%s: %s", result.Outcome, result.Reason)
	}
	for range 2 {
		if err := <-waited; err != nil && !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	}
}

// TestLogChanged: a run whose event log is not the one that was written has not passed,
// and says which file it is. Whoever observes it is told of the rest to its end, and if
// not of all, of that too.
func TestLogChanged(t *testing.T) {
	for what, test := range map[string]struct {
		do     func(path string) error
		missed bool
	}{
		"removed": {os.Remove, false},
		"replaced": {func(path string) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, b, 0o600))
		}, false},
		"emptied": {func(path string) error { return os.Truncate(path, 0) }, true},
	} {
		goOn := make(chan struct{})
		var seqs []int64
		r := begin(t, Config{Topology: ini(t, "node"), Observer: func(e event.Event) {
			<-goOn
			seqs = append(seqs, e.Seq)
		}})
		for i := range 6000 {
			r.Print(fmt.Sprint(i))
		}
		must(t, test.do(filepath.Join(r.Folder(), "events.jsonl")))
		close(goOn)
		for i := range 6000 {
			r.Print(fmt.Sprint(i))
		}
		result, err := r.End(nil)
		must(t, err)
		var changed *LogError
		if result.Outcome != Failed || !errors.As(result.Cause, &changed) || !strings.Contains(result.Reason, "events.jsonl") {
			t.Errorf("%s: %+v", what, result.Verdict)
		}
		for i, seq := range seqs {
			if seq != int64(i) && !test.missed {
				t.Fatalf("%s: event %d was observed as number %d", what, seq, i)
			}
		}
		if r.j.Lock(); seqs[len(seqs)-1] != r.j.Next()-1 || r.observation.missed != test.missed {
			t.Errorf("%s: %d of %d events were observed, missed is %t", what, len(seqs), r.j.Next(), r.observation.missed)
		}
		r.j.Unlock()
	}
}

// TestMissedLate: that an observer could not be told all fails the run, also where it
// shows after the log was closed.
func TestMissedLate(t *testing.T) {
	goOn := make(chan struct{})
	r := begin(t, Config{Topology: ini(t, "node"), Observer: func(e event.Event) { <-goOn }})
	path := filepath.Join(r.Folder(), "events.jsonl")
	for i := range 6000 {
		r.Print(fmt.Sprint(i))
	}
	go func() {
		defer close(goOn)
		r.j.Lock()
		defer r.j.Unlock()
		for !r.j.Closed() {
			r.j.Unlock()
			runtime.Gosched()
			r.j.Lock()
		}
		if err := os.Truncate(path, 0); err != nil {
			t.Error(err)
		}
	}()
	result, err := r.End(nil)
	must(t, err)
	if result.Outcome != Failed || !strings.Contains(result.Reason, "the observer was not told") {
		t.Errorf("%+v", result.Verdict)
	}
}

// TestAskedMeanwhile: who observes a run, or looks at it from a goroutine of its own, may
// ask it anything while it ends, and after it.
func TestAskedMeanwhile(t *testing.T) {
	var run atomic.Pointer[Run]
	ask := func() {
		r := run.Load()
		if r == nil {
			return
		}
		for _, n := range r.Nodes() {
			r.Node(n.Name)
			r.NodeFolder(n.Name)
			r.Output(n.Name, OutputQuery{})
			r.Messages(n.Name, "")
			r.Watch(r.Reached([]string{n.Name}, StateExited), func() {}).Stop()
			r.MayExit([]string{n.Name})
		}
		r.WriteFile("asked", []byte(r.Folder()+r.ID()))
		r.Print("asked")
		r.Faults()
		r.Can("pause")
		r.Containment()
		r.Context()
		r.Elapsed()
		for range r.Events() {
			break
		}
	}
	observed := 0
	r := begin(t, Config{Topology: ini(t, "a", "b"), Observer: func(event.Event) {
		if observed++; observed < 100 { // what it asks for is observed too
			ask()
		}
	}})
	both := []string{"a", "b"}
	must(t, r.ForkAll(t.Context(), both, ForkOptions{}))
	must(t, r.Wait(r.Reached(both, StateReady)))
	run.Store(r)
	ended := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-ended:
				ask()
				return
			default:
				ask()
				time.Sleep(20 * time.Microsecond)
			}
		}
	})
	result, err := r.End(nil)
	close(ended)
	asking.Wait()
	must(t, err)
	if result.Outcome != Passed {
		t.Errorf("%+v", result.Verdict)
	}
}
