package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// shivizExpression is the regular expression by which ShiViz takes the log apart.
const shivizExpression = `^(?<host>\S+) (?<clock>\{.*\})\n(?<event>.+)$`

// How much of the log is written at most: its last events, or so many that their clocks
// have about so many entries.
const (
	shivizEvents  = 20_000
	shivizEntries = 500_000
)

// writeShiviz writes the run as a log for ShiViz: the expression to read it by, and two lines
// an event. A message between the host and a node is an event of both, and so are a fork
// and an exit, which the host sees. The clock of each counts what it knows of the others.
func writeShiviz(r *Run, w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s\n\n", shivizExpression)
	v := shiviz{b: b, clocks: map[string]map[string]int64{}, names: map[string]string{}, taken: map[string]bool{hostName: true}}
	// A clock may have an entry for every node: with many, less of the log is written.
	from := r.Events - int64(min(shivizEvents, shivizEntries/(len(r.Nodes)+1)))
	if from > 0 {
		v.happens(hostName, "", fmt.Sprintf("%d events of the log before these are left out", from))
	}
	for e, err := range r.Log() {
		if err != nil {
			return err
		}
		if e.Seq >= from {
			v.apply(e)
		}
	}
	return b.Flush()
}

type shiviz struct {
	b      *bufio.Writer
	clocks map[string]map[string]int64 // of whom, of whom they have heard
	names  map[string]string           // of nodes, as hosts: without spaces, each its own
	taken  map[string]bool
}

// host is the name of a node as a host.
func (v *shiviz) host(node string) string {
	if node == "" {
		return hostName
	}
	name, ok := v.names[node]
	if ok {
		return name
	}
	name = strings.Map(func(c rune) rune {
		if strings.ContainsRune(" {}\"\\\ufeff", c) {
			return '_'
		}
		return c
	}, cut(Visible(node), 60))
	if name == "" || name == "__proto__" {
		name = "_"
	}
	for base, n := name, 2; v.taken[name]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	v.names[node], v.taken[name] = name, true
	return name
}

// happens writes an event of a host, which has heard what another one knows.
func (v *shiviz) happens(host, heard, text string) {
	clock := v.clocks[host]
	if clock == nil {
		clock = map[string]int64{}
		v.clocks[host] = clock
	}
	for h, n := range v.clocks[heard] {
		clock[h] = max(clock[h], n)
	}
	clock[host]++
	fmt.Fprintf(v.b, "%s {", host)
	for i, h := range slices.Sorted(maps.Keys(clock)) {
		if i > 0 {
			v.b.WriteByte(',')
		}
		name, _ := json.Marshal(h)
		fmt.Fprintf(v.b, "%s:%d", name, clock[h])
	}
	fmt.Fprintf(v.b, "}\n%s\n", cut("· "+Visible(text), 300))
}

func (v *shiviz) apply(e event.Event) {
	host, node := hostName, v.host(e.Node)
	switch d := e.Detail.(type) {
	case event.Received:
		text := MessageText(e.Node, d.Address, d.Args)
		v.happens(node, "", "says "+text)
		v.happens(host, node, "hears "+text)
	case event.Sent:
		text := MessageText(e.Node, d.Address, d.Args)
		v.happens(host, "", "tells "+text)
		v.happens(node, host, "is told "+text)
	case event.Forked:
		v.happens(host, "", "fork")
		v.happens(node, host, fmt.Sprintf("begins, incarnation %d", d.Incarnation))
	case event.Exited:
		v.happens(node, "", "exited "+roster.ExitText(d.Code, d.Signal))
		v.happens(host, node, "sees the exit")
	case event.FaultPlanned:
		v.happens(host, "", strings.TrimSpace("fault "+d.What+" "+strings.Join(d.Nodes, " ")))
	case event.FaultApplied:
		for _, n := range d.To {
			v.happens(v.host(n), host, fmt.Sprintf("is hit by fault %d", d.ID))
		}
	case event.Finding:
		v.happens(host, "", d.Outcome+": "+d.Reason)
	case event.Verdict:
		v.happens(host, "", strings.TrimSpace("verdict "+d.Outcome+" "+d.Reason))
	}
}
