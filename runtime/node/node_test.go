package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/address"
	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is one node without a run: its processes are the test's, and its control
// socket is a real one.
type stage struct {
	*Node
	m       *Means
	started []process.Spec
	process *fake // that is started next
	unasked []*ExitError
}

// The stage is the driver, and the handler of the control socket.
func (s *stage) Start(spec process.Spec) (process.Process, error) {
	if s.process == nil {
		return nil, &process.StartError{}
	}
	s.started = append(s.started, spec)
	return s.process, nil
}
func (s *stage) Containment() process.Containment                          { return process.Containment{} }
func (s *stage) Can(string) error                                          { return nil }
func (s *stage) Close() error                                              { return nil }
func (s *stage) Paused(string, time.Duration, time.Duration) time.Duration { return 0 }
func (s *stage) Stopped(string) bool                                       { return false }
func (s *stage) Failed(error)                                              {}
func (s *stage) Ready(c *control.Conn, h control.Hello) error {
	if h.Name != "n" {
		return s.m.Stranger(c, h)
	}
	return s.Node.Ready(c, h)
}
func (s *stage) Refused(r control.Refusal) {
	s.m.Journal.Lock()
	defer s.m.Journal.Unlock()
	s.m.Journal.Append(r.Node, event.Refused{Peer: "-", Reason: r.Reason, Message: r.Message})
}

// fake is a process of which the test says how signals end it.
type fake struct {
	mu    sync.Mutex
	done  chan struct{}
	ends  map[os.Signal]process.Exit
	exit  process.Exit
	ended bool
	got   []os.Signal
	after func() // is called by Signal when it has ended the process, or nil
}

func newFake(ends map[os.Signal]process.Exit) *fake {
	return &fake{done: make(chan struct{}), ends: ends}
}

func (f *fake) PID() int { return 7 }
func (f *fake) Alive() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.ended
}
func (f *fake) Signal(s os.Signal, _ process.Reach) (int, error) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return 0, os.ErrProcessDone
	}
	f.got = append(f.got, s)
	exit, ends := f.ends[s]
	if ends {
		f.end(exit)
	}
	f.mu.Unlock()
	if ends && f.after != nil {
		f.after()
	}
	return 1, nil
}
func (f *fake) end(exit process.Exit) {
	f.exit, f.ended = exit, true
	close(f.done)
}
func (f *fake) exits(exit process.Exit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(exit)
}
func (f *fake) signals() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.got)
}
func (f *fake) Pause() (int, error)               { return 0, nil }
func (f *fake) Resume() error                     { return nil }
func (f *fake) Limit(process.Limits) (int, error) { return 0, nil }
func (f *fake) Done() <-chan struct{}             { return f.done }
func (f *fake) Exit() process.Exit                { return f.exit }

// setUp makes a stage of one node, which has not been forked. listen is what all nodes
// share, or "".
func setUp(t *testing.T, listen string) *stage {
	t.Helper()
	top, err := topology.Parse("test.ini", []byte("[n]\npath = /bin/sh\nenv.COLOUR = blue\n"))
	must(t, err)
	s := &stage{}
	c := clock.New()
	addresses, err := address.Claim(top, false)
	must(t, err)
	ended, end := context.WithCancel(context.Background())
	work := t.TempDir()
	s.m = &Means{
		Folder: func(node string) string { return filepath.Join(work, "nodes", node) },
		Run:    "this", Env: []string{"LAST=1"}, Clock: c, Processes: s, Topology: top, Addresses: addresses,
		Grace: time.Millisecond, Ended: ended,
		Tasks: &sync.WaitGroup{}, Gone: func(string) { s.m.Journal.Append("", event.Notice{Text: "gone"}) },
		Unasked: func(e *ExitError) { s.unasked = append(s.unasked, e) },
		Journal: journal.New(journal.Options{
			Roster:  roster.New([]string{"n"}, func(string) bool { return false }),
			Elapsed: c.Now, Timeout: time.Minute, Ended: func() error { return nil }, Failed: func(err error) { t.Error(err) },
			AfterFunc: func(d time.Duration, f func()) journal.Timer { return c.AfterFunc(d, f) },
			Tail:      func(_ string, incarnation int) []string { return s.Tail(incarnation) },
		}),
	}
	s.m.Journal.Write(event.NewWriter(io.Discard), nil)
	s.m.Control = control.New(s, control.Options{})
	if listen != "" {
		s.m.Shared, err = s.m.Control.Listen(listen)
		must(t, err)
	}
	logs, logFile := output.NewLogs(c.Now), filepath.Join(t.TempDir(), "n.log")
	s.Node = s.m.New(top.Node("n"), logs.Create(logFile), logFile)
	t.Cleanup(func() {
		if s.process != nil && s.process.Alive() {
			s.process.exits(process.Exit{})
		}
		s.m.Tasks.Wait()
		s.m.Control.Close()
		end()
		s.CloseLog()
		logs.Wait()
		s.locked(func() { s.m.Journal.Close(errors.New("the test is over")) })
		s.m.Journal.Wait()
		c.Close()
		addresses.Close()
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) locked(do func()) {
	s.m.Journal.Lock()
	defer s.m.Journal.Unlock()
	do()
}

// fork forks the next incarnation, a process that signals end as ends says.
func (s *stage) fork(t *testing.T, ends map[os.Signal]process.Exit) Incarnation {
	t.Helper()
	var b *Birth
	var err error
	s.locked(func() { b, err = s.Conceive("token", ForkOptions{}) })
	must(t, err)
	s.process = newFake(ends)
	must(t, b.Start(context.Background(), nil))
	var i Incarnation
	s.locked(func() {
		b.Settle(nil)
		i, _ = s.Present()
	})
	return i
}

// kinds are the kinds of the events so far that are not changes of state, with how a
// request was made.
func (s *stage) kinds(t *testing.T) (kinds []string) {
	t.Helper()
	all, err := event.Collect(s.m.Journal.Events(0, math.MaxInt64))
	must(t, err)
	for _, e := range all {
		text := string(e.Kind())
		switch d := e.Detail.(type) {
		case event.State:
			continue
		case event.Asked:
			text += strings.TrimRight(fmt.Sprint(" by ", d.By, ": ", d.How, " ", d.Signal), " ")
		}
		kinds = append(kinds, text)
	}
	return kinds
}

func (s *stage) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := s.kinds(t); !slices.Equal(got, want) {
		t.Errorf("the log has\n%q, want\n%q", got, want)
	}
}

// TestBirth: a node is forked when its birth is settled, and one that failed is
// forgotten; the next incarnation is forked as the last one where nothing is said.
func TestBirth(t *testing.T) {
	s := setUp(t, "")
	conceive := func(o ForkOptions) (b *Birth, err error) {
		s.locked(func() { b, err = s.Conceive("secret", o) })
		return b, err
	}
	fails := func(want string) {
		t.Helper()
		if _, err := conceive(ForkOptions{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b, err := conceive(ForkOptions{})
	must(t, err)
	fails("n: cannot fork it: it is being forked")
	var start *process.StartError
	if err = b.Start(context.Background(), nil); !errors.As(err, &start) {
		t.Fatal(err)
	}
	s.locked(func() { b.Settle(err) })
	s.expect(t)

	for incarnation, o := range []ForkOptions{{Args: []string{"-v"}, Env: map[string]string{"B": "2", "A": "1"}}, {}, {Args: []string{}}} {
		b, err := conceive(o)
		must(t, err)
		s.process = newFake(nil)
		must(t, b.Start(context.Background(), []string{"HOME=/", "COLOUR=red", "DAGON_NAME=other"}))
		s.expect(t, slices.Repeat([]string{"listening", "forked", "notice", "exited"}, incarnation)...)
		s.locked(func() { b.Settle(nil) })
		fails("n: cannot fork it: it runs already, as pid 7")
		var info Info
		var home net.Addr
		s.locked(func() { info, home = s.Info(), s.Port().Addr() })
		spec := s.started[incarnation]
		args := []string{"/bin/sh", "--name=n", "--phone-home=" + home.String()}
		env := []string{"HOME=/", "PWD=" + spec.Dir, "COLOUR=blue"}
		set := map[string]string{"COLOUR": "blue"}
		if incarnation < 2 {
			args = append(args, "-v")
			env = append(env, "A=1", "B=2")
			set["A"], set["B"] = "1", "2"
		}
		env = append(env, "DAGON_NAME=n", "DAGON_ROLE=worker", "DAGON_RUN=this", "DAGON_PHONE_HOME="+home.String(),
			fmt.Sprint("DAGON_INCARNATION=", incarnation+1), "DAGON_TOKEN=secret", "LAST=1")
		if !slices.Equal(spec.Argv, args) || !slices.Equal(info.Args, args) {
			t.Errorf("it was started with %q, and is told to be with %q, want %q", spec.Argv, info.Args, args)
		}
		if !slices.Equal(spec.Env, env) || fmt.Sprint(info.Env) != fmt.Sprint(set) {
			t.Errorf("its environment was %q, and what was set %v, want %q and %v", spec.Env, info.Env, env, set)
		}
		if info.Incarnation != incarnation+1 || info.Restarts != incarnation || info.State != roster.StateForked || info.ExitCode != nil {
			t.Errorf("%+v", info)
		}
		i := Incarnation{}
		s.locked(func() { i, _ = s.Present() })
		s.process.exits(process.Exit{})
		<-i.Gone()
		s.locked(func() {
			if _, ok := s.Present(); ok || s.Port() != nil || s.Running() {
				t.Error("it has a process, or its port")
			}
		})
	}
}

// say calls a socket and says who it is, and returns the connection.
func say(t *testing.T, at net.Addr, args ...any) *osc.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", at.String())
	must(t, err)
	c := osc.NewConn(raw, osc.ConnOptions{})
	t.Cleanup(func() { c.Close() })
	must(t, c.Send(osc.NewMessage("/ready", args...)))
	return c
}

// heard waits for the first event that tells what became of a connection, and returns
// why it was refused, or "".
func (s *stage) heard(t *testing.T) (reason string) {
	t.Helper()
	must(t, s.m.Journal.Await(journal.Condition{What: "connection", Quiet: true, Always: true, Check: func(string) (a journal.Answer) {
		_, a.Met, a.Err = s.m.Journal.Find(0, s.m.Journal.Next(), func(e event.Event) bool {
			switch d := e.Detail.(type) {
			case event.Refused:
				reason = d.Reason
				return true
			case event.Connected:
				return true
			}
			return false
		})
		return a
	}}))
	return reason
}

// TestBelieve: who says that it is the node is believed where nothing that it says is
// wrong, and the token is demanded where others than this machine's programs call.
func TestBelieve(t *testing.T) {
	const wrongToken = "the token is not that of n: DAGON_TOKEN of its environment is expected"
	for _, test := range []struct {
		shared, needToken, dead bool
		says                    []any
		want                    string
	}{
		{says: []any{"n"}},
		{says: []any{"n", "this", int32(1), "token"}},
		{says: []any{"n", "other"}, want: `n belongs to run "other", this is run this`},
		{says: []any{"n", "this", int32(2)}, want: "it is incarnation 2 of n, the present one is 1"},
		{says: []any{"n", "this", int32(1), "wrong"}, want: wrongToken},
		{says: []any{"m"}, want: `it says it is "m", and this port is that of n`},
		{says: []any{"n"}, shared: true},
		{says: []any{"m"}, shared: true, want: `no node of this run is named "m"`},
		{says: []any{"n"}, shared: true, dead: true, want: "n is not running"},
		{says: []any{"n"}, shared: true, needToken: true, want: wrongToken},
		{says: []any{"n", "this", int32(1), "token"}, shared: true, needToken: true},
	} {
		listen := ""
		if test.shared {
			listen = "127.0.0.1:0"
		}
		s := setUp(t, listen)
		s.m.NeedToken = test.needToken
		i := s.fork(t, nil)
		at := s.m.Shared
		if at == nil {
			s.locked(func() { at = s.Port().Addr() })
		}
		if test.dead {
			s.process.exits(process.Exit{})
			<-i.Gone()
		}
		c := say(t, at, test.says...)
		if got := s.heard(t); got != test.want {
			t.Errorf("%v: %q, want %q", test.says, got, test.want)
		}
		if test.want != "" {
			if _, err := c.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("%v: who is refused was told something: %v", test.says, err)
			}
		}
	}
}

// TestSaidAtOnce: of connections whose first words come at one moment that is heard first
// which was made first, wherever it called.
func TestSaidAtOnce(t *testing.T) {
	for _, test := range []struct{ name, listen string }{{"shared port", "127.0.0.1:0"}, {"own port", ""}} {
		t.Run(test.name, func(t *testing.T) {
			s := setUp(t, test.listen)
			s.fork(t, nil)
			at := []string{s.home()}
			if host, port, _ := net.SplitHostPort(at[0]); host != "127.0.0.1" {
				at = append(at, net.JoinHostPort("127.0.0.1", port))
			}
			const calls = 40
			var conns []*osc.Conn
			for i := range calls {
				raw, err := net.Dial("tcp", at[i%len(at)])
				must(t, err)
				conns = append(conns, osc.NewConn(raw, osc.ConnOptions{}))
			}
			s.locked(func() { // nobody is believed until all has been said
				for i, c := range slices.Backward(conns) {
					packet, err := osc.Append(nil, osc.NewMessage("/ready", "n"))
					must(t, err)
					must(t, c.Queue(packet))
					must(t, c.Send(osc.NewMessage("/number", int32(i))))
					must(t, c.Close())
				}
			})
			var got []any
			must(t, s.m.Journal.Await(journal.Condition{What: "numbers", Timeout: 10 * time.Second, Quiet: true, Always: true,
				Check: func(string) (a journal.Answer) {
					a.Met = s.m.Journal.Roster().Node("n").Messages.Count == 2*calls
					return a
				}}))
			all, err := event.Collect(s.m.Journal.Events(0, math.MaxInt64))
			must(t, err)
			for _, e := range all {
				if m, ok := e.Detail.(event.Received); ok && m.Address == "/number" {
					got = append(got, m.Args[0])
				}
			}
			for i, n := range got {
				if n != int32(i) {
					t.Fatalf("heard %v", got)
				}
			}
		})
	}
}

// home is where the node phones.
func (s *stage) home() (address string) {
	s.locked(func() {
		if address = fmt.Sprint(s.m.Shared); s.port != nil {
			address = s.port.Addr().String()
		}
	})
	return address
}

// TestMisplaced: who calls the port of another node is not believed, whatever it shows.
func TestMisplaced(t *testing.T) {
	s := setUp(t, "127.0.0.1:0")
	s.fork(t, nil)
	_, err := s.believe(nil, control.Hello{Name: "n", Token: "token", ForNode: "m"})
	if want := `it says it is "n", and this port is that of m`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestSend: what is sent comes, and what cannot be sent says why.
func TestSend(t *testing.T) {
	s := setUp(t, "127.0.0.1:0")
	fails := func(address, want string) {
		t.Helper()
		if err := s.Send("script", osc.NewMessage(address)); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	fails("/x", "n: cannot send it /x: it has not been forked")
	must(t, s.Shutdown("script")) // of one that was not forked: nothing
	i := s.fork(t, nil)
	fails("/x", "n: cannot send it /x: it has not phoned home")
	c := say(t, s.m.Shared, "n")
	if refused := s.heard(t); refused != "" {
		t.Fatal(refused)
	}
	must(t, s.Send("script", osc.NewMessage("/x", int32(1))))
	must(t, s.Shutdown("fault"))
	for _, want := range []string{"/x", "/shutdown"} {
		packet, err := c.Receive()
		must(t, err)
		p, err := osc.Parse(packet)
		must(t, err)
		if m := p.Message(); m.Address != want || want == "/shutdown" && m.Arguments[0] != "n" {
			t.Errorf("%+v came, want %s", m, want)
		}
	}
	must(t, c.Send(osc.NewMessage("/done", "n")))
	must(t, c.Send(osc.NewMessage("/done_shutdown", "n")))
	must(t, c.Close())
	s.process.exits(process.Exit{})
	<-i.Gone()
	fails("/x", "n: cannot send it /x: it has exited with code 0")
	must(t, s.Shutdown("script")) // of one that has exited: nothing
	s.expect(t, "forked", "connected", "received", "sent", "asked by fault: shutdown", "sent", "received", "received", "disconnected",
		"notice", "exited")
}

// awaitExit returns when the exit of a process is about to be logged, by who waits for
// those who ask it to end, or has been.
func (s *stage) awaitExit(i Incarnation) {
	for s.asking.TryRLock() { // until somebody waits for the whole lock
		s.asking.RUnlock()
		select {
		case <-i.Gone():
			return
		default:
			runtime.Gosched()
		}
	}
}

// TestExit: an exit is in the log after what the process was asked, even where that is
// what ended it at once, and one that nobody asked for is told of before any wait ends.
func TestExit(t *testing.T) {
	asked := func(signal string) event.Asked { return event.Asked{By: "script", How: roster.Signal, Signal: signal} }
	for _, test := range []struct {
		what    string
		do      func(*stage, Incarnation)
		want    []string
		unasked string
	}{
		{"nothing", func(s *stage, _ Incarnation) { s.process.exits(process.Exit{Code: 3, Note: "it was late"}) },
			[]string{"notice", "exited"}, "exited with code 3"},
		{"a signal", func(s *stage, i Incarnation) {
			s.process.after = func() { s.awaitExit(i) }
			i.Signal(asked("KILL"), syscall.SIGKILL, process.Tree)
		}, []string{"asked by script: signal KILL", "notice", "exited"}, ""},
		{"a signal that comes too late", func(s *stage, i Incarnation) {
			s.process.exits(process.Exit{Code: -1, Signal: "SEGV"})
			if _, err := i.Signal(asked("KILL"), syscall.SIGKILL, process.Tree); !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
		}, []string{"notice", "exited"}, "exited by signal SEGV"},
		{"that it may", func(s *stage, _ Incarnation) {
			s.locked(func() { s.AllowExit("script") })
			s.process.exits(process.Exit{Code: 3})
		}, []string{"asked by script: may_exit", "notice", "exited"}, ""},
		{"that it may, too late", func(s *stage, _ Incarnation) {
			s.asking.RLock() // its exit is not logged yet
			s.process.exits(process.Exit{Code: 3})
			s.locked(func() { s.AllowExit("script") })
			s.asking.RUnlock()
		}, []string{"asked by script: may_exit", "notice", "exited"}, "exited with code 3"},
	} {
		s := setUp(t, "127.0.0.1:0")
		i := s.fork(t, map[os.Signal]process.Exit{syscall.SIGKILL: {Code: -1, Signal: "KILL"}})
		test.do(s, i)
		<-i.Gone()
		s.expect(t, append([]string{"forked"}, test.want...)...)
		s.locked(func() {
			if got := fmt.Sprint(s.unasked); (test.unasked == "") != (len(s.unasked) == 0) || !strings.Contains(got, test.unasked) {
				t.Errorf("asked %s: %s, want %q", test.what, got, test.unasked)
			}
		})
	}
}

// TestBlow: what a signal of a crash touched shows at the end, if it was the end.
func TestBlow(t *testing.T) {
	segv := event.Asked{By: "script", How: roster.Signal, Signal: "SEGV"}
	for _, test := range []struct {
		exit    process.Exit
		touched int64
	}{
		{process.Exit{Code: -1, Signal: "SEGV"}, 2}, {process.Exit{Code: 128 + 11}, 2}, {process.Exit{Code: 1}, 0},
	} {
		s := setUp(t, "127.0.0.1:0")
		i := s.fork(t, nil)
		touched := int64(0)
		for range 2 {
			must(t, i.Blow(segv, syscall.SIGSEGV, process.Tree, func(e event.Touched) { touched += e.Processes }))
		}
		s.process.exits(test.exit)
		<-i.Gone()
		next := s.fork(t, nil)
		s.process.exits(test.exit) // of nobody's doing
		<-next.Gone()
		s.locked(func() {
			if touched != test.touched {
				t.Errorf("%+v: touched %d, want %d", test.exit, touched, test.touched)
			}
		})
	}
}

// TestStop: TERM, the grace and KILL are each a request, as long as the process lives;
// in a hurry there is KILL alone, and who leaves waits for nothing.
func TestStop(t *testing.T) {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	never := context.Background()
	killed := map[os.Signal]process.Exit{os.Kill: {Code: -1, Signal: "KILL"}}
	obeys := map[os.Signal]process.Exit{syscall.SIGTERM: {Code: -1, Signal: "TERM"}}
	for _, test := range []struct {
		what  string
		ends  map[os.Signal]process.Exit
		hurry context.Context
		want  []string
		got   string
	}{
		{"one that obeys", obeys, never, []string{"asked by end: stop TERM"}, fmt.Sprint([]os.Signal{syscall.SIGTERM})},
		{"one that does not", killed, never, []string{"asked by end: stop TERM", "asked by end: kill KILL"},
			fmt.Sprint([]os.Signal{syscall.SIGTERM, process.ContinueSignal, os.Kill})},
		{"in a hurry", killed, done, []string{"asked by end: signal KILL"}, fmt.Sprint([]os.Signal{os.Kill})},
	} {
		s := setUp(t, "127.0.0.1:0")
		i := s.fork(t, test.ends)
		must(t, i.Stop(never, test.hurry, "end"))
		s.expect(t, slices.Concat([]string{"forked"}, test.want, []string{"notice", "exited"})...)
		if got := s.process.signals(); got != test.got {
			t.Errorf("%s: it got %s, want %s", test.what, got, test.got)
		}
		if err := i.Stop(never, never, "end"); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s, once more: %v", test.what, err)
		}
		if s.process = nil; test.what != "one that obeys" {
			continue
		}
		second := s.fork(t, killed)
		s.m.Grace = time.Hour
		if err := second.Stop(done, never, "end"); !errors.Is(err, context.Canceled) {
			t.Errorf("who leaves: %v", err)
		}
	}
}

// TestOutputLost: that a log could not be written is said when it is closed.
func TestOutputLost(t *testing.T) {
	s := setUp(t, "127.0.0.1:0")
	must(t, s.CloseLog())
	s.Log.Begin(1)
	var lost *journal.LogError
	if err := s.CloseLog(); !errors.As(err, &lost) || !strings.HasPrefix(err.Error(), "log of n: cannot write: ") {
		t.Errorf("%v", err)
	}
}
