package buffy

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// runChild is the smallest component. As a receiver, which nobody starts and nobody
// sends to, it has done its work when it is ready.
func runChild(p *process) error {
	if err := p.home.Ready(); err != nil {
		return err
	}
	p.say("dagon-child: %s is ready", p.config.Name)
	if p.receiver {
		if err := p.home.Done(); err != nil {
			return err
		}
	} else if p.until(p.home.Started()) {
		p.say("dagon-child: started")
		if err := p.home.Done(); err != nil {
			return err
		}
	}
	p.stop()
	p.say("dagon-child: shutting down")
	return nil
}

// runSender is Giles Sender. It connects before it is ready, so that who it
// sends to knows of it before any other sender can have ended.
func runSender(p *process) error {
	next, err := payloads(p.o.file)
	if err != nil {
		return err
	}
	defer next.close()
	if len(p.o.buffy) == 0 {
		return errors.New("--buffy is missing: HOST:PORT was expected")
	}
	if p.o.messages < 0 || p.o.rate < 0 {
		return errors.New("--messages and --rate must not be negative")
	}
	s := &sender{p: p, window: p.newWindow(p.o.atLeastOnce)}
	if s.sent, err = p.create("sent.txt"); err != nil {
		return err
	}
	for _, address := range p.o.buffy {
		o := &outlet{caller: caller{p: p, what: "buffy", address: address}, lasting: p.o.atLeastOnce, asks: p.o.atLeastOnce, again: s.rewind}
		var tell []*upstream
		o.acked = func(acks []osc.Item) error { tell = s.ack(acks, tell[:0]); return nil } // all are nil
		o.pause = func() error { s.settle(); return nil }
		if err := o.open(); err != nil {
			return err
		}
		s.to = append(s.to, o)
	}
	if err := p.home.Ready(); err != nil {
		return err
	}
	if !p.until(p.home.Started()) {
		return nil
	}
	made := make(chan error, 1)
	p.running.Go(func() { made <- s.make(next) })
	s.report = p.progress(s.gone.Load)
	err = s.deal(s, s.wasDealt)
	p.fail(err)
	return errors.Join(err, <-made)
}

// sender is Giles Sender as it sends: what is due is added to the window, and
// dealt from there.
type sender struct {
	p *process
	*window
	gone   atomic.Int64 // how many have been recorded and sent
	sent   *recording
	to     []*outlet
	report func(now bool) error
	dealt  [][]osc.Item // to each, of the present batch
	sentAt time.Time    // what was queued has been sent
	isDone bool
}

// make adds messages to the window when they are due.
func (s *sender) make(from *source) error {
	hash := fnv.New32a()
	io.WriteString(hash, s.p.config.Name)
	first := int64(hash.Sum32()) << 31 // ids of different senders differ
	began := time.Now()
	var items []osc.Item
	var arena []byte
	add := func() error {
		err := s.add(items, nil)
		items, arena = items[:0], arena[:0]
		return err
	}
	for n := int64(0); n < s.p.o.messages; n++ {
		payload, err := from.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && s.p.o.rate > 0 {
			if wait := time.Until(began.Add(time.Duration(float64(n) / s.p.o.rate * float64(time.Second)))); wait > 0 {
				if err = add(); err == nil {
					err = s.pause(wait)
				}
			}
		}
		if err == nil {
			start := len(arena)
			arena = append(arena, payload...)
			items = append(items, osc.Item{String: arena[start:], Int64: first + n})
			if len(items) == runMessages || len(arena) >= batchBytes {
				err = add()
			}
		}
		if err != nil {
			s.p.fail(err)
			return err
		}
	}
	if err := add(); err != nil {
		s.p.fail(err)
		return err
	}
	s.window.end()
	return nil
}

// pause waits until a message is due; what was added before it leaves meanwhile.
// It waits a millisecond at least, and what is overdue then goes together.
func (s *sender) pause(wait time.Duration) error {
	s.wake()
	timer := time.NewTimer(max(wait, time.Millisecond))
	defer timer.Stop()
	if !waitFor(s.p, timer.C) {
		return errStopped
	}
	return nil
}

func (s *sender) chosen() {}

func (s *sender) wasDealt(*batch) error {
	if time.Since(s.sentAt) < progressEvery {
		return nil
	}
	return s.flush()
}

// give sends messages, and records each the first time.
func (s *sender) give(b *batch) error {
	if fresh := b.items[b.again:]; len(fresh) > 0 {
		if _, err := s.sent.add(fresh); err != nil {
			return err
		}
	}
	if len(s.to) == 1 {
		return s.send(s.to[0], b.items)
	}
	for len(s.dealt) < len(s.to) {
		s.dealt = append(s.dealt, nil)
	}
	for i := range b.items {
		to := b.seq[i] % uint64(len(s.to))
		s.dealt[to] = append(s.dealt[to], b.items[i])
	}
	for i, o := range s.to {
		if err := s.send(o, s.dealt[i]); err != nil {
			return err
		}
		s.dealt[i] = s.dealt[i][:0]
	}
	return nil
}

func (s *sender) send(o *outlet, items []osc.Item) error {
	_, _, err := o.send(run{items, true}, func(item *osc.Item) error {
		return fmt.Errorf("cannot send a message of %d bytes, %.40q: it is too long", len(item.String), item.String)
	})
	return err
}

// flush sends what is queued. What is counted has been recorded and sent.
func (s *sender) flush() error {
	if err := s.sent.flush(); err != nil {
		return err
	}
	for _, o := range s.to {
		if err := o.flush(); err != nil {
			return err
		}
	}
	s.sentAt = time.Now()
	s.gone.Store(s.sent.count())
	return s.report(false)
}

func (s *sender) end() error {
	if err := s.flush(); err != nil {
		return err
	}
	for _, o := range s.to {
		if err := o.end(); err != nil {
			return err
		}
	}
	if s.isDone { // it has said so; this was for those that were lost since
		return nil
	}
	s.isDone = true
	s.p.say("sent %d messages", s.sent.count())
	if err := s.report(true); err != nil {
		return err
	}
	return s.p.home.Done()
}

// stopped reports whether the component is to stop.
func (p *process) stopped() bool {
	select {
	case <-p.home.Stop():
	case <-p.ctx.Done():
	case <-p.failed:
	default:
		return false
	}
	return true
}

// source gives the payloads to send.
type source struct {
	file  *os.File
	lines *bufio.Reader
	n     int64
	buf   []byte
}

// payloads are the lines of a file, or the numbers from 1.
func payloads(file string) (*source, error) {
	if file == "" {
		return &source{}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	return &source{file: f, lines: bufio.NewReaderSize(f, 64<<10)}, nil
}

func (s *source) next() ([]byte, error) {
	if s.file == nil {
		s.n++
		s.buf = strconv.AppendInt(s.buf[:0], s.n, 10)
		return s.buf, nil
	}
	line, err := s.lines.ReadBytes('\n')
	if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line, nil
}

func (s *source) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// runReceiver is Giles Receiver.
func runReceiver(p *process) error {
	received, err := p.create("received.txt")
	if err != nil {
		return err
	}
	in, err := p.listen("listen", p.o.listen)
	if err != nil {
		return err
	}
	r := &receiver{record: received, seen: map[int64]uint64{}}
	done := make(chan struct{})
	finish := sync.OnceFunc(func() { close(done) })
	report := p.progress(r.written.Load)
	in.gone = func(*upstream, error) error { return nil }
	in.data = func(u *upstream, run run) error {
		n, err := r.take(run)
		if run.numbered && u.acks.Load() {
			for i := range run.items {
				u.owed = append(u.owed, osc.Item{Int64: run.items[i].Int64})
			}
		}
		if err == nil && p.o.expect > 0 && n >= p.o.expect {
			finish()
		}
		return err
	}
	in.pause = func(u *upstream) error {
		if err := r.flush(); err != nil {
			return err
		}
		u.ack(u.owed)
		u.owed = u.owed[:0]
		u.Flush() // who is gone sends it again
		return report(false)
	}
	if p.o.expect == 0 {
		in.done = func() error { finish(); return nil }
	}
	in.serve()
	if err := p.home.Ready(); err != nil {
		return err
	}
	if !p.until(done) {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	if n := r.duplicates(); n > 0 {
		p.say("dropped %d duplicates", n)
	}
	p.say("received %d messages", received.count())
	if err := report(true); err != nil {
		return err
	}
	if err := p.home.Done(); err != nil {
		return err
	}
	p.stop()
	return nil
}

// receiver is Giles Receiver's record, with each message in it once.
type receiver struct {
	record *recording

	mu      sync.Mutex
	seen    map[int64]uint64 // the ids, 64 to an entry
	fresh   []osc.Item       // of the present run
	dropped int64
	written atomic.Int64
}

// take records messages, but for those with an id that has been, and returns how
// many have been recorded.
func (r *receiver) take(m run) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.numbered {
		m.items = r.unseen(m.items)
	}
	return r.record.add(m.items)
}

// unseen notes ids, and leaves out those that have been. The lock is held.
func (r *receiver) unseen(items []osc.Item) []osc.Item {
	r.fresh = r.fresh[:0]
	var entry int64
	var ids uint64 // of the entry
	for i := range items {
		id := items[i].Int64
		if i == 0 || id>>6 != entry {
			if i > 0 {
				r.seen[entry] = ids
			}
			entry = id >> 6
			ids = r.seen[entry]
		}
		bit := uint64(1) << (id & 63)
		if ids&bit != 0 {
			r.dropped++
			continue
		}
		ids |= bit
		r.fresh = append(r.fresh, items[i])
	}
	r.seen[entry] = ids
	return r.fresh
}

// flush writes what has been recorded. What is counted has been written.
func (r *receiver) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.record.flush(); err != nil {
		return err
	}
	r.written.Store(r.record.count())
	return nil
}

func (r *receiver) duplicates() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}
