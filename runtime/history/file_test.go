package history_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// TestEncoder holds the lines, which are those of Jepsen.
func TestEncoder(t *testing.T) {
	var b bytes.Buffer
	e := NewEncoder(&b)
	ops := []Op{
		{Index: 0, Process: 0, F: "read", Key: `"x"`, Client: "3", Node: "n1", Outcome: OK, Result: "5", Invoked: 1000, Completed: 2000},
		{Index: 1, Process: 1, F: "add", Value: `"<é>"`, Outcome: Info, Error: "no answer within 1s", Invoked: 3000, Completed: 4000},
		{Index: 2, Process: 2, F: "txn", Value: `[["append","x",1],["r","y",null]]`, Outcome: OK,
			Result: `[["append","x",1],["r","y",[2]]]`, Invoked: 5000, Completed: 6000},
		{Index: 3, Process: 2, F: "write", Value: "1", Outcome: OK, Result: "true", Invoked: 7000, Completed: 8000},
		{Index: 4, Process: 3, F: "write", Value: "1", Outcome: Info, Open: true, Invoked: 9000, Completed: 9500},
	}
	for i := range ops {
		e.Invoke(&ops[i])
		e.Complete(&ops[i])
	}
	if err := e.Flush(); err != nil || e.Unwritten() != 0 {
		t.Error(err)
	}
	const want = `{"index":0,"type":"invoke","process":0,"f":"read","value":null,"time":1000,"key":"x","client":"3","node":"n1"}
{"index":1,"type":"ok","process":0,"f":"read","value":5,"time":2000,"key":"x","client":"3","node":"n1"}
{"index":2,"type":"invoke","process":1,"f":"add","value":"<é>","time":3000}
{"index":3,"type":"info","process":1,"f":"add","value":"<é>","time":4000,"error":"no answer within 1s"}
{"index":4,"type":"invoke","process":2,"f":"txn","value":[["append","x",1],["r","y",null]],"time":5000}
{"index":5,"type":"ok","process":2,"f":"txn","value":[["append","x",1],["r","y",[2]]],"time":6000}
{"index":6,"type":"invoke","process":2,"f":"write","value":1,"time":7000}
{"index":7,"type":"ok","process":2,"f":"write","value":1,"time":8000,"result":true}
{"index":8,"type":"invoke","process":3,"f":"write","value":1,"time":9000}
{"index":9,"type":"info","process":3,"f":"write","value":1,"time":9500,"open":true}
`
	if b.String() != want {
		t.Errorf("\n got %s\nwant %s", b.String(), want)
	}
	back, err := Read(&b)
	if err != nil || !slices.Equal(back, ops) {
		t.Errorf("%+v, %v", back, err)
	}
}

// TestRoundTrip holds that a history that was recorded and written is read as it was.
func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	values := []Value{None, "1", `"a"`, "[]", "[1,2]", `[["w","x",1]]`, `{"a":[null]}`, "true", "-1.5", Text("\xff<\u2028>\""),
		Text(strings.Repeat("long ", 20_000))}
	draw := func() Value {
		if random.IntN(50) > 0 {
			return values[random.IntN(len(values)-1)]
		}
		return values[len(values)-1]
	}
	for range 2000 {
		var b bytes.Buffer
		r, e := NewRecorder(), NewEncoder(&b)
		at := time.Duration(0)
		for range random.IntN(30) {
			at += time.Duration(random.IntN(3))
			node, name := []string{"", "n1"}[random.IntN(2)], fmt.Sprint(random.IntN(3))
			if i, ok := r.Pending(node, name); ok {
				outcome := []Outcome{OK, OK, Fail, Info}[random.IntN(4)]
				if err := r.Complete(i, outcome, draw(), []string{"", "why", "\xff"}[random.IntN(3)], at); err != nil {
					t.Fatal(err)
				}
				o := r.Op(i)
				e.Complete(&o)
				continue
			}
			i, err := r.Invoke(node, name, []string{"add", "read", ""}[random.IntN(3)], draw(), draw(), at)
			if err != nil {
				t.Fatal(err)
			}
			o := r.Op(i)
			e.Invoke(&o)
		}
		for _, o := range r.Close("the run has ended", at+1) {
			e.Complete(&o)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(b.String(), "\n")
		for _, l := range lines[:len(lines)-1] {
			if !json.Valid([]byte(l)) {
				t.Fatalf("%q is no JSON", l)
			}
		}
		want := r.Ops(nil)
		got, err := Read(strings.NewReader(b.String()))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
		}
		// Cut short, as its writer was killed, it is what was there by then.
		cut, err := Read(strings.NewReader(b.String()[:random.IntN(b.Len()+1)]))
		if err != nil || len(cut) > len(want) {
			t.Fatal(err)
		}
		for i, o := range cut {
			if o.Open {
				if o.Outcome != Info || o.Completed < o.Invoked {
					t.Fatalf("%+v", o)
				}
				o.Open, o.Outcome, o.Completed, o.Result, o.Error = want[i].Open, want[i].Outcome, want[i].Completed, want[i].Result, want[i].Error
			}
			if o != want[i] {
				t.Fatalf("\n got %+v\nwant %+v", o, want[i])
			}
		}
	}
}

// TestReadErrors holds what is said of what is no history, and what others may write.
func TestReadErrors(t *testing.T) {
	const invoke = `{"type":"invoke","process":1,"f":"a","time":5}` + "\n"
	for in, want := range map[string]string{
		"x\n":  "line 1: invalid character 'x'",
		"{}\n": "line 1: not an operation: type, process and a time in nanoseconds are expected",
		`{"type":"invoke","process":1,"time":1.5}` + "\n": "line 1: not an operation",
		invoke + invoke:                                      "line 2: process 1 invokes an operation, and has not completed its last one",
		`{"type":"ok","process":1}` + "\n":                   "line 1: process 1 completes an operation, and has invoked none",
		invoke + `{"type":"done","process":1}` + "\n":        `line 2: type is "done", expected invoke, ok, fail or info`,
		invoke + `{"type":"ok","process":1,"time":1}` + "\n": "line 2: time is 1, before 5, when the operation was invoked",
		`{"type":"invoke","process":1,"value":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) +
			"}\n": "line 1: lists and objects are more than 100 deep in each other",
	} {
		if _, err := Read(strings.NewReader(in)); err == nil || !strings.HasPrefix(err.Error(), "history: "+want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	foreign := `{"process":"nemesis","type":"info","f":"kill"}
{ "process": 94, "type": "invoke", "f": "cas", "value": [0, 3], "op-index": 1, "time": 1 }
{"process":94,"type":"fail","f":"cas","value":[0,3],"error":["timeout",5],"time":2}
`
	ops, err := Read(strings.NewReader(foreign))
	if want := (Op{Process: 94, F: "cas", Value: "[0,3]", Outcome: Fail, Error: `["timeout",5]`, Invoked: 1,
		Completed: 2}); err != nil || len(ops) != 1 || ops[0] != want {
		t.Errorf("%+v, %v", ops, err)
	}
}

// failing is a writer that takes so many bytes, and then none until it is mended.
type failing struct {
	bytes.Buffer
	left int
}

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("full")
	}
	return n, nil
}

// TestFlush: what could not be written is written by the next Flush.
func TestFlush(t *testing.T) {
	for left := range 80 {
		f := &failing{left: left}
		e := NewEncoder(f)
		e.Invoke(&Op{F: "a"})
		if err := e.Flush(); err == nil && left < 60 {
			t.Fatal("no error")
		}
		e.Complete(&Op{F: "a", Outcome: OK})
		f.left = 1 << 20
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		if ops, err := Read(&f.Buffer); err != nil || len(ops) != 1 || ops[0].Open {
			t.Fatalf("%d: %+v, %v", left, ops, err)
		}
	}
}

// FuzzRead: no file makes the reader panic; what was read is written and read as the
// same again.
func FuzzRead(f *testing.F) {
	f.Add(`{"index":0,"type":"invoke","process":0,"f":"read","value":null,"time":1000}` + "\n" +
		`{"index":1,"type":"ok","process":0,"f":"read","value":[1,{"b":1, "a":"\udcff"}],"time":2000}` + "\n")
	f.Add(`{"type":"invoke","process":1,"value":[1]}` + "\n" + `{"type":"ok","process":1,"value":[1],"result":[1]}` + "\n")
	f.Add(`{"type":"invoke","process":1,"value":"x"}` + "\n" + `{"type":"ok","process":1,"value":6,"error":"\ud800","open":true}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		defer allocated.Ends()()
		ops, err := Read(strings.NewReader(text))
		if err != nil && len(err.Error()) > 1000 {
			t.Fatal(err)
		}
		var b bytes.Buffer
		e := NewEncoder(&b)
		last := map[int]int{}
		for i := range ops { // a process does one at a time
			if l, ok := last[ops[i].Process]; ok {
				e.Complete(&ops[l])
			}
			e.Invoke(&ops[i])
			last[ops[i].Process] = i
		}
		for _, i := range last {
			e.Complete(&ops[i])
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&b)
		if err != nil || !slices.Equal(again, ops) {
			t.Fatalf("%q became %v\n got %+v\nwant %+v", text, err, again, ops)
		}
	})
}

// FuzzValue: any JSON becomes a Value that stays the same, and whose lists are those
// of encoding/json.
func FuzzValue(f *testing.F) {
	for _, s := range []string{"5", `[1,"a",[2],{"b":null}]`, `{"b":1,"a":[]}`, `"\ud83d\ude00\udce9"`, `[",]"]`, `"\\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer allocated.Ends()()
		Value(text).Text()
		if elements, ok := Value(text).List(); ok && len(elements) > len(text) {
			t.Fatalf("%d elements of %q", len(elements), text)
		}
		v, err := ParseValue([]byte(text))
		if err != nil || v == None {
			return
		}
		if again, err := ParseValue([]byte(v)); err != nil || again != v {
			t.Fatalf("%q became %q, %v", v, again, err)
		}
		var raw []json.RawMessage
		elements, ok := v.List()
		if isList := json.Unmarshal([]byte(v), &raw) == nil; isList != ok || len(raw) != len(elements) {
			t.Fatalf("%s has %d elements, %v", v, len(elements), ok)
		}
		for i := range raw {
			if string(raw[i]) != string(elements[i]) {
				t.Fatalf("%s: %s, want %s", v, elements[i], raw[i])
			}
		}
	})
}

// TestRecorder holds what a client may do, and that it is a new process where nobody
// knows of its last operation.
func TestRecorder(t *testing.T) {
	r := NewRecorder()
	invoke := func(node, name string, want int) int {
		t.Helper()
		i, err := r.Invoke(node, name, "write", `"x"`, "5", 10)
		if err != nil || r.Op(i).Process != want || !r.Op(i).Open || r.Op(i).Outcome != Info {
			t.Fatalf("%+v, %v", r.Op(i), err)
		}
		return i
	}
	refuses := func(err error, want string) {
		t.Helper()
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	first := invoke("", "1", 0)
	_, err := r.Invoke("", "1", "read", None, None, 11)
	refuses(err, `client "1" has not completed its last operation, "write" of "5", and cannot invoke "read"`)
	other := invoke("n1", "1", 1)
	refuses(r.Complete(first, "done", None, "", 12), `the outcome is "done", want ok, fail or info`)
	for _, i := range []int{-1, 2} {
		refuses(r.Complete(i, OK, None, "", 12), fmt.Sprintf("there is no operation %d", i))
	}
	if err := r.Complete(first, Fail, "7", "refused", 12); err != nil || r.Op(first).Result != None || r.Op(first).Error != "refused" {
		t.Error(err, r.Op(first))
	}
	refuses(r.Complete(first, OK, None, "", 13), `operation 0, "write" of "5" by client "1", has completed already: it is fail`)
	if err := r.Complete(invoke("", "1", 0), Info, "7", "no answer", 5); err != nil || r.Op(2).Completed != 10 {
		t.Error(err, r.Op(2))
	}
	if err := r.Complete(invoke("", "1", 2), OK, "7", "why", 14); err != nil || r.Op(3).Result != "7" || r.Op(3).Error != "" {
		t.Error(err, r.Op(3))
	}
	if i, ok := r.Pending("n1", "1"); !ok || i != other {
		t.Error(i, ok)
	}
	if _, ok := r.Pending("", "1"); ok {
		t.Error("it has completed")
	}
	closed := r.Close("the run has ended", 20)
	if len(closed) != 1 || closed[0].Index != other || !closed[0].Open || closed[0].Completed != 20 || closed[0].Error != "the run has ended" {
		t.Errorf("%+v", closed)
	}
	refuses(r.Complete(other, OK, None, "", 21), `operation 1, "write" of "5" by client "1", has completed already: it is info`)
	if len(r.Close("", 30)) != 0 || r.Len() != 4 || len(r.Ops(nil)) != 4 || len(r.Ops(func(o *Op) bool { return o.Outcome == OK })) != 1 {
		t.Errorf("%+v", r.Ops(nil))
	}
	invoke("n1", "1", 3)
}

// TestRecorderMemory: an operation takes less than 200 bytes besides its values.
func TestRecorderMemory(t *testing.T) {
	const n = 100_000
	r := NewRecorder()
	took := allocated.By(func() {
		for i := range n {
			at := time.Duration(i)
			index, err := r.Invoke("n1", []string{"1", "2", "3"}[i%3], "write", `"x"`, "5", at)
			if err == nil {
				err = r.Complete(index, OK, None, "", at)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if took > 200*n+allocated.Slack {
		t.Errorf("%d bytes an operation", took/n)
	}
}

// BenchmarkRecord records and encodes operations of ten clients, with an outcome each,
// and prints how many in a second.
func BenchmarkRecord(b *testing.B) {
	const n = 200_000
	clients := make([]string, 10)
	for i := range clients {
		clients[i] = fmt.Sprint(i)
	}
	var took time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		r, e := NewRecorder(), NewEncoder(io.Discard)
		for i := range n {
			at := time.Duration(i) * time.Microsecond
			index, err := r.Invoke("loader", clients[i%10], "write", `"x"`, "12345", at)
			if err != nil {
				b.Fatal(err)
			}
			o := r.Op(index)
			e.Invoke(&o)
			if err := r.Complete(index, OK, None, "", at+500); err != nil {
				b.Fatal(err)
			}
			o = r.Op(index)
			e.Complete(&o)
			if e.Unwritten() > 64<<10 {
				if err := e.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(n)*float64(b.N)/took.Seconds(), "ops/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRead reads a history of 200,000 operations, and prints how many in a
// second.
func BenchmarkRead(b *testing.B) {
	const n = 200_000
	var file bytes.Buffer
	e := NewEncoder(&file)
	for i := range n {
		o := Op{Index: i, Process: i % 10, F: "write", Key: `"x"`, Value: "12345", Outcome: OK}
		e.Invoke(&o)
		e.Complete(&o)
	}
	if err := e.Flush(); err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	for b.Loop() {
		began := time.Now()
		if ops, err := Read(bytes.NewReader(file.Bytes())); err != nil || len(ops) != n {
			b.Fatal(err)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(n)*float64(b.N)/took.Seconds(), "ops/s")
	b.ReportMetric(0, "ns/op")
}
