package process

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testRelay: a daemon that hands itself on, faster than a list of processes is made,
// is reached by what is done to its tree, also where others fork all the time.
func testRelay(t *testing.T, d Driver) {
	if _, err := os.Stat("testdata/relay.c"); err != nil || d.Containment().Rung == Bare {
		return // where an ordinary user runs the tests again; what is missed on bare runs on
	}
	program := compile(t, "relay")
	stranger := exec.Command("sh", "-c", "while :; do (:); done")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer stranger.Wait()
	defer stranger.Process.Kill()
	for _, heads := range []int{1, 5} {
		file := filepath.Join(t.TempDir(), "count")
		count := func() uint64 {
			b, err := os.ReadFile(file)
			if err != nil || len(b) != 8 {
				return 0
			}
			return binary.NativeEndian.Uint64(b)
		}
		// goesOn reports whether one is born within three hundredths of a second.
		goesOn := func() bool {
			from, began := count(), time.Now()
			for time.Since(began) < 30*time.Millisecond {
				if count() != from {
					return true
				}
			}
			return false
		}
		// honest reports whether an act has been done, or else says the one thing that may
		// be in its way where the machine is busy.
		honest := func(err error) (done bool) {
			if err != nil && !strings.Contains(err.Error(), "fork on, faster") {
				t.Errorf("%d: %v", heads, err)
			} else if err != nil {
				t.Logf("%d: %v", heads, err)
			}
			return err == nil
		}
		up := newLines("up\n")
		tag := fmt.Sprintf("RELAY=%d-%d", os.Getpid(), heads)
		p, err := d.Start(Spec{Argv: []string{program, file, strconv.Itoa(heads)}, Env: append(os.Environ(), tag), Tag: tag, Stdout: up})
		if err != nil {
			t.Fatal(err)
		}
		<-up.seen
		eventually(t, "a relay", goesOn)
		if _, err := p.Pause(); honest(err) && goesOn() {
			t.Errorf("%d: paused: %v, %d born", heads, err, count())
		}
		if err := p.Resume(); err != nil {
			t.Error(err)
		}
		eventually(t, "a relay that goes on", goesOn)
		if _, err := p.Signal(unix.SIGSTOP, Tree); honest(err) && goesOn() {
			t.Errorf("%d: stopped: %v, %d born", heads, err, count())
		}
		if _, err := p.Signal(unix.SIGCONT, Tree); err != nil {
			t.Error(err)
		}
		eventually(t, "a relay that goes on", goesOn)
		if _, err := p.Signal(os.Kill, Tree); honest(err) && goesOn() {
			t.Errorf("%d: killed: %v, %d born", heads, err, count())
		}
		<-p.Done()
	}
}

// TestQuiet: what makes sure that a look has shown all.
func TestQuiet(t *testing.T) {
	for _, c := range []struct {
		what                      string
		quiet                     int
		asItShallBe, ours, others bool
		want                      int
	}{
		{"nobody was born", 0, true, false, false, quietLook},
		{"nobody was born again", quietLook, true, false, false, sureQuiet},
		{"others were born", quietLook, true, false, true, quietLook + 1},
		{"one of the tree was born", quietLook, true, true, true, 0},
		{"one of the tree runs", quietLook, false, false, false, 0},
	} {
		if got := quietAfter(c.quiet, c.asItShallBe, c.ours, c.others); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// TestSignalled: a process that was given the number of one that was signalled has not
// been.
func TestSignalled(t *testing.T) {
	first, second := stat{pid: 7, began: "100"}, stat{pid: 7, began: "101"}
	p := signalled{}
	p.add(first)
	if !p.has(first) || p.has(second) || !p.number(7) || p.number(8) {
		t.Errorf("%v", p)
	}
}

// TestWaiter: however late it is, so many looks are taken.
func TestWaiter(t *testing.T) {
	looks := 1
	for w := (waiter{}); w.wait(0); {
		looks++
	}
	if looks != leastWaits {
		t.Errorf("%d looks, want %d", looks, leastWaits)
	}
}
