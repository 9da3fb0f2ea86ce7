package script_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.starlark.net/starlark"
	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/script"
)

// TestMain makes a node of the test binary, and a program that embeds
// dagon-star with EMBED: "called 1" calls Keeper, "bare 1" does not.
func TestMain(m *testing.M) {
	how, runs, embeds := strings.Cut(os.Getenv("EMBED"), " ")
	if how != "bare" && script.Keeper() {
		return
	}
	if os.Getenv("DAGON_NAME") != "" {
		os.Exit(node())
	}
	if embeds {
		n, _ := strconv.Atoi(runs)
		embed(n, os.Getenv("EMBED_FOLDER"))
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or every node takes a second to exit
	goleak.VerifyTestMain(m)
}

// embed is a program that embeds dagon-star. Each of its runs boots two nodes,
// one of which starts a daemon, says so, and goes on until the program is killed.
func embed(runs int, folder string) {
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			result, err := script.Run(context.Background(), script.Config{
				Source:         []byte("fork(topology.nodes)\nawait_ready(topology.nodes)\nprint('up')\nsleep('1h')"),
				TopologySource: append(nodes("quiet", "loud"), "env.MODE = daemon\n"...),
				RunsDir:        filepath.Join(folder, strconv.Itoa(i)),
				Output:         os.Stdout,
			})
			fmt.Println(result, err) // it was to be killed
		})
	}
	all.Wait()
}

func node() int {
	config, err := component.FromEnvironment(os.Getenv, "", "")
	if err != nil {
		return 9
	}
	if os.Getenv("MODE") == "daemon" {
		if err := exec.Command("setsid", "sleep", "1000").Start(); err != nil {
			return 9
		}
	}
	home, err := component.Dial(context.Background(), config)
	if err != nil {
		return 9
	}
	home.Ready()
	fmt.Println("up")
	select {
	case <-home.Started():
		home.Done()
	case <-home.Stop():
	}
	<-home.Stop()
	home.DoneShutdown()
	return 0
}

// nodes is an ini of nodes that are the test binary.
func nodes(names ...string) []byte {
	own, err := os.Executable()
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "[%s]\npath = %s\n", name, own)
	}
	return b.Bytes()
}

func run(t *testing.T, c script.Config) *script.Result {
	t.Helper()
	c.RunsDir = t.TempDir()
	r, err := script.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func Example() {
	dir, err := os.MkdirTemp("", "runs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	result, err := script.Run(context.Background(), script.Config{
		Source: []byte(`
fork(topology.nodes)
await_ready(topology.nodes)
print("ready:", [n.name for n in topology.nodes])
shutdown(topology.nodes)
shutdown_topology()
`),
		TopologySource: nodes("alice", "bob"),
		RunsDir:        dir,
		Output:         os.Stdout,
	})
	if err != nil { // a mistake in the script or the ini: nothing was started
		fmt.Println(err)
		return
	}
	fmt.Println(result.Outcome)
	for _, n := range result.Nodes {
		fmt.Println(n.Name, n.State, *n.ExitCode)
	}
	// Output:
	// ready: ["alice", "bob"]
	// passed
	// alice exited 0
	// bob exited 0
}

// The call that lets a program contain what it starts stands at the very top of
// its main, or of TestMain(m *testing.M) before m.Run().
func ExampleKeeper() {
	if script.Keeper() {
		return // this was a keeper, and its run is over
	}
	dir, err := os.MkdirTemp("", "runs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	result, err := script.Run(context.Background(), script.Config{
		Source:         []byte("fork(alice)\nawait_ready(alice)\nkill(alice)\nprint(alice.name, alice.state)"),
		TopologySource: nodes("alice"),
		Contain:        "auto", // as it is when left out: the best that the machine gives
		RunsDir:        dir,
		Output:         os.Stdout,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Outcome)
	// Output:
	// alice exited
	// passed
}

// A program that embeds dagon-star can add builtins of its own. One that waits
// does so through Wait, so that the script's other tasks go on meanwhile. RunOf
// is the run that a call belongs to.
func ExampleConfig_builtins() {
	dir, err := os.MkdirTemp("", "runs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	answer := make(chan string, 1)
	await := starlark.NewBuiltin("await_answer", func(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		var text string
		err := script.Wait(thread, func(ctx context.Context) error {
			select {
			case text = <-answer:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		return starlark.String(text), err
	})
	tell := starlark.NewBuiltin("tell", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple,
		_ []starlark.Tuple) (starlark.Value, error) {
		answer <- string(args[0].(starlark.String))
		return starlark.None, nil
	})
	write := starlark.NewBuiltin("write", func(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		var name, text string
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "text", &text); err != nil {
			return nil, err
		}
		run := script.RunOf(thread)
		if run == nil {
			return nil, errors.New("there is no run to write a file of")
		}
		return starlark.None, run.WriteFile(name, []byte(text))
	})
	result, err := script.Run(context.Background(), script.Config{
		Source: []byte(`
spawn(tell, "forty-two")
answer = await_answer()
print(answer)
write("answer.txt", answer)
`),
		Builtins: starlark.StringDict{"await_answer": await, "tell": tell, "write": write},
		RunsDir:  dir,
		Output:   os.Stdout,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Outcome)
	text, err := os.ReadFile(filepath.Join(result.Folder, "answer.txt"))
	fmt.Printf("%s, %v\n", text, err)
	// Output:
	// forty-two
	// passed
	// forty-two, <nil>
}

// TestErrors runs the chunks of testdata/errors.star. A comment ### "regexp"
// marks the line at which the run must fail, and with what; a chunk without one
// must pass.
func TestErrors(t *testing.T) {
	data, err := os.ReadFile("testdata/errors.star")
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(`### "(.*)"`)
	line := 0
	for _, chunk := range strings.SplitAfter(string(data), "---\n") {
		want, at := "", 0
		for i, text := range strings.Split(chunk, "\n") {
			if m := mark.FindStringSubmatch(text); m != nil {
				want, at = m[1], line+i+1
			}
		}
		source := strings.Repeat("\n", line) + strings.TrimSuffix(chunk, "---\n")
		line += strings.Count(chunk, "\n")
		result, err := script.Run(context.Background(), script.Config{Script: "errors.star", Source: []byte(source),
			TopologySource: nodes("one", "two-three", "len", "config"), RunsDir: t.TempDir()})
		got := ""
		var mistakes script.Mistakes
		switch {
		case errors.As(err, &mistakes):
			got = mistakes.Error()
		case err != nil:
			t.Errorf("line %d: %v", line, err)
			continue
		case result.Outcome != runtime.Passed:
			got = result.Where + ": " + result.Reason
		}
		if want == "" {
			if got != "" {
				t.Errorf("%s", got)
			}
			continue
		}
		if !regexp.MustCompile(want).MatchString(got) || !strings.HasPrefix(got, fmt.Sprintf("errors.star:%d:", at)) {
			t.Errorf("got %q, want line %d and %q", got, at, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("topology.ini", string(nodes("node")))
	write("main.star", `
load("lib/a.star", "a", "state")
load("lib/b.star", bb = "b")
print("main", a(), bb())
assert.fails(lambda: state.append(1), "frozen")
mine = []
spawn(mine.append, 1).wait()
assert.eq(mine, [1])
`)
	write("lib/a.star", `
load("b.star", "b")
print("a is run")
sleep(0)
state = []
def a(): return "a+" + b()
`)
	write("lib/b.star", "print(\"b is run\")\ndef b(): return node.name\n")
	var out bytes.Buffer
	r := run(t, script.Config{Script: filepath.Join(dir, "main.star"), Output: &out})
	if r.Outcome != runtime.Passed || out.String() != "b is run\na is run\nmain a+node node\n" {
		t.Errorf("%s %s: %q", r.Outcome, r.Reason, out.String())
	}
	var recipe struct {
		Script   struct{ Name, SHA256, Text string }
		Loaded   []struct{ Name, Text string }
		Topology struct{ Text string }
		Seed     uint64
		Env      map[string]string
	}
	data, err := os.ReadFile(filepath.Join(r.Folder, "recipe.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &recipe); err != nil {
		t.Fatal(err)
	}
	if len(recipe.Loaded) != 2 || len(recipe.Script.SHA256) != 64 || !strings.Contains(recipe.Script.Text, "bb()") ||
		recipe.Seed != r.Seed || recipe.Topology.Text != string(nodes("node")) || len(recipe.Env) != 1 {
		t.Errorf("%s", data)
	}
}

// TestInterrupted: a run whose context ends is torn down in order, at once.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := script.Config{Source: []byte("fork(node)\nawait_ready(node)\nprint(1)\nsleep(3600)"), TopologySource: nodes("node"),
		RunsDir: t.TempDir()}
	c.Observer = func(e event.Event) {
		if e.Kind() == event.KindPrint {
			cancel(&runtime.InterruptedError{Signal: os.Interrupt})
		}
	}
	r, err := script.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Outcome != runtime.Interrupted || r.ExitCode() != 130 || !strings.HasPrefix(r.Where, "script.star:") {
		t.Errorf("%s at %s, exit code %d: %s", r.Outcome, r.Where, r.ExitCode(), r.Reason)
	}
	if n := r.Nodes[0]; n.State != runtime.StateExited || *n.ExitCode != 0 {
		t.Errorf("%+v", n)
	}
	if events, err := event.Collect(r.Events()); err != nil || !event.Finished(events) {
		t.Error("the log is not finished")
	}
}

// TestUnaskedExit gives a Go program the cause as a type.
func TestUnaskedExit(t *testing.T) {
	ini := append(nodes("node"), "args = x\n[bad]\npath = sh\nargs = -c 'echo dying; exit 4' --\n"...)
	ini = bytes.Replace(ini, []byte("[bad]\npath = sh\n"), []byte("[bad]\npath = "+sh(t)+"\n"), 1)
	r := run(t, script.Config{Source: []byte("fork(node)\nawait_ready(node)\nfork(bad)\nsleep(3600)"), TopologySource: ini})
	var exit *runtime.ExitError
	if !errors.As(r.Cause, &exit) || exit.Node != "bad" || exit.Code == 0 {
		t.Errorf("%s: %v", r.Outcome, r.Cause)
	}
	if r.ExitCode() != 1 {
		t.Errorf("exit code %d", r.ExitCode())
	}
}

func sh(t *testing.T) string {
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	return path
}

func TestPanic(t *testing.T) {
	boom := starlark.NewBuiltin("boom", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		panic("oh no")
	})
	for name, source := range map[string]string{"main": "fork(node)\nboom()", "task": "fork(node)\nspawn(boom)\nsleep(3600)",
		"caught": "catch(boom)"} {
		r := run(t, script.Config{Source: []byte(source), TopologySource: nodes("node"), Builtins: starlark.StringDict{"boom": boom}})
		var bug *builtins.PanicError
		if !r.Bug || r.ExitCode() != 70 || !errors.As(r.Cause, &bug) || !strings.Contains(r.Reason, "oh no") || len(r.LeftBehind) != 0 {
			t.Errorf("%s: %s, %v: %s", name, r.Outcome, r.Cause, r.Reason)
		}
	}
}

// TestEndlessRecursion: its error has a backtrace that can be read.
func TestEndlessRecursion(t *testing.T) {
	r := run(t, script.Config{Source: []byte("def f(n):\n    return f(n + 1)\nf(0)\n")})
	if r.Outcome != runtime.Failed || !strings.HasPrefix(r.Where, "script.star:2:") || strings.Count(r.Backtrace, "\n") != 21 ||
		!strings.Contains(r.Backtrace, " more\n") {
		t.Errorf("%s at %s: %s\n%s", r.Outcome, r.Where, r.Reason, r.Backtrace[:min(len(r.Backtrace), 2000)])
	}
}

func TestMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		c    script.Config
		want string
	}{
		"nothing": {script.Config{}, "script: none was given"},
		"no script": {script.Config{Script: "none.star"}, "none.star: cannot read the script: no such file or " +
			"directory; shipped are boot.ini, boot.star, default.star"},
		"no topology": {script.Config{Source: []byte("x = 1"), Topology: "none.ini"},
			"none.ini: cannot read the topology: no such file or directory"},
		"bad topology": {script.Config{Source: []byte("worker(1)"), TopologySource: []byte("[a]\n")}, "script.star:1:1: undefined: worker (did you mean workers?)\n" + "topology.ini:1:1: [a] says nothing to run"},
		"component": {script.Config{Source: []byte("x = 1"), TopologySource: []byte("[a]\ncomponent = giles-sender\n")},
			"topology.ini:2:13: [a]: component = needs the path of a dagon-star binary, and none was given"},
	} {
		dir := t.TempDir()
		test.c.RunsDir = filepath.Join(dir, "runs")
		_, err := script.Run(context.Background(), test.c)
		var mistakes script.Mistakes
		if !errors.As(err, &mistakes) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := script.Check(test.c); err == nil {
			t.Errorf("%s: Check finds nothing", name)
		}
		if _, err := os.Stat(test.c.RunsDir); err == nil {
			t.Errorf("%s: a run's folder was made", name)
		}
	}
}

// TestTwoAtOnce: runs of one process do not get in each other's way.
func TestTwoAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	dir := t.TempDir()
	for range 4 {
		wg.Go(func() {
			r, err := script.Run(context.Background(), script.Config{RunsDir: dir, TopologySource: nodes("a", "b", "c"), Source: []byte(`
fork(topology.nodes)
await_ready(topology.nodes)
send(topology.nodes, "start")
await_done(topology.nodes)
for n in topology.nodes:
    await_output(n, "^up$")
shutdown(topology.nodes)
await_exit(topology.nodes)
`)})
			if err != nil || r.Outcome != runtime.Passed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if runs, _ := filepath.Glob(filepath.Join(dir, "2*")); len(runs) != 4 {
		t.Errorf("%d folders: %v", len(runs), runs)
	}
	log, err := os.Open(filepath.Join(dir, "latest", "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if events, err := event.Read(log); err != nil || !event.Finished(events) {
		t.Errorf("%d events, %v", len(events), err)
	}
}

// beside is what a run found beside what decided, a line each.
func beside(r *script.Result) (text string) {
	for _, f := range r.Beside {
		text += f.Told() + "\n"
	}
	return text
}

// TestDeferred: the deferred calls run last first however the run ended, each
// bounded, and their errors are findings beside what decides.
func TestDeferred(t *testing.T) {
	var out bytes.Buffer
	grace := 200 * time.Millisecond
	r := run(t, script.Config{Output: &out, Grace: &grace, TopologySource: nodes("node"), Source: []byte(`
def forever():
    while True: pass
def long(): sleep(3600)
def bad(): fail("in a deferred call")
def look(): print("state", node.state)
fork(node)
await_ready(node)
defer(print, "last")
defer(forever)
defer(long)
defer(bad)
defer(look)
fail("the verdict")
`)})
	if out.String() != "state ready\nlast\n" {
		t.Errorf("%q", out.String())
	}
	if r.Outcome != runtime.Failed || r.Reason != "fail: the verdict" {
		t.Errorf("%s: %s", r.Outcome, r.Reason)
	}
	if text := beside(r); !strings.Contains(text, "failed: script.star:5:16: deferred: fail: in a deferred call\n") ||
		strings.Count(text, "did not end within 200ms") != 2 {
		t.Errorf("beside: %s", text)
	}
}
