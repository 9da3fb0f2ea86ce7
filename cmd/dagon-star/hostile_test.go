//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

const (
	hostileMessages    = 10_000
	hostileConnections = 10_000
	hostileMemory      = 64 << 20
)

// TestHostile holds that strangers at the control socket change neither a run's
// verdict nor its messages, nor have it take much memory or write a long log.
func TestHostile(t *testing.T) {
	// Not the test binary: the race detector takes memory of its own.
	program := filepath.Join(t.TempDir(), "dagon-star")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, flags := range map[string][]string{"shared": {"--listen", "127.0.0.1:0"}, "each": nil} {
		t.Run(name, func(t *testing.T) {
			quiet := underAttack(t, program, flags, 0)
			attacked := underAttack(t, program, flags, hostileConnections)
			if !maps.EqualFunc(quiet.messages, attacked.messages, slices.Equal) {
				t.Errorf("the messages were %q, and %q under attack", quiet.messages, attacked.messages)
			}
			if attacked.memory-quiet.memory > hostileMemory {
				t.Errorf("it took %d KiB, and %d KiB under attack", quiet.memory>>10, attacked.memory>>10)
			}
			// Those who have a place, and one of each port who waits for it.
			if attacked.files-quiet.files > 256+10 {
				t.Errorf("it had %d files open, and %d under attack", quiet.files, attacked.files)
			}
			if attacked.refused < hostileConnections {
				t.Errorf("%d refusals were told or counted, of more than %d", attacked.refused, hostileConnections)
			}
			// 10 a second and their summary, and one for each node's port.
			if most := 11*(2+int(attacked.took/time.Second)) + 5; attacked.lines > most || attacked.log-quiet.log > int64(most)*4<<10 {
				t.Errorf("%d refusals are in the log, expected at most %d; it has %d bytes, a quiet one %d", attacked.lines, most,
					attacked.log, quiet.log)
			}
			t.Logf("quiet: %d KiB, %d files, %d bytes of log; under attack: %d KiB, %d files, %d bytes of log, %d refusals in %d lines, %v",
				quiet.memory>>10, quiet.files, quiet.log, attacked.memory>>10, attacked.files, attacked.log, attacked.refused,
				attacked.lines, attacked.took)
		})
	}
}

// outcome is what is compared of two runs.
type outcome struct {
	messages map[string][]string // of each node
	memory   int64               // at most, bytes
	files    int                 // open at a time, as far as was seen
	log      int64               // bytes
	lines    int                 // of refusals in the log
	refused  int                 // told in them
	took     time.Duration
}

// underAttack runs the shipped system while strangers come to its control
// socket. What Giles Sender sends comes from a pipe, a line for each of them,
// so that the run is under way until all have come.
func underAttack(t *testing.T, program string, flags []string, strangers int) outcome {
	dir := t.TempDir()
	ini, err := os.ReadFile("../../scenarios/topology.ini")
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"topology": os.WriteFile(filepath.Join(dir, "topology.ini"), append(ini, "file = lines\n"...), 0o644),
		"pipe":     syscall.Mkfifo(filepath.Join(dir, "lines"), 0o644),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	lines, err := os.OpenFile(filepath.Join(dir, "lines"), os.O_RDWR, 0) // for writing alone it would wait for the reader
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()

	cmd := exec.Command(program, append([]string{"run", "default.star", "topology.ini", "--json", "--timeout", "1m"}, flags...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &attack{t: t, listening: make(chan struct{}), started: make(chan struct{}), over: make(chan struct{})}
	var attackers sync.WaitGroup
	attackers.Go(func() {
		a.all(strangers, lines)
		lines.Close()
	})

	o := outcome{messages: map[string][]string{}}
	verdict := ""
	for in := bufio.NewReader(stdout); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var e event.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Errorf("%q: %v", line, err)
			break
		}
		o.memory = max(o.memory, peakMemory(cmd.Process.Pid)) // it is gone with the process
		files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
		o.files = max(o.files, len(files))
		switch d := e.Detail.(type) {
		case event.RunStarted:
			a.run = d.Run
		case event.Listening:
			a.listens(port{d.Address, e.Node})
		case event.Received:
			said := o.messages[e.Node]
			if last := len(said) - 1; last >= 0 && strings.HasPrefix(said[last], "/count[") && d.Address == "/count" {
				said = said[:last] // how often it counts on its way is a matter of time
			}
			o.messages[e.Node] = append(said, fmt.Sprint(d.Address, d.Args))
		case event.Refused:
			n := 1
			fmt.Sscanf(d.Reason, "and %d more ", &n)
			o.refused += n
			o.lines++
		case event.Sent:
			if d.Address == "/start" {
				close(a.started)
			}
		case event.Verdict:
			verdict = d.Outcome
		case event.RunFinished:
			o.took = time.Duration(d.DurationS * float64(time.Second))
		}
	}
	close(a.over)
	attackers.Wait()
	if err := cmd.Wait(); err != nil || verdict != "passed" {
		t.Fatalf("%v, verdict %q\n%s", err, verdict, stderr.Bytes())
	}
	var want []string
	for i := range hostileMessages {
		want = append(want, strconv.Itoa(i))
	}
	slices.Sort(want)
	for _, file := range []string{"giles-sender/sent.txt", "giles-receiver/received.txt"} {
		if got, err := payloads(filepath.Join(dir, "runs/latest/nodes", file)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has %d payloads, or other ones than were sent (%v)", file, len(got), err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "runs/latest/events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	o.log = info.Size()
	return o
}

// peakMemory is the most that a process has had resident, 0 where it is gone.
func peakMemory(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kB int64
	fmt.Sscan(rest, &kB)
	return kB << 10
}

// attack is the strangers, paced by the run's event log.
type attack struct {
	t         *testing.T
	run       string        // the present one's id
	listening chan struct{} // the first port does
	started   chan struct{} // Giles Sender has been
	over      chan struct{} // the run is

	mu    sync.Mutex
	ports []port
}

// port is one that listens, for a node or "" for all.
type port struct{ address, node string }

func (a *attack) listens(p port) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ports = append(a.ports, p); len(a.ports) == 1 {
		close(a.listening)
	}
}

func (a *attack) port(i int) port {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.ports[i%len(a.ports)]
	if p.node == "" {
		nodes := []string{"giles-receiver", "leader", "worker-1", "worker-2", "giles-sender"}
		p.node = nodes[i%len(nodes)]
	}
	return p
}

// all has n strangers come, a fifth of them from the first port on and the rest
// once the load is, writes the lines, and has more come until the run is over.
func (a *attack) all(n int, lines *os.File) {
	var next atomic.Int64
	var counted, attackers sync.WaitGroup
	if n == 0 {
		for i := range hostileMessages {
			fmt.Fprintln(lines, i)
		}
	} else {
		counted.Add(n)
		for range 16 {
			attackers.Go(func() {
				var s stranger
				defer s.leave()
				for {
					i := int(next.Add(1) - 1)
					wait := a.listening
					if i >= n/5 {
						wait = a.started
					}
					select {
					case <-wait:
					case <-a.over:
					}
					err := s.come(a, i)
					if i >= n && err != nil {
						return // the port is closed
					}
					if i < n {
						if err != nil && !errors.Is(err, net.ErrClosed) { // that is told by the verdict
							a.t.Errorf("stranger %d: %v", i, err)
						}
						fmt.Fprintln(lines, i)
						counted.Done()
					}
				}
			})
		}
	}
	counted.Wait()
	select { // what is in a pipe that nobody has open is lost
	case <-a.started:
	case <-a.over:
	}
	lines.Close()
	attackers.Wait()
}

// stranger is one who comes again and again, and keeps some connections open.
type stranger struct{ idle, slow []net.Conn }

// come is one connection; it is an error where nobody listens, or where it is
// answered or not closed.
func (s *stranger) come(a *attack, i int) error {
	select {
	case <-a.over:
		return net.ErrClosed
	default:
	}
	kind := i % 10
	p := a.port(i / 10)
	// From an address of its own: the ports that its connections leave waiting
	// (TIME-WAIT) would be missed at that of everyone else.
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 77, 77, 77)}}
	c, err := from.Dial("tcp", p.address)
	if err != nil {
		return err
	}
	if len(s.slow) > 0 {
		s.slow[i%len(s.slow)].Write([]byte{'/'})
	}
	const otherRun, otherToken = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
	var say []byte
	switch kind {
	case 0:
		s.idle = append(s.idle, c)
		return wait(&s.idle)
	case 1:
		c.Write([]byte{0, 0, 3, 0xE8}) // of which it never sends all
		s.slow = append(s.slow, c)
		return wait(&s.slow)
	case 2:
		say = make([]byte, 1000)
		for from, j := rand.NewPCG(1, uint64(i)), 0; j < len(say); j++ {
			say[j] = byte(from.Uint64())
		}
		say[0] = 0x81 // no framing, whose end could be waited for
	case 3:
		say = append([]byte{0, 1, 0, 0}, bytes.Repeat([]byte{'/'}, 64<<10)...)
	case 4:
		say = append([]byte{0xC0}, bytes.Repeat([]byte{'/'}, 64<<10)...)
	case 5:
		say = ready("/ready", "nobody")
	case 6:
		say = ready("/ready", p.node)
	case 7:
		say = ready("/2", p.node)
	case 8:
		say = ready("/ready", p.node, otherRun, int32(1), otherToken)
	case 9:
		say = ready("/ready", p.node, a.run, int32(1), otherToken)
	}
	c.Write(say)
	return closed(c)
}

// wait waits until the oldest connection is closed, where there are many.
func wait(conns *[]net.Conn) error {
	if len(*conns) <= 20 {
		return nil
	}
	c := (*conns)[0]
	*conns = (*conns)[1:]
	return closed(c)
}

// closed waits until the other end closes a connection, which it must without a
// word.
func closed(c net.Conn) error {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := c.Read(make([]byte, 1))
	if n > 0 {
		return errors.New("it was answered")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it was not closed")
	}
	return nil
}

func (s *stranger) leave() {
	for _, c := range append(s.idle, s.slow...) {
		c.Close()
	}
}

func ready(address string, args ...any) []byte {
	packet, err := osc.Append(nil, osc.NewMessage(address, args...))
	if err != nil {
		panic(err)
	}
	return osc.AppendFrame(nil, osc.SizePrefix, packet)
}
