package process

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSums: whose a process is, by all that tells it.
func TestSums(t *testing.T) {
	a, b := &child{id: 10}, &child{id: 20}
	leaders := map[int]*child{10: a, 20: b}
	const keeper = 1
	for name, test := range map[string]struct {
		p    load
		want *child
	}{
		"a leader":                               {load{parent: keeper}, a},
		"of a leader's group":                    {load{parent: 99, group: 10}, a},
		"of a leader's session":                  {load{parent: 99, group: 5, session: 20}, b},
		"whose parent is a leader":               {load{parent: 20, group: 5, session: 5}, b},
		"whose parent's parent is":               {load{parent: 11, group: 5, session: 5}, a},
		"an orphan that bears a mark":            {load{seen: seen{began: "marked"}, parent: keeper, group: 5}, b},
		"an orphan that bears none":              {load{parent: keeper, group: 5}, nil},
		"a stranger":                             {load{parent: 999, group: 5}, nil},
		"of those that are each other's parents": {load{parent: 31, group: 5}, nil},
	} {
		loads := map[int]load{keeper: {}, 10: {parent: keeper}, 20: {parent: keeper}, 11: {parent: 10, group: 5}, 31: {parent: 30, group: 5}}
		pid := 30
		if name == "a leader" {
			pid = 10
		}
		test.p.pid, test.p.cpu, test.p.memory = pid, time.Second, 100
		loads[pid] = test.p
		marked := func(p load) *child {
			if p.began == "marked" {
				return b
			}
			return nil
		}
		var got *child
		for c, u := range sums(loads, leaders, keeper, marked) {
			if u.CPU == time.Second && u.Memory == 100 {
				got = c
			}
		}
		if got != test.want {
			t.Errorf("%s is %v's", name, got)
		}
	}
}

// TestParseLoad: what a /proc/PID/stat tells, whatever the process is called.
func TestParseLoad(t *testing.T) {
	stat := func(state string) string {
		return "42 (a) b (c) " + state + " 7 8 9 0 -1 0 0 0 0 0 100 20 3 4 20 0 1 0 777 4096 5 0"
	}
	l, ok := parseLoad(42, statFields([]byte(stat("S"))))
	want := load{seen{42, "777"}, 7, 8, 9, 1270 * time.Millisecond, 5 * int64(os.Getpagesize())}
	if !ok || l != want {
		t.Errorf("%+v, %v, want %+v", l, ok, want)
	}
	for _, text := range []string{stat("Z"), stat("X"), "", "42 (a", strings.Repeat("1 ", 10)} {
		if _, ok := parseLoad(42, statFields([]byte(text))); ok {
			t.Errorf("%q is read", text)
		}
	}
}

// TestUsage: what a tree uses is told on each rung, that of its children too, and of those
// that have left its group and session and lost their parent.
func TestUsage(t *testing.T) {
	const script = `
		spin() { while :; do :; done; }
		setsid sh -c 'sleep 1000 & :' &
		wait
		sh -c 'while :; do :; done' &
		wait`
	for _, rung := range []Rung{Sealed, Cgroup, Supervised, Bare} {
		t.Run(string(rung), func(t *testing.T) {
			d, err := New(Options{Run: fmt.Sprintf("usage-%d-%s", os.Getpid(), rung), Contain: string(rung)})
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { d.Close() })
			busy, err := d.Start(Spec{Argv: []string{"sh", "-c", script}, Env: append(os.Environ(), "USAGE=busy"), Tag: "USAGE=busy"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				busy.Signal(os.Kill, Tree)
				<-busy.Done()
			})
			idle, err := d.Start(Spec{Argv: []string{"sleep", "1000"}, Env: append(os.Environ(), "USAGE=idle"), Tag: "USAGE=idle"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				idle.Signal(os.Kill, Tree)
				<-idle.Done()
			})
			processes := 3 // the shell, the one that computes, the one that sleeps
			if rung == Bare {
				processes = 2 // an orphan is not looked for there
			}
			var last []Usage
			for deadline := time.Now().Add(20 * time.Second); ; {
				used, err := d.(Meter).Usage(t.Context(), []Process{busy, idle})
				if err != nil {
					t.Fatal(err)
				}
				if last != nil && used[0].CPU < last[0].CPU {
					t.Fatalf("%s was used, and then %s", last[0].CPU, used[0].CPU)
				}
				last = used
				if u := used[0]; u.CPU >= 100*time.Millisecond && u.Processes == processes && u.Memory > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("after a while: %+v", used)
				}
			}
			if u := last[1]; u.Processes != 1 || u.Memory <= 0 || u.CPU > 50*time.Millisecond {
				t.Errorf("of one that sleeps: %+v", u)
			}
			idle.Signal(os.Kill, Tree)
			<-idle.Done()
			if used, err := d.(Meter).Usage(t.Context(), []Process{idle}); err != nil || used[0] != (Usage{}) {
				t.Errorf("of one that has ended: %+v, %v", used, err)
			}
		})
	}
}

// BenchmarkUsage is a look at what 100 trees use, each of a process.
func BenchmarkUsage(b *testing.B) {
	for _, rung := range []Rung{Sealed, Cgroup, Supervised} {
		b.Run(string(rung), func(b *testing.B) {
			d, err := New(Options{Run: fmt.Sprintf("usage-%d-%s", os.Getpid(), rung), Contain: string(rung)})
			if err != nil {
				b.Skip(err)
			}
			defer d.Close()
			var all []Process
			for range 100 {
				p, err := d.Start(Spec{Argv: []string{"sleep", "1000"}, Env: os.Environ()})
				if err != nil {
					b.Fatal(err)
				}
				defer func() {
					p.Signal(os.Kill, Tree)
					<-p.Done()
				}()
				all = append(all, p)
			}
			for b.Loop() {
				if _, err := d.(Meter).Usage(b.Context(), all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
