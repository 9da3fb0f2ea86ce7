package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// TestGaveUp: who was awaited in vain is named, and of many some.
func TestGaveUp(t *testing.T) {
	for _, test := range []struct {
		missing []string
		want    string
	}{
		{nil, "gave up waiting after 2s"},
		{[]string{"a"}, "gave up waiting after 2s for a"},
		{[]string{"a", "b", "c", "d", "e"}, "gave up waiting after 2s for a b c d e"},
		{[]string{"a", "b", "c", "d", "e", "f", "g"}, "gave up waiting after 2s for a b c d e and 2 more"},
	} {
		var b strings.Builder
		screen := &terminal{w: &b}
		screen.show(event.Event{Detail: event.AwaitEnded{Outcome: "timeout", WaitedS: 2, Missing: test.missing}})
		if _, got, _ := strings.Cut(strings.TrimSpace(b.String()), "s    "); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestFlood: messages that come again and again are a line that counts, whatever
// stands between them; a few, or slow ones, are shown each.
func TestFlood(t *testing.T) {
	const ms = time.Millisecond
	said := func(at time.Duration, node, address string, args ...any) event.Event {
		return event.Event{T: at, Node: node, Detail: event.Received{Address: address, Args: args}}
	}
	sent := func(at time.Duration, node, address string, args ...any) event.Event {
		return event.Event{T: at, Node: node, Detail: event.Sent{Address: address, Args: args}}
	}
	print := func(at time.Duration, text string) event.Event {
		return event.Event{T: at, Detail: event.Print{Text: text}}
	}
	every := func(n int, each time.Duration, e event.Event) (all []event.Event) {
		for i := range n {
			one := e
			one.T += time.Duration(i) * each
			all = append(all, one)
		}
		return all
	}
	end := func(at time.Duration) []event.Event {
		return []event.Event{{T: at, Detail: event.Verdict{Outcome: "passed"}}, {T: at, Detail: event.RunFinished{}}}
	}
	mix := func(a, b []event.Event) (all []event.Event) {
		for i := range a {
			all = append(all, a[i], b[i])
		}
		return all
	}
	join := func(all ...[]event.Event) (events []event.Event) {
		for _, some := range all {
			events = append(events, some...)
		}
		return events
	}
	for name, test := range map[string]struct {
		events []event.Event
		want   string
	}{
		"few": {join(every(3, 0, said(0, "api", "/stored", int32(5))), end(ms)), "0 api stored 5|0 api stored 5|0 api stored 5"},
		"one more": {join(every(4, 0, said(0, "api", "/stored", int32(5))), end(ms)),
			"0 api stored 5|0 api stored 5|0 api stored 5|1 api stored 5"},
		"a burst": {join(every(1000, 0, said(0, "api", "/stored")), end(ms)),
			"0 api stored|0 api stored|0 api stored|1 api stored ×997"},
		"up to another line": {join(every(1000, 0, said(0, "api", "/stored")),
			[]event.Event{print(7*ms, "x"), said(8*ms, "api", "/stored")}, end(9*ms)),
			"0 api stored|0 api stored|0 api stored|7 api stored ×997|7  x|9 api stored"},
		"of a node's own": {join(every(9, 0, said(0, "api", "/stored")), []event.Event{said(7*ms, "api", "/done", "api")},
			end(9*ms)), "0 api stored|0 api stored|0 api stored|7 api stored ×6|7 api done"},
		"a second at a time": {join(every(300, 10*ms, said(0, "api", "/stored")), end(3000*ms)),
			"0 api stored|10 api stored|20 api stored|1000 api stored ×98|2000 api stored ×100|3000 api stored ×99"},
		"slow": {join(every(5, 400*ms, said(0, "api", "/stored")), end(3000*ms)),
			"0 api stored|400 api stored|800 api stored|1200 api stored|1600 api stored"},
		"slow again": {join(every(5, 0, said(0, "api", "/stored")), every(2, 0, said(5000*ms, "api", "/stored")),
			end(6000*ms)), "0 api stored|0 api stored|0 api stored|5000 api stored ×3|5000 api stored"},
		"two addresses": {join(mix(every(500, ms, said(0, "api", "/a")), every(500, ms, said(0, "api", "/b"))), end(600*ms)),
			"0 api a|0 api b|1 api a|1 api b|2 api a|2 api b|600 api a ×497|600 api b ×497"},
		"two nodes": {join(mix(every(500, ms, said(0, "x", "/a")), every(500, ms, said(0, "y", "/a"))), end(600*ms)),
			"0 x a|0 y a|1 x a|1 y a|2 x a|2 y a|600 x a ×497|600 y a ×497"},
		"there and back": {join(mix(every(9, 0, sent(0, "x", "/ping", int32(1))), every(9, 0, said(0, "x", "/pong"))),
			end(ms)), "0 x ← ping 1|0 x pong|0 x ← ping 1|0 x pong|0 x ← ping 1|0 x pong|1 x ← ping ×6|1 x pong ×6"},
		"counts are as before": {join(every(9, 0, said(0, "x", "/count", "x", int64(3))), []event.Event{said(0, "x", "/done", "x")},
			end(ms)), "0 x count 3|0 x done"},
	} {
		var b strings.Builder
		terminal := terminal{w: &b}
		total, told := 0, 0
		for _, e := range test.events {
			if e.Kind() == event.KindReceived || e.Kind() == event.KindSent {
				total++
			}
			terminal.show(e)
		}
		var lines []string
		for line := range strings.Lines(b.String()) {
			stamp, rest, _ := strings.Cut(strings.TrimSpace(line), "s  ")
			at, err := strconv.ParseFloat(stamp, 64)
			if err != nil {
				t.Fatal(err)
			}
			node, what, _ := strings.Cut(rest, "  ")
			lines = append(lines, fmt.Sprintf("%d %s %s", int(math.Round(at*1000)), strings.TrimSpace(node), strings.TrimSpace(what)))
			if n := regexp.MustCompile(`×(\d+)$`).FindStringSubmatch(strings.TrimSpace(line)); n != nil {
				count, _ := strconv.Atoi(n[1])
				told += count
			} else if !strings.HasSuffix(lines[len(lines)-1], "  x") {
				told++
			}
		}
		if got := strings.Join(lines, "|"); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, test.want)
		}
		if !strings.Contains(test.want, "count") && told != total {
			t.Errorf("%s: %d of %d messages are told of", name, told, total)
		}
	}
}

// TestFloodForgets: addresses that never come again are not kept.
func TestFloodForgets(t *testing.T) {
	var b strings.Builder
	terminal := terminal{w: &b}
	for i := range 5 * floodKeys {
		terminal.show(event.Event{Node: "a", Detail: event.Received{Address: fmt.Sprintf("/%d", i)}})
	}
	if n := len(terminal.floods); n > floodKeys {
		t.Errorf("%d are kept", n)
	}
	if n := strings.Count(b.String(), "\n"); n != 5*floodKeys {
		t.Errorf("%d lines", n)
	}
}
