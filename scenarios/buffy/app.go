package buffy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// app is what a stream processor computes, in two stages. A stage appends what
// it makes of a payload to dst; ok is false where the payload is none that it
// understands. Of nothing that the first stage makes, nothing is delivered.
type app struct {
	first, second func(dst, payload []byte) (result []byte, ok bool)
}

// runDoubleDivide doubles a whole number in the first stage and halves it in
// the second.
func runDoubleDivide(p *process) error {
	number := func(f func(int64) (int64, bool)) func([]byte, []byte) ([]byte, bool) {
		return func(dst, payload []byte) ([]byte, bool) {
			n, err := strconv.ParseInt(string(payload), 10, 64)
			if err != nil {
				return dst, false
			}
			n, ok := f(n)
			return strconv.AppendInt(dst, n, 10), ok
		}
	}
	return p.runApp(app{
		first:  number(func(n int64) (int64, bool) { return 2 * n, 2*n/2 == n }),
		second: number(func(n int64) (int64, bool) { return n / 2, n%2 == 0 }),
	})
}

// runWordCount makes words of a line in the first stage, in small letters and
// without what is not a letter, digit or apostrophe around them, and counts them
// in the second, which delivers a record for each line that has words: "WORD
// COUNT" for each, in the order of the words and with ", " between them. A word's
// count is the sum over the records.
func runWordCount(p *process) error {
	return p.runApp(app{
		first: func(dst, line []byte) ([]byte, bool) {
			for word := range strings.FieldsSeq(strings.ToLower(string(line))) {
				word = strings.TrimFunc(word, func(c rune) bool {
					return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '\'' || c > 127)
				})
				if word == "" {
					continue
				}
				if len(dst) > 0 {
					dst = append(dst, ' ')
				}
				dst = append(dst, word...)
			}
			return dst, true
		},
		second: func(dst, words []byte) ([]byte, bool) {
			counts := map[string]int64{}
			for word := range strings.SplitSeq(string(words), " ") {
				counts[word]++
			}
			for i, word := range slices.Sorted(maps.Keys(counts)) {
				if i > 0 {
					dst = append(dst, ", "...)
				}
				dst = append(append(dst, word...), ' ')
				dst = strconv.AppendInt(dst, counts[word], 10)
			}
			return dst, true
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
	// ack is called with every message that is through: the sink has
	// acknowledged it, or taken it where it is not asked, or there is nothing of
	// it to deliver. first tells that this is known before the second stage.
	ack func(first bool, id int64)
	// sendAcks sends what ack has queued.
	sendAcks func() error

	mu    sync.Mutex
	taken []int64 // by the sink, at the next flush, where it is not asked
}

// newStages makes the stages; ack and sendAcks are to be set before the sink is
// opened.
func (p *process) newStages(a app, lasting bool, again func()) *stages {
	s := &stages{p: p, app: a}
	s.sink = &outlet{caller: caller{p: p, what: "sink", address: first(p.o.sink)}, lasting: lasting, asks: p.o.atLeastOnce, again: again}
	s.sink.acked = func(id int64) error { s.ack(false, id); return nil }
	s.sink.pause = func() error { return s.sendAcks() }
	return s
}

// take does the first stage of a message. more is false where no second stage is
// to follow.
func (s *stages) take(u *upstream, m message) (result message, more bool) {
	var ok bool
	if u.results[0], ok = s.app.first(u.results[0][:0], m.payload); !ok {
		s.p.say("UNEXPECTED DATA")
	}
	if !ok || len(u.results[0]) == 0 {
		s.through(true, m)
		return m, false
	}
	return message{u.results[0], m.id, m.numbered}, true
}

// finish does the second stage, and delivers.
func (s *stages) finish(u *upstream, m message) error {
	var ok bool
	u.results[1], ok = s.app.second(u.results[1][:0], m.payload)
	var err error
	if ok {
		result := message{u.results[1], m.id, m.numbered}
		if s.sink.asks {
			err = s.sink.send(result)
		} else {
			s.mu.Lock()
			before := s.sink.conn.Load()
			err = s.sink.send(result)
			if s.sink.conn.Load() != before {
				s.taken = s.taken[:0] // they may be lost
			}
			if err == nil && m.numbered {
				s.taken = append(s.taken, m.id)
			}
			s.mu.Unlock()
		}
	}
	if !ok || unsendable(err) {
		s.p.say("UNEXPECTED DATA")
		s.through(false, m)
		return nil
	}
	return err
}

func (s *stages) through(first bool, m message) {
	if m.numbered {
		s.ack(first, m.id)
	}
}

// flush delivers what is queued, and acknowledges.
func (s *stages) flush() error {
	if s.sink.asks {
		if err := s.sink.flush(); err != nil {
			return err
		}
		return s.sendAcks()
	}
	s.mu.Lock()
	before := s.sink.conn.Load()
	err := s.sink.flush()
	taken := s.taken
	s.taken = nil
	s.mu.Unlock()
	if err != nil || s.sink.conn.Load() != before {
		return err
	}
	for _, id := range taken {
		s.ack(false, id)
	}
	return s.sendAcks()
}
