package buffy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// app is what a stream processor computes, in two stages.
type app struct {
	// first gives what is passed on for one message; ok is false where the
	// payload is none that it understands.
	first func(payload []byte, pass func([]byte) error) (ok bool, err error)
	// second gives what is delivered for what was passed on.
	second func(payload []byte, deliver func([]byte) error) (ok bool, err error)
	// last gives what is delivered when nothing more will come, or is nil.
	last func(deliver func([]byte) error) error
}

// runDoubleDivide doubles a whole number in the first stage and halves it in
// the second.
func runDoubleDivide(p *process) error {
	number := func(f func(int64) (int64, bool)) func([]byte, func([]byte) error) (bool, error) {
		return func(payload []byte, to func([]byte) error) (bool, error) {
			n, err := strconv.ParseInt(string(payload), 10, 64)
			if err != nil {
				return false, nil
			}
			n, ok := f(n)
			if !ok {
				return false, nil
			}
			var buf [20]byte
			return true, to(strconv.AppendInt(buf[:0], n, 10))
		}
	}
	return p.runApp(app{
		first:  number(func(n int64) (int64, bool) { return 2 * n, 2*n/2 == n }),
		second: number(func(n int64) (int64, bool) { return n / 2, n%2 == 0 }),
	})
}

// runWordCount makes words of a line in the first stage, in small letters and
// without what is not a letter, digit or apostrophe around them, and counts them
// in the second. When all lines have come, each worker delivers "WORD COUNT" for
// every word that it has counted, in the order of the words; a word's count is
// the sum over the workers.
func runWordCount(p *process) error {
	var mu sync.Mutex
	counts := map[string]int64{}
	return p.runApp(app{
		first: func(line []byte, pass func([]byte) error) (bool, error) {
			for word := range strings.FieldsSeq(strings.ToLower(string(line))) {
				word = strings.TrimFunc(word, func(c rune) bool {
					return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '\'' || c > 127)
				})
				if word == "" {
					continue
				}
				if err := pass([]byte(word)); err != nil {
					return true, err
				}
			}
			return true, nil
		},
		second: func(word []byte, _ func([]byte) error) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			counts[string(word)]++
			return true, nil
		},
		last: func(deliver func([]byte) error) error {
			mu.Lock()
			defer mu.Unlock()
			for _, word := range slices.Sorted(maps.Keys(counts)) {
				if err := deliver(fmt.Appendf(nil, "%s %d", word, counts[word])); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

func (p *process) runApp(a app) error {
	if p.o.metrics != "" {
		p.say("--metrics is not used")
	}
	if p.o.leader {
		return p.runLeader(a)
	}
	return p.runWorker(a)
}

// stages is the work of a process that has stages to do.
type stages struct {
	p    *process
	app  app
	sink *outlet
	next *outlet // nil: it does the second stage itself
}

// take does the first stage of a message.
func (s *stages) take(payload []byte, id int64) error {
	pass := func(result []byte) error { return s.next.send(result, id) }
	if s.next == nil {
		pass = func(result []byte) error { return s.finish(result, id) }
	}
	return s.understood(s.app.first(payload, pass))
}

// finish does the second stage.
func (s *stages) finish(payload []byte, id int64) error {
	return s.understood(s.app.second(payload, func(result []byte) error { return s.sink.send(result, id) }))
}

func (s *stages) understood(ok bool, err error) error {
	if err == nil && !ok {
		s.p.say("UNEXPECTED DATA")
	}
	return err
}

func (s *stages) flush() error {
	if s.next != nil {
		if err := s.next.flush(); err != nil {
			return err
		}
	}
	return s.sink.flush()
}

// end delivers what is left and says the end to the sink.
func (s *stages) end() error {
	if s.app.last != nil {
		if err := s.app.last(func(result []byte) error { return s.sink.send(result, 0) }); err != nil {
			return err
		}
	}
	return s.sink.end()
}
