package report

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// hexID are the ids of OTLP in JSON, which protojson, unlike it, takes for base64.
var hexID = regexp.MustCompile(`"(traceId|spanId|parentSpanId)":"([0-9a-f]*)"`)

// readOTLP reads a trace as the collector does.
func readOTLP(t testing.TB, text string) (all []*trace.Span) {
	t.Helper()
	text = hexID.ReplaceAllStringFunc(text, func(id string) string {
		m := hexID.FindStringSubmatch(id)
		raw, err := hex.DecodeString(m[2])
		if want := map[bool]int{true: 16, false: 8}[m[1] == "traceId"]; err != nil || len(raw) != want {
			t.Errorf("%s", id)
		}
		quoted, _ := json.Marshal(raw)
		return fmt.Sprintf(`"%s":%s`, m[1], quoted)
	})
	var request collector.ExportTraceServiceRequest
	if err := protojson.Unmarshal([]byte(text), &request); err != nil {
		t.Fatalf("%v\n%.3000s", err, text)
	}
	ids := map[string]bool{}
	for _, s := range request.ResourceSpans[0].ScopeSpans[0].Spans {
		if ids[string(s.SpanId)] || s.Name == "" || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("the id is not its own, or it ends before it begins: %v", s)
		}
		if len(s.ParentSpanId) > 0 && !ids[string(s.ParentSpanId)] {
			t.Errorf("it has no parent: %v", s)
		}
		ids[string(s.SpanId)] = true
		all = append(all, s)
	}
	return all
}

func TestOTLP(t *testing.T) {
	got := write(t, lifecycle(t), "otlp")
	var names []string
	for _, s := range readOTLP(t, got) {
		names = append(names, fmt.Sprintf("%s %v %d", s.Name, s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR, len(s.Events)))
	}
	if want := "run a.star true 0|s, incarnation 1 true 1|pause r false 0|r, incarnation 1 false 6"; strings.Join(names, "|") != want {
		t.Errorf("the spans are %q", names)
	}
	if got != write(t, lifecycle(t), "otlp") {
		t.Error("it is another one the second time")
	}
	kinds := map[string]int{}
	for _, s := range readOTLP(t, write(t, hostileRun(t), "otlp")) {
		for _, a := range s.Attributes {
			if a.Key == "dagon.kind" {
				kinds[a.Value.GetStringValue()]++
			}
		}
	}
	n := len(hostile)
	if want := map[string]int{spanNode: n, spanAwait: n, spanFault: n, spanOperation: n}; !maps.Equal(kinds, want) {
		t.Errorf("the kinds are %v, want %v", kinds, want)
	}
}

// TestOTLPBounds: of many messages a span has the last, and says how many are left out.
func TestOTLPBounds(t *testing.T) {
	log := []any{started("n"), "n", event.Forked{Incarnation: 1}}
	for i := range 1000 {
		log = append(log, "n", event.Received{Address: "/m", Args: event.Args{int32(i)}})
	}
	all := readOTLP(t, write(t, runOf(t, append(log, "n", event.Exited{Expected: true})...), "otlp"))
	if s := all[1]; len(s.Events) != otlpEvents || s.DroppedEventsCount != 1000-otlpEvents || s.Events[otlpEvents-1].Name != "m 999" {
		t.Errorf("%d events, %d dropped, the last %v", len(s.Events), s.DroppedEventsCount, s.Events[len(s.Events)-1])
	}
}

// readShiviz reads a log by the expression in its first line, as ShiViz does, and holds
// its rules: the clock of each host is from 1 on without gaps, and each entry of another
// host is what that host's own event had told. It returns the events by host.
func readShiviz(t testing.TB, text string) map[string][]string {
	t.Helper()
	expression, rest, _ := strings.Cut(text, "\n")
	events := map[string][]string{}
	clocks := map[string][]map[string]int64{}
	match := regexp.MustCompile("(?m)"+expression).FindAllStringSubmatch(rest, -1)
	if lines := strings.Count(strings.TrimSpace(rest), "\n") + 1; len(match)*2 != lines {
		t.Errorf("%d events in %d lines", len(match), lines)
	}
	for _, m := range match {
		var clock map[string]int64
		if err := json.Unmarshal([]byte(m[2]), &clock); err != nil {
			t.Fatalf("%v: %q", err, m[2])
		}
		host := m[1]
		if clock[host] != int64(len(events[host])+1) {
			t.Fatalf("the clock of %s is %v at its event %d", host, clock, len(events[host])+1)
		}
		want := map[string]int64{host: clock[host]}
		join := func(c map[string]int64) {
			for h, n := range c {
				want[h] = max(want[h], n)
			}
		}
		if n := len(clocks[host]); n > 0 {
			join(clocks[host][n-1])
		}
		for h, n := range clock {
			if h == host {
				continue
			}
			if n < 1 || n > int64(len(clocks[h])) {
				t.Fatalf("%s knows event %d of %s, which has %d", host, n, h, len(clocks[h]))
			}
			join(clocks[h][n-1])
		}
		if want[host] = clock[host]; !maps.Equal(want, clock) {
			t.Fatalf("%s: %v is impermissible, %v was expected", host, clock, want)
		}
		events[host] = append(events[host], m[3])
		clocks[host] = append(clocks[host], clock)
	}
	return events
}

func TestShiviz(t *testing.T) {
	text := write(t, lifecycle(t), "shiviz")
	got := readShiviz(t, text)
	if want := "· begins, incarnation 1|· is told start|· exited by signal SEGV"; strings.Join(got["s"], "|") != want {
		t.Errorf("s has %q", got["s"])
	}
	if text != write(t, lifecycle(t), "shiviz") {
		t.Error("it is another one the second time")
	}
	if got := readShiviz(t, write(t, hostileRun(t), "shiviz")); len(got) != len(hostile)+1 {
		t.Errorf("%d hosts", len(got))
	}
}

// TestShivizBounds: of a long log there is the last part, whose clocks hold among themselves.
func TestShivizBounds(t *testing.T) {
	log := []any{started("n"), "n", event.Forked{Incarnation: 1}}
	for i := range shivizEvents + 10 {
		log = append(log, "n", event.Received{Address: "/m", Args: event.Args{int32(i)}})
	}
	got := readShiviz(t, write(t, runOf(t, log...), "shiviz"))
	if len(got["n"]) != shivizEvents || got[hostName][0] != "· 12 events of the log before these are left out" {
		t.Errorf("%d events, the first %q", len(got["n"]), got[hostName][0])
	}
}
