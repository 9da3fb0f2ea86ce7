package history

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestWrite holds that a history that is written whole is read as it was, in the order of
// its times, and that what was under way at the same time is so in the file.
func TestWrite(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		r := NewRecorder()
		at := time.Duration(0)
		for range random.IntN(40) {
			at += time.Duration(random.IntN(2)) // many at the same time
			name := fmt.Sprint(random.IntN(4))
			if i, ok := r.Pending("", name); ok {
				if err := r.Complete(i, []Outcome{OK, Fail, Info}[random.IntN(3)], "1", "", at); err != nil {
					t.Fatal(err)
				}
			} else if _, err := r.Invoke("", name, "write", "1", "2", at); err != nil {
				t.Fatal(err)
			}
		}
		want := r.Ops(nil)
		end := at + 1
		var b bytes.Buffer
		if err := Write(&b, want, end); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\n"))
		if len(want) > 0 && len(lines) != 2*len(want) {
			t.Fatalf("%d lines of %d operations", len(lines), len(want))
		}
		got, err := Read(&b)
		if err != nil {
			t.Fatal(err)
		}
		byProcess := func(a, b Op) int { return cmp.Or(a.Process-b.Process, int(a.Invoked-b.Invoked), a.Index-b.Index) }
		for _, all := range [][]Op{got, want} {
			slices.SortStableFunc(all, byProcess)
			for i := range all {
				all[i].Index = 0
				if all[i].Open {
					all[i].Completed = end
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("\n got %+v\nwant %+v", got, want)
		}
	}
}

// BenchmarkWrite prints how many operations are written in a second.
func BenchmarkWrite(b *testing.B) {
	const n = 200_000
	ops := make([]Op, n)
	for i := range ops {
		at := time.Duration(i/10) * time.Microsecond
		ops[i] = Op{Index: i, Process: i % 10, F: "write", Key: `"x"`, Value: "12345", Outcome: OK, Invoked: at, Completed: at + 1}
	}
	var took time.Duration
	for b.Loop() {
		began := time.Now()
		if err := Write(&bytes.Buffer{}, ops, time.Hour); err != nil {
			b.Fatal(err)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(n)*float64(b.N)/took.Seconds(), "ops/s")
	b.ReportMetric(0, "ns/op")
}
