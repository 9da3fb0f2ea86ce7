// Package allocated measures, for tests, what it costs to read what a stranger
// wrote.
package allocated

import (
	"flag"
	"runtime/metrics"
	"time"
)

// Slack is how much By may tell too much, in bytes: small objects are counted by
// the page, and what other goroutines allocate meanwhile is among it.
const Slack = 1 << 20

// By is how much fn allocates, in bytes, whether or not it is freed again. It
// stops nobody, so that it can be asked in a fuzz target.
func By(fn func()) uint64 {
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(heap)
	before := heap[0].Value.Uint64()
	fn()
	metrics.Read(heap)
	return heap[0].Value.Uint64() - before
}

// Ends panics, while fuzzing, unless what it returns is called within 10 s. A fuzzer
// whose time is over says that all is well, also where its worker hangs; go test has
// a timeout of its own.
func Ends() (ended func() bool) {
	if f := flag.Lookup("test.fuzz"); f == nil || f.Value.String() == "" {
		return func() bool { return true }
	}
	return time.AfterFunc(10*time.Second, func() { panic("it does not end") }).Stop
}
