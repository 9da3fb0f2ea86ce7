package builtins

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/component"
)

// TestMain makes a node of the test binary.
func TestMain(m *testing.M) {
	if os.Getenv("DAGON_NAME") != "" {
		os.Exit(node())
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or every node takes a second to exit
	goleak.VerifyTestMain(m)
}

// node says that it is up, answers every message, and ends as it is told to.
func node() int {
	config, err := component.FromEnvironment(os.Getenv, "", "")
	if err != nil {
		return 9
	}
	home, err := component.Dial(context.Background(), config)
	if err != nil {
		return 9
	}
	defer home.Close()
	home.Ready()
	fmt.Println("up")
	for started := home.Started(); ; {
		select {
		case <-started:
			started = nil
			home.Done()
		case m := <-home.Messages():
			if m != nil && m.Address == "/die" {
				return 7
			}
		case <-home.Stop():
			home.DoneShutdown()
			return 0
		}
	}
}

// TestCatalogue holds that every name that a script can use is documented, and
// nothing else is.
func TestCatalogue(t *testing.T) {
	docs := map[string]Doc{}
	for _, d := range Catalogue() {
		if _, twice := docs[d.Name]; twice {
			t.Errorf("%s is documented twice", d.Name)
		}
		docs[d.Name] = d
		if len(d.Text) < 5 || !strings.HasSuffix(d.Text, ".") {
			t.Errorf("%s: %q is no documentation", d.Name, d.Text)
		}
		if d.Callable && d.Family != "standard" && d.Family != "values" && d.Example == "" {
			t.Errorf("%s is documented without an example", d.Name)
		}
		if !strings.HasPrefix(d.Signature, d.Name) {
			t.Errorf("%s has the signature %s", d.Name, d.Signature)
		}
	}
	known := map[string]bool{}
	for name, v := range Vocabulary() {
		m, isModule := v.(*module)
		_, isLanguage := starlark.Universe[name]
		if !isModule {
			known[name] = !isLanguage || name == "fail"
			continue
		}
		for _, member := range m.AttrNames() {
			known[name+"."+member] = true
		}
	}
	for _, name := range GroupNames() {
		if name != "topology" && name != "config" {
			known[name] = true
		}
	}
	for _, a := range NodeAttributes() {
		known["node."+a] = true
	}
	for _, a := range (&faultValue{}).AttrNames() {
		known["fault."+a] = true
	}
	for _, a := range (&responseValue{}).AttrNames() {
		known["response."+a] = true
	}
	for _, a := range (&outputValue{}).AttrNames() {
		known["output."+a] = true
	}
	for _, a := range (&connValue{}).AttrNames() {
		known["connection."+a] = true
	}
	for _, a := range (opValue{}).AttrNames() {
		known["operation."+a] = true
	}
	for _, a := range (&workloadValue{}).AttrNames() {
		known["workload."+a] = true
	}
	for _, a := range (&taskValue{}).AttrNames() {
		known["task."+a] = true
	}
	for _, a := range []string{"topology.name", "topology.node", "topology.nodes", "config.listen", "config.timeout", "config.drain",
		"config.grace", "config.time_limit", "config.seed", "config.links", "config.contain", "config.usage"} {
		known[a] = true
	}
	for name, own := range known {
		if _, ok := docs[name]; !ok && own {
			t.Errorf("%s is not documented", name)
		}
	}
	for name := range docs {
		if !known[name] {
			t.Errorf("%s is documented, and there is no such name", name)
		}
	}
	for _, f := range Families() {
		if f[1] == "" {
			t.Errorf("family %s says nothing about itself", f[0])
		}
	}
}

// TestBind holds how arguments are bound to parameters.
func TestBind(t *testing.T) {
	for _, test := range []struct {
		params     string
		positional int
		named      string
		want       string // the error, or ""
	}{
		{"a, b=1", 1, "", ""},
		{"a, b=1", 2, "", ""},
		{"a, b=1", 1, "b", ""},
		{"a, b=1", 0, "a", ""},
		{"a, b=1", 0, "b", "missing argument for a"},
		{"a, b=1", 3, "", "got 3 arguments, want at most 2"},
		{"a, b=1", 2, "b", `got two values for parameter "b"`},
		{"alpha, b=1", 0, "alhpa", `unexpected keyword argument "alhpa" (did you mean alpha?)`},
		{"alpha, b=1", 1, "zzz", `unexpected keyword argument "zzz" (it takes alpha, b)`},
		{"a, *rest, sep=\" \"", 5, "sep", ""},
		{"a, *rest, sep=\" \"", 1, "rest", `unexpected keyword argument "rest" (did you mean`},
		{"", 1, "", "got 1 arguments, want at most 0"},
		{"a=[], b={}", 2, "", ""},
	} {
		var named []string
		if test.named != "" {
			named = []string{test.named}
		}
		_, _, err := Bind(parseParams(test.params), test.positional, named)
		if got := errText(err); got != test.want && (test.want == "" || !strings.HasPrefix(got, strings.TrimSuffix(test.want, "(did you mean"))) {
			t.Errorf("(%s) with %d and %q: %q, want %q", test.params, test.positional, test.named, got, test.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestOutsideOfARun(t *testing.T) {
	_, err := starlark.Call(&starlark.Thread{}, Vocabulary()["sleep"], starlark.Tuple{starlark.MakeInt(1)}, nil)
	if err == nil || !strings.Contains(err.Error(), "outside of a run") {
		t.Errorf("%v", err)
	}
}
