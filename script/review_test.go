package script

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// TestReviewIsRun: Review tells the notices that a run begins with, all of them
// and in their order.
func TestReviewIsRun(t *testing.T) {
	dir := written(t, map[string]string{
		"main.star": "load('lib.star', 'f')\nf()\n",
		"lib.star":  "def f(): pass\ndef g(): fork('none')\n",
		"main.ini": `[load]
path = /bin/sh
may-exit = 1
[kill]
path = /bin/sh
docker.x = y
note = issue #5
[a-b]
path = /bin/sh
[a_b]
path = /bin/sh
[13]
path = /bin/sh
[len]
path = /bin/sh
`})
	c := Config{Script: filepath.Join(dir, "main.star"), RunsDir: t.TempDir()}
	got, err := Review(c)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range got {
		got[i] = strings.ReplaceAll(text, dir+string(filepath.Separator), "")
	}
	want := []string{
		`main.ini:7:14: note ends before "#5", which is taken for a comment: to keep it, put back quotes around the value`,
		"main.ini:3:1: may-exit is passed to the program as a flag: did you mean may_exit?",
		"main.ini:6:1: [docker], [docker-env] and docker.* keys are skipped: nodes run as processes of this machine",
		`[load] has no name of its own in scripts, as load is no name that a script can have: use topology.node("load")`,
		`[kill] has no name of its own in scripts, as kill is a name of the vocabulary: use topology.node("kill")`,
		`[a_b] has no name of its own in scripts, as a_b is the name of [a-b]: use topology.node("a_b")`,
		`[13] has no name of its own in scripts, as 13 is no name that a script can have: use topology.node("13")`,
		`[len] has no name of its own in scripts, as len is a name of the vocabulary: use topology.node("len")`,
	}
	const aside = `lib.star:2:15: no node is named "none": no mistake, as no run comes to it`
	if !slices.Equal(got, append(slices.Clone(want), aside)) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	var told []string
	c.Observer = func(e event.Event) {
		if n, ok := e.Detail.(event.Notice); ok {
			told = append(told, strings.ReplaceAll(n.Text, dir+string(filepath.Separator), ""))
		}
	}
	if r, err := Run(context.Background(), c); err != nil || r.Reason != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if !slices.Equal(told, want) {
		t.Errorf("the run told\n%s", strings.Join(told, "\n"))
	}
}

// TestHiddenNodes: who calls a node by a name that means something else is told
// how it is reached.
func TestHiddenNodes(t *testing.T) {
	ini := []byte("[load]\npath = /bin/sh\n[kill]\npath = /bin/sh\n[if]\npath = /bin/sh\n[not]\nname = n\n" +
		"path = /bin/sh\n[len]\npath = /bin/sh\n[leaders]\npath = /bin/sh\n[größe]\npath = /bin/sh\n")
	const word = " is a word of the language, and the node of that name is topology.node("
	for text, want := range map[string]string{
		"fork(load)":                               `:1:6: got load, want primary expression: load` + word + `"load")`,
		"x = 1\nload.state":                        `:2:6: got '.', want '(': load` + word + `"load")`,
		"def f():\n  return [1, if]":               `:2:14: got if, want primary expression: if` + word + `"if")`,
		"fork(größe, not)":                         `:1:16: got ')', want primary expression: not` + word + `"n")`,
		"fork(for)":                                `:1:6: got for, want primary expression`,
		"fork(":                                    `:1:6: got end of file, want ')'`,
		"print(kill.state)":                        `:1:7: kill is a name of the vocabulary here: the node is topology.node("kill")`,
		"fork(kill)":                               `:1:6: kill is a name of the vocabulary here: the node is topology.node("kill")`,
		"def f(): await_ready([len])":              `:1:23: len is a name of the vocabulary here: the node is topology.node("len")`,
		"fork(nodes = (largest, kill))":            `:1:22: kill is a name`,
		"kill = topology.node('kill')\nfork(kill)": "",
		"fork(größe)\nfork(leaders)\nspawn(kill, größe)": "",
		"def f(kill): fork(kill)":                        "",
	} {
		text = strings.ReplaceAll(text, "largest", "größe")
		err := Check(Config{Source: []byte(text), TopologySource: ini})
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "script.star")
		}
		if got != want && !(strings.HasSuffix(want, " name") && strings.HasPrefix(got, want)) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if _, err := os.Stat("runs"); err == nil {
		t.Error("a run's folder was made")
	}
}
