//go:build unix

package script

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNoFiles: where a file is meant and something else is there, the mistake says
// what it is, and nothing waits for it.
func TestNoFiles(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, folder := range []string{"bin", "later", "folder", "beside"} {
		if err := os.Mkdir(in(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, fifo := range []string{"fifo", "bin/tool", "fifo.star", "beside/s.ini"} {
		if err := syscall.Mkfifo(in(fifo), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"later/tool": "#!/bin/sh\n", "later/other": "#!/bin/sh\n", "s.star": "pass",
		"beside/s.star": "pass"} {
		if err := os.WriteFile(in(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", in("bin")+":"+in("later"))
	const fifo = "it is a FIFO: a regular file was expected"
	pass := []byte("pass")
	for name, test := range map[string]struct {
		c    Config
		want string
	}{
		"program": {Config{Source: pass, Topology: in("t.ini"), TopologySource: []byte("[a]\npath = ./fifo\n")},
			"t.ini:2:8: [a]: cannot start " + in("fifo") + ": " + fifo},
		"program in PATH": {Config{Source: pass, TopologySource: []byte("[a]\npath = tool\n")},
			"topology.ini:2:8: [a]: cannot start tool: " + fifo},
		"another in PATH": {Config{Source: pass, TopologySource: []byte("[a]\npath = tool\nenv.PATH = " + in("later") +
			"\n[b]\npath = other\n")}, ""},
		"wrapper": {Config{Source: pass, Topology: in("t.ini"),
			TopologySource: []byte("[a]\nwrapper_path = ./fifo\npath = other\n")}, "t.ini:2:16: [a]: cannot start"},
		"a device": {Config{Source: pass, TopologySource: []byte("[a]\npath = /dev/null\n")},
			"it is a device: a regular file was expected"},
		"a folder": {Config{Source: pass, Topology: in("t.ini"), TopologySource: []byte("[a]\npath = ./folder\n")},
			"it is a folder; the path of a program was expected"},
		"script":           {Config{Script: in("fifo"), TopologySource: []byte(oneNode)}, "cannot read the script: " + fifo},
		"script, a folder": {Config{Script: in("folder"), TopologySource: []byte(oneNode)}, "cannot read the script: it is a folder"},
		"script, a device": {Config{Script: "/dev/zero", TopologySource: []byte(oneNode)}, "cannot read the script: it is a device"},
		"ini":              {Config{Source: pass, Topology: in("fifo")}, "cannot read the topology: " + fifo},
		"ini beside":       {Config{Script: in("beside/s.star")}, "cannot read the topology: " + fifo},
		"loaded":           {Config{Script: in("x.star"), Source: []byte("load('fifo.star', 'x')")}, "cannot load \"fifo.star\": " + fifo},
		// who writes it feeds the node
		"a component's file": {Config{Source: pass, Component: "/bin/sh", Topology: in("t.ini"),
			TopologySource: []byte("[a]\ncomponent = x\nfile = fifo\n")}, ""},
		"a program's own": {Config{Source: pass, Topology: in("t.ini"), TopologySource: []byte("[a]\npath = other\nfile = fifo\n")}, ""},
	} {
		if err := Check(test.c); test.want == "" && err != nil || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if _, err := ReadRecipe(in("fifo")); err == nil || !strings.Contains(err.Error(), fifo) {
		t.Errorf("recipe: %v", err)
	}
	c := Config{Source: fmt.Appendf(nil, "records(%q)", in("fifo")), TopologySource: []byte("[a]\npath = other\nfile = " +
		in("fifo") + "\n"), RunsDir: in("runs")}
	if r, err := Run(context.Background(), c); err != nil || !strings.Contains(r.Reason, fifo) {
		t.Errorf("records: %+v, %v", r, err)
	}
}
