package script

import (
	"strings"
	"testing"
)

// TestCheckLinks: faults of links between nodes that have none are found before a
// fork, as far as the text shows the nodes.
func TestCheckLinks(t *testing.T) {
	const three = "[a]\npath = true\nlisten.x = auto\n[b]\npath = true\nlisten.x = auto\nto = <a:x>\n[c]\n" +
		"path = true\nrole = leader\nto = <b:x>\n"
	const noAC = "cannot do net.partition: there is no link between a and c"
	for source, want := range map[string]string{
		"net.partition([a], [b])":                             "",
		"net.partition([a], [c])":                             noAC,
		"net.partition([a], leaders)":                         noAC,
		"net.partition(['a'], [topology.nodes[2]])":           noAC,
		"net.partition([a], [b] + [c])":                       noAC,
		"net.partition([a], [b, c], partial = True)":          "",
		"net.partition([a], [c], partial = True)":             noAC,
		"net.partition([a], [c], partial = param('p', True))": "",
		"net.partition({a: [c]})":                             noAC,
		"net.partition({a: [b]})":                             "",
		"net.partition(b)":                                    "",
		"net.partition(a)":                                    noAC,
		"net.isolate(b)":                                      "",
		"net.isolate(a)":                                      "cannot do net.isolate: there is no link between a and c",
		"x = a\nnet.isolate(x)":                               "", // b could be it
		"net.loss(a, b, 0.1)": "cannot do net.loss: there is no link between a and b " +
			"(it is of tcp, and udp is needed)",
		"x = a\nnet.loss(x, b, 0.1)":                             "cannot do net.loss: there is no link between a and b",
		"after('1s', net.partition, [a], [c])":                   noAC,
		"defer(net.partition, [a], [b])":                         "",
		"catch(net.partition, [a], [c])":                         "",
		"catch(lambda: net.partition([a], [c]))":                 "",
		"assert.fails(lambda: net.partition([a], [c]))":          "",
		"if can('net.partition'): net.partition([a], [c])":       "",
		"def f():\n  net.partition([a], [c])\nf()":               noAC,
		"def net_(x): pass\nnet_([a])":                           "",
		"net.partition(net.halves(topology.nodes))":              "",
		"net.partition([a], [c] if a.restarts else [b])":         "",
		"[net.delay(x, y, 1) for x, y in [(a, b), (b, c)]]":      "",
		"catch(lambda: 1)\nnet.delay(a, c, 1)":                   "cannot do net.delay: there is no link between a and c",
		"net.half_open(c, a)\nnet.reset(b, c)\nnet.refuse(b, c)": "cannot do net.half_open: there is no link between c and a",
	} {
		got := checked(t, Config{}, map[string]string{"main.star": source, "main.ini": three})
		switch {
		case want == "" && len(got) > 0, want != "" && (len(got) != 1 || !strings.Contains(got[0], want)):
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}
