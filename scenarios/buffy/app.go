package buffy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/osc"
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
	of := func(f func(int64) (int64, bool)) func([]byte, []byte) ([]byte, bool) {
		return func(dst, payload []byte) ([]byte, bool) {
			n, ok := number(payload)
			if !ok {
				return dst, false
			}
			n, ok = f(n)
			return strconv.AppendInt(dst, n, 10), ok
		}
	}
	return p.runApp(app{
		first:  of(func(n int64) (int64, bool) { return 2 * n, 2*n/2 == n }),
		second: of(func(n int64) (int64, bool) { return n / 2, n%2 == 0 }),
	})
}

// number is a whole number in decimal. Most have few digits and no sign.
func number(text []byte) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 18 {
		return parseNumber(text)
	}
	for _, c := range text {
		if c -= '0'; c > 9 {
			return parseNumber(text)
		}
		n = 10*n + int64(c)
	}
	return n, true
}

func parseNumber(text []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}

// runWordCount makes words of a line in the first stage, in small letters and
// without what is not a letter, digit or apostrophe around them, and counts them
// in the second, which delivers a record for each line that has words: "WORD
// COUNT" for each, in the order of the words and with ", " between them. A word's
// count is the sum over the records.
func runWordCount(p *process) error {
	return p.runApp(app{
		first: func(dst, line []byte) ([]byte, bool) {
			start := len(dst)
			for word := range strings.FieldsSeq(strings.ToLower(string(line))) {
				word = strings.TrimFunc(word, func(c rune) bool {
					return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '\'' || c > 127)
				})
				if word == "" {
					continue
				}
				if len(dst) > start {
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
	// ack is called with messages that are through, whose ids the items have: the
	// sink has acknowledged them, or taken them where it is not asked, or there is
	// nothing of them to deliver. first tells that this is known before the second
	// stage.
	ack func(first bool, acks []osc.Item)
	// sendAcks sends what ack has queued.
	sendAcks func() error

	mu    sync.Mutex
	taken []osc.Item // by the sink, acknowledged at the next flush, where it is not asked
	spare []osc.Item
}

// newStages makes the stages; ack and sendAcks are to be set before the sink is
// opened.
func (p *process) newStages(a app, lasting bool, again func()) *stages {
	s := &stages{p: p, app: a}
	s.sink = &outlet{caller: caller{p: p, what: "sink", address: first(p.o.sink)}, lasting: lasting, asks: p.o.atLeastOnce, again: again}
	s.sink.acked = func(acks []osc.Item) error { s.ack(false, acks); return nil }
	s.sink.pause = func() error { return s.sendAcks() }
	return s
}

// results are what a stage made of a run.
type results struct {
	items []osc.Item
	arena []byte // of the payloads
	none  []osc.Item
}

// do does a stage of messages. Those of which there is nothing for the next are
// through: the ones that it does not understand, and in the first stage those
// that it makes nothing of.
func (s *stages) do(first bool, out *results, r run) run {
	stage := s.app.second
	if first {
		stage = s.app.first
	}
	out.items, out.arena, out.none = out.items[:0], out.arena[:0], out.none[:0]
	for i := range r.items {
		start := len(out.arena)
		result, ok := stage(out.arena, r.items[i].String)
		if !ok {
			s.p.say("UNEXPECTED DATA")
		}
		if !ok || first && len(result) == start {
			out.none = append(out.none, osc.Item{Int64: r.items[i].Int64})
			continue
		}
		out.arena = result
		out.items = append(out.items, osc.Item{String: result[start:], Int64: r.items[i].Int64})
	}
	if r.numbered && len(out.none) > 0 {
		s.ack(first, out.none)
	}
	return run{out.items, r.numbered}
}

// take does the first stage of messages.
func (s *stages) take(u *upstream, r run) run { return s.do(true, &u.results[0], r) }

// refused is what is done with a message that a stage has made and that cannot be
// sent: it is through.
func (s *stages) refused(first, numbered bool) func(*osc.Item) error {
	return func(item *osc.Item) error {
		s.p.say("UNEXPECTED DATA")
		if numbered {
			s.ack(first, []osc.Item{{Int64: item.Int64}})
		}
		return nil
	}
}

// finish does the second stage, and delivers.
func (s *stages) finish(u *upstream, r run) error {
	r = s.do(false, &u.results[1], r)
	refused := s.refused(false, r.numbered)
	if s.sink.asks {
		_, _, err := s.sink.send(r, refused)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.sink.conn.Load()
	n, lost, err := s.sink.send(r, refused)
	if s.sink.conn.Load() != before {
		s.taken = s.taken[:0] // they may be lost
	}
	if r.numbered {
		for i := range r.items[lost:n] {
			s.taken = append(s.taken, osc.Item{Int64: r.items[lost+i].Int64})
		}
	}
	return err
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
	s.taken, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	if err != nil || s.sink.conn.Load() != before {
		return err
	}
	s.ack(false, taken)
	s.mu.Lock()
	s.spare = taken
	s.mu.Unlock()
	return s.sendAcks()
}
