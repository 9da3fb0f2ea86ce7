package roster_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// naive is what a node has sent as a list, to compare the index with.
type naive struct {
	addresses []string       // of the events of the log, "" for one that is no message
	given     map[int64]bool // those that have been, and were not given back
}

func (n *naive) give(address string, from int64) (int64, bool) {
	for seq := from; seq < int64(len(n.addresses)); seq++ {
		if n.addresses[seq] == address && !n.given[seq] {
			n.given[seq] = true
			return seq, true
		}
	}
	return 0, false
}

// TestMessages draws what a node sends, what is asked for and what is given back, and
// compares the index with a list. What is looked at for it is bounded: a part of the
// log only where it has the address, or one of the same class, and once.
func TestMessages(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := roster.New([]string{"n"}, func(string) bool { return false })
		r.Apply(event.Event{Node: "n", Detail: event.Forked{Incarnation: 1}})
		m := r.Node("n").Messages
		n := naive{addresses: []string{""}, given: map[int64]bool{}}
		find := func(address string) func(from, to int64) (int64, bool, error) {
			return func(from, to int64) (int64, bool, error) {
				for seq := from; seq < to; seq++ {
					if n.addresses[seq] == address {
						return seq, true, nil
					}
				}
				return 0, false, nil
			}
		}
		kinds := 1 + random.IntN(1000)
		var out []int64
		var of []string
		count := 0
		for range 3000 {
			address := fmt.Sprintf("/%d", random.IntN(kinds))
			switch random.IntN(12) {
			case 0:
				from := int64(0)
				if random.IntN(3) == 0 {
					from = random.Int64N(int64(len(n.addresses)) + 1)
				}
				want, wanted := n.give(address, from)
				got, ok, err := m.Give(address, from, int64(len(n.addresses)), find(address))
				if got != want || ok != wanted || err != nil {
					t.Fatalf("seed %d: %s from %d is %d, %v, %v, want %d, %v", seed, address, from, got, ok, err, want, wanted)
				}
				if ok {
					out, of = append(out, got), append(of, address)
				}
			case 1:
				if len(out) > 0 {
					i := random.IntN(len(out))
					m.GiveBack(of[i], out[i])
					delete(n.given, out[i])
					out, of = slices.Delete(out, i, i+1), slices.Delete(of, i, i+1)
				}
			case 2:
				for range random.IntN(400) { // of others
					n.addresses = append(n.addresses, "")
				}
			default:
				r.Apply(event.Event{Seq: int64(len(n.addresses)), Node: "n", Detail: event.Received{Address: address}})
				n.addresses = append(n.addresses, address)
				count++
			}
		}
		if m.Count != count {
			t.Fatalf("seed %d: %d messages, want %d", seed, m.Count, count)
		}
		all := 0
		for at := int64(0); ; {
			from, to, ok := m.Span("", at)
			if !ok {
				break
			}
			for seq := from; seq < min(to, int64(len(n.addresses))); seq++ {
				if n.addresses[seq] != "" {
					all++
				}
			}
			at = to
		}
		if all != count {
			t.Errorf("seed %d: %d of %d messages are in the spans", seed, all, count)
		}
	}
}

// TestMessagesAskedOnce: who waits for what does not come looks at each message of
// others at most once, and at those of another class not at all.
func TestMessagesAskedOnce(t *testing.T) {
	r := roster.New([]string{"n"}, func(string) bool { return false })
	r.Apply(event.Event{Node: "n", Detail: event.Forked{Incarnation: 1}})
	m := r.Node("n").Messages
	looked := int64(0)
	for seq := range int64(100_000) {
		r.Apply(event.Event{Seq: seq + 1, Node: "n", Detail: event.Received{Address: "/progress"}})
		m.Give("/total", 0, seq+2, func(from, to int64) (int64, bool, error) {
			looked += to - from
			return 0, false, nil
		})
		m.Give("/total", seq+2, seq+2, func(from, to int64) (int64, bool, error) {
			looked += to - from
			return 0, false, nil
		})
	}
	if looked > 0 {
		t.Errorf("it looked at %d messages", looked)
	}
}

// TestMessagesSkipped: who awaits what comes from now on takes nothing from who awaits
// what has come, and looks at no message twice, those of the same class included.
func TestMessagesSkipped(t *testing.T) {
	const collides = "/p78800" // is of the class of /total
	r := roster.New([]string{"n"}, func(string) bool { return false })
	r.Apply(event.Event{Node: "n", Detail: event.Forked{Incarnation: 1}})
	m := r.Node("n").Messages
	addresses := []string{""}
	say := func(address string) {
		r.Apply(event.Event{Seq: int64(len(addresses)), Node: "n", Detail: event.Received{Address: address}})
		addresses = append(addresses, address)
	}
	looked := int64(0)
	give := func(from int64) (int64, bool) {
		seq, ok, err := m.Give("/total", from, int64(len(addresses)), func(from, to int64) (int64, bool, error) {
			for seq := from; seq < to; seq++ {
				looked++
				if addresses[seq] == "/total" {
					return seq, true, nil
				}
			}
			return 0, false, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seq, ok
	}
	for range 3 {
		say("/total") // 1, 2 and 3
	}
	now := int64(len(addresses))
	const others = 20_000
	for range others {
		say(collides)
		if seq, ok := give(now); ok {
			t.Fatalf("from %d: %d", now, seq)
		}
	}
	if looked != others {
		t.Errorf("it looked at %d messages, want each of %d once", looked, others)
	}
	say("/total")
	if seq, ok := give(now); !ok || seq != now+others {
		t.Errorf("from %d: %d, %v", now, seq, ok)
	}
	for want := range int64(3) {
		if seq, ok := give(0); !ok || seq != want+1 {
			t.Errorf("then: %d, %v, want %d", seq, ok, want+1)
		}
	}
	if seq, ok := give(0); ok {
		t.Errorf("then: %d", seq)
	}
}

// TestPauses: how long a node stood still of a time.
func TestPauses(t *testing.T) {
	r := roster.New([]string{"n"}, func(string) bool { return false })
	apply := func(t int64, node string, d event.Detail) {
		r.Apply(event.Event{T: seconds(t), Node: node, Detail: d})
	}
	apply(0, "n", event.Forked{Incarnation: 1})
	apply(0, "n", event.State{To: "forked"})
	apply(10, "", event.FaultPlanned{ID: 1, What: "pause", Nodes: []string{"n"}})
	apply(12, "", event.FaultPlanned{ID: 2, What: "resume", Nodes: []string{"n"}})
	apply(12, "", event.FaultHealed{ID: 1, Nodes: []string{"n"}})
	apply(20, "", event.FaultPlanned{ID: 3, What: "pause", Nodes: []string{"n"}})
	apply(21, "", event.FaultHealed{ID: 3, Nodes: []string{"n"}})
	apply(30, "", event.FaultPlanned{ID: 4, What: "pause", Nodes: []string{"n"}})
	for _, test := range []struct{ from, to, want int64 }{
		{0, 9, 0}, {0, 11, 1}, {11, 15, 1}, {0, 25, 3}, {0, 35, 8}, {31, 35, 4}, {13, 19, 0},
	} {
		if got := r.Node("n").PausedWithin(seconds(test.from), seconds(test.to)); got != seconds(test.want) {
			t.Errorf("of %d to %d: %v, want %d s", test.from, test.to, got, test.want)
		}
	}
	apply(40, "n", event.Exited{})
	if got := r.Node("n").PausedWithin(seconds(0), seconds(100)); got != seconds(13) {
		t.Errorf("%v", got)
	}
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
