package builtins_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/builtins"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/script"
)

// inert is a driver whose processes are only numbers, so that nothing that a
// fuzzer draws reaches a real one.
type inert struct{ process.Driver }

func (inert) Start(process.Spec) (process.Process, error) {
	return &number{done: make(chan struct{})}, nil
}
func (inert) Containment() process.Containment { return process.Containment{Rung: process.Bare} }
func (inert) Can(string) error                 { return nil }
func (inert) Close() error                     { return nil }

// number is a process that ends at any signal.
type number struct {
	once sync.Once
	done chan struct{}
}

func (*number) PID() int { return 1 << 30 }
func (n *number) Signal(os.Signal, process.Reach) (int, error) {
	n.once.Do(func() { close(n.done) })
	return 1, nil
}
func (n *number) Alive() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}
func (*number) Pause() (int, error)               { return 1, nil }
func (*number) Resume() error                     { return nil }
func (*number) Limit(process.Limits) (int, error) { return 1, nil }
func (n *number) Done() <-chan struct{}           { return n.done }
func (*number) Exit() process.Exit                { return process.Exit{Signal: "KILL"} }

// targets is what FuzzCall calls: every builtin, and the methods of what they
// return.
func targets() (names []string) {
	for _, d := range builtins.Catalogue() {
		if d.Callable && d.Family != "values" || d.Name == "topology.node" {
			names = append(names, d.Name)
		}
	}
	return append(names, "pause(a).heal", "limit(a, cpu=1).heal", "every(1, len).cancel", "spawn(len, []).wait", "topology.node",
		"json.indent", "json.decode", "struct", "time.parse_duration", "time.time", "math.pow")
}

// values makes values of a fuzzer's bytes. What the language itself takes
// exponential time for, str and == among it, is kept small, and what takes a
// range element by element without end, such as json.encode, is not called.
type values struct {
	data []byte
}

func (v *values) byte() byte {
	if len(v.data) == 0 {
		return 0
	}
	b := v.data[0]
	v.data = v.data[1:]
	return b
}

func (v *values) text() string {
	n := min(int(v.byte()), len(v.data))
	s := v.data[:n]
	v.data = v.data[n:]
	return string(s)
}

var words = []string{"", "a", "b-1", "/x", "start", "KILL", "now", "10ms", "64MiB", "limit.memory", "(.*)",
	"giles/received.txt", "hTFNsb", "\x00", "\xff"}

func (v *values) next(depth int) starlark.Value {
	kind := v.byte() % 20
	if depth > 20 && kind >= 12 {
		kind = 0
	}
	several := func() []starlark.Value {
		elements := make([]starlark.Value, v.byte()%8)
		for i := range elements {
			elements[i] = v.next(depth + 1)
		}
		return elements
	}
	switch kind {
	case 1:
		return starlark.Bool(v.byte()&1 > 0)
	case 2:
		return starlark.MakeInt(int(int8(v.byte())))
	case 3:
		return starlark.MakeInt(1).Lsh(uint(v.byte()) * 4)
	case 4:
		return starlark.MakeInt(-1).Lsh(uint(v.byte()) * 4)
	case 5:
		return starlark.Float(float64(v.byte()) / 1000)
	case 6:
		var b [8]byte
		copy(b[:], v.text())
		return starlark.Float(math.Float64frombits(binary.LittleEndian.Uint64(b[:])))
	case 7:
		return starlark.String(words[int(v.byte())%len(words)])
	case 8:
		return starlark.String(v.text())
	case 9:
		if depth == 0 {
			return starlark.String(strings.Repeat(v.text(), 1<<(v.byte()%12)))
		}
	case 10:
		return starlark.Bytes(v.text())
	case 12:
		return starlark.NewList(several())
	case 13:
		return starlark.Tuple(several())
	case 14: // one that is in itself
		list := starlark.NewList(several())
		list.Append(list)
		return list
	case 11, 15: // many times the same, again and again
		var of starlark.Value = starlark.String(words[int(v.byte())%len(words)])
		for range v.byte() % 6 {
			of = starlark.NewList(slices.Repeat([]starlark.Value{of}, 8))
		}
		return of
	case 16:
		dict := &starlark.Dict{}
		for elements := several(); len(elements) > 1; elements = elements[2:] {
			dict.SetKey(elements[0], elements[1]) // what cannot be a key is none
		}
		return dict
	case 17:
		r, _ := starlark.Call(&starlark.Thread{}, starlark.Universe["range"], starlark.Tuple{starlark.MakeInt64(1 << (v.byte() % 60))}, nil)
		return r
	case 18:
		result := v.next(depth + 1)
		return starlark.NewBuiltin("f", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return result, nil
		})
	case 19:
		result := v.next(depth + 1)
		return starlark.NewBuiltin("g", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return nil, fmt.Errorf("%s", result.Type())
		})
	}
	return starlark.None
}

// callBound is how much a run with one call may allocate, in bytes, for so many
// bytes of which its arguments are made: a few of them may stand for a text of
// 512 KiB, or for a list that holds 32,768 words as text, and each is copied a
// few times.
func callBound(n int) uint64 { return 64<<20 + 64<<10*uint64(n) }

// call calls a builtin with what the data draw, in a run of its own.
func callWith(t *testing.T, folder, target string, data []byte) {
	t.Helper()
	v := &values{data: data}
	how := v.byte()
	args := starlark.Tuple{}
	kwargs := &starlark.Dict{}
	if how&1 > 0 {
		args = append(args, starlark.String("a"))
	}
	names := []string{"nodes", "timeout", "soft", "times", "types", "env", "args", "signal", "memory", "cpu", "x", "since", "message"}
	for range how >> 1 % 8 {
		if b := v.byte(); b < 64 {
			kwargs.SetKey(starlark.String(names[int(b)%len(names)]), v.next(0))
		} else {
			args = append(args, v.next(0))
		}
	}
	limit, soon := 100*time.Millisecond, 5*time.Millisecond
	var out bytes.Buffer
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(heap)
	before := heap[0].Value.Uint64()
	r, err := script.Run(context.Background(), script.Config{
		Source:         []byte("fork([a, b_1])\ncatch(lambda: " + target + "(*arguments, **keywords))\n"),
		TopologySource: []byte("[a]\npath = /bin/true\n[b-1]\npath = /bin/true\n"),
		Builtins:       starlark.StringDict{"arguments": args, "keywords": kwargs},
		RunsDir:        folder, Driver: inert{}, Timeout: &soon, Drain: &soon, Grace: &soon, TimeLimit: &limit, Output: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Bug {
		t.Fatalf("%s%v: %s\n%s", target, args, r.Reason, r.Backtrace)
	}
	os.RemoveAll(r.Folder)
	metrics.Read(heap)
	if took := heap[0].Value.Uint64() - before; took > callBound(len(data)) {
		t.Errorf("%s took %d bytes for %d", target, took, len(data))
	}
}

// FuzzCall: whatever a builtin is called with, it returns or says what is
// wrong, in bounded time, and takes memory in proportion.
func FuzzCall(f *testing.F) {
	all := targets()
	for i := range all {
		f.Add(uint8(i), []byte{3, 200, 12, 2, 7, 1, 7, 2})
		f.Add(uint8(i), []byte{5, 200, 15, 1, 2, 1, 11, 200, 17, 59})
		f.Add(uint8(i), []byte{4, 200, 18, 14, 0, 200, 3, 255})
		f.Add(uint8(i), []byte{7, 200, 7, 7, 0, 7, 7, 13, 16, 4, 7, 1, 8, 1, 'x'})
	}
	f.Add(uint8(slices.Index(all, "fork")), []byte("\x03\xe0M\xc8\x02\xfd")) // range(1 << 20) for its arguments
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		if flag.Lookup("test.fuzz").Value.String() != "" { // go test has a timeout of its own, a fuzzer has not
			defer time.AfterFunc(10*time.Second, func() { panic("the run does not end") }).Stop()
		}
		callWith(t, folder, all[int(which)%len(all)], data)
	})
}
