package link

import "sync/atomic"

// Touched is what a disturbance has done so far. Each counts by itself: bytes that
// two partitions hold are held by both. The counts are exact on Linux, but for
// ConnectionsRefused. Elsewhere
//   - a byte that is being read while a cut begins or ends may be missed or counted,
//   - a close that waits behind bytes is not counted in ClosesHeld, and on Windows none,
//   - ConnectionsRefused stays 0, and Disturbance.Unseen says so.
type Touched struct {
	// BytesHeld are the bytes that a cut held in the relay: those that were there
	// when it began, and those that reached it meanwhile.
	BytesHeld int64
	// ClosesHeld are the closes and resets that a cut held, in each direction of a
	// connection by itself.
	ClosesHeld int64
	// BytesDelayed and ClosesDelayed waited, of streams, for a delay, a jitter or a
	// rate. A byte counts once, however often it waited. What waits for a rate
	// counts when its turn has come; what only waits behind other bytes of its
	// connection does not count.
	BytesDelayed, ClosesDelayed int64
	// BytesCorrupted are those of which a bit was turned over, of streams and of
	// datagrams.
	BytesCorrupted int64
	// ConnectionsRefused were not made. One counts when its caller closes the socket
	// that was refused, which most do at once; of several calls with one socket the
	// last counts, if it was refused. See Disturbance.Unseen. A blocking call
	// to another port of the relay's host, which only that relay has, counts too: the
	// kernel forgets which port it was.
	ConnectionsRefused int64
	// ConnectionsReset were ended by Reset, or by Effect.Drop.
	ConnectionsReset int64
	// ConnectionsSilent are those made during a cut, and those that are half open.
	ConnectionsSilent int64
	// DatagramsLost were lost by a loss, by a cut, or because too many waited for a
	// rate or a delay.
	DatagramsLost int64
	// DatagramsDelayed waited for a delay, a jitter or a rate; each counts once.
	DatagramsDelayed int64
	// DatagramsDuplicated left the relay, or were to leave it, twice.
	DatagramsDuplicated int64
	// DatagramsReordered were overtaken by a later one. One that was held back and
	// that nothing overtook does not count.
	DatagramsReordered int64
}

// Total is the sum of all counts.
func (t Touched) Total() (total int64) {
	for _, n := range t.counts() {
		total += *n
	}
	return total
}

// Any reports whether anything was touched.
func (t Touched) Any() bool { return t.Total() > 0 }

// The counts of Touched, in its order.
const (
	bytesHeld = iota
	closesHeld
	bytesDelayed
	closesDelayed
	bytesCorrupted
	connectionsRefused
	connectionsReset
	connectionsSilent
	datagramsLost
	datagramsDelayed
	datagramsDuplicated
	datagramsReordered
	counts
)

func (t *Touched) counts() [counts]*int64 {
	return [counts]*int64{&t.BytesHeld, &t.ClosesHeld, &t.BytesDelayed, &t.ClosesDelayed, &t.BytesCorrupted,
		&t.ConnectionsRefused, &t.ConnectionsReset, &t.ConnectionsSilent,
		&t.DatagramsLost, &t.DatagramsDelayed, &t.DatagramsDuplicated, &t.DatagramsReordered}
}

// tally is what a disturbance has touched in one lane.
type tally struct {
	of     *Disturbance
	counts [counts]atomic.Int64
}

func (t *tally) add(what int, n int64) {
	if n > 0 {
		t.counts[what].Add(n)
		t.of.noteTouch()
	}
}

// addHolding adds what a cut has held.
func (t *tally) addHolding(h holding) {
	t.add(bytesHeld, h.bytes)
	t.add(closesHeld, h.closes)
	t.add(connectionsSilent, h.silent)
}

func (t *tally) addTo(sum *Touched) {
	for i, n := range sum.counts() {
		*n += t.counts[i].Load()
	}
}

// holding is what waits in one direction of a connection.
type holding struct{ bytes, closes, silent int64 }

func (h holding) any() bool { return h != holding{} }

func (h holding) addTo(sum *Touched) {
	sum.BytesHeld += h.bytes
	sum.ClosesHeld += h.closes
	sum.ConnectionsSilent += h.silent
}
