package history_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/dagon-star/dagon-star/runtime/history"
)

const million = 1_000_000

// BenchmarkSetFull looks at half a million elements, of which five hundred reads
// have a thousand each, and the last one no other.
func BenchmarkSetFull(b *testing.B) {
	ops := benchmarkOps(b, "add", 10)[:million/2]
	for i := range 500 {
		var text strings.Builder
		for n := range 1000 {
			text.WriteByte("[,"[min(n, 1)])
			text.WriteString(string(ops[i*1000+n].Value))
		}
		at := time.Duration(i*1000+2000) * time.Microsecond
		ops = append(ops, Op{Index: len(ops), F: "read", Outcome: OK, Result: Value(text.String() + "]"), Invoked: at, Completed: at + 10})
	}
	measure(b, func() *Result { return SetFull(ops, SetFullOptions{}) })
}

// BenchmarkCounter checks half a million reads among half a million additions; the
// last read is too low.
func BenchmarkCounter(b *testing.B) {
	ops := benchmarkOps(b, "add", 10)
	for i := range ops {
		ops[i].Value, ops[i].Outcome = "1", OK
		if i%2 == 1 {
			ops[i].F, ops[i].Value, ops[i].Result = "read", None, Value(fmt.Sprint(i/2))
		}
	}
	ops[len(ops)-1].Result = "5"
	measure(b, func() *Result { return Counter(ops, CounterOptions{}) })
}

// BenchmarkBank checks a million reads of five accounts; one is wrong.
func BenchmarkBank(b *testing.B) {
	ops := benchmarkOps(b, "read", 10)
	for i := range ops {
		ops[i].Value, ops[i].Outcome, ops[i].Result = None, OK, `{"a":10,"b":20,"c":30,"d":40,"e":0}`
	}
	ops[len(ops)-1].Result = `{"a":10}`
	measure(b, func() *Result { return Bank(ops, BankOptions{}) })
}

// BenchmarkSequence checks a million elements of ten senders that came in order, but
// for every tenth, which did not.
func BenchmarkSequence(b *testing.B) {
	ops := benchmarkOps(b, "send", 10)
	var got List
	for i := range ops {
		ops[i].Client, ops[i].Outcome = fmt.Sprint(i%10), OK
		if i/10%10 > 0 {
			got = append(got, ops[i].Value)
		}
	}
	b.Run("sent", func(b *testing.B) {
		measure(b, func() *Result { return Sequence(ops, got, SequenceOptions{}) })
	})
	again := append(Ops(nil), ops...)
	for i := 1000; i < len(ops); i += 1000 { // what another sender sends too
		again[i].Value = ops[i-1].Value
	}
	b.Run("again", func(b *testing.B) {
		measure(b, func() *Result { return Sequence(again, got, SequenceOptions{}) })
	})
	b.Run("numbers", func(b *testing.B) {
		measure(b, func() *Result { return Sequence(nil, got, SequenceOptions{}) })
	})
}

// BenchmarkSessions checks a million operations of ten processes on a hundred keys:
// each writes and reads what it has written; the last read is of an old value.
func BenchmarkSessions(b *testing.B) {
	ops := benchmarkOps(b, "write", 10)
	for i := range ops {
		ops[i].Outcome, ops[i].Key = OK, Value(fmt.Sprint(i/20%100))
		if i/10%2 == 1 {
			ops[i].F, ops[i].Result, ops[i].Value = "read", ops[i-10].Value, None
		}
	}
	ops[len(ops)-1].Result = ops[len(ops)-1-2000].Result
	measure(b, func() *Result { return Sessions(ops, SessionsOptions{}) })
}
