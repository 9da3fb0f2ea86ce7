package transaction

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// large is what a serializable system does: transactions of four micro-operations on
// lists of which a new one is begun at every hundredth.
func large(n int) []history.Op {
	r := rand.New(rand.NewPCG(3, 4))
	lists := make([][]string, n/50+11)
	ops := make([]history.Op, n)
	for i := range ops {
		var asked, got []string
		for range 4 {
			k := i/50 + r.IntN(10)
			if r.IntN(2) == 0 {
				asked = append(asked, fmt.Sprintf(`["r",%d,null]`, k))
				got = append(got, fmt.Sprintf(`["r",%d,[%s]]`, k, strings.Join(lists[k], ",")))
				continue
			}
			v := fmt.Sprint(len(lists[k]) + 1)
			lists[k] = append(lists[k], v)
			asked = append(asked, fmt.Sprintf(`["append",%d,%s]`, k, v))
			got = append(got, asked[len(asked)-1])
		}
		ops[i] = history.Op{F: "txn", Outcome: history.OK, Value: history.Value("[" + strings.Join(asked, ",") + "]"),
			Result:  history.Value("[" + strings.Join(got, ",") + "]"),
			Invoked: time.Duration(10 * i), Completed: time.Duration(10*i + r.IntN(200))}
	}
	return numbered(ops...)
}

func BenchmarkCheck(b *testing.B) { check(b, 100_000) }

// check measures a check beside the parsing of its values by encoding/json, in turns.
func check(b *testing.B, n int) {
	ops := large(n)
	var checks, parses []float64
	for b.Loop() {
		began := time.Now()
		for i := range ops {
			var list [][]json.RawMessage
			if err := json.Unmarshal([]byte(ops[i].Result), &list); err != nil {
				b.Fatal(err)
			}
		}
		parses = append(parses, time.Since(began).Seconds())
		began = time.Now()
		r, err := Check(ops, Options{Level: StrictSerializable})
		checks = append(checks, time.Since(began).Seconds())
		if err != nil || r.Verdict != history.Valid {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(median(checks), "s")
	b.ReportMetric(median(checks)/median(parses), "x-json")
	b.ReportMetric(0, "ns/op")
}

func median(times []float64) float64 {
	slices.Sort(times)
	return times[len(times)/2]
}

// TestSpeed holds half of what is reached. It runs with DAGON_SPEED=1, and tries a
// noisy machine three times.
func TestSpeed(t *testing.T) {
	if os.Getenv("DAGON_SPEED") == "" {
		t.Skip("a measurement: DAGON_SPEED=1 runs it")
	}
	for try := 1; ; try++ {
		const most = 12
		ratio := testing.Benchmark(func(b *testing.B) { check(b, 100_000) }).Extra["x-json"]
		if ratio > 0 && ratio <= most {
			return
		}
		t.Logf("try %d: %.1f times what encoding/json takes, want %d", try, ratio, most)
		if try == 3 {
			t.Fatal("too slow")
		}
	}
}
