package buffy

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/record"
)

// TestPlaces holds the table of ids against a map: whatever ids come, an id is
// found while it is there and not afterwards.
func TestPlaces(t *testing.T) {
	for name, id := range map[string]func(n int) int64{
		"one sender":    func(n int) int64 { return 7<<31 + int64(n) },
		"two in turn":   func(n int) int64 { return int64(n%2)<<31 + int64(n/2) },
		"one home":      func(n int) int64 { return int64(n) * 2 * windowMessages },
		"the same half": func(n int) int64 { return int64(n) << 32 },
		"below zero":    func(n int) int64 { return math.MinInt64 + int64(n)*3 },
		"any":           func(int) int64 { return rand.Int64() },
	} {
		t.Run(name, func(t *testing.T) {
			p, slots := newPlaces(), make([]slot, windowMessages)
			at := map[int64]uint16{}
			var ids []int64 // in the window, in their order
			for n := range 3 * windowMessages {
				if len(ids) == windowMessages || len(ids) > 0 && rand.IntN(3) == 0 {
					i := rand.IntN(min(len(ids), 100)) // acknowledgements come in nearly any order
					gone := ids[i]
					p.remove(gone, at[gone])
					slots[at[gone]].over = true
					delete(at, gone)
					ids = append(ids[:i], ids[i+1:]...)
					if _, ok := p.find(slots, gone); ok {
						t.Fatalf("%d is found after it was removed", gone)
					}
				}
				next := id(n)
				if _, there := at[next]; there {
					continue
				}
				free := uint16(n % windowMessages)
				if len(ids) > 0 && !slots[free].over && n >= windowMessages {
					continue // a window adds in the order of its slots
				}
				slots[free] = slot{id: next}
				p.add(next, free)
				at[next] = free
				ids = append(ids, next)
			}
			for _, id := range ids {
				if got, ok := p.find(slots, id); !ok || got != at[id] {
					t.Fatalf("%d is found in %d, %v, want %d", id, got, ok, at[id])
				}
				p.remove(id, at[id])
			}
			if len(p.away) != 0 {
				t.Errorf("%d ids are left", len(p.away))
			}
			for _, home := range p.homes {
				if home != 0 {
					t.Fatal("a home is left")
				}
			}
		})
	}
}

// TestRuns: what comes together, as data and acknowledgements, in a bundle, with
// payloads that are no strings and ids that come twice, is dealt, acknowledged
// and recorded each for itself.
func TestRuns(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	control, data, source := ledBy(d, "--worker-count=1")
	a := signIn(t, control, data, "a", 1)
	a.data.expect("/acks", "l")
	a.link("at-a", true)
	s, other := call(t, source), call(t, source)
	s.say("/acks", "s")
	other.say("/acks", "o")
	var together []byte
	want := []any{}
	for i := range int64(700) { // over a run
		var payload any = fmt.Sprint("p", i)
		switch {
		case i%100 == 50:
			payload = []byte(fmt.Sprint("a\x00b", i))
		case i%100 == 70:
			payload = strings.Repeat("long", 100)
		}
		want = append(want, payload)
		together = append(together, frame(t, "/data", payload, i)...)
	}
	inner, err := osc.AppendPacket(nil, osc.Packet{Bundle: &osc.Bundle{Elements: []osc.Packet{
		{Message: osc.NewMessage("/data", "bundled", int64(700))}, {Message: osc.NewMessage("/data", "too", int64(701))}}}})
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, "bundled", "too")
	together = append(osc.AppendFrame(together, osc.SizePrefix, inner), frame(t, "/data", "p3", int64(3))...) // again
	if _, err := s.c.Write(together); err != nil {
		t.Fatal(err)
	}
	for i, payload := range want {
		if m := a.data.hear(); m.Address != "/data" || fmt.Sprint(m.Arguments[0]) != fmt.Sprint(payload) || m.Arguments[1] != int64(i) {
			t.Fatalf("dealt %v as message %d, want %q", m, i, payload)
		}
	}
	// Others' messages are between the acknowledgements.
	other.say("/data", "x", int64(1000))
	a.data.expect("/data", "x", int64(1000))
	var acks []byte
	for i := range want {
		acks = append(acks, frame(t, "/ack", int64(i))...)
		if i == 300 {
			acks = append(append(acks, frame(t, "/ack", int64(1000))...), frame(t, "/ack", int64(5))...)
		}
	}
	if _, err := a.data.c.Write(acks); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		s.expect("/ack", int64(i))
	}
	other.expect("/ack", int64(1000))
}

// TestReceiverRuns: a record is whole whatever comes in one piece, each id is in
// it once, and times do not fall.
func TestReceiverRuns(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDagon(t)
	at := free(t)
	before := time.Now()
	d.start(context.Background(), "giles-receiver", "r", "--listen="+at)
	s := call(t, at)
	s.say("/acks", "s")
	var together []byte
	var want strings.Builder
	var ids []int64
	for i := range int64(1500) {
		id := i
		if i%7 == 3 {
			id = i - 2 // again
		} else {
			fmt.Fprintln(&want, "m", i)
		}
		ids = append(ids, id)
		together = append(together, frame(t, "/data", fmt.Sprint("m ", i), id)...)
	}
	together = append(together, "\x00\x00\x00\x06/x\x00\x00,z"...) // a frame of no message
	together = append(together, frame(t, "/odd", "x")[:4]...)
	together = append(together, frame(t, "/odd", "x")[4:]...)
	if _, err := s.c.Write(together); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		s.expect("/ack", id)
	}
	s.say("/end", "s")
	d.await("r", "/done")
	if got := recorded(t, "received.txt"); got != want.String() {
		t.Errorf("received %d bytes, want %d", len(got), want.Len())
	}
	records, err := record.ReadFile("received.txt", "r")
	if err != nil {
		t.Fatal(err)
	}
	last := before.UnixMicro()
	for _, r := range records {
		if r.Time < last || r.Time > time.Now().UnixMicro() {
			t.Fatalf("line %d is of %d, after one of %d", r.Line, r.Time, last)
		}
		last = r.Time
	}
	if out := d.output("r"); !strings.Contains(out, "UNABLE TO DECODE MESSAGE\nUNEXPECTED DATA\n") {
		t.Errorf("it said %s", out)
	}
}

// TestStagesRun: a stage gives the results of those that it understands, in
// their order and each with its id, and the others are through.
func TestStagesRun(t *testing.T) {
	var out bytes.Buffer
	var through []int64
	double := func(dst, payload []byte) ([]byte, bool) {
		n, ok := number(payload)
		if !ok {
			return append(dst, "half a result"...), false
		}
		if n == 0 {
			return dst, true
		}
		return fmt.Append(dst, 2*n), true
	}
	s := &stages{p: &process{out: &out}, app: app{first: double, second: double}, ack: func(first bool, acks []osc.Item) {
		for _, a := range acks {
			through = append(through, a.Int64)
		}
	}}
	in := run{numbered: true}
	for i, text := range []string{"4", "x", "0", "", "-7", "+8", "9223372036854775807x", "123456789012345678"} {
		in.items = append(in.items, osc.Item{String: []byte(text), Int64: int64(i)})
	}
	for range 2 { // its memory is used again
		through = nil
		got := s.take(&upstream{}, in)
		var said []string
		for _, item := range got.items {
			said = append(said, fmt.Sprintf("%d:%s", item.Int64, item.String))
		}
		if text := strings.Join(said, " "); text != "0:8 4:-14 5:16 7:246913578024691356" || fmt.Sprint(through) != "[1 2 3 6]" {
			t.Errorf("%s, and %v are through", text, through)
		}
	}
	if strings.Count(out.String(), "UNEXPECTED DATA\n") != 2*3 {
		t.Errorf("said %q", out.String())
	}
}
