package topology

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// places is an Addresses: every node has an address of its own, every endpoint
// port 7.
type places map[string]string

func (p places) place() Place {
	return Place{Addresses: p, Folder: func(node string) string { return "/run/" + node }}
}
func (p places) Host(node string) string        { return p[node] }
func (p places) Port(node, endpoint string) int { return 7 }
func (p places) Reach(from, to, endpoint string) string {
	return address(p, to, endpoint)
}

func parse(t *testing.T, text string) *Topology {
	t.Helper()
	top, err := Parse("/top/t.ini", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func command(t *testing.T, top *Topology, name string) []string {
	t.Helper()
	p := places{}
	for i, n := range top.Nodes {
		p[n.Name] = fmt.Sprintf("127.1.1.%d", i+1)
	}
	argv, env, dir, err := top.Command(top.Node(name), p.place(), "127.0.0.1:9", "/bin/dagon-star")
	if err != nil {
		t.Fatal(err)
	}
	out := argv
	if len(env) > 0 {
		out = append(out, "ENV "+strings.Join(env, " "))
	}
	if dir != "" {
		out = append(out, "DIR "+dir)
	}
	return out
}

func TestOlderFiles(t *testing.T) {
	top := parse(t, `
; started as in 2016
[giles-sender]
buffy = 127.0.0.1:7000
messages = 100
sender = true
path = ../giles/sender/sender
name = sender-one   # with a comment
file = ../words.txt
[docker]
docker_path = /x
[leader]
sender = false
path = ../apps/wc
leader-control-address = 127.0.0.1:6000
leader = 
worker_count = 2
docker.image = registry:5043/x
metrics = a#b
note = "quoted # text"
[giles-receiver]
wrapper_path = ./valgrind
wrapper_args_10 = last
wrapper_args_2 = -v
path = ../giles/receiver
listen = 127.0.0.1:8000
`)
	for name, want := range map[string][]string{
		"sender-one": {"/giles/sender/sender", "--name=sender-one", "--buffy=127.0.0.1:7000", "--messages=100", "--file=/words.txt",
			"--phone-home=127.0.0.1:9"},
		"leader": {"/apps/wc", "--name=leader", "--leader-control-address=127.0.0.1:6000", "-l", "--worker_count=2", "--metrics=a#b",
			"--note=quoted # text", "--phone-home=127.0.0.1:9"},
		"giles-receiver": {"/top/valgrind", "-v", "last", "/giles/receiver", "--name=giles-receiver", "--listen=127.0.0.1:8000",
			"--phone-home=127.0.0.1:9"},
	} {
		if got := command(t, top, name); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, want)
		}
	}
	roles := ""
	for _, n := range top.Nodes {
		roles += n.Name + "=" + string(n.Role) + " "
	}
	if roles != "sender-one=sender leader=leader giles-receiver=receiver " {
		t.Errorf("roles: %s", roles)
	}
	if len(top.Notices) != 1 || top.Notices[0].Line != 10 {
		t.Errorf("notices: %v", top.Notices)
	}
}

func TestKeys(t *testing.T) {
	top := parse(t, `
[dagon]
timeout = 5
drain = 250ms
grace = 1m30s
time_limit = 0.5
listen = 127.0.0.1:8080
seed = 18446744073709551615
[db.one]
component = giles-receiver
role = receiver
listen.sql-port = auto
listen.gossip = udp:5000
addr = <SELF:sql-port>
self = <SELF>/<NAME> and a < b
arg.path = /var/db
env.LEVEL = <NAME>
cwd = data
args = -x 'two words' "<SELF>"
tty
tty.size = 132x43
may_exit = yes
[api]
path = sh
role = leader
db = <db.one:sql-port>,<db.one>
`)
	if got, want := command(t, top, "db.one"), []string{"/bin/dagon-star", "component", "giles-receiver", "--name=db.one",
		"--addr=127.1.1.1:7",
		"--self=127.1.1.1/db.one and a < b", "--path=/var/db", "-x", "two words", "127.1.1.1", "--phone-home=127.0.0.1:9",
		"ENV DAGON_LISTEN_SQL_PORT=127.1.1.1:7 DAGON_LISTEN_GOSSIP=127.1.1.1:7 LEVEL=db.one", "DIR /top/data"}; !slices.Equal(got, want) {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
	if got, want := command(t, top, "api"), []string{"sh", "--name=api", "-l", "--db=127.1.1.1:7,127.1.1.1",
		"--phone-home=127.0.0.1:9"}; !slices.Equal(got, want) {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
	n := top.Node("db.one")
	if !n.TTY || n.TTYSize != (TTYSize{132, 43}) || !n.MayExit || n.Identifier() != "db_one" || len(n.Endpoints) != 2 ||
		n.Endpoints[1] != (Endpoint{"gossip", "udp", 5000}) {
		t.Errorf("%+v", n)
	}
	s := top.Settings
	if s.Timeout != 5*time.Second || s.Drain != 250*time.Millisecond || s.Grace != 90*time.Second || s.TimeLimit != 500*time.Millisecond ||
		s.Listen != "127.0.0.1:8080" || *s.Seed != 1<<64-1 || s.Links != "auto" {
		t.Errorf("%+v", s)
	}
	if ties := top.Ties(); len(ties) != 1 || ties[0] != (Tie{"api", "db.one", "sql-port"}) {
		t.Errorf("ties: %v", ties)
	}
	if _, _, _, err := top.Command(n, places{}.place(), "x", ""); !errors.Is(err, ErrNoComponentProgram) {
		t.Errorf("without a program for components: %v", err)
	}
}

// TestPorts: two endpoints of a node are at one port only if that is any, or another
// network's.
func TestPorts(t *testing.T) {
	top, err := Parse("t.ini", []byte(`[a]
path = x
listen.http = 80
listen.sql = udp:80
listen.any = auto
listen.other = auto
listen.web = 80
[b]
path = x
listen.http = 80
listen.dns = udp:53
listen.names = udp:53
`))
	want := []string{
		"t.ini:7:1: listen.web is the tcp port 80, as listen.http at line 3 is: only one socket can listen on it",
		"t.ini:12:1: listen.names is the udp port 53, as listen.dns at line 11 is: only one socket can listen on it",
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range top.Notices {
		got = append(got, n.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
}

// TestMistakes holds that all mistakes are found in one reading, each with its
// line.
func TestMistakes(t *testing.T) {
	_, err := Parse("t.ini", []byte(`stray = 1
[a]
path = x
path = y
role = boss
sender = perhaps
no value here
= 5
[b
[a]
path = again
[c]
component =
[d]
[e]
path = x
component = y
name = a
addr = <SELF:sql> <wroker> <worker:data> <self>
wrapper_args_1 = z
listen.web = 99999
args = 'open
[f] trailing
[g]
path = x
leader = true
sender = true
color
[worker]
path = x
[dagon]
timout = 5
drain = never
links = tin
timeout = 0
seed = -1
[DEFAULT]
`))
	want := []string{
		`t.ini:1:1: "stray = 1" comes before the first section: a section such as [leader] was expected`,
		`t.ini:4:1: path is there twice in [a]: line 3 has it already`,
		`t.ini:5:8: role is "boss": leader, worker, sender or receiver was expected`,
		`t.ini:6:10: sender is "perhaps": true or false was expected`,
		`t.ini:7:1: "no value here" is no key: key = value was expected`,
		`t.ini:8:1: "= 5" is no key: key = value was expected`,
		`t.ini:9:1: "[b": a ] at the end of the section's name was expected`,
		`t.ini:9:1: [b] says nothing to run: path = a program, component = the name of a built-in one, or command = a whole command line was expected`,
		`t.ini:10:1: section [a] is there twice: it begins at line 2 already`,
		`t.ini:13:1: component is "": the name of a component was expected`,
		`t.ini:14:1: [d] says nothing to run: path = a program, component = the name of a built-in one, or command = a ` +
			`whole command line was expected`,
		`t.ini:15:1: [e] has wrapper_args_1 but no wrapper_path`,
		`t.ini:17:1: [e] has both path and component: one of them was expected`,
		`t.ini:18:1: two nodes are named "a": [a] at line 2 has that name already`,
		`t.ini:19:8: addr has the placeholder <SELF:sql>, and [e] has no listen.sql`,
		`t.ini:19:19: addr has the placeholder <wroker>, and there is no node "wroker": did you mean <worker>? (write << for a <)`,
		`t.ini:19:28: addr has the placeholder <worker:data>, and [worker] has no listen.data`,
		`t.ini:19:42: addr has the placeholder <self>, and there is no node "self": did you mean <SELF>? (write << for a <)`,
		`t.ini:21:14: listen.web is "99999": a port, auto, udp:PORT or udp:auto, under a name of letters, digits, - and _ was expected`,
		`t.ini:22:8: args is "'open": words as a shell has them, with every quote closed was expected`,
		`t.ini:23:1: [f] says nothing to run: path = a program, component = the name of a built-in one, or command = a whole command line was expected`,
		`t.ini:23:5: "[f] trailing": nothing was expected after ]`,
		`t.ini:24:1: [g] has more than one role: one of role, leader and sender was expected`,
		`t.ini:28:1: color has no value: color = value was expected`,
		`t.ini:32:1: [dagon] has no key timout: did you mean timeout?`,
		`t.ini:33:9: drain: "never" is no duration: a number of seconds, or one such as "250ms" or "1m30s", was expected`,
		`t.ini:34:9: links is "tin": auto or proxy or direct was expected`,
		`t.ini:35:11: timeout is 0: no await could be met`,
		`t.ini:36:8: seed is "-1": a whole number that is not negative was expected`,
		`t.ini:37:1: [DEFAULT] is no node's name: every section has its own keys, and none inherits`,
	}
	got := strings.Split(fmt.Sprint(err), "\n")
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("line %d:\ngot  %s\nwant %s", i+1, g, w)
		}
	}
	for text, want := range map[string]string{
		"":                           "t.ini: no node",
		"[a]\npath = \xff":           "t.ini:2:1: the line is not UTF-8",
		"[a]\npath = x\x00":          "t.ini:2:1: the line has a control character",
		"[a]\npath = x\nname = ../b": `t.ini:3:8: name is "../b"`,
		"[../a]\npath = x":           "t.ini:1:1: [../a] is the node's name too: a name without / ",
		"[" + strings.Repeat("a", 101) + "]\npath = x": "has at most 100 bytes",
		"[a]\ncomand = x": "t.ini:1:1: [a] says nothing to run: path = a program, component = the name of a " +
			"built-in one, or command = a whole command line was expected (did you mean command by comand at line 2?)",
		"[a]\ncommand = x\n--bind y": "t.ini:3:1: \"--bind y\" is no key: key = value was expected; a line that goes on " +
			"with the value above is indented more than its key",
		"[a]\npath = x\nargs = a; b": "t.ini:3:8: args is \"a; b\": words as a shell has them, with quotes around ; & | was expected",
		"[a]\npath = x\ny = `z":      "t.ini:3:1: \"y = `z\": the closing ` was expected on the same line",
		"[a]\rpath = x":              "t.ini:1:1: the line has a control character",
	} {
		if _, err := Parse("t.ini", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestForms(t *testing.T) {
	plain := "[a]\npath = x\nkey = value\n"
	want := command(t, parse(t, plain), "a")
	for name, text := range map[string]string{
		"crlf": strings.ReplaceAll(plain, "\n", "\r\n"), "bom": "\xef\xbb\xbf" + plain, "no last newline": strings.TrimSuffix(plain, "\n"),
		"a name of its own": "[../b/c]\nname = a\npath = x\nkey = value",
		"spaces":            "  [ a ]  \n\tpath=x\n  key   =   value   \n",
	} {
		if got := command(t, parse(t, text), "a"); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestMisspeltKeyIsNoticed(t *testing.T) {
	top := parse(t, "[a]\npath = x\nmay-exit = true\ncomponents = 3\n")
	if len(top.Notices) != 2 || !strings.Contains(top.Notices[0].Text, "did you mean may_exit?") {
		t.Errorf("%v", top.Notices)
	}
}

func TestCheckPrograms(t *testing.T) {
	dir := t.TempDir()
	ini := filepath.Join(dir, "t.ini")
	if err := os.WriteFile(ini, []byte("[a]\npath = ./gone\n[b]\ncomponent = none\n[c]\nwrapper_path = ./gone\n"+
		"component = some\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	top, err := Load(ini)
	if err != nil {
		t.Fatal(err)
	}
	look := func(program, _ string, _ []string) error {
		_, err := os.Stat(program)
		return err
	}
	mistakes := top.CheckPrograms("/bin/dagon-star", []string{"some"}, look)
	if len(mistakes) != 3 || mistakes[0].Line != 2 || mistakes[1].Line != 4 || mistakes[2].Line != 6 {
		t.Errorf("%v", mistakes)
	}
	if _, err := Load(filepath.Join(dir, "none.ini")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"30": 30 * time.Second, "0.5": 500 * time.Millisecond, "0": 0,
		"250ms": 250 * time.Millisecond,
		"1m30s": 90 * time.Second, "1e3": 1000 * time.Second} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "-1s", "x", "1e300", "NaN", "Inf", "0x10", "5 s", "1_000", "9999999999h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"await_ready", "await_done", "fork", "send"}
	for name, want := range map[string]string{"await_redy": "await_ready", "frok": "fork", "Send": "send", "completely": "", "fo": ""} {
		if got := Nearest(name, names); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestParseTTYSize(t *testing.T) {
	for text, want := range map[string]TTYSize{
		"80x24": {80, 24}, "1x65535": {1, 65535},
		"": {}, "80": {}, "80x": {}, "x24": {}, "0x24": {}, "80x0": {}, "80x24x1": {}, "80 x 24": {}, "-80x24": {}, "+80x24": {},
		"65536x1": {}, "80X24": {},
	} {
		if got, ok := parseTTYSize(text); got != want || ok != (want != TTYSize{}) {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
}

// TestUsage is the setting of how often it is looked at what nodes use.
func TestUsage(t *testing.T) {
	for value, want := range map[string]time.Duration{"off": 0, "50ms": 50 * time.Millisecond, "2": 2 * time.Second} {
		top, err := Parse("t.ini", []byte("[dagon]\nusage = "+value+"\n[n]\ncommand = sh\n"))
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if top.Settings.Usage != want {
			t.Errorf("%s: %s", value, top.Settings.Usage)
		}
	}
	for _, value := range []string{"", "on", "0", "-1s", "49ms", "never"} {
		if _, err := Parse("t.ini", []byte("[dagon]\nusage = "+value+"\n[n]\ncommand = sh\n")); err == nil || !strings.HasPrefix(err.Error(), "t.ini:2:") {
			t.Errorf("%q: %v", value, err)
		}
	}
}
