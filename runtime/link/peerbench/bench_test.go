// Package peerbench compares what a link costs without a fault to what a proxy of
// toxiproxy costs without a toxic, and to the least that a relay does, all as ratios
// to a connection without any.
package peerbench

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/link"
)

// part is the variable of the environment that makes a process of this test's
// binary one of the parts below.
const part = "PEERBENCH_PART"

// parts are processes: each writes the address to call, and ends with its input.
// A relay is given its target.
var parts = map[string]func(target string) (address string, err error){
	"server": serve,
	"dagon-star": func(target string) (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		address := l.Addr().String()
		l.Close()
		_, err = link.Open([]link.Route{{From: "a", To: "b", Endpoint: "data", Network: "tcp", Listen: address, Target: target}},
			link.Options{Seed: func(string) *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }, Clock: clock.New()})
		return address, err
	},
	"plain": plain,
	"toxiproxy": func(target string) (string, error) {
		p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "p", "127.0.0.1:0", target)
		err := p.Start()
		return p.Listen, err
	},
}

func TestMain(m *testing.M) {
	if start := parts[os.Getenv(part)]; start != nil {
		address, err := start(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(address)
		io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// size is that of a message, block what is read or written at a time of bulk, and
// bulk how much of it there is.
const (
	size  = 64
	block = 256 << 10
	bulk  = 256 << 20
)

// serve takes connections. One that begins with 'b' carries bulk, which is counted
// and then acknowledged (a close would not do: toxiproxy closes both ways at once);
// on any other messages are echoed.
func serve(string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, block)
				if _, err := io.ReadFull(c, buf[:size]); err != nil {
					return
				}
				if buf[0] == 'b' {
					for got := size; got < bulk && err == nil; {
						var n int
						n, err = c.Read(buf)
						got += n
					}
					c.Write(buf[:size])
					io.Copy(io.Discard, c)
					return
				}
				for err == nil {
					if _, err = c.Write(buf[:size]); err == nil {
						_, err = io.ReadFull(c, buf[:size])
					}
				}
			}()
		}
	}()
	return l.Addr().String(), nil
}

// plain relays by reading and writing alone: what it costs to be between two
// processes at all.
func plain(target string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	copyOn := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, block)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			go copyOn(far, near)
			go copyOn(near, far)
		}
	}()
	return l.Addr().String(), nil
}

// enough is how many rounds say something on a machine that is busy with other things.
const enough = 21

// start starts a part as a process of its own.
func start(b *testing.B, name, target string) (address string) {
	b.Helper()
	c := exec.Command("/proc/self/exe", target)
	c.Env = append(os.Environ(), part+"="+name)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(line)
}

// roundTrip is the median time of an exchange of messages, in seconds.
func roundTrip(c net.Conn) (float64, error) {
	buf := make([]byte, size)
	var took []time.Duration
	for range 1000 {
		began := time.Now()
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2].Seconds(), nil
}

// throughput is how many bytes arrive in a second.
func throughput(c net.Conn) (float64, error) {
	buf := make([]byte, block)
	buf[0] = 'b'
	began := time.Now()
	for sent := 0; sent < bulk; sent += block {
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
	}
	_, err := io.ReadFull(c, buf[:size])
	return bulk / time.Since(began).Seconds(), err
}

// connect is the time of a call and an exchange, in seconds.
func connect(address string) (float64, error) {
	buf := make([]byte, size)
	var took []time.Duration
	for range 100 {
		began := time.Now()
		c, err := net.Dial("tcp", address)
		if err != nil {
			return 0, err
		}
		if _, err = c.Write(buf); err == nil {
			_, err = io.ReadFull(c, buf)
		}
		took = append(took, time.Since(began))
		c.Close()
		if err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	return took[len(took)/2].Seconds(), nil
}

// BenchmarkLink measures in rounds, each of them a connection without a relay and
// one through either relay, and reports the medians of the ratios within a round.
// The client, the server and the relays are processes of their own.
func BenchmarkLink(b *testing.B) {
	server := start(b, "server", "")
	ways := []struct{ name, address string }{
		{"direct", server},
		{"dagon-star", start(b, "dagon-star", server)},
		{"plain", start(b, "plain", server)},
		{"toxiproxy", start(b, "toxiproxy", server)},
	}
	dialed := func(measure func(net.Conn) (float64, error)) func(string) (float64, error) {
		return func(address string) (float64, error) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			return measure(c)
		}
	}
	for _, what := range []struct {
		name    string
		measure func(address string) (float64, error)
		// isWorse reports whether a ratio is twice as bad as it is to be.
		isWorse func(got float64, medians map[string]float64) bool
	}{
		{"throughput", dialed(throughput), func(got float64, m map[string]float64) bool { return got < m["plain"]/2 || got < m["toxiproxy"] }},
		{"round-trip", dialed(roundTrip), func(got float64, m map[string]float64) bool { return got > 2*m["plain"] || got > 2*m["toxiproxy"] }},
		{"connect", connect, func(got float64, m map[string]float64) bool { return got > 2*m["toxiproxy"] }},
	} {
		b.Run(what.name, func(b *testing.B) {
			ratios := map[string][]float64{}
			for round := 0; b.Loop(); round++ {
				var direct float64
				got := map[string]float64{}
				for i := range ways {
					way := ways[(i+round)%len(ways)] // none always comes first
					value, err := what.measure(way.address)
					if err != nil {
						b.Fatalf("%s: %v", way.name, err)
					}
					if got[way.name] = value; way.name == "direct" {
						direct = value
					}
				}
				for _, way := range ways[1:] {
					ratios[way.name] = append(ratios[way.name], got[way.name]/direct)
				}
			}
			medians := map[string]float64{}
			for _, way := range ways[1:] {
				all := slices.Sorted(slices.Values(ratios[way.name]))
				medians[way.name] = all[len(all)/2]
				b.ReportMetric(medians[way.name], way.name+"/direct")
			}
			if rounds := len(ratios["plain"]); rounds >= enough && what.isWorse(medians["dagon-star"], medians) {
				b.Errorf("of %d rounds the medians are %v: a link is far slower than its peers", rounds, medians)
			}
			b.ReportMetric(0, "ns/op") // of a round, which says nothing
		})
	}
}
