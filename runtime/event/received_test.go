package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/exact"
)

// FuzzReceived: a message comes back from its line as it was where Exact says so, and
// a line is read the same by hand and by encoding/json.
func FuzzReceived(f *testing.F) {
	f.Add("n", "/a", "text", int32(-7), int64(1)<<40, float32(0.25), []byte{1, 2}, []byte("packet"))
	f.Add("n\xff", "/é\"\\", "\u2028<&>\x00", int32(0), int64(3), float32(7), []byte{}, []byte{})
	f.Add("", "/", "\x7f", int32(math.MinInt32), int64(math.MinInt64), float32(math.MaxFloat32), []byte(nil), []byte{0})
	f.Add("n", "/x", "-0", int32(1), int64(-999999999999999999), float32(math.SmallestNonzeroFloat32), []byte(nil), []byte{0})
	f.Fuzz(func(t *testing.T, node, address, text string, small int32, large int64, fraction float32, blob, packet []byte) {
		if len(packet) == 0 {
			packet = nil
		}
		if blob == nil {
			blob = []byte{}
		}
		for _, args := range []event.Args{{}, {text}, {small}, {large, text}, {fraction}, {blob, nil, true},
			{text, small, large, fraction, false}} {
			e := event.Event{Seq: 12, T: 3*time.Second + 45*time.Microsecond, Node: node,
				Detail: event.Received{Address: address, Args: args, Packet: packet}}
			line, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			got, err := event.Parse(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			var slow event.Event
			if err := json.Unmarshal(line, &slow); err != nil || !reflect.DeepEqual(got, slow) {
				t.Fatalf("%s is %+v, and by encoding/json %+v, %v", line, got, slow, err)
			}
			if args.Exact() && !reflect.DeepEqual(got, e) {
				t.Fatalf("%s is %#v, want %#v", line, got, e)
			}
		}
	})
}

// FuzzParse: what is read by hand is what encoding/json reads.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		`{"seq":7,"t":0.010500,"kind":"received","node":"leader","address":"/ready","args":["leader"]}`,
		`{"seq":7,"t":0.010500,"kind":"received","node":"leader","address":"/ready","args":[1,-2,"",12345678901],"packet":"AQI="}`,
		`{"seq":7,"t":0.010500,"kind":"received","node":"leader","address":"/ready","args":[,]}`,
		`{"seq":7,"t":0.010500,"kind":"received","node":"leader","address":"/ready","args":[1,]}`,
		`{"seq":7,"t":0.010500,"kind":"received","node":"leader","address":"/ready","args":[01]}`,
		`{"seq":7,"t":0.010500,"kind":"received","node":"leader","address":"/ready","args":[-0]}`,
		`{"seq":-7,"t":0.01050,"kind":"received","node":"leader","address":"/ready","args":[]}`,
		`{"seq":7,"t":-1.010500,"kind":"received","node":"leader","address":"/ready","args":[]}`,
		`{"seq":7,"t":-0.010500,"kind":"received","node":"leader","address":"/ready","args":[]}`,
		`{"seq":7,"t":00.010500,"kind":"received","node":"leader","address":"/ready","args":[]}`,
		`{"seq":7,"t":0.-10500,"kind":"received","node":"leader","address":"/ready","args":[]}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var slow event.Event
		wrong := json.Unmarshal(line, &slow)
		got, err := event.Parse(line)
		if (err == nil) != (wrong == nil) || err == nil && !reflect.DeepEqual(got, slow) {
			t.Fatalf("%s is %+v, %v, and by encoding/json %+v, %v", line, got, err, slow, wrong)
		}
	})
}

// TestExact: which arguments come back as they were.
func TestExact(t *testing.T) {
	for _, arg := range []any{nil, true, int32(5), int64(1) << 31, -int64(1)<<31 - 1, "é", []byte{1}, float32(0.1), float32(-2.5)} {
		if !(event.Args{arg}).Exact() {
			t.Errorf("%T %v is not exact", arg, arg)
		}
	}
	for _, arg := range []any{int64(5), "\xff", float32(7), float32(math.Inf(1)), 0.5, event.Args{}} {
		if (event.Args{"a", arg}).Exact() {
			t.Errorf("%T %v is exact", arg, arg)
		}
	}
}

func BenchmarkReceived(b *testing.B) {
	e := event.Event{Seq: 1234567, T: 12 * time.Second, Node: "worker-1", Detail: event.Received{Address: "/progress",
		Args: event.Args{int32(12345), "some text"}}}
	line, _ := e.MarshalJSON()
	b.Run("write", func(b *testing.B) {
		w := event.NewWriter(&bytes.Buffer{})
		for range b.N {
			w.Append(e)
			if w.Unwritten() > 1<<16 {
				w = event.NewWriter(&bytes.Buffer{})
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for range b.N {
			event.Parse(line)
		}
	})
	b.Run("read a log", func(b *testing.B) { // a line each
		var log bytes.Buffer
		w := event.NewWriter(&log)
		w.Write(event.Event{Detail: event.RunStarted{Format: event.Format}})
		for seq := 1; seq < b.N; seq++ {
			e.Seq = int64(seq)
			w.Append(e)
		}
		w.Flush()
		b.ReportAllocs()
		b.ResetTimer()
		for _, err := range event.All(&log) {
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// FuzzOperation: an operation is written by hand as by encoding/json, and comes back as
// it was.
func FuzzOperation(f *testing.F) {
	f.Add(0, 1, "c", "write", `"x"`, "5", "why", 0.5)
	f.Add(-1, 1<<40, "c\xff", "\u2028<&>", "", `{"a":[1,null]}`, "", 0.0)
	f.Add(7, 0, "", "", "012", `"\""`, "\x00", 1e300)
	f.Add(7, 0, "", "", "-0", "1 2", "", 1e-9)
	f.Add(7, 0, "", "", "1\n", "[1,\n 2]", "", 1e-9)
	f.Add(0, 0, "", "", "1e999", strings.Repeat("4", 400), "", 2.5e21)
	f.Fuzz(func(t *testing.T, op, process int, client, name, key, value, why string, at float64) {
		for _, d := range []event.Detail{
			event.Invoke{Op: op, Process: process, Client: client, F: name, Key: event.JSON(key), Value: event.JSON(value), At: at},
			event.Completed{Op: op, Outcome: name, Result: event.JSON(value), Error: why, At: at},
		} {
			valid := func(s string) bool { return s == "" || json.Valid([]byte(s)) }
			line, err := event.Event{Seq: 1, Detail: d}.MarshalJSON()
			_, invokes := d.(event.Invoke)
			if good := valid(value) && (!invokes || valid(key)) && !math.IsNaN(at) && !math.IsInf(at, 0); good != (err == nil) {
				t.Fatalf("%+v: %v", d, err)
			}
			if err != nil || !utf8.ValidString(key) || !utf8.ValidString(value) {
				continue
			}
			got, err := event.Parse(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if again, err := got.MarshalJSON(); err != nil || !bytes.Equal(again, line) && key != "null" && value != "null" {
				t.Fatalf("%s comes back as %s, %v", line, again, err)
			}
			var slow, quick map[string]any
			plain, err := exact.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			read := func(line []byte, into *map[string]any) error {
				d := json.NewDecoder(bytes.NewReader(line))
				d.UseNumber() // one of key, value and result need not fit a float64
				err := d.Decode(into)
				if n, ok := (*into)["at"].(json.Number); ok {
					(*into)["at"], _ = n.Float64()
				}
				return err
			}
			if err := errors.Join(read(plain, &slow), read(line, &quick)); err != nil {
				t.Fatal(err)
			}
			for _, common := range []string{"seq", "t", "kind"} {
				delete(quick, common)
			}
			if !reflect.DeepEqual(slow, quick) {
				t.Fatalf("%s is %v, and by encoding/json %v", line, quick, slow)
			}
		}
	})
}
