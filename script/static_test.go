package script

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"
)

// written writes files into a new folder, and returns it.
func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const oneNode = "[a]\npath = /bin/sh\n"

// checked are the mistakes of main.star among files, without their folder.
func checked(t *testing.T, c Config, files map[string]string) (mistakes []string) {
	t.Helper()
	dir := written(t, files)
	c.Script, c.TopologySource = filepath.Join(dir, "main.star"), []byte(oneNode)
	if ini := files["main.ini"]; ini != "" {
		c.TopologySource = []byte(ini)
	}
	err := Check(c)
	if err == nil {
		return nil
	}
	for line := range strings.Lines(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")) {
		mistakes = append(mistakes, strings.TrimSuffix(line, "\n"))
	}
	return mistakes
}

// TestNamesOfTheLanguage: all names of the language and the vocabulary can be
// used together in one file, with as many unknown ones beside them as there are:
// these are told, and no others.
func TestNamesOfTheLanguage(t *testing.T) {
	p, err := prepare(Config{Source: []byte("pass"), TopologySource: []byte(oneNode)})
	if err != nil {
		t.Fatal(err)
	}
	names := append(slices.Collect(maps.Keys(p.names())), starlark.Universe.Keys()...)
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		fmt.Fprintf(&all, "x = %s\n", name)
	}
	used := strings.Count(all.String(), "\n")
	uses := map[string]string{
		"at the top level": all.String() + "%s",
		"in a function":    "def f():\n  " + strings.ReplaceAll(strings.TrimSpace(all.String()), "\n", "\n  ") + "\n%s",
	}
	for where, text := range uses {
		for _, unknown := range []int{0, 1, 9, 10, 11, 99, 100, 101, 102, 150} {
			var tail strings.Builder
			for n := range unknown {
				fmt.Fprintf(&tail, "zlen%d_\n", n)
			}
			text := fmt.Sprintf(text, tail.String())
			for _, files := range []map[string]string{
				{"main.star": text},
				{"main.star": "load('lib.star', 'x')", "lib.star": "x = 0\n" + text},
			} {
				got := checked(t, Config{}, files)
				if want := min(unknown, 102); len(got) != want {
					t.Fatalf("%s, %d unknown in %d files: %d mistakes, the first %.300q", where, unknown, len(files), len(got), got)
				}
				for n, mistake := range got {
					if n < 101 && !strings.Contains(mistake, fmt.Sprintf(":1: undefined: zlen%d_", n)) {
						t.Fatalf("%s, %d unknown in %d files of %d names: mistake %d is %q", where, unknown, len(files), used, n, mistake)
					}
				}
			}
		}
	}
}

// TestHints: the first undefined names of a file are told with what was meant:
// a name of the file, where it has a similar one, else one of the language, the
// vocabulary or the ini.
func TestHints(t *testing.T) {
	lines := []string{"number = 1", "def count(width, heigth):", "  return lambda depth: widht + numbr + dept", "lenn", "frok",
		"Truee", "leeders"}
	want := []string{"main.star:3:24: undefined: widht (did you mean width?)", "main.star:3:32: undefined: numbr (did you mean number?)",
		"main.star:3:40: undefined: dept (did you mean depth?)", "main.star:4:1: undefined: lenn (did you mean len?)",
		"main.star:5:1: undefined: frok (did you mean fork?)", "main.star:6:1: undefined: Truee (did you mean True?)",
		"main.star:7:1: undefined: leeders (did you mean leaders?)"}
	for n := 8; n <= 14; n++ {
		lines = append(lines, "lenn")
		hint := ""
		if n <= 10 {
			hint = " (did you mean len?)"
		}
		want = append(want, fmt.Sprintf("main.star:%d:1: undefined: lenn%s", n, hint))
	}
	got := checked(t, Config{}, map[string]string{"main.star": strings.Join(lines, "\n")})
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestUnreachedText: what a run cannot come to in a loaded file is not refused,
// whatever this topology or machine lacks for it; all else is.
func TestUnreachedText(t *testing.T) {
	const lib = `
def sh(c):
    fork(topology.node("cli"), args = [c])
    fork(cli)
    fork("cli")
    net.isolate(a)
    a.stat
def deep():
    return sh("x")
def two():
    return 2
def helper():
    return deep
def test_lib():
    sh("y")
`
	const wrong = "lib.star:3:24: no node is named \"cli\""
	for name, test := range map[string]struct{ main, lib, want string }{
		"another is loaded":        {"load('lib.star', 'two')\ntwo()", lib, ""},
		"loaded, and never named":  {"load('lib.star', 'two', 'sh')\ntwo()", lib, ""},
		"called":                   {"load('lib.star', 'sh')\nsh('x')", lib, wrong},
		"under another name":       {"load('lib.star', run = 'sh')\nx = [run]", lib, wrong},
		"through another":          {"load('lib.star', 'deep')\nspawn(deep)", lib, wrong},
		"as a value of another":    {"load('lib.star', 'helper')\ndef f(): helper()()", lib, wrong},
		"a test":                   {"load('lib.star', 'test_lib')", lib, wrong},
		"a test by a new name":     {"load('lib.star', test_x = 'deep')", lib, wrong},
		"setup":                    {"load('lib.star', setup = 'sh')", lib, wrong},
		"in the main script":       {lib, "", "main.star:3:24: no node is named"},
		"the loaded file names it": {"load('lib.star', 'two')", lib + "table = {'sh': sh}", wrong},
		"the loaded file calls it": {"load('lib.star', 'two')", lib + "if 0:\n  deep()", wrong},
		"a second of the name":     {"load('lib.star', 'two')", "def two(): pass\n" + lib + "def two(): sh(1)", ""},
		"of two of the name": {"load('lib.star', 'two')\ntwo()", "def two(): pass\n" + lib + "def two(): sh(1)",
			"lib.star:4:24: no node"},
		"not in a function":           {"load('lib.star', 'two')", lib + "fork('cli')", "lib.star:16:6: no node"},
		"a default value":             {"load('lib.star', 'two')", lib + "def f(x = topology.node('cli')): pass", "lib.star:16:25: no node"},
		"a default function":          {"load('lib.star', 'two')", lib + "def f(x = sh): pass", wrong},
		"a default beside wrong text": {"load('lib.star', 'two')", lib + "def f(x = two): fork('cli')", ""},
		"syntax":                      {"load('lib.star', 'two')", lib + "def f(): break", "lib.star:16:10: break not in a loop"},
	} {
		got := checked(t, Config{}, map[string]string{"main.star": test.main, "lib.star": test.lib})
		if test.want == "" && len(got) > 0 || test.want != "" && (len(got) == 0 || !strings.HasPrefix(got[0], test.want)) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	all := checked(t, Config{}, map[string]string{"main.star": "load('lib.star', 'sh')\nsh('x')", "lib.star": lib})
	if len(all) != 5 {
		t.Errorf("of the called one: %q", all)
	}
}

// TestActs: cell by cell, what is more than to define something.
func TestActs(t *testing.T) {
	const defs = `
load("lib.star", "pure", "acting", "table")
def add(a, b): return sorted([a, b])
def twice(f): return f() or f()
def main(): fork(a)
def deep(): return main
def says(): print("x")
`
	dir := written(t, map[string]string{"lib.star": `
def pure(x): return [len(y) for y in x]
def inner(): kill(a)
def acting(): inner()
table = {"f": inner}
`})
	embed := starlark.NewBuiltin("embed", nil)
	for text, want := range map[string]bool{
		"": false, "pass": false, "'text'": false, "x = 1": false, "x = [y for y in 'a b'.split()]": false,
		"x = add(1, 2)": false, "x = pure(['a'])": false, "x = [add(n, 1) for n in range(3)]": false,
		"x = struct(main = main, kill = kill)": false, "x = lambda: main()": false, "x = main": false, "x = fork": false,
		"x = param('n', 5)": false, "x = can('pause')": false, "x = json.decode('{}')": false, "x = time.parse_duration('1s')": false,
		"x = random.randint(1, 2)": false, "x = topology.node('a')": false, "x = [n.name for n in leaders]": false,
		"x = [twice(add)]": false, "x = len(workers)": false, "x, y = 1, 2": false, "x = {}; x['a'] = add(1, 2)": false,

		"result = main()": true, "result = [1, (main(),)]": true, "x = deep()": true, "x = twice(main)": true, "x = twice(fork)": true,
		"x = acting()": true, "x = table['f']()": true, "x = fork(a)": true, "x = messages(a)": true, "x = says()": true, "x = print('x')": true,
		"x = fail('x')": true, "x = (lambda: 1)()": true, "f = main; x = f()": true, "x = twice(lambda: kill(a))": true,
		"x = net.heal()": true, "x = embed()": true, "x = struct(f = main).f()": true, "x = 1\nx += main()": true,
		"def f(x = main()): pass": true, "def f(x = [lambda: kill(a)]): x[0]()": false, "def f(x = add(1, 2)): main()": false,
		"main()": true, "for x in []: pass": true, "if 0: pass": true, "a.name": true,
	} {
		p, err := prepare(Config{Script: filepath.Join(dir, "main.star"), Source: []byte(defs + text), TopologySource: []byte(oneNode),
			Builtins: starlark.StringDict{"embed": embed}})
		if err != nil {
			t.Fatal(err)
		}
		if mistakes := p.found(); len(mistakes) > 0 {
			t.Errorf("%q: %v", text, mistakes)
		}
		if got := p.main.acts(); got != want {
			t.Errorf("%q: acts is %t", text, got)
		}
	}
}

// TestByteOrderMark: a script may begin with one, as an ini may. Places are as
// without it.
func TestByteOrderMark(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	if got := checked(t, Config{}, map[string]string{"main.star": mark + "load('lib.star', 'x')", "lib.star": mark + "x = 1"}); got != nil {
		t.Errorf("%q", got)
	}
	got := checked(t, Config{}, map[string]string{"main.star": mark + "load('lib.star', 'y')", "lib.star": mark + "x = 1; nobody"})
	if want := []string{"lib.star:1:8: undefined: nobody", "main.star:1:19: lib.star has no y (did you mean x?)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	names, err := Tests(Config{Source: []byte(mark + "cases = {'test_x': [1, 2]}\ndef test_x(n): pass\n")})
	if err != nil || !slices.Equal(names, []string{"test_x[1]", "test_x[2]"}) {
		t.Errorf("%q, %v", names, err)
	}
	if got := checked(t, Config{}, map[string]string{"main.star": mark + mark + "x = 1"}); len(got) != 1 {
		t.Errorf("two marks: %q", got)
	}
}
