package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gopkg.in/ini.v1"

	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// bound is what Parse says that it allocates at most, but for what patterns take.
func bound(text string, top *Topology) uint64 {
	most := 256*uint64(len(text)) + allocated.Slack
	if top != nil && len(top.Groups) > 0 {
		most += 1024 * uint64(len(top.Nodes))
	}
	return most
}

// patterns is more than the patterns of a text can take.
func patterns(text string) uint64 { return 32 << 20 * uint64(min(1, strings.Count(text, "ready.log"))) }

// told fails unless mistakes are few and short.
func told(t *testing.T, mistakes Mistakes) {
	t.Helper()
	if len(mistakes) == 0 || len(mistakes) > 101 {
		t.Fatalf("%d mistakes", len(mistakes))
	}
	for _, m := range mistakes {
		if len(m.Text) > 410 {
			t.Fatalf("a mistake of %d bytes: %s", len(m.Text), m.Text)
		}
	}
}

// FuzzParse: no file makes the reader panic, and what it accepts can be made
// commands of. What it costs is in proportion, and what is told is short.
func FuzzParse(f *testing.F) {
	f.Add("[a]\npath = x\nleader\nlisten.x = auto\ny = <SELF:x> <a> <NAME>\nwrapper_path=z\nwrapper_args_1=2\n" +
		"args = 'a b' c\n[dagon]\ntimeout=5\n")
	f.Add("[größe]\npath=x\nlisten.é-1=auto\nlisten.é_1=1\nx=<<a><größe:é-1><<<13>a b ;c\nwrapper_path=<x\n" +
		"env.DAGON_NAME=\"a #\" b\n[GRÖSSE]\npath=x\nname=c+ 1")
	f.Add("[a]\npath = \"x\" # y\nb = `c`\nd = \"\"\"e\n\"\"\"\nf = g \\\n")
	f.Add("\xef\xbb\xbf[a]\r\npath=%(path)s\r\nargs=<SELF> > x\x00\r[b]\rmay-exit\n[../c]\n[DEFAULT]\n[docker]")
	f.Add("[n]\ncount = 3\ncommand = x <n*:e> <n2:e:port> <n1> # c\n  --y 'a\n  b'\nlisten.e = 1\n" +
		"ready.http = e/<NAME>\nready.log = ^a+$\nvalue.v = <SELF:e:host>\nstop=INT\nexit=1,2\nuser=x")
	f.Add("[n]\npath=x\ntemplate.a/b =\n  <a><SELF></a>\n\n   <<NAME>\n# c\n d\ntemplate.c=/none\nsetup =\n\tx ; y\n" +
		"ready.exec=`x`\nready.notify\nready.port=e\nlisten.e=auto\nname=m\ncount=2\nx=<m*:e>")
	f.Fuzz(func(t *testing.T, text string) {
		defer allocated.Ends()()
		var top *Topology
		var err error
		if took := allocated.By(func() { top, err = Parse("t.ini", []byte(text)) }); took > bound(text, top)+patterns(text) && !allocated.Raced {
			t.Fatalf("%d bytes for %d", took, len(text))
		}
		if err != nil {
			var mistakes Mistakes
			if !errors.As(err, &mistakes) {
				t.Fatalf("an error of type %T", err)
			}
			told(t, mistakes)
			return
		}
		for _, n := range top.Nodes {
			argv, _, _, err := top.Command(n, places{}.place(), "home", "program")
			if err != nil || len(argv) < 3 && (n.Words == nil || len(argv) != len(n.Wrapper)+len(n.Words)) {
				t.Fatalf("%q, %v", argv, err)
			}
			n.texts(func(of nodeText) { // what has been checked can be filled in
				if _, err := top.Expand(n, places{}.place(), of.text); err != nil {
					t.Fatalf("%s: %v", of.key, err)
				}
			})
		}
		top.Ties()
	})
}

// FuzzValue: a value is read as package ini reads it, with "=" alone between a
// key and its value, comments that begin with a space, and nothing inherited,
// continued, merged or expanded.
func FuzzValue(f *testing.F) {
	for _, value := range []string{"a", "a # b ; c", "a ; b", "a#b", "'a'", `"a"`, `'a' b`, `"a" # b`, "`a`", "`a", `"""a"""`,
		`"""`, `""""""`, `"""a`, `"""""`,
		"`a` # `b`", "''", "'", `a\`, `%(x)s`, "  a  ", "a = b", " #", "\u00a0a\u00a0", "'a'b'"} {
		f.Add(value)
	}
	options := ini.LoadOptions{KeyValueDelimiters: "=", AllowBooleanKeys: true, SpaceBeforeInlineComment: true, IgnoreContinuation: true,
		SkipUnrecognizableLines: true, AllowNonUniqueSections: true, ChildSectionDelimiter: "\x00"}
	f.Fuzz(func(t *testing.T, text string) {
		defer allocated.Ends()()
		if text = strings.TrimSpace(text); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || quoted.MatchString(text) {
			return
		}
		value, _, missing := readValue(text)
		loaded, err := ini.LoadSources(options, []byte("[s]\nk="+text+"\n"))
		if (err != nil) != (missing != "") {
			t.Fatalf("%q: %q, without %q; package ini: %v", text, value, missing, err)
		}
		if err == nil && loaded.Section("s").Key("k").Value() != value {
			t.Fatalf("%q: %q; package ini: %q", text, value, loaded.Section("s").Key("k").Value())
		}
	})
}

// FuzzPlaceholder: what begins as a placeholder of the topology's is one or a mistake, and
// never text; "<<" makes a text of what would be either, and of nothing else.
func FuzzPlaceholder(f *testing.F) {
	for _, inner := range []string{"SELF", "SELF:e", "n1:e:port", "n1:e:prot", "n1:", "n1::e", ":e", "*", "*:e", "w*:e", "w*x", "w:e", "n1 :e",
		"NAME:", "FOLDER:x y", "SLEF", "slow-nod:", "http://x", "std::string", "/n1", "n1/", "b", "n1\n:e", "(cmd)", "*.log", ":", "::x", "é*"} {
		f.Add(inner)
	}
	top, err := Parse("t.ini", []byte("[n1]\npath=x\nlisten.e=1\n[slow-node]\npath=x\n[w]\npath=x\ncount=2\nlisten.e=2\n"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		if strings.ContainsAny(inner, "<>") {
			return
		}
		fill := func(text string) (string, error) { return top.Expand(top.Nodes[0], places{}.place(), text) }
		text := "<" + inner + ">"
		filled, err := fill(text)
		isText := err == nil && filled == text
		for _, name := range []string{"SELF", "NAME", "FOLDER", "n1", "slow-node", "w", "w1", "w2"} {
			rest, begins := strings.CutPrefix(inner, name)
			rest = strings.TrimLeft(rest, " ")
			if begins && isText && rest != "" && strings.Contains(":*", rest[:1]) && !strings.Contains(rest, "\n") {
				t.Errorf("%q is text", text)
			}
		}
		escaped, err2 := fill("<" + text)
		if err2 != nil || escaped != text && (escaped != "<"+text || !isText) {
			t.Errorf("%q becomes %q, %v; <%[1]s %q, %v", text, filled, err, escaped, err2)
		}
		if around, err := fill("a " + text + " b"); err == nil && around != "a "+filled+" b" {
			t.Errorf("%q within a text becomes %q", text, around)
		}
	})
}

// TestParseBounds: no file costs more than in proportion, in memory or in time.
func TestParseBounds(t *testing.T) {
	n := 1 << 15
	if allocated.Raced {
		n = 1 << 12
	}
	many := func(format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, strings.ReplaceAll(format, "#", "%[1]d"), i)
		}
		return b.String()
	}
	long := strings.Repeat("x", 1<<20)
	for name, text := range map[string]string{
		"empty sections":      strings.Repeat("[a]\n", n),
		"wrong sections":      strings.Repeat("[\n", n),
		"sections":            many("[#]\n"),
		"nodes":               many("[#]\npath=x\n"),
		"keys":                "[a]\npath=x\n" + many("#=\n"),
		"bare keys":           "[a]\npath=x\n" + many("#\n"),
		"double keys":         "[a]\n" + strings.Repeat("a=\n", n),
		"misspelt keys":       "[a]\npath=x\n" + many("may_exi#=\n"),
		"misspelt nodes":      many("[#]\npath=x\nmay-exit=x\n"),
		"settings":            "[dagon]\n" + many("tim#=\n"),
		"comments":            "[a]\npath=x\n" + many("#=x #\n"),
		"quotes":              "[a]\npath=x\n" + many("#='x'\n"),
		"open quotes":         "[a]\npath=x\n" + many("#=`\n"),
		"expansions":          "[a]\npath=x\n" + many("#=%%(#)s\n"),
		"environment":         "[a]\npath=x\n" + many("env.#=\n"),
		"files":               "[a]\npath=x\nfile=" + long,
		"wrapper":             "[a]\npath=x\nwrapper_path=x\n" + many("wrapper_args_#=\n"),
		"endpoints":           "[a]\npath=x\n" + many("listen.#=auto\nb#=<SELF:#>\n"),
		"wrong endpoints":     "[a]\npath=x\n" + many("listen.#=x\nb#=<SELF:b#>\n"),
		"placeholders":        many("[#]\npath=x\na=<#>\n"),
		"unknown nodes":       many("[#]\npath=x\na=<x#>\n"),
		"placeholders a line": "[a]\npath=x\nb=" + strings.Repeat("<a>", n),
		"unknown on a line":   "[a]\npath=x\nb=" + strings.Repeat("<b>", n),
		"odd placeholders":    many("[a#]\npath=x\n") + "b=" + strings.Repeat("<slef:><a::><a1:><*:b>", n),
		"odd texts":           many("[abc#]\npath=x\n") + "b=" + strings.Repeat("<abcd::><http://x><:>", n),
		"escapes":             "[a]\npath=x\nb=" + strings.Repeat("<<a>", n),
		"marks of one":        "[a]\npath=x\nb=" + strings.Repeat("<", n) + "a>",
		"colons":              "[a]\npath=x\nb=" + strings.Repeat("<a:", n) + "a>",
		"variables":           "[a]\npath=x\n" + many("listen.#=auto\nlisten.#-=1\nlisten.#_=1\n"),
		"cases":               many("[#a]\npath=x\n[#A]\npath=x\n"),
		"cut values":          "[a]\npath=x\n" + many("#=a b ;c\n"),
		"open placeholder":    "[a]\npath=x\nb=" + strings.Repeat("<", n) + long,
		"names":               many("[#]\npath=x\nname=x\n"),
		"long names":          many("[#]\npath=x\n") + "[" + long + "]\npath=x\n[b]\npath=x\na=<y" + long + ">\n",
		"a long key":          "[a]\npath=x\n" + long + "=x\n",
		"a long value":        "[a]\npath=" + long + "\nmay_exit=" + long,
		"a long setting":      "[dagon]\n" + long + "=\ntimeout=" + long + "\n",
		"a long line":         long,
		"a long section":      "[" + long + "\n[" + long + "]" + long,
		"words":               "[a]\npath=x\nargs=" + strings.Repeat("a ", n),
		"quoted words":        "[a]\npath=x\nargs=" + strings.Repeat("'' ", n),
		"open words":          "[a]\npath=x\nargs=" + strings.Repeat("'", n+1),
		"nothing":             strings.Repeat("\n", n),
		"zeros":               strings.Repeat("\x00", n),
		"returns":             strings.Repeat("[a]\r", n),
		"marks":               strings.Repeat("\xef\xbb\xbf\n", n),
		"count":               "[a]\npath=x\ncount=10000\n",
		"counts":              many("[#]\npath=x\ncount=10000\n"),
		"one each":            many("[#]\npath=x\ncount=1\na=<#*>\n"),
		"groups":              "[a]\ncommand=x <a*:e>\nlisten.e=1\ncount=1000\n",
		"groups a line":       "[a]\ncommand=x " + strings.Repeat("<a*>", n) + "\ncount=10\n",
		"beginnings":          many("[a#]\npath=x\nb=<a#*>\n"),
		"values":              "[a]\ncount=100\npath=x\n" + many("value.#=<SELF>\nb#=<a*:#>\n"),
		"values of values":    "[a]\npath=x\n" + many("value.v#=<SELF:v#><SELF:v1>\n"),
		"commands":            many("[#]\ncommand=x\n"),
		"keys of a command":   "[a]\ncommand=x\n" + many("lisen.#=\n"),
		"long command":        "[a]\ncommand=x\n" + strings.Repeat(" y\n", n),
		"open command":        "[a]\ncommand='\n" + strings.Repeat(" y\n", n),
		"comments in it":      "[a]\ncommand=x\n" + strings.Repeat(" #\n", n),
		"keys in it":          "[a]\ncommand=x\n" + strings.Repeat(" a =\n", n),
		"lines of it":         "[a]\ncommand=x\n" + strings.Repeat(" \\\n", n),
		"ended":               "[a]\ncommand=x\n" + strings.Repeat("#\n y\n", n),
		"long setup":          "[a]\npath=x\nsetup=\n" + strings.Repeat(" y\n", n),
		"deep text": "[a]\npath=x\ntemplate.a=\n" + strings.Repeat(" ", n) + "y\n" + strings.Repeat("\t", n) + "y\n" +
			strings.Repeat(" ", n) + "y\n",
		"text":            "[a]\npath=x\ntemplate.a=\n" + strings.Repeat(" <a>\n", n),
		"wrong text":      "[a]\npath=x\ntemplate.a=\n" + strings.Repeat(" <b>\n", n),
		"elements":        "[a]\npath=x\ntemplate.a=\n" + many(" <b#></b#>\n"),
		"open elements":   "[a]\npath=x\ntemplate.a=\n" + many(" </b#>") + strings.Repeat("<a>", n),
		"templates":       "[a]\npath=x\n" + many("template.#=x\n"),
		"empty templates": "[a]\npath=x\n" + many("template.#=\n y\n"),
		"deep template":   "[a]\npath=x\ntemplate." + strings.Repeat("a/", n) + "a=\n y\n",
		"codes":           "[a]\npath=x\nexit=" + strings.Repeat("0,", n) + "\n",
		"many ports": "[a]\npath=x\nlisten.a=1\nlisten.b=1\n[b]\npath=x\n" + strings.Repeat("a=<a> <a:a:port> <a:b:port>\n",
			1) + many("c#=<a>\n"),
		"over the limit": strings.Repeat("#", maxSize+1),
	} {
		var top *Topology
		var err error
		took := allocated.By(func() { top, err = Parse("t.ini", []byte(text)) })
		if took > bound(text, top) && !allocated.Raced {
			t.Errorf("%s: %d bytes for %d, %d for each", name, took, len(text), took/uint64(len(text)))
		}
		if mistakes, ok := err.(Mistakes); ok {
			told(t, mistakes)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			top.Ties()
		}
	}
}

// TestPatternBounds: patterns that are small to write and large to compile.
func TestPatternBounds(t *testing.T) {
	for name, text := range map[string]string{
		"repeats": "[#]\npath=x\nready.log=x{999}a#\n", "repeats of repeats": "[#]\npath=x\nready.log=(x{99}){999}#\n",
		"classes": "[#]\npath=x\nready.log=\\pL#\n", "many classes": "[#]\npath=x\nready.log=" + strings.Repeat("\\pL", 300) + "#\n",
		"wrong": "[#]\npath=x\nready.log=" + strings.Repeat("\\pL", 300) + "(#\n", "the same": "[#]\npath=x\nready.log=x{999}\n",
	} {
		var b strings.Builder
		for i := range 5000 {
			b.WriteString(strings.ReplaceAll(text, "#", fmt.Sprint(i)))
		}
		var err error
		took := allocated.By(func() { _, err = Parse("t.ini", []byte(b.String())) })
		if most := 256<<20 + 256*uint64(b.Len()); took > most && !allocated.Raced {
			t.Errorf("%s: %d MiB", name, took>>20)
		}
		if mistakes, ok := err.(Mistakes); (ok && name != "the same") != (err != nil) {
			t.Errorf("%s: %v", name, err)
		} else if ok {
			told(t, mistakes)
		}
	}
}

// TestManyMistakes: the first hundred are told, and how many there are besides.
func TestManyMistakes(t *testing.T) {
	_, err := Parse("t.ini", []byte("[a]\npath=x\n"+strings.Repeat("=\n", 107)))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != 101 || !strings.HasPrefix(lines[99], "t.ini:102:1: ") || lines[100] != "t.ini:102:1: … and 7 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
