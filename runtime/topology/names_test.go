package topology

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPlaceholders: a value as it is passed on, or the mistake in it, beside nodes
// whose names are written in all sorts of ways.
func TestPlaceholders(t *testing.T) {
	var others strings.Builder
	for _, name := range []string{"größe", "c+1", "13", "my node", "a&b", "x.y", "named"} {
		fmt.Fprintf(&others, "[%s]\npath = x\nlisten.data = 1\nlisten.größe = 1\n", name)
	}
	others.WriteString("name = other\n")
	unknown := func(p, name string) string {
		return fmt.Sprintf("t.ini:4:6: k has the placeholder %s, and there is no node %q", p, name)
	}
	odd := func(placeholder, expected string) string {
		return "t.ini:4:6: k has the placeholder " + placeholder + ", and " + expected + " (write << for a <)"
	}
	forms := func(name string) string {
		return strings.ReplaceAll("<n>, <n:ENDPOINT>, <n:ENDPOINT:host> or <n:ENDPOINT:port> was expected", "<n", "<"+name)
	}
	all := func(name string) string { return forms(name + "*") }
	for value, want := range map[string]string{
		"<SELF>": "(b)", "<NAME>": "b", "<SELF:own>": "b:7", "<b:own>": "b:7", "a<SELF>b<NAME>c": "a(b)bbc",
		"<größe>": "(größe)", "<größe:data>": "größe:7", "<größe:größe>": "größe:7", "<c+1:data>": "c+1:7",
		"<my node>": "(my node)",
		"<13>":      "(13)", "<13:data>": "13:7", "<a&b>": "(a&b)", "<x.y>": "(x.y)", "<named>": "(other)", "<other>": "(other)",

		// Text, as no name is written so.
		"<14>hello": "<14>hello", "<b >c": "<b >c", "< b>": "< b>", "<>": "<>", "<a/b>": "<a/b>", "</b>": "</b>", "<.b>": "<.b>",
		"<x@y.org>": "<x@y.org>",
		"a < b":     "a < b", "a <= b && c > d": "a <= b && c > d", "<-": "<-", "<b": "<b", "<q:a:b>": "<q:a:b>",
		"<-x>": "<-x>", "sort </etc/hosts >out": "sort </etc/hosts >out", "1 << 20": "1 << 20", "cat <<EOF": "cat <<EOF",
		"<<": "<<", "<<<": "<<<", "<a|b>": "<a|b>", "<c=1>": "<c=1>", "<!-- b -->": "<!-- b -->", "<" + strings.Repeat("x", 101) +
			">": "<" + strings.Repeat("x", 101) + ">",

		// "<<" before what would be a placeholder.
		"<<SELF>": "<SELF>", "<<none>": "<none>", "<<none:data>": "<none:data>", "<<14>": "<14>", "<<<SELF>": "<(b)", "<<<<SELF>": "<<SELF>",
		"<<<14>": "<<14>", "<<a@b>": "<a@b>", "a<<b>c<<SELF>d<SELF>": "a<b>c<SELF>d(b)", "<b <SELF>": "<b (b)", "<x<SELF>": "<x(b)",
		"<<x<<SELF>": "<<x<SELF>",

		// Meant to be one, and none.
		"<grösse:data>": unknown("<grösse:data>", "grösse"), "<c+2>": unknown("<c+2>", "c+2"), "<14:data>": unknown("<14:data>", "14"),
		"<none>": unknown("<none>", "none") + " (write << for a <)", "<none:data>": unknown("<none:data>", "none"), "<_x>": unknown("<_x>", "_x"),
		"<b:none>":    "t.ini:4:6: k has the placeholder <b:none>, and [b] has no listen.none",
		"<SELF:data>": "t.ini:4:6: k has the placeholder <SELF:data>, and [b] has no listen.data",
		"<b:own:prt>": "t.ini:4:6: k has the placeholder <b:own:prt>, and an address has no part \"prt\": host or port was " +
			"expected (write << for a <)",
		"<self>": unknown("<self>", "self") + ": did you mean <SELF>?", "<14 days>": unknown("<14 days>", "14 days"),
		"<NAME:own>": odd("<NAME:own>", "<NAME> has no endpoints: <NAME> or <SELF:own> was expected"),
		"<SLEF>":     unknown("<SLEF>", "SLEF") + ": did you mean <SELF>?", "<Folder>": unknown("<Folder>", "Folder") + ": did you mean <FOLDER>?",
		"<SLEF:own>": unknown("<SLEF:own>", "SLEF") + ": did you mean <SELF:own>?",
		"<ohter:x>":  unknown("<ohter:x>", "ohter") + ": did you mean <other:x>?",
		"<b:onw>":    "t.ini:4:6: k has the placeholder <b:onw>, and [b] has no listen.onw: did you mean own?",

		// Begins as one, and has not the form.
		"<b:>": odd("<b:>", forms("b")), "<b::own>": odd("<b::own>", forms("b")), "<b:own:>": odd("<b:own:>", forms("b")),
		"<b:a b>": odd("<b:a b>", forms("b")), "<b :own>": odd("<b :own>", forms("b")), "<b:own:port:x>": odd("<b:own:port:x>", forms("b")),
		"<b:own/x>": odd("<b:own/x>", forms("b")), "<b*x>": odd("<b*x>", all("b")), "<b**>": odd("<b**>", all("b")), "<b*:>": odd("<b*:>", all("b")),
		"<SELF:>": odd("<SELF:>", forms("SELF")), "<SELF::own>": odd("<SELF::own>", forms("SELF")), "<NAME:>": odd("<NAME:>", "<NAME> was expected"),
		"<FOLDER:a/b>": odd("<FOLDER:a/b>", "<FOLDER> was expected"), "<SLEF:>": odd("<SLEF:>", forms("SELF")),
		"<:own>":      odd("<:own>", "the name of a node was expected before :"),
		"<:own:port>": odd("<:own:port>", "the name of a node was expected before :"),
		"<*>":         odd("<*>", "the name of a group, or what names of nodes begin with, was expected before *"),
		"<*:own>":     odd("<*:own>", "the name of a group, or what names of nodes begin with, was expected before *"),

		// As above, of nothing that the topology has; and escapes of the same.
		"<q:>": "<q:>", "<othre::x>": "<othre::x>", "<q::a>": "<q::a>", "<http://x>": "<http://x>", "<std::string>": "<std::string>", "<q*x>": "<q*x>",
		"<:>": "<:>", "<: x>": "<: x>", "<::x>": "<::x>", "<*.log>": "<*.log>", "<(cmd :)>": "<(cmd :)>",
		"cat <b >out": "cat <b >out", "<b x=1:2>": "<b x=1:2>", "<<b:>": "<b:>", "<<<b:own>": "<b:7", "<<q:>": "<<q:>",
		"<<*:own>": "<*:own>", "<<:own>": "<:own>", "<b:own x='1'>y</b:own>": "<b:own x='1'>y</b:own>",
	} {
		top, err := Parse("t.ini", []byte("[b]\npath = x\nlisten.own = 1\nk = `"+value+"`\n"+others.String()))
		if err != nil {
			if !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v, want %q", value, err, want)
			}
			continue
		}
		p := places{}
		for _, n := range top.Nodes {
			p[n.Name] = "(" + n.Name + ")"
		}
		if got := strings.NewReplacer("(", "", ")", "").Replace(top.fill(top.Node("b"), p.place(),
			value)); got != strings.NewReplacer("(", "", ")", "").Replace(want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// TestPlaceholderKeys: a mistake in a placeholder is told at its own line, under
// its own key, and keys that take none are let be.
func TestPlaceholderKeys(t *testing.T) {
	_, err := Parse("t.ini", []byte(`[a]
path = <no>
wrapper_path = <n1>
wrapper_args_2 = <n2>
wrapper_args_1 = <n3>
args = x '<n4>'
env.X = <n5>
arg.path = <n6>
file = <n7>
cwd = <n8>
flag = <n9>
name = a
docker.x = <no>
`))
	var got []string
	for line := range strings.Lines(fmt.Sprint(err)) {
		text, _, _ := strings.Cut(line, ">")
		got = append(got, strings.ReplaceAll(text, " has the placeholder <", " "))
	}
	want := []string{"t.ini:3:16: wrapper_path n1", "t.ini:4:18: wrapper_args_2 n2", "t.ini:5:18: wrapper_args_1 n3", "t.ini:6:11: args n4",
		"t.ini:7:9: env.X n5", "t.ini:8:12: arg.path n6", "t.ini:9:8: file n7", "t.ini:10:7: cwd n8", "t.ini:11:8: flag n9"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCollisions: what would be one thing under two names is told with both lines.
func TestCollisions(t *testing.T) {
	for text, want := range map[string]string{
		"[a]\npath = x\nlisten.a-b = auto\nlisten.a_b = auto\nlisten.A_B = auto\nlisten.c = auto\n": "t.ini:4:1: " +
			"listen.a_b has the variable DAGON_LISTEN_A_B in the environment, as listen.a-b at line 3 has: give one of them another name\n" +
			"t.ini:5:1: listen.A_B has the variable DAGON_LISTEN_A_B in the environment, as listen.a-b at line 3 has: give one of them another name",
		"[a]\npath = x\nlisten.grö = 1\nlisten.gro- = 2\nlisten.gr-- = 3\nlisten.gr__ = 4": "t.ini:6:1: " +
			"listen.gr__ has the variable DAGON_LISTEN_GR__ in the environment, as listen.gr-- at line 5 has: give one of them another name",
		"[a]\npath = x\nlisten.a = 1\n[b]\npath = x\nlisten.A = 1\n": "",
		"[a]\npath = x\nlisten.a b = 1\n": `t.ini:3:1: "listen.a b = 1" ` +
			`is no key: key = value was expected`,
		"[a]\npath = x\nlisten.a.b = 1\n": `t.ini:3:14: listen.a.b is "1": a ` +
			`port, auto, udp:PORT or udp:auto, under a name of letters, digits, - and _ was expected`,
		"[a]\npath = x\nwrapper_path = x\nwrapper_args_1 = a\nwrapper_args_01 = b\n": "t.ini:5:1: " +
			"wrapper_args_01 has the number of wrapper_args_1 at line 4: their order is not known",
		"[a]\npath = x\nwrapper_path = x\nwrapper_args_99999999999999999999 = a\n": "t.ini:4:1: " +
			"wrapper_args_99999999999999999999 has too great a number",
		"[a]\npath = x\narg. = a\n": `t.ini:3:8: arg. is "a": arg.KEY = value was expected`,
		"[db]\npath = x\n[DB]\npath = x\n[c]\npath = x\nname = Db": `note t.ini:3:1: "DB" ` +
			`and "db" (line 1) differ in nothing but case: on a machine whose file names do not, they share a log and a folder` + "\n" +
			`note t.ini:7:1: "Db" and "db" (line 1) differ in nothing but case: on a machine whose file names do not, they share a log and a folder`,
		"[a]\npath = x\nname = b\n[b]\npath = x\nname = c\n": `note t.ini:3:1: "b" is the name ` +
			`of [a], and [b] at line 4 is named "c": <b> and topology.node("b") are the former`,
		"[SELF]\npath = x\n": `note t.ini:1:1: no placeholder means the node "SELF": <SELF> is what each node has of its own`,
		"[a]\npath = x\nlisten.a = 1\nenv.DAGON_LISTEN_A = x\nenv.DAGON_listen_a = y\n": "note t.ini:4:1: " +
			"env.DAGON_LISTEN_A takes the place of the address of listen.a at line 3",
		"[a]\npath = x\nenv.DAGON_NAME = x\nenv.DAGON_NAMES = y\n": "note t.ini:3:1: " +
			"env.DAGON_NAME is passed over: dagon-star says what DAGON_NAME is",
	} {
		top, err := Parse("t.ini", []byte(text))
		var got []string
		if err != nil {
			got = append(got, err.Error())
		} else {
			for _, n := range top.Notices {
				got = append(got, "note "+n.Error())
			}
		}
		if got := strings.Join(got, "\n"); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// TestIdentifier: a section's name in scripts keeps what a script can name.
func TestIdentifier(t *testing.T) {
	for section, want := range map[string]string{"worker-1": "worker_1", "db.one": "db_one", "größe": "größe", "c+1": "c_1",
		"北京": "北京", "13": "13", "e\u0301": "e_", "a b": "a_b"} {
		if got := (&Node{Section: section}).Identifier(); got != want {
			t.Errorf("%q: %q, want %q", section, got, want)
		}
	}
}

// TestCutValues: what is taken for a comment and seems to belong to the value is
// told; ordinary comments are not.
func TestCutValues(t *testing.T) {
	at := regexp.MustCompile(`^t\.ini:4:\d+: `)
	for line, want := range map[string]string{
		"arg.path = ./db   ; relative to the ini":      "",
		"name = b # with a comment":                    "",
		"addr = <SELF>   ; passed as --addr=127.0.0.1": "",
		"args = -v --fast ; quick":                     "",
		"args = -c 'a' # it's quoted":                  "",
		"note = don't # it isn't":                      "",
		"note = two words # a comment":                 "",
		"note = word;more":                             "",
		"note = `two words` ; a comment":               "",
		"note = \"a ; b\" ; a comment":                 "",
		"note = 'two words' ; it's b":                  "",
		"note = 'a' ; it's b":                          "",
		"wrapper_args_1 = -v ; a comment":              "",
		"wrapper_args_1 = echo one # a shell's own":    "",
		"wrapper_args_1 = `echo one ; echo two`":       "",
		"wrapper_args_1 = echo one ; echo two":         `wrapper_args_1 ends before "; echo two"`,
		"wrapper_args_1 = echo one ; echo two # three": "", // only " #" is a comment then
		"wrapper_args_1 = echo \"one ; two\"":          `wrapper_args_1 ends before "; two\""`,
		"wrapper_args_1 = echo 'one # two' three":      `wrapper_args_1 ends before "# two' three"`,
		"env.INIT = create x ; drop y":                 `env.INIT ends before "; drop y"`,
		"query = select 1 ; select 2":                  `query ends before "; select 2"`,
		"title = issue #5":                             `title ends before "#5"`,
		"note = x=\"a # b\"":                           `note ends before "# b\""`,
		"note = `a` b":                                 `note ends before "b"`,
		"arg.name = a b ; c":                           `arg.name ends before "; c"`,
		"args = -c 'a ; b'": `mistake: args is "-c 'a": back quotes around all of it, as ` +
			`"; b'" would be taken for a comment, was expected`,
		"args = `-c 'a ; b'`":                             "",
		"note = " + strings.Repeat("a ", 1000) + "; b":    `note ends before "; b"`,
		"note = a b ;" + strings.Repeat(" and more", 100): `note ends before "; and more and`,
	} {
		top, err := Parse("t.ini", []byte("[a]\nwrapper_path = sh\ncomponent = x\n"+line+"\n"))
		got := ""
		switch {
		case err != nil:
			got = "mistake: " + at.ReplaceAllString(err.Error(), "")
		case len(top.Notices) > 0:
			got = at.ReplaceAllString(top.Notices[0].Error(), "")
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
