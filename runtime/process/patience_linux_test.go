package process

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestBeat: what a beat takes counts, but for what is too long for one.
func TestBeat(t *testing.T) {
	var p patience
	now := time.Now()
	for _, c := range []struct {
		took, spent time.Duration
		ran         bool
	}{
		{time.Hour, 0, true}, // the first
		{beatEvery, beatEvery, true},
		{longestBeat, beatEvery + longestBeat, true},
		{longestBeat + 1, beatEvery + 2*longestBeat, false},
		{time.Hour, beatEvery + 3*longestBeat, false},
		{0, beatEvery + 3*longestBeat, true},
	} {
		now = now.Add(c.took)
		if ran := p.beat(now); ran != c.ran || p.spent != c.spent {
			t.Errorf("a beat of %s: %v and %s, want %v and %s", c.took, ran, p.spent, c.ran, c.spent)
		}
	}
}

// TestReceive: one that waits is late when the time has passed, and not before; a
// channel that is closed is heard.
func TestReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, ok, late := receive(make(chan int), 950*time.Millisecond); ok || !late || time.Since(began) != time.Second {
			t.Errorf("nothing came: %v, %v, after %s", ok, late, time.Since(began))
		}
		from := make(chan int)
		time.AfterFunc(time.Minute-1, func() { from <- 7; close(from) })
		if v, ok, late := receive(from, time.Minute); v != 7 || !ok || late {
			t.Errorf("%d, %v, %v, want 7 in time", v, ok, late)
		}
		if _, ok, late := receive(from, time.Minute); ok || late {
			t.Errorf("a closed channel: %v, %v", ok, late)
		}
	})
}

// TestReceiveSuspended: an answer that came while this process was suspended, for
// longer than it waits, came in time.
func TestReceiveSuspended(t *testing.T) {
	t.Parallel()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "CHILD=patient")
	answer, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	for unix.Waitid(unix.P_PID, c.Process.Pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	answer.Write([]byte{1})
	time.Sleep(1500 * time.Millisecond) // the suspension
	c.Process.Signal(unix.SIGCONT)
	got, err := io.ReadAll(said)
	if err != nil || string(got) != "true false\n" {
		t.Errorf("%q, %v, want an answer in time", got, err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}
