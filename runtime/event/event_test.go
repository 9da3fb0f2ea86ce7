package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// everyKind is a log with an event of each kind, in an order that a run could
// have had.
func everyKind() []event.Event {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	details := []struct {
		node string
		d    event.Detail
	}{
		{"", event.RunStarted{Format: event.Format, Run: "r1", Script: "default.star", Topology: "topology.ini", Seed: 7,
			Params: map[string]string{"n": "5"}, Version: "devel", Argv: []string{"dagon-star", "run"}, StartedAt: at}},
		{"", event.Notice{Text: "section [docker] is skipped"}},
		{"leader", event.Listening{Address: "127.0.0.1:4000"}},
		{"leader", event.Wiped{}},
		{"leader", event.Setup{TookS: 0.25, Code: -1, Signal: "KILL", Error: "it took too long"}},
		{"leader", event.Forked{PID: 41, Incarnation: 1, Argv: []string{"./leader", "--x=<&>"}, Ready: []string{"http"}}},
		{"leader", event.Probe{What: "ready.http http://127.0.1.3:2379/health", Tries: 41, TookS: 1.5, Held: true, Error: "503", Ready: true}},
		{"leader", event.State{From: "", To: "forked"}},
		{"leader", event.Refused{Peer: "127.0.0.1:5", Reason: "garbage"}},
		{"leader", event.Connected{Peer: "127.0.0.1:6"}},
		{"leader", event.Received{Address: "/ready", Args: event.Args{"leader"}}},
		{"", event.Await{ID: 1, What: "ready", Nodes: []string{"leader"}, TimeoutS: 30}},
		{"", event.AwaitEnded{ID: 1, Outcome: "timeout", WaitedS: 30, Missing: []string{"leader"}}},
		{"leader", event.Action{What: "GET http/health", Outcome: "fail", TookS: 0.002, Tries: 3, Error: "503"}},
		{"", event.Invoke{Op: 0, Process: 1, Client: "c", F: "write", Key: `"x"`, Value: "[1,2]"}},
		{"leader", event.Completed{Op: 0, Outcome: "info", Result: "5", Error: "no answer", At: 0.0125}},
		{"leader", event.Sent{Address: "/start", Args: event.Args{}}},
		{"leader", event.Usage{CPUS: 1.25, MemoryBytes: 4096, Processes: 2}},
		{"", event.Progress{N: 3, Total: 10, What: "messages"}},
		{"", event.Print{Text: "a \"line\"\n"}},
		{"leader", event.Disconnected{Peer: "127.0.0.1:6", Reason: "closed"}},
		{"leader", event.Lost{}},
		{"", event.Scheduled{ID: 2, What: "after(…, kill)", Where: "default.star:2:1"}},
		{"", event.Fired{ID: 2}},
		{"", event.FaultPlanned{ID: 3, What: "kill", Nodes: []string{"leader", "worker"}, Detail: "KILL", Lasting: true,
			Harmless: true, Links: [][2]string{{"leader", "worker"}}}},
		{"leader", event.Asked{By: "script", How: "signal", Signal: "KILL"}},
		{"", event.FaultApplied{ID: 3, TookS: 0.25, To: []string{"leader"}, Dead: []string{"worker"}}},
		{"", event.FaultTouched{ID: 3, Touched: event.Touched{Processes: 1, BytesHeld: 2, ClosesHeld: 3, BytesDelayed: 4,
			ClosesDelayed: 5, BytesCorrupted: 6, ConnectionsRefused: 7, ConnectionsReset: 8, ConnectionsSilent: 9, DatagramsLost: 10,
			DatagramsDelayed: 11, DatagramsDuplicated: 12, DatagramsReordered: 13}}},
		{"", event.FaultHealed{ID: 3, Nodes: []string{"leader"}}},
		{"", event.Abandoned{ID: 4, By: "end", Reason: "the run has ended"}},
		{"", event.Contained{Rung: "sealed", Refused: []event.Refusal{{Rung: "cgroup", Reason: "none"}}}},
		{"leader", event.Exited{PID: 41, Code: -1, Signal: "KILL", UserS: 0.5, MaxRSSKB: 1024, Left: []int{42}, Why: "nothing had asked it to"}},
		{"", event.Finding{Outcome: "failed", Reason: "leader", Where: "default.star:3:1", During: "teardown", Soft: true, Bug: true, Signal: 2}},
		{"", event.Held{}},
		{"", event.Released{HeldS: 12.5, Why: "q was pressed"}},
		{"", event.Verdict{Outcome: "failed", Reason: "leader", Where: "default.star:3:1"}},
		{"", event.RunFinished{DurationS: 31.5, LeftBehind: []int{}}},
	}
	var events []event.Event
	for i, d := range details {
		events = append(events, event.Event{Seq: int64(i), T: time.Duration(i) * 1500 * time.Microsecond, Node: d.node, Detail: d.d})
	}
	return events
}

func write(t *testing.T, events []event.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	w := event.NewWriter(&b)
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestEveryKind: the golden file has an event of each kind that there is.
func TestEveryKind(t *testing.T) {
	has := map[event.Kind]bool{}
	for _, e := range everyKind() {
		has[e.Kind()] = true
	}
	for _, kind := range event.Kinds() {
		if !has[kind] {
			t.Errorf("no event of the kind %q", kind)
		}
	}
	if len(has) != len(event.Kinds()) {
		t.Errorf("%d kinds in the file, and %d are known", len(has), len(event.Kinds()))
	}
}

// TestGolden holds the log's shape, which other programs read.
func TestGolden(t *testing.T) {
	got := write(t, everyKind())
	const golden = "testdata/every-kind.jsonl"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the log's shape has changed; if that is meant, run with UPDATE_GOLDEN=1\ngot:\n%s\nwant:\n%s", got, want)
	}
}

func TestReadBack(t *testing.T) {
	events := everyKind()
	got, err := event.Read(bytes.NewReader(write(t, events)))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, events) {
		t.Errorf("got %+v\nwant %+v", got, events)
	}
	if !event.Finished(got) || event.Finished(got[:len(got)-1]) {
		t.Error("Finished does not tell a finished run from an unfinished one")
	}
}

// TestCutShort cuts a log at every byte, as a killed writer may: what is read
// back are the whole lines before the cut.
func TestCutShort(t *testing.T) {
	log := write(t, everyKind())
	for cut := range log {
		events, err := event.Read(bytes.NewReader(log[:cut]))
		whole := bytes.Count(log[:cut], []byte("\n"))
		if err != nil || len(events) != whole || event.Finished(events) {
			t.Fatalf("cut at %d: %d events, err %v; want %d", cut, len(events), err, whole)
		}
	}
	for _, other := range []string{"hello", "{}", `{"seq":1`, "\x00"} {
		if _, err := event.Read(strings.NewReader(other)); !errors.Is(err, event.ErrNotALog) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

// disk takes so many bytes, and then so many calls fail.
type disk struct {
	bytes.Buffer
	room, fails int
}

func (d *disk) Write(p []byte) (int, error) {
	if len(p) <= d.room || d.fails == 0 {
		d.room -= len(p)
		return d.Buffer.Write(p)
	}
	d.fails--
	n, _ := d.Buffer.Write(p[:max(d.room, 0)])
	d.room = 0
	return n, errors.New("no space left on device")
}

// TestFullDisk fills the disk at every byte, for a while: the log is whole where
// the last event was written without an error.
func TestFullDisk(t *testing.T) {
	events := everyKind()
	log := write(t, events)
	for room := range log {
		for _, fails := range []int{1, 2, 3, len(events)} {
			d := &disk{room: room, fails: fails}
			w := event.NewWriter(d)
			var last error
			for _, e := range events {
				last = w.Write(e)
			}
			if !bytes.HasPrefix(log, d.Bytes()) || (last == nil) != (len(log) == d.Len()) {
				t.Fatalf("%d bytes, %d failures: %v, and the log is\n%s", room, fails, last, d.Bytes())
			}
		}
	}
}

// bound is what Read says that it allocates at most.
func bound(log string) uint64 { return 256*uint64(len(log)) + 128<<10 + allocated.Slack }

// TestReadBounds: a line costs memory in proportion, and what is told of it is
// short.
func TestReadBounds(t *testing.T) {
	first := string(write(t, everyKind()[:1]))
	received := func(args string) string {
		return first + `{"seq":1,"t":0,"kind":"received","node":"n","address":"/a","args":` + args + "}\n"
	}
	const n = 1 << 18
	for name, test := range map[string]struct {
		log  string
		want string // in the error; "" for none
	}{
		"numbers":    {received("[0" + strings.Repeat(",0", n) + "]"), ""},
		"lists":      {received("[[]" + strings.Repeat(",[]", n) + "]"), ""},
		"objects":    {received("[{}" + strings.Repeat(",{}", n) + "]"), ""},
		"keys":       {received(`[{"":0}` + strings.Repeat(`,{"":0}`, n) + "]"), ""},
		"strings":    {received(`[""` + strings.Repeat(`,""`, n) + "]"), ""},
		"escapes":    {received(`["` + strings.Repeat(`\u0000`, n) + `"]`), ""},
		"deep":       {received(strings.Repeat("[", n) + strings.Repeat("]", n)), "exceeded max depth"},
		"deep keys":  {received("[" + strings.Repeat(`{"":`, n) + "0" + strings.Repeat("}", n) + "]"), "exceeded max depth"},
		"number":     {received(strings.Repeat("9", n)), "line 2"},
		"field":      {first + `{"seq":` + strings.Repeat("9", n) + "}\n", "line 2"},
		"unknown":    {first + `{"seq":1,"t":0,"kind":"` + strings.Repeat("x", n) + "\"}\n", ""},
		"wrong kind": {strings.Repeat("x", n) + "\n", "not an event log"},
		"no end":     {first + strings.Repeat("x", 17<<20), "longer than 16 MiB"},
		"lines":      {first + strings.Repeat("\n", n), "line 2"},
	} {
		var err error
		took := allocated.By(func() { _, err = event.Read(strings.NewReader(test.log)) })
		if took > bound(test.log) {
			t.Errorf("%s: %d bytes for %d, %d for each", name, took, len(test.log), took/uint64(len(test.log)))
		}
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %.400v, want %q", name, err, test.want)
		case err != nil && len(err.Error()) > 400:
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

// TestLongest: whatever a script says, the log that has it can be read.
func TestLongest(t *testing.T) {
	said := everyKind()[:1]
	for i, d := range []event.Detail{event.Print{Text: strings.Repeat("p", 20<<20)},
		event.Finding{Reason: strings.Repeat("f", 17<<20)}, event.Print{Text: "end"}} {
		said = append(said, event.Event{Seq: int64(i + 1), Detail: d})
	}
	got, err := event.Read(bytes.NewReader(write(t, said)))
	if err != nil || !reflect.DeepEqual(got, said) {
		t.Errorf("%d events of %d: %v", len(got), len(said), err)
	}
}

func TestReadRefuses(t *testing.T) {
	first := string(write(t, everyKind()[:1]))
	for name, test := range map[string]struct{ log, want string }{
		"another file":        {"hello\n", "not an event log"},
		"no run_started":      {`{"seq":0,"t":0,"kind":"print","text":"x"}` + "\n", "not an event log"},
		"another format":      {strings.Replace(first, `"format":1`, `"format":99`, 1), "format 99"},
		"a gap":               {first + `{"seq":2,"t":0,"kind":"print","text":"x"}` + "\n", "line 2: seq is 2, expected 1"},
		"a line of something": {first + "garbage\n", "line 2"},
		"a field missing":     {first + `{"seq":1,"t":0}` + "\n", "line 2: event: not a line"},
		"a wrong type":        {first + `{"seq":1,"t":0,"kind":"forked","pid":"x"}` + "\n", "line 2"},
		"negative time":       {first + `{"seq":1,"t":-1,"kind":"print"}` + "\n", "line 2: event: t is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := event.Read(strings.NewReader(test.log)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestUnknownKind keeps what a later version wrote.
func TestUnknownKind(t *testing.T) {
	line := `{"seq":1,"t":0.250000,"kind":"moon_landing","node":"n","eagle":true}`
	log := string(write(t, everyKind()[:1])) + line + "\n"
	events, err := event.Read(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(write(t, events)); got != log {
		t.Errorf("got %s want %s", got, log)
	}
}

func TestArgs(t *testing.T) {
	args := event.Args{int32(1), int64(1) << 60, 1.5, float32(0.25), "é", true, nil, []byte{1, 2},
		math.NaN(), float32(math.Inf(1)), "\xff", uint16(3)}
	got, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	want := `[1,1152921504606846976,1.5,0.25,"é",true,null,{"blob":"AQI="},{"osc":"NaN"},{"osc":"+Inf"},` +
		`{"osc":"\"\\xff\""},{"osc":"uint16(3)"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	w := event.NewWriter(&b)
	for _, e := range everyKind() {
		w.Write(e)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()/2])
	f.Add([]byte(`{"seq":0,"t":1e400,"kind":"run_started","format":1}` + "\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		defer allocated.Ends()()
		var events []event.Event
		var err error
		if took := allocated.By(func() { events, err = event.Read(bytes.NewReader(log)) }); took > bound(string(log)) {
			t.Fatalf("%d bytes for %d", took, len(log))
		}
		if err != nil {
			if len(err.Error()) > 400 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		var out bytes.Buffer
		w := event.NewWriter(&out)
		for _, e := range events {
			if err := w.Write(e); err != nil {
				t.Fatalf("cannot write what was read: %v", err)
			}
		}
		again, err := event.Read(&out)
		if err != nil || len(again) != len(events) {
			t.Fatalf("read %d events, wrote them, and read %d back: %v", len(events), len(again), err)
		}
	})
}
