package topology

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// put writes files into a new folder, and returns it.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// at gives each node an address of its own, and each link one too: at the tenth port
// above, where it is one.
type at struct {
	*Topology
	linked bool
}

func (a at) Host(node string) string {
	return fmt.Sprintf("127.1.1.%d", 1+slices.Index(a.Nodes, a.Node(node)))
}
func (a at) Port(node, endpoint string) int {
	for _, e := range a.Node(node).Endpoints {
		if e.Name == endpoint && e.Port > 0 {
			return e.Port
		}
	}
	return 9
}
func (a at) Reach(from, to, endpoint string) string {
	if !a.linked {
		return address(a, to, endpoint)
	}
	return fmt.Sprintf("127.9.%d.%d:%d", 1+slices.Index(a.Nodes, a.Node(from)), 1+slices.Index(a.Nodes, a.Node(to)), a.Port(to, endpoint)+10)
}
func (a at) place() Place {
	return Place{Addresses: a, Folder: func(node string) string { return "/run/" + node }}
}

// TestCommand: the words of a command, line by line.
func TestCommand(t *testing.T) {
	dir := put(t, map[string]string{"server": "", "conf/a.conf": "", "my server": ""})
	for text, want := range map[string][]string{
		"server -p <SELF:a:port> --save \"\" x":            {"server", "-p", "9", "--save", "", "x"},
		"./server":                                         {dir + "/server"},
		"conf/run -x":                                      {dir + "/conf/run", "-x"}, // a slash: relative, there or not
		"/bin/x ./server ./gone ../x":                      {"/bin/x", dir + "/server", "./gone", "../x"},
		"x --config=./conf/a.conf ./conf ./conf/a.conf":    {"x", "--config=./conf/a.conf", "./conf", dir + "/conf/a.conf"},
		"<FOLDER>/bin/x <NAME>":                            {"/run/n/bin/x", "n"},
		"'./my server' 'a b' \"c d\"":                      {dir + "/my server", "a b", "c d"},
		"x 'a ; b # c' # and a comment":                    {"x", "a ; b # c"},
		"x y ; a comment":                                  {"x", "y"},
		"x a#b c;d\\ # e":                                  nil, // a ; that is no comment has no meaning here
		"`x a ; b`":                                        nil,
		"`x 'a ; b'`":                                      {"x", "a ; b"},
		"\"x y\"":                                          {"x", "y"}, // quotes around all of a value belong to the ini
		"x \\\n  --y \\\n  z\\ 1":                          {"x", "--y", "z 1"},
		"x\n  --a b\n\n    --c d\n":                        {"x", "--a", "b", "--c", "d"},
		"\n  x\n  y # one\n  # two\n  z":                   {"x", "y", "z"},
		"sh -c '\n   echo a\n    echo b'\n":                {"sh", "-c", "\necho a\n echo b"},
		"x http://[::1]:<SELF:a:port>\n  [::1]:80 a=b c==": {"x", "http://[::1]:9", "[::1]:80", "a=b", "c=="},
	} {
		top, err := Parse(dir+"/t.ini", []byte("[n]\ncommand = "+text+"\nlisten.a = auto\n"))
		if (err != nil) != (want == nil) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil || want == nil {
			continue
		}
		argv, _, _, err := top.Command(top.Nodes[0], at{Topology: top}.place(), "h:1", "")
		if err != nil || !slices.Equal(argv, want) {
			t.Errorf("%q:\ngot  %q, %v\nwant %q", text, argv, err, want)
		}
	}
}

// TestLongValues: which lines go on with a value, and what becomes of them.
func TestLongValues(t *testing.T) {
	for text, want := range map[string]string{
		"setup = a ; b # c":               "a ; b # c",
		"setup = `a ; b`":                 "a ; b",
		"setup = `a` b `c`":               "`a` b `c`",
		"setup = \"a\" \"b ; c\"":         `"a" "b ; c"`,
		"setup = 'a b'":                   "a b",
		"setup = a\n  if b\n    c\n  d":   "a\nif b\n  c\nd\n",
		"setup =\n\ta\n\n\t\tb \n\n":      "\n a\n\n\tb\n", // each line where it is, so that mistakes find it
		"setup = a\r\n  b\r\n":            "a\nb\n",
		"  setup = a\n  name = m":         "a",
		"  setup = a\n    b\n  name = m":  "a\nb\n",
		"setup = a\n# c\n\nname = m":      "a",
		"setup = a\n  # of the shell\n b": "a\n # of the shell\nb\n",
	} {
		top, err := Parse("t.ini", []byte("[n]\npath = x\n"+text+"\n"))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := top.Nodes[0].Setup; got != strings.Replace(want, "\n a", "\na", 1) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"template.a =\n  x\n\n    y\t\n  # z\n  [b]\n  k = v ; w\n\n\n[c]\npath=x": "x\n\n  y\n# z\n[b]\nk = v ; w\n",
		"template.a =\n\t<NAME>": "n\n",
		"template.a =\n\n\n   x": "\n\nx\n",
	} {
		top, err := Parse("t.ini", []byte("[n]\npath = x\n"+text+"\n"))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := top.Expand(top.Nodes[0], at{Topology: top}.place(), top.Nodes[0].Templates[0].Text); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestServerMistakes: each mistake with its line, all at once.
func TestServerMistakes(t *testing.T) {
	dir := put(t, map[string]string{"t.conf": "a\n<n:x>\n\nb <none> <n1>\n", "good.conf": "<n1:http>\n<SELF>"})
	_, err := Parse(dir+"/t.ini", []byte(`[a]
command = x
path = y
flag = 1
lisen.http = 80
args = z
ready.log = a(
ready.port = http
ready.http = admin/x
ready.often = 1
stop = NOW
exit = 0, 256
setup =
user =
listen.admin = udp:1
[b]
command =
count = 0
template.../x = good.conf
template./x = good.conf
template.a = gone.conf
template.a/b = good.conf
template.d =
template.e = good.conf
   text
template.f = t.conf
value.x = <NAME>
value.y = <SELF:x>
value.http = 1
listen.http = 80
[n]
command = x <n> <n:http> <n*> <n2> <n4> <m*:http> <n*:none> <b1:x:port>
count = 3
listen.http = 80
cwd = <FOLDER>/x
template.x = good.conf
[c]
command = x 'y
  z
# a comment
  w
ready.exec =
ready.http = web
ready.port = we b
exit = none
[d]
component = x
command = y
count = 10001
[e]
command = a
  b = c
  [f]
count = many
[g]
command = x
value.v = <FOLDER>
value.w = `+strings.Repeat("w", 4097)+`
cwd = <SELF:v>
`))
	want := []string{
		`3:1: [a] has both command and path: one of them was expected`,
		`4:1: [a] has a command, which takes no flags: flag is no key of its section`,
		`5:1: [a] has a command, which takes no flags: lisen.http is no key of its section: did you mean listen.http?`,
		`6:1: [a] has a command, which takes no flags: args is no key of its section`,
		"7:13: ready.log is \"a(\": a regular expression (error parsing regexp: missing closing ): `a(`) was expected",
		`8:14: ready.port is "http": [a] has no listen.http`,
		`9:14: ready.http is "admin/x": listen.admin is udp, which accepts no connection`,
		`10:1: there is no key ready.often: ready.log, ready.port, ready.http, ready.exec, ready.notify or ready.message was expected`,
		`11:8: stop is "NOW": one of the signals TERM, INT, QUIT, HUP, USR1, USR2, WINCH, ALRM, ABRT, PIPE, PWR, KILL was expected`,
		`12:8: exit is "0, 256": exit codes from 0 to 255, such as 0, 143, was expected`,
		`13:1: setup is "": a command of the shell was expected`,
		`14:1: user is "": the name of a user of this machine was expected`,
		`17:1: command is "": a program and its arguments was expected`,
		`18:9: count is "0": a number from 1 to 10000 was expected`,
		`19:1: template.../x: a file within the node's folder was expected, such as conf/server.conf, of at most 255 bytes`,
		`20:1: template./x: a file within the node's folder was expected, such as conf/server.conf, of at most 255 bytes`,
		`21:14: template.a is "gone.conf": a file, relative to the ini, or an indented text below the key (stat ` + dir +
			`/gone.conf: no such file or directory) was expected`,
		`23:1: template.d is "": a file, relative to the ini, or an indented text below the key was expected`,
		`24:1: template.e has both a file, "good.conf", and lines below it: one of them was expected`,
		`28:11: value.y has the placeholder <SELF:x>, and value.x is a text with placeholders itself: an endpoint was expected`,
		`29:1: value.http has the name of listen.http at line 30: <b:http> would be either`,
		`32:13: command has the placeholder <n>, and [n] has count = 3: <n1> for one of its nodes, or <n*> for all, was expected`,
		`32:17: command has the placeholder <n:http>, and [n] has count = 3: <n1:http> for one of its nodes, or <n*:http> for all, was expected`,
		`32:36: command has the placeholder <n4>, and there is no node "n4": did you mean <n1>? (write << for a <)`,
		`32:41: command has the placeholder <m*:http>, and there is no group or node that begins with "m" (write << for a <)`,
		`32:51: command has the placeholder <n*:none>, and [n] has no listen.none`,
		`32:61: command has the placeholder <b1:x:port>, and value.x of [b] is a text, which has no port`,
		`35:7: cwd has the placeholder <FOLDER>, and it is what cwd says`,
		`36:1: template.x is put into the folder that the run gives to the node, and [n] has cwd at line 35 instead of one: take one of them away`,
		`38:11: command is "x 'y\nz": words as a shell has them, with every quote closed was expected`,
		`41:3: the line is indented as one of command at line 38, which the comment at line 40 has ended: indent that comment too, or take it away`,
		`42:1: ready.exec is "": a command of the shell was expected`,
		`43:14: ready.http is "web": [c] has no listen.web`,
		`44:14: ready.port is "we b": the name of an endpoint, such as http where there is listen.http, was expected`,
		`45:8: exit is "none": exit codes from 0 to 255, such as 0, 143, was expected`,
		`48:1: [d] has both component and command: one of them was expected`,
		`49:9: count is "10001": a number from 1 to 10000 was expected`,
		`52:3: "b = c" is indented, and so one of the lines of command at line 51: to make it a line of its own, take away the indentation`,
		`53:3: "[f]" is indented, and so one of the lines of command at line 51: to make it a line of its own, take away the indentation`,
		`54:9: count is "many": a number from 1 to 10000 was expected`,
		`58:11: value.w is "` + strings.Repeat("w", 150) + `…": a text of at most 4096 bytes was expected`,
		`59:7: cwd has the placeholder <SELF:v>, and a value may be of the folder that cwd says: an endpoint was expected`,
		`t.conf:2:1: the template has the placeholder <n:x>, and [n] has count = 3: <n1:x> for one of its nodes, or <n*:x> for all, was expected`,
		`t.conf:4:3: the template has the placeholder <none>, and there is no node "none" (write << for a <)`,
	}
	got := strings.Split(strings.ReplaceAll(strings.ReplaceAll(fmt.Sprint(err), dir+"/t.ini:", ""), dir+"/t.conf", "t.conf"), "\n")
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("mistake %d:\ngot  %s\nwant %s", i+1, g, w)
		}
	}
}

// TestReadyDefaults: which of the ready conditions a node has.
func TestReadyDefaults(t *testing.T) {
	for text, want := range map[string]string{
		"path = x":                                             "message",
		"component = x":                                        "message",
		"command = x":                                          "",
		"command = x\nready.message = true":                    "message",
		"command = x\nready.message":                           "message",
		"path = x\nready.log = up":                             "log:up",
		"path = x\nready.message = false":                      "",
		"path = x\nready.log = up\nready.message = yes":        "log:up message",
		"command = x\nready.notify = on":                       "notify",
		"command = x\nready.exec = test -f <FOLDER>/x":         "exec:test -f <FOLDER>/x",
		"command = x\nlisten.a = 1\nready.port = a":            "port:a",
		"command = x\nlisten.a = 1\nready.http = a/b/c?d=<13>": "http:a/b/c?d=<13>",
		"command = x\nlisten.a = 1\nready.http = a":            "http:a/",
	} {
		r := parse(t, "[n]\n"+text+"\n").Nodes[0].Ready
		var got []string
		if r.Log != nil {
			got = append(got, "log:"+r.Log.String())
		}
		if r.Port != "" {
			got = append(got, "port:"+r.Port)
		}
		if r.HTTP.Endpoint != "" {
			got = append(got, "http:"+r.HTTP.Endpoint+r.HTTP.Path)
		}
		if r.Exec != "" {
			got = append(got, "exec:"+r.Exec)
		}
		if r.Notify {
			got = append(got, "notify")
		}
		if r.Message {
			got = append(got, "message")
		}
		if strings.Join(got, " ") != want || r.IsZero() != (want == "") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestStopAndExit: how a node is asked to end, and which ends are clean.
func TestStopAndExit(t *testing.T) {
	top := parse(t, "[a]\ncommand = x\n[b]\npath = x\nstop = sigint\nexit = 0, 143 7\nrole = leader\n[c]\ncommand = x\nleader\nstop = QUIT\n")
	a, b, c := top.Node("a"), top.Node("b"), top.Node("c")
	if a.Stop != "TERM" || a.Exit != nil || b.Stop != "INT" || !slices.Equal(b.Exit, []int{0, 143, 7}) || c.Stop != "QUIT" {
		t.Errorf("%+v\n%+v\n%+v", a, b, c)
	}
	if len(c.Flags) > 0 || c.Role != Leader || len(b.Flags) != 1 {
		t.Errorf("a command has the flags %v", c.Flags)
	}
}

// TestCount: the nodes that one section makes.
func TestCount(t *testing.T) {
	top := parse(t, `
[n]
count = 3
command = x --peers <n*:peer> --me <SELF:peer> --first <n1:peer> --all <n*> --members <n*:member> --ports <n*:peer:port>
listen.peer = 7
value.member = <NAME>=http://<SELF:peer>/<FOLDER>
[db]
name = shard-
count = 2
path = x
to = <n2:peer>,<db1>,<shard-2>,<shard*>
listen.a = 1
[nothing]
path = x
listen.peer = 7
`)
	names := ""
	for _, n := range top.Nodes {
		names += fmt.Sprintf("%s/%s/%d/%s ", n.Name, n.Section, n.Index, n.Identifier())
	}
	if want := "n1/n/1/n1 n2/n/2/n2 n3/n/3/n3 shard-1/db/1/db1 shard-2/db/2/db2 nothing/nothing/0/nothing "; names != want {
		t.Errorf("got  %s\nwant %s", names, want)
	}
	if len(top.Groups) != 2 || top.Group("n") != top.Groups[0] || len(top.Group("n").Nodes) != 3 ||
		top.Groups[1].Nodes[1] != top.Find("db2") || top.Find("n") != nil {
		t.Errorf("groups: %+v", top.Groups)
	}
	p := at{top, true}.place()
	argv, _, _, err := top.Command(top.Node("n2"), p, "h:1", "")
	want := []string{"x", "--peers", "127.9.2.1:17,127.1.1.2:7,127.9.2.3:17", "--me", "127.1.1.2:7", "--first", "127.9.2.1:17",
		"--all", "127.1.1.1,127.1.1.2,127.1.1.3",
		"--members", "n1=http://127.1.1.1:7//run/n1,n2=http://127.1.1.2:7//run/n2,n3=http://127.1.1.3:7//run/n3", "--ports", "17,7,17"}
	// The port of a peer is named, so its host is that of the link.
	want[8] = "127.9.2.1,127.1.1.2,127.9.2.3"
	if err != nil || !slices.Equal(argv, want) {
		t.Errorf("\ngot  %q %v\nwant %q", argv, err, want)
	}
	argv, _, _, err = top.Command(top.Find("db2"), p, "h:1", "")
	if want := []string{"x", "--name=shard-2", "--to=127.9.5.2:17,127.1.1.4,127.1.1.5,127.1.1.4,127.1.1.5",
		"--phone-home=h:1"}; err != nil || !slices.Equal(argv, want) {
		t.Errorf("\ngot  %q %v\nwant %q", argv, err, want)
	}
	ties := fmt.Sprint(top.Ties())
	if want := "[{n1 n2 peer} {n1 n3 peer} {n2 n1 peer} {n2 n3 peer} {n3 n1 peer} {n3 n2 peer} {shard-1 n2 peer} " +
		"{shard-2 n2 peer}]"; ties != want {
		t.Errorf("ties:\ngot  %s\nwant %s", ties, want)
	}
}

// TestCountCollisions: what count makes has no name that another has.
func TestCountCollisions(t *testing.T) {
	for text, want := range map[string]string{
		"[n]\ncount = 2\npath = x\n[n2]\npath = x\n": `t.ini:4:1: two nodes are named "n2": [n] at line 1 ` +
			`has that name already (count makes it of [n])`,
		"[n1]\npath = x\n[n]\ncount = 2\npath = x\n": `t.ini:3:1: two nodes are named "n1": [n1] at line 1 ` +
			`has that name already (count makes it of [n])`,
		"[n]\ncount = 11\npath = x\n[n1]\ncount = 1\npath = x\n": `t.ini:4:1: two nodes are named "n11": [n] at line 1 ` +
			`has that name already (count makes it of [n1])`,
		"[a]\ncount = 6000\npath = x\n[b]\ncount=5000\npath = x\n": "t.ini:5:7: " +
			"count is 5000, and with it the sections make 11000 nodes: at most 10000 were expected",
		"[a]\ncount = 2000\ncommand = x <a*:e>\nlisten.e = 1\n": "t.ini:3:13: command has the placeholder <a*:e>, and " +
			"with it 2000 nodes refer to 2000: at most 1000000 times were expected of all placeholders together",
		"[" + strings.Repeat("a", 99) + "]\ncount = 10\npath = x\n": `t.ini:1:1: [` + strings.Repeat("a", 99) + `] makes a node "` +
			strings.Repeat("a", 99) + `10": ` + nameExpected + " was expected, or a key name",
		"[a]\ncount\npath = x\n": "t.ini:2:1: count has no value: count = value was expected",
		"[a]\ncount = 2\npath = x\nx = <none>\n": `t.ini:4:5: x has the placeholder <none>, and there is no node "none": ` +
			`did you mean a1? (write << for a <)`,
	} {
		_, err := Parse("t.ini", []byte(text))
		if got := strings.ReplaceAll(fmt.Sprint(err), ": did you mean a1?", ""); got != strings.ReplaceAll(want, ": did you mean a1?", "") {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// TestHosts: where the port of an endpoint is named, the host beside it is the one at
// which that port is reached, link or not.
func TestHosts(t *testing.T) {
	text := "[p]\ncommand = x\nlisten.pg = 5432\nlisten.web = 80\n[s]\ncommand = x -h <p> -p <p:pg:port> <p:pg> " +
		"<p:pg:host> <SELF>\nsetup = y -h <p>\n[u]\ncommand = x <p> <p:web>\n"
	top := parse(t, text)
	for _, c := range []struct {
		node, text string
		linked     bool
		want       string
	}{
		{"s", "<p> <p:pg:port> <p:pg>", false, "127.1.1.1 5432 127.1.1.1:5432"},
		{"s", "<p> <p:pg:port> <p:pg>", true, "127.9.2.1 5442 127.9.2.1:5442"},
		{"s", "<p>", true, "127.9.2.1"},
		{"s", "<SELF>", true, "127.1.1.2"},
		{"u", "<p> <p:web>", true, "127.1.1.1 127.9.3.1:90"},
		{"u", "<p> <p:web:port>", true, "127.9.3.1 90"}, // the text says which
		{"u", "<p:web:host> <p:pg:port>", true, "127.9.3.1 5442"},
		{"p", "<p> <p:pg:port>", true, "127.1.1.1 5432"},
	} {
		if got, err := top.Expand(top.Node(c.node), at{top, c.linked}.place(), c.text); got != c.want || err != nil {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	const both = "the ports of two of its endpoints are referred to, which may be reached at different hosts: " +
		"<p:pg:host> or <p:web:host> was expected"
	if _, err := top.Expand(top.Node("u"), at{top, true}.place(),
		"<p> <p:pg:port> <p:web:port>"); fmt.Sprint(err) != "the placeholder <p>: "+both {
		t.Errorf("%v", err)
	}
	if _, err := Parse("t.ini", []byte(text+"env.A = <p>\nenv.B = <p:pg:port>\nenv.C = <p:web:port>\n")); err == nil ||
		!strings.Contains(err.Error(), "t.ini:10:9: env.A has the placeholder <p>, and "+both) {
		t.Errorf("%v", err)
	}
}

// TestExpand: any text, as a script may have it.
func TestExpand(t *testing.T) {
	top := parse(t, "[n]\ncount = 2\ncommand = x\nlisten.a = 7\nvalue.v = v of <NAME>\n[db-1]\ncommand = x\n")
	for text, want := range map[string]string{
		"redis-cli -h <SELF> -p <SELF:a:port>": "redis-cli -h 127.1.1.2 -p 7",
		"<NAME> <FOLDER> <n1:v> <n*:v>":        "n2 /run/n2 v of n1 v of n1,v of n2",
		"<<NAME> <<<NAME> <13>x: m%d":          "<NAME> <n2 <13>x: m%d",
		"cat <<EOF\n<db-1>\nEOF":               "cat <<EOF\n127.1.1.3\nEOF",
		// Elements of XML are text, and what is closed nowhere after it is none.
		"<a><b>1</b><n1></a>":       "<a><b>1</b>127.1.1.1</a>",
		"<n1>x</n1> <n1>":           "<n1>x</n1> 127.1.1.1",
		"<x:y>1</x:y><<a></a>":      "<x:y>1</x:y><a></a>",
		"<SELF></SELF><SELF>":       "<SELF></SELF>127.1.1.2",
		"<n1:v a='1'>x</n1:v>":      "<n1:v a='1'>x</n1:v>",
		"*.log <n* <x*x> <1*> <-*>": "*.log <n* <x*x> <1*> <-*>",
	} {
		if got, err := top.Expand(top.Node("n2"), at{Topology: top}.place(), text); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"a <none> <SELF:b> <n1:a:port>": "the placeholder <none>: there is no node \"none\" (write << for a <)\n" +
			"the placeholder <SELF:b>: [n] has no listen.b: did you mean a?",
		"<folder>":      "the placeholder <folder>: there is no node \"folder\": did you mean <FOLDER>? (write << for a <)",
		"</none><none>": "the placeholder <none>: there is no node \"none\" (write << for a <)",
		"<m*>":          "the placeholder <m*>: there is no group or node that begins with \"m\" (write << for a <)",
		"<n*:none>":     "the placeholder <n*:none>: [n] has no listen.none",
		"<n*:v:port>":   "the placeholder <n*:v:port>: value.v of [n] is a text, which has no port",
		strings.Repeat("<none>", 12): strings.Repeat("the placeholder <none>: there is no node \"none\" (write << for a <)\n", 10) +
			"… and more",
	} {
		if got, err := top.Expand(top.Node("n2"), at{Topology: top}.place(), text); got != "" || fmt.Sprint(err) != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestFilesOfServers: templates and the files of a command are files of the run.
func TestFilesOfServers(t *testing.T) {
	dir := put(t, map[string]string{"a.conf": "", "run.sh": "#!/bin/sh\n", "data.txt": ""})
	top, err := Parse(dir+"/t.ini", []byte("[n]\ncount = 2\ncommand = sh ./run.sh\ntemplate.b.conf = a.conf\nenv.X = "+dir+"/data.txt\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := top.Files(), []string{dir + "/run.sh", dir + "/a.conf", dir + "/data.txt"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !top.Relative(dir+"/a.conf") || !top.Relative(dir+"/run.sh") || top.Relative(dir+"/data.txt") {
		t.Error("which are relative to the ini")
	}
}

// TestCheckServers: programs and users that are not there are told once a section.
func TestCheckServers(t *testing.T) {
	dir := put(t, map[string]string{"server": ""})
	top, err := Parse(dir+"/t.ini", []byte("[a]\ncount = 5\ncommand = no-such-server -x\n[b]\ncommand = ./gone\n[c]\n"+
		"command = <FOLDER>/x\n[d]\ncommand = ./server\nuser = no-such-user\n[e]\ncommand = sh\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range top.CheckPrograms("", nil, look) {
		got = append(got, strings.Replace(m.Error(), dir, "", 1))
	}
	unknown := "/t.ini:10:8: [d]: user is \"no-such-user\": the name of a user of this machine was expected (user: unknown user no-such-user)"
	if runtime.GOOS == "windows" {
		unknown = "/t.ini:10:8: [d]: user is \"no-such-user\": a node cannot run as another user on Windows: leave user out"
	}
	if want := []string{"/t.ini:3:11: [a]: no no-such-server", "/t.ini:5:11: [b]: no gone", unknown}; !slices.Equal(got, want) {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
}

// look finds a program as a run does, nearly.
func look(program, _ string, env []string) error {
	if strings.Contains(program, "/") {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("no %s", filepath.Base(program))
		}
		return nil
	}
	for _, v := range env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			for _, folder := range filepath.SplitList(path) {
				if _, err := exec.LookPath(filepath.Join(folder, program)); err == nil {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("no %s", program)
}

// TestFindUser: this process can always be itself.
func TestFindUser(t *testing.T) {
	own, err := user.Current()
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("this user has no name")
	}
	u, err := FindUser(own.Username)
	if err != nil || !u.IsOwn || int(u.UID) != os.Geteuid() || u.Home != own.HomeDir {
		t.Errorf("%+v, %v", u, err)
	}
	if other, err := FindUser("nobody"); os.Geteuid() == 0 && (err != nil || other.IsOwn || !slices.Contains(other.Groups, other.GID)) {
		t.Errorf("%+v, %v", other, err)
	} else if os.Geteuid() != 0 && (err == nil || !strings.HasPrefix(err.Error(), "only root can run a node as another user")) {
		t.Errorf("%v", err)
	}
}

// TestServerPath: what is in PATH stays first.
func TestServerPath(t *testing.T) {
	got := filepath.SplitList(ServerPath("/none:/bin"))
	if !slices.Equal(got[:2], []string{"/none", "/bin"}) {
		t.Errorf("%q", got)
	}
	if info, err := os.Stat("/usr/sbin"); err == nil && info.IsDir() && !slices.Contains(got, "/usr/sbin") {
		t.Errorf("%q", got)
	}
	if again := ServerPath(strings.Join(got, ":")); again != strings.Join(got, ":") {
		t.Errorf("once more it is %q", again)
	}
}

// TestExamples: every key has an example, which is read as it stands.
func TestExamples(t *testing.T) {
	dir := put(t, map[string]string{"worker": "#!/bin/sh\n", "words.txt": "a b\n"})
	for _, k := range Keys() {
		top, err := Parse(dir+"/t.ini", []byte(k.Example))
		if err != nil || len(top.Notices) > 0 {
			t.Errorf("%s: %v, %v", k.Name, err, top)
			continue
		}
		name := strings.NewReplacer(".NAME", ".", ".KEY", ".", ".FILE", ".", "_N", "_1").Replace(k.Name)
		if !strings.Contains(k.Example, "\n"+name) {
			t.Errorf("%s: its example does not have it", k.Name)
		}
		for _, m := range top.CheckPrograms("/bin/dagon-star", []string{"giles-receiver"}, look) {
			if !strings.Contains(m.Text, "only root") {
				t.Errorf("%s: %v", k.Name, m)
			}
		}
	}
}

// The files of an ini that is not on the disk are not either.
func TestParseIn(t *testing.T) {
	files := fstest.MapFS{
		"a/conf/x.conf": {Data: []byte("at <SELF:p:port>\n")},
		"a/large":       {Data: make([]byte, maxTemplate+1)},
		"conf/x.conf":   {Data: []byte("another\n")},
	}
	top, err := ParseIn(files, "a/s.ini", []byte("[s]\ncommand = true\nlisten.p = 7000\ntemplate.y = conf/x.conf\n"))
	if err != nil {
		t.Fatal(err)
	}
	if one := top.Nodes[0].Templates[0]; one.Text != "at <SELF:p:port>\n" || one.Source != "" {
		t.Errorf("the template is %+v", one)
	}
	if files := top.Files(); len(files) > 0 {
		t.Errorf("it names the files %q of the disk", files)
	}
	for _, wrong := range []string{"none", "large", "/etc/passwd", "../../../../etc/passwd"} {
		if _, err := ParseIn(files, "a/s.ini", []byte("[s]\ncommand = true\ntemplate.y = "+wrong+"\n")); err == nil ||
			!strings.Contains(err.Error(), "a/s.ini:3:14: template.y is") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// TestExpandTogether holds that what scripts have nodes do at the same time finds all
// nodes of a prefix, though the ini itself refers to none.
func TestExpandTogether(t *testing.T) {
	var text strings.Builder
	for i := 999; i > 0; i-- {
		fmt.Fprintf(&text, "[n%d]\ncommand = x\nlisten.a = 1\n", i)
	}
	top, err := Parse("t.ini", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	begin := make(chan struct{})
	for range 8 {
		all.Go(func() {
			<-begin
			got, err := top.Expand(top.Nodes[0], places{}.place(), "<n*>")
			if n := strings.Count(got, ",") + 1; n != 999 || err != nil {
				t.Errorf("%d nodes, %v", n, err)
			}
		})
	}
	close(begin)
	all.Wait()
}
