package script

import (
	"fmt"
	"strings"
	"testing"
)

// TestCheckServers: what check finds of nodes that say nothing themselves, and of the
// lists of those that count makes.
func TestCheckServers(t *testing.T) {
	const ini = `[r]
count = 3
command = sh -c 'exec sleep 60'
[s]
count = 2
command = sh -c 'echo up; exec sleep 60'
ready.log = up
[t]
command = sh -c 'exec sleep 60'
[w]
count = 2
command = sh -c 'exec sleep 60'
listen.web = auto
listen.admin = auto
`
	never := func(place, node, section string, line int) string {
		return fmt.Sprintf("s.star:%s: await_ready awaits %s, and nothing says when it is ready: [%s] at t.ini:%d has a "+
			"command and no key such as ready.log, ready.port or ready.http",
			place, node, section, line)
	}
	for text, want := range map[string]string{
		"await_ready(s)":                              "",
		"await_ready([s1, s2])":                       "",
		"await_ready(s + [r2])":                       never("1:1", "r2", "r", 1),
		"await_ready(r)":                              never("1:1", "r1", "r", 1),
		"await_ready(\n  r[1])":                       never("1:1", "r2", "r", 1),
		"await_ready(nodes = t)":                      never("1:1", "t", "t", 8),
		"await_ready(\"t\", timeout = 1)":             never("1:1", "t", "t", 8),
		"await_ready(topology.nodes)":                 never("1:1", "r1", "r", 1),
		"catch(lambda: await_ready(t))":               "",
		"def f(nodes):\n  await_ready(nodes)\n":       "",
		"fork(r)":                                     "",
		"fork(r1)\nfork([r2, r3])\nkill(r[0])":        "",
		"fork(r4)":                                    "s.star:1:6: undefined: r4",
		"print(r.pid)":                                "s.star:1:9: r is the list of the nodes of [r], which has no .pid: r1 is one of them",
		"print([n.name for n in r], len(s), t)":       "",
		"print(topology.node(\"r3\"))":                "",
		"print(topology.node(\"r\"), r1.pids)":        "s.star:1:21: no node is named \"r\"|s.star:1:30: the node r1 has no .pids (did you mean pid?)",
		"for n in r:\n  print(n.name)\nr1 = 1":        "",
		"http(w1, \"web\")\ntcp(w[0], \"admin\")":     "",
		"http(w2, \"wbe\", \"/\")":                    "s.star:1:10: http: w2 has no endpoint \"wbe\" (did you mean \"web\"?)",
		"http(w[0], \"/health\")":                     "s.star:1:12: http: w1 has no endpoint \"/health\" (there is web, admin)",
		"tcp(endpoint = \"web\", node = \"t\")":       "s.star:1:16: tcp: t has no endpoint \"web\": no key listen.NAME of its section gives it one",
		"catch(lambda: http(t, \"web\"))":             "",
		"def f(n, e):\n  http(n, \"x\")\n  tcp(t, e)": "",
		"print(r[1:] + s, random.choice(r).name)":     "",
	} {
		_, err := Review(Config{Source: []byte(text), Script: "s.star", TopologySource: []byte(ini), Topology: "t.ini"})
		got := ""
		if err != nil {
			got = err.Error()
		}
		lines, wanted := strings.Split(got, "\n"), strings.Split(want, "|")
		if len(lines) != len(wanted) {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
			continue
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, wanted[i]) || wanted[i] == "" && line != "" {
				t.Errorf("%q:\ngot  %s\nwant %s", text, line, wanted[i])
			}
		}
	}
}

// TestNamesOfGroups: a list or a node whose name is not free has a notice, once for all
// nodes of a section.
func TestNamesOfGroups(t *testing.T) {
	notices, err := Review(Config{Source: []byte("print(topology.name)"), TopologySource: []byte(`[kill]
count = 2
command = sh
[13]
count = 3
command = sh
[a]
count = 2
command = sh
[a-1]
command = sh
[workers]
command = sh
count = 1
`)})
	want := []string{
		`the list of the nodes of [kill] has no name in scripts, as kill is a name of the vocabulary: write one, such as ` +
			`[topology.node("kill1")]`,
		`the list of the nodes of [13] has no name in scripts, as 13 is no name that a script can have: write one, such ` +
			`as [topology.node("131")]`,
		`a node of [13] has no name of its own in scripts, as 131 is no name that a script can have: use topology.node("131"), and so for others`,
		`the list of the nodes of [workers] has no name in scripts, as workers is a name of the vocabulary: write one, ` +
			`such as [topology.node("workers1")]`,
	}
	if err != nil || strings.Join(notices, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v\ngot  %s\nwant %s", err, strings.Join(notices, "\n"), strings.Join(want, "\n"))
	}
}
