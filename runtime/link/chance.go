package link

import (
	"math"
	"math/rand/v2"
)

// dropping decides whether a connection is to be reset.
type dropping struct {
	wave   int // of disturbances, that it was drawn for
	random *rand.Rand
	lot    float64 // a disturbance of a higher probability hits it
	left   int64   // how many bytes may pass before
}

// hits reports whether the connection is to be reset within the next n bytes. One
// random number serves all disturbances in force together; it is compared with
// their combined probability.
func (d *dropping) hits(state *laneState, n int, random func(string) *rand.Rand) bool {
	if state.Drop == 0 {
		return false
	}
	if d.wave != state.dropWave {
		d.wave = state.dropWave
		if d.random == nil {
			d.random = random("drop")
		}
		d.lot, d.left = d.random.Float64(), 1+d.random.Int64N(4096)
	}
	if d.lot >= state.Drop {
		return false
	}
	d.left -= int64(n)
	return d.left <= 0
}

// corruption turns over bits.
type corruption struct {
	random      *rand.Rand
	whose       *rand.Rand // says which of several disturbances hit a byte
	probability float64
	intact      int // bytes until the next that is hit
}

// hit turns over a bit of some bytes, and counts them. Instead of drawing for each
// it draws how many stay intact.
func (c *corruption) hit(state *laneState, b []byte, random func(string) *rand.Rand) {
	if state.Corrupt != c.probability {
		c.probability = state.Corrupt
		c.intact = -1
	}
	if c.probability <= 0 {
		return
	}
	if c.random == nil {
		c.random = random("corrupt")
	}
	alone := len(state.effects) == 1
	var flipped int64
	for at := 0; ; at++ {
		if c.intact < 0 {
			c.intact = 0
			if c.probability < 1 {
				c.intact = int(min(math.Log1p(-c.random.Float64())/math.Log1p(-c.probability), math.MaxInt32))
			}
		}
		if left := len(b) - at; c.intact >= left {
			c.intact -= left
			if alone {
				state.tallies[0].add(bytesCorrupted, flipped)
			}
			return
		}
		at += c.intact
		b[at] ^= 1 << c.random.IntN(8)
		c.intact = -1
		if flipped++; !alone {
			state.touch(causeCorrupt, c.lot(random), func(t *tally) { t.add(bytesCorrupted, 1) })
		}
	}
}

// lot draws which of several disturbances hit a byte that was hit. What is hit does
// not depend on it.
func (c *corruption) lot(random func(string) *rand.Rand) float64 {
	if c.whose == nil {
		c.whose = random("whose")
	}
	return c.whose.Float64() * c.probability
}
