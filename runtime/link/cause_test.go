package link

import (
	"math"
	"slices"
	"testing"
	"time"
)

func touching(why cause, effects []Effect, lot float64) (all []int) {
	touchedBy(why, effects, lot, func(i int) { all = append(all, i) })
	return all
}

// TestTouchedBy: whom what happened is put down to, one row for each case.
func TestTouchedBy(t *testing.T) {
	const ms = time.Millisecond
	cut, refuse := Effect{Cut: true}, Effect{Refuse: true}
	delay, jitter := Effect{Delay: 10 * ms}, Effect{Jitter: 30 * ms}
	slow, fast := Effect{Rate: 100}, Effect{Rate: 200}
	for _, test := range []struct {
		what    string
		why     cause
		effects []Effect
		lot     float64
		want    []int
	}{
		{"nothing is in force", causeCut, nil, 0, nil},
		{"one cut", causeCut, []Effect{cut}, 0, []int{0}},
		{"two cuts both hold", causeCut, []Effect{cut, delay, cut}, 0, []int{0, 2}},
		{"no cut", causeCut, []Effect{delay, slow, refuse}, 0, nil},
		{"two refuse", causeRefuse, []Effect{refuse, cut, refuse}, 0, []int{0, 2}},
		{"one delay", causeDelay, []Effect{delay}, 0.5, []int{0}},
		{"two delays add up", causeDelay, []Effect{delay, slow, delay}, 0.5, []int{0, 2}},
		{"a jitter that made it later", causeDelay, []Effect{jitter}, 0.9, []int{0}},
		{"a jitter that made it earlier", causeDelay, []Effect{jitter}, 0.1, nil},
		{"a jitter of nothing", causeDelay, []Effect{jitter}, 0.5, nil},
		{"a delay, and a jitter that added to it", causeDelay, []Effect{delay, jitter}, 0.9, []int{0, 1}},
		{"a delay, and a jitter that took some of it", causeDelay, []Effect{delay, jitter}, 0.4, []int{0}},
		{"a delay, and a jitter that took all of it", causeDelay, []Effect{delay, jitter}, 0.1, nil},
		{"a rate", causeRate, []Effect{slow}, 0, []int{0}},
		{"the lowest rate holds", causeRate, []Effect{fast, slow, delay}, 0, []int{1}},
		{"two of the lowest", causeRate, []Effect{slow, fast, slow}, 0, []int{0, 2}},
		{"no rate", causeRate, []Effect{cut, delay}, 0, nil},
		{"too much for the rate", causeOverflow, []Effect{delay, fast, slow}, 0, []int{2}},
		{"too much for a delay", causeOverflow, []Effect{delay, cut, jitter}, 0, []int{0, 2}},
		{"too much, and nothing in force that holds it up", causeOverflow, []Effect{refuse}, 0, nil},
		{"one loss", causeLoss, []Effect{{Loss: 0.3}}, 0.2, []int{0}},
		{"one loss among others", causeLoss, []Effect{cut, {Loss: 0.3}, {Reorder: 1}}, 0.2, []int{1}},
		{"a loss of 1 and another", causeLoss, []Effect{{Loss: 1}, {Loss: 1}}, 0.99, []int{0, 1}},
		// Of two halves 0.25 is both, 0.25 the first, 0.25 the second alone.
		{"both halves", causeLoss, []Effect{{Loss: 0.5}, {Loss: 0.5}}, 0.2, []int{0, 1}},
		{"the first half", causeLoss, []Effect{{Loss: 0.5}, {Loss: 0.5}}, 0.4, []int{0}},
		{"the second half", causeLoss, []Effect{{Loss: 0.5}, {Loss: 0.5}}, 0.6, []int{1}},
		{"a duplicate", causeDuplicate, []Effect{{Duplicate: 0.5}, {Loss: 0.5}}, 0.1, []int{0}},
		{"a reorder", causeReorder, []Effect{{Loss: 0.5}, {Reorder: 0.5}}, 0.1, []int{1}},
		{"a drop", causeDrop, []Effect{{Drop: 0.1}, {Corrupt: 0.5}}, 0.05, []int{0}},
		{"a corrupted byte", causeCorrupt, []Effect{{Drop: 0.1}, {Corrupt: 0.5}}, 0.05, []int{1}},
	} {
		if got := touching(test.why, test.effects, test.lot); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

// TestStruck compares with draws that are made one by one: each set of effects is
// hit as often as by independent draws of which at least one hits, and none is empty.
func TestStruck(t *testing.T) {
	for _, ps := range [][]float64{{0.5}, {0.5, 0.5}, {0.1, 0.7}, {0.7, 0.1}, {1, 0.3}, {0.3, 1}, {0.2, 0, 0.4},
		{0, 0.2, 0.4, 0.9}, {1e-9, 0.5}, {0.25, 0.25, 0.25, 0.25}} {
		effects := make([]Effect, len(ps))
		all := Effect{}
		for i, p := range ps {
			effects[i] = Effect{Loss: p}
			all = all.plus(effects[i])
		}
		const lots = 1 << 18
		got := map[int]int{}
		for k := range lots {
			set := 0
			for _, i := range touching(causeLoss, effects, all.Loss*(float64(k)+0.5)/lots) {
				set |= 1 << i
			}
			got[set]++
		}
		if got[0] > 0 {
			t.Errorf("%v: %d of %d hits are nobody's", ps, got[0], lots)
		}
		for set := 1; set < 1<<len(ps); set++ {
			want := 1 / all.Loss
			for i, p := range ps {
				if set&(1<<i) != 0 {
					want *= p
				} else {
					want *= 1 - p
				}
			}
			if share := float64(got[set]) / lots; math.Abs(share-want) > 1e-4 {
				t.Errorf("%v: the set %b is hit with a share of %v, want %v", ps, set, share, want)
			}
		}
		// The greatest lot that hits.
		if len(touching(causeLoss, effects, math.Nextafter(all.Loss, 0))) == 0 {
			t.Errorf("%v: the greatest lot is nobody's", ps)
		}
	}
}

// TestCountDelayed: each byte of a piece counts once for each disturbance, whatever
// it waited for, and one that had been written before does not.
func TestCountDelayed(t *testing.T) {
	a, b := &tally{of: &Disturbance{touches: make(chan struct{})}}, &tally{of: &Disturbance{touches: make(chan struct{})}}
	p := piece{bytes: make([]byte, 100)}
	for _, step := range []struct {
		written, to  int
		in           *tally
		wantA, wantB int64
	}{
		{0, 10, a, 10, 0}, {0, 10, a, 10, 0}, {0, 5, a, 10, 0}, {5, 20, a, 20, 0},
		{30, 40, a, 30, 0}, {30, 40, b, 30, 10}, {35, 40, b, 30, 10}, {40, 100, b, 30, 70}, {90, 100, a, 40, 70},
	} {
		p.written = step.written
		p.countDelayed(step.in, step.to)
		if gotA, gotB := a.counts[bytesDelayed].Load(), b.counts[bytesDelayed].Load(); gotA != step.wantA || gotB != step.wantB {
			t.Fatalf("%+v: counted %d and %d", step, gotA, gotB)
		}
	}
}

// TestTouchedTotal: each count is in the total, and none twice.
func TestTouchedTotal(t *testing.T) {
	var all Touched
	if all.Any() {
		t.Error("nothing is something")
	}
	for i, n := range all.counts() {
		*n = 1 << i
		if !all.Any() || all.Total() != 1<<(i+1)-1 {
			t.Errorf("the total of %+v is %d", all, all.Total())
		}
	}
}
