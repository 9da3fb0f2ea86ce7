package script_test

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/script"
)

// check checks a script, and fails where that costs more than Check says, or
// tells more.
func check(t *testing.T, folder, text string) script.Mistakes {
	t.Helper()
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(heap)
	before := heap[0].Value.Uint64()
	err := script.Check(script.Config{
		Script: filepath.Join(folder, "f.star"), Source: []byte(text), Component: "dagon-star",
		TopologySource: []byte("[a]\ncomponent = x\nlisten.y = auto\n[worker-1]\ncomponent = x\n"),
	})
	metrics.Read(heap)
	if took := heap[0].Value.Uint64() - before; took > 512*uint64(len(text))+2<<20 {
		t.Errorf("%.50q took %d bytes for %d, %d for each", text, took, len(text), took/uint64(len(text)))
	}
	var mistakes script.Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		t.Fatalf("%.50q: an error of type %T: %v", text, err, err)
	}
	if len(mistakes) > 102 {
		t.Errorf("%.50q: %d mistakes", text, len(mistakes))
	}
	for _, m := range mistakes {
		if len(m.Text) > 410 {
			t.Errorf("%.50q: a mistake of %d bytes: %.500s", text, len(m.Text), m.Text)
		}
	}
	return mistakes
}

// FuzzCheck: no script makes the checks panic, and what they cost is in
// proportion.
func FuzzCheck(f *testing.F) {
	f.Add("fork([a, 'worker-1'])\nawait_ready(nodes=a, timeout='5s')\nif can('pause'): pause(worker_1)\n")
	f.Add("load('x.star', 'y', z='w')\ndef f(*args, **kw):\n  return [x for x in args if x]\nwhile 0: break\n")
	f.Add("x = {1: 0x1f, 'a': 1e9, b'b': r'\\', '''c''': -1 // 2 << 3}\nx['a'] += random.choice([1], seed=2) or lambda: undefined\n")
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		defer ends()()
		check(t, folder, text)
	})
}

// ends panics, while fuzzing, unless what it returns is called within 10 s. A fuzzer
// whose time is over says that all is well, also where its worker hangs.
func ends() (ended func() bool) {
	if flag.Lookup("test.fuzz").Value.String() == "" {
		return func() bool { return true }
	}
	return time.AfterFunc(10*time.Second, func() { panic("it does not end") }).Stop
}

// TestHostileScripts: what would overflow the stack, which nothing survives, or
// take time out of proportion, is a mistake at its place.
func TestHostileScripts(t *testing.T) {
	const n = 1 << 16
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, strings.ReplaceAll(format, "#", "%[1]d"), i)
		}
		return b.String()
	}
	long := strings.Repeat("x", 1<<20)
	folder := t.TempDir()
	for name, test := range map[string]struct{ text, want string }{
		"lists":            {"x = " + strings.Repeat("[", n), ":1:82: excessive nesting"},
		"parentheses":      {"x = " + strings.Repeat("(", n), "excessive nesting"},
		"dicts":            {"x = " + strings.Repeat("{1:", n), "excessive nesting"},
		"calls in calls":   {"x = " + strings.Repeat("f(", n), "excessive nesting"},
		"not":              {"x = " + strings.Repeat("not ", n), "excessive nesting"},
		"minus":            {"x = " + strings.Repeat("-", n), "excessive nesting"},
		"lambda":           {"x = " + strings.Repeat("lambda:", n), "excessive nesting"},
		"if else":          {"x = " + strings.Repeat("1 if 1 else ", n), "excessive nesting"},
		"indented":         {"if 1:\n" + indented(1100), "excessive nesting"},
		"sums":             {"x = 1\nx" + strings.Repeat("+x", n), ":2:121076: nested or chained over 5000 deep"},
		"differences":      {"x = 1\nx" + strings.Repeat("-x", n), "nested or chained over 5000 deep"},
		"attributes":       {"x = 1\nx" + strings.Repeat(".a", n), "nested or chained over 5000 deep"},
		"calls":            {"x = 1\nx" + strings.Repeat("()", n), "nested or chained over 5000 deep"},
		"indices":          {"x = 1\nx" + strings.Repeat("[0]", n), "nested or chained over 5000 deep"},
		"slices":           {"x = 1\nx" + strings.Repeat("[:]", n), "nested or chained over 5000 deep"},
		"elif":             {"if 1: pass\n" + strings.Repeat("elif 1: pass\n", n/8), "nested or chained over 5000 deep"},
		"for":              {"x = [0 " + strings.Repeat("for x in [] ", n/8) + "]", ":1:5: nested or chained"},
		"if":               {"x = [0 for x in [] " + strings.Repeat("if 0 ", n/8) + "]", ":1:5: nested or chained"},
		"a long number":    {"x = 1\nx = " + strings.Repeat("9", 1<<20), "line 2 has over 100000 digits in a row"},
		"a hex number":     {"x = 0xa" + strings.Repeat("9a", n), ""},
		"a long fraction":  {"x = 1." + strings.Repeat("9", 90_000), ""},
		"a long name":      {long, ":1:1: undefined: xxx"},
		"a long keyword":   {"fork(" + long + "=1, " + long + "=2)", "keyword argument"},
		"a long load":      {"load('" + long + "', " + long + "= '" + long + "')", "cannot load"},
		"a long string":    {"fork('" + long + "')", "no node is named"},
		"an open string":   {"'" + long, "unexpected EOF in string"},
		"undefined":        {many("a#=0\n", n/8) + many("b#\n", n/8), "… and 8091 more"},
		"undefined, alike": {strings.Repeat("y\n", n/8), "… and 8091 more"},
		"breaks":           {strings.Repeat("break;", n/8) + "\n", "… and 8091 more"},
		"no nodes":         {strings.Repeat("fork('x');", n/8) + "\n", "… and 8091 more"},
		"no members":       {strings.Repeat("random.x\n", n/8), "… and 8091 more"},
		"wrong calls":      {strings.Repeat("fork()\n", n/8), "… and 8091 more"},
		"loads":            {strings.Repeat("load('x', 'y')\n", n/8), "… and"},
		"loads of itself":  {strings.Repeat("load('f.star', 'y')\n", n/8), "… and"},
		"statements":       {strings.Repeat("1\n", n), ""},
		"empty lists":      {"x = [" + strings.Repeat("[],", n) + "]", ""},
		"lambdas":          {"x = [" + strings.Repeat("lambda:0,", n) + "]", ""},
		"numbers":          {"x = [" + many("#,", n) + "]", ""},
		"strings":          {"x = [" + many("'#',", n) + "]", ""},
		"functions":        {many("def f#():pass\n", n/8), ""},
		"globals":          {many("x#=0\n", n/8), ""},
		"zeros":            {"x = 1\n" + strings.Repeat("\x00", n), "line 2 has a NUL byte"},
		"no UTF-8":         {strings.Repeat("\xff", n), "unexpected input character"},
		"returns":          {strings.Repeat("1\r", n), ""},
		"over the limit":   {strings.Repeat("#", 4<<20+1), "f.star: over 4 MiB"},
	} {
		mistakes := check(t, folder, test.text)
		if test.want == "" && mistakes != nil || !strings.Contains(fmt.Sprint(mistakes), test.want) {
			t.Errorf("%s: %.500v, want %q", name, mistakes, test.want)
		}
	}
}

// indented are that many statements, each in the one before it.
func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i+1) + "if 1:\n")
	}
	return b.String()
}
