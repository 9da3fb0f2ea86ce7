package output

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// rounds makes two measurements in turns, and reports the median of their ratios.
func rounds(b *testing.B, unit string, peer, ours func() time.Duration) {
	var ratios []float64
	peer()
	ours()
	for b.Loop() {
		p := peer()
		ratios = append(ratios, float64(ours())/float64(p))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], unit)
	b.ReportMetric(0, "ns/op")
}

// sample is lines of 200 bytes.
func sample(lines int) []byte {
	return bytes.Repeat(append(bytes.Repeat([]byte("l"), 199), '\n'), lines)
}

// throughPipe writes text into a pipe as a node does, 4 KiB at a time, and reads it by
// as much as the pipe holds.
func throughPipe(b *testing.B, text []byte, to io.Writer) time.Duration {
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	var node sync.WaitGroup
	began := time.Now()
	node.Go(func() {
		for part := range slices.Chunk(text, 4<<10) {
			if _, err := w.Write(part); err != nil {
				b.Error(err)
			}
		}
		w.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			break
		}
		to.Write(buf[:n])
	}
	took := time.Since(began)
	node.Wait()
	r.Close()
	return took
}

// BenchmarkWritten is how long a node takes to write 40 MB into a log, with a search
// that reads them all or without, to the time with a reader that throws them away.
func BenchmarkWritten(b *testing.B) {
	for name, searched := range map[string]bool{"quiet": false, "searched": true} {
		b.Run(name, func(b *testing.B) { written(b, searched) })
	}
}

func written(b *testing.B, searched bool) {
	text := sample(200_000)
	path := filepath.Join(b.TempDir(), "node.log")
	rounds(b, "x-discard", func() time.Duration { return throughPipe(b, text, io.Discard) }, func() time.Duration {
		began := time.Now()
		logs := NewLogs(func() time.Duration { return time.Since(began) })
		l := logs.Create(path)
		l.Begin(1)
		if searched {
			s := l.Search(regexp.MustCompile("never"), Both, From{})
			s.Follow(func() {})
			defer s.Stop()
		}
		defer logs.Wait()
		defer l.Close()
		return throughPipe(b, text, l.Stdout())
	})
}

// TestSpeed holds half of what is reached. It runs with DAGON_SPEED=1, and tries a
// noisy machine three times.
func TestSpeed(t *testing.T) {
	if os.Getenv("DAGON_SPEED") == "" {
		t.Skip("a measurement: DAGON_SPEED=1 runs it")
	}
	for try := 1; ; try++ {
		slow := false
		for _, m := range []struct {
			name, unit string
			bench      func(*testing.B)
			most       float64
		}{
			{"a node that writes", "x-discard", func(b *testing.B) { written(b, true) }, 9},
			{"a search for each line", "x-scan", BenchmarkSearch, 6},
		} {
			if ratio := testing.Benchmark(m.bench).Extra[m.unit]; ratio == 0 || ratio > m.most {
				t.Logf("try %d: %s: %.1f %s, want %v", try, m.name, ratio, m.unit, m.most)
				slow = true
			}
		}
		if !slow {
			return
		}
		if try == 3 {
			t.Fatal("too slow")
		}
	}
}

// BenchmarkSearch is how long 100,000 searches take that find a line each, to a loop
// that reads the file and matches each line.
func BenchmarkSearch(b *testing.B) {
	const lines = 100_000
	pattern := regexp.MustCompile("^l")
	path := filepath.Join(b.TempDir(), "node.log")
	logs := NewLogs(func() time.Duration { return 0 })
	l := logs.Create(path)
	defer l.Close()
	scan := func() time.Duration {
		began := time.Now()
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		n := 0
		for s := bufio.NewScanner(f); s.Scan(); {
			if i := bytes.Index(s.Bytes(), []byte(" out ")); i >= 0 && pattern.MatchString(string(s.Bytes()[i+5:])) {
				n++
			}
		}
		if n != lines {
			b.Fatal(n)
		}
		return time.Since(began)
	}
	fill := func() {
		if err := os.Truncate(path, 0); err != nil && !os.IsNotExist(err) {
			b.Fatal(err)
		}
		l = logs.Create(path)
		l.Begin(1)
		l.Stdout().Write(sample(lines))
	}
	fill()
	rounds(b, "x-scan", scan, func() time.Duration {
		fill()
		began := time.Now()
		for range lines {
			s := l.Search(pattern, Both, From{})
			if !s.Met() {
				b.Fatal("not met")
			}
			s.Take()
		}
		return time.Since(began)
	})
}
