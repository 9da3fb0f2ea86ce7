package buffy

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"time"
)

// runChild is the smallest component.
func runChild(p *process) error {
	if err := p.home.Ready(); err != nil {
		return err
	}
	p.say("dagon-child: %s is ready", p.config.Name)
	if p.until(p.home.Started()) {
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
	sent, err := p.create("sent.txt")
	if err != nil {
		return err
	}
	if len(p.o.buffy) == 0 {
		return errors.New("--buffy is missing: HOST:PORT was expected")
	}
	if p.o.messages < 0 || p.o.rate < 0 {
		return errors.New("--messages and --rate must not be negative")
	}
	var to []*outlet
	for _, address := range p.o.buffy {
		o, err := p.dial("buffy", address)
		if err != nil {
			return err
		}
		to = append(to, o)
	}
	if err := p.home.Ready(); err != nil {
		return err
	}
	if !p.until(p.home.Started()) {
		return nil
	}
	hash := fnv.New32a()
	io.WriteString(hash, p.config.Name)
	first := int64(hash.Sum32()) << 31 // ids of different senders differ
	began := time.Now()
	for n := int64(0); n < p.o.messages; n++ {
		payload, err := next.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if p.o.rate > 0 && !p.pace(to, began.Add(time.Duration(float64(n)/p.o.rate*float64(time.Second)))) {
			return nil
		}
		if n%1024 == 0 && p.stopped() {
			return nil
		}
		if _, err := sent.add(payload); err != nil {
			return err
		}
		if err := to[n%int64(len(to))].send(payload, first+n); err != nil {
			return fmt.Errorf("cannot send to --buffy: %w", err)
		}
	}
	if err := sent.flush(); err != nil {
		return err
	}
	for _, o := range to {
		if err := o.end(); err != nil {
			return fmt.Errorf("cannot send to --buffy: %w", err)
		}
	}
	p.say("sent %d messages", sent.n)
	if err := p.home.Count(sent.n); err != nil {
		return err
	}
	if err := p.home.Done(); err != nil {
		return err
	}
	p.stop()
	return nil
}

// pace waits until a message is due; what was sent before it leaves meanwhile.
func (p *process) pace(to []*outlet, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	for _, o := range to {
		if err := o.flush(); err != nil {
			p.fail(fmt.Errorf("cannot send to --buffy: %w", err))
			return false
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	return waitFor(p, timer.C)
}

// stopped tells whether the component is to stop.
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

// payloads are the lines of a file, or the numbers from 0.
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
		s.buf = strconv.AppendInt(s.buf[:0], s.n, 10)
		s.n++
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
	done := make(chan struct{})
	finish := func() error {
		select {
		case <-done:
		default:
			close(done)
		}
		return nil
	}
	in.keeps = true
	in.data = func(payload []byte, _ int64) error {
		n, err := received.add(payload)
		if err == nil && n == p.o.expect {
			return finish()
		}
		return err
	}
	if p.o.expect == 0 {
		in.done = finish
	}
	in.serve()
	if err := p.home.Ready(); err != nil {
		return err
	}
	if p.until(done) {
		if err := received.flush(); err != nil {
			return err
		}
		received.mu.Lock()
		n := received.n
		received.mu.Unlock()
		p.say("received %d messages", n)
		if err := p.home.Count(n); err != nil {
			return err
		}
		if err := p.home.Done(); err != nil {
			return err
		}
		p.stop()
	}
	return nil
}
