package link_test

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/link"
)

// TestDatagrams measures what becomes of numbered datagrams.
func TestDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	type arrival struct {
		number int
		at     time.Time
	}
	arrived := make(chan arrival, 10000)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer server.Close()
	serving.Go(func() {
		buf := make([]byte, 100)
		for {
			k, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			number, _ := strconv.Atoi(string(buf[:k]))
			arrived <- arrival{number, time.Now()}
			server.WriteTo(buf[:k], from)
		}
	})
	listen := host() + ":" + strconv.Itoa(server.LocalAddr().(*net.UDPAddr).Port)
	n, err := link.Open([]link.Route{{From: "a", To: "b", Network: "udp", Listen: listen, Target: server.LocalAddr().String()}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := net.Dial("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// send sends count datagrams, and returns what of them has come. So many at a
	// time are followed by a mark, sent until it comes, that no buffer is full on the
	// way, which is no fault; and so are all, once the effect is over.
	next := 1
	send := func(e link.Effect, count int) (got []int, took []time.Duration) {
		t.Helper()
		f := apply(t, n, there, e)
		sent := map[int]time.Time{}
		mark := func() {
			mark := next
			next++
			deadline := time.After(time.Minute)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for fmt.Fprint(c, mark); ; {
				select {
				case a := <-arrived:
					if a.number == mark {
						return
					}
					if at, ok := sent[a.number]; ok {
						got = append(got, a.number)
						took = append(took, a.at.Sub(at))
					}
				case <-tick.C:
					fmt.Fprint(c, mark)
				case <-deadline:
					t.Fatal("a mark has not come")
				}
			}
		}
		for i := range count {
			if i%50 == 49 && !e.Cut {
				mark()
			}
			sent[next] = time.Now()
			fmt.Fprint(c, next)
			next++
		}
		time.Sleep(e.Delay + e.Jitter + quiet)
		if e.Cut { // nothing tells that all has been dropped
			time.Sleep(5 * quiet)
		}
		heal(t, f)
		mark()
		return got, took
	}
	const count = 2000
	if got, _ := send(link.Effect{}, count); len(got) != count || !slices.IsSorted(got) {
		t.Errorf("without an effect %d of %d came", len(got), count)
	}
	if got, _ := send(link.Effect{Cut: true}, 100); len(got) != 0 {
		t.Errorf("of a cut lane %d came", len(got))
	}
	if got, _ := send(link.Effect{Loss: 0.3}, count); len(got) < count*65/100 || len(got) > count*75/100 {
		t.Errorf("of a loss of 0.3 %d of %d came", len(got), count)
	}
	if got, _ := send(link.Effect{Duplicate: 0.3}, count); len(got) < count*125/100 || len(got) > count*135/100 {
		t.Errorf("with duplicates of 0.3 %d of %d came", len(got), count)
	}
	// each other one passes the one before
	for _, test := range []struct{ probability, least, most float64 }{{0.1, 0.05, 0.15}, {1, 0.45, 0.5}} {
		got, _ := send(link.Effect{Reorder: test.probability}, count)
		overtaken := 0
		for i := 1; i < len(got); i++ {
			if got[i] < got[i-1] {
				overtaken++
			}
		}
		if len(got) != count || float64(overtaken) < test.least*count || float64(overtaken) > test.most*count {
			t.Errorf("with %v reordered %d of %d came, %d after a later one", test.probability, len(got), count, overtaken)
		}
	}
	for try := 1; ; try++ { // a machine that is busy with other things is late
		_, plain := send(link.Effect{}, 200)
		got, took := send(link.Effect{Delay: 30 * time.Millisecond}, 200)
		if len(got) != 200 || slices.Min(took) < 30*time.Millisecond {
			t.Errorf("delayed: %d came, after %v at the least", len(got), slices.Min(took))
		}
		over := median(took) - median(plain) - 30*time.Millisecond
		if over <= 25*time.Millisecond {
			break
		}
		if try == 10 {
			t.Errorf("delayed by %v too much, undelayed %v", over, median(plain))
			break
		}
	}
	// The way back is the other lane.
	f := apply(t, n, back, link.Effect{Cut: true})
	last := strconv.Itoa(next)
	fmt.Fprint(c, last)
	<-arrived
	c.SetReadDeadline(time.Now().Add(quiet))
	for buf := make([]byte, 100); ; {
		k, err := c.Read(buf) // of those before some may be left
		if err != nil {
			break
		}
		if string(buf[:k]) == last {
			t.Error("an answer has come back")
		}
	}
	heal(t, f)
}
