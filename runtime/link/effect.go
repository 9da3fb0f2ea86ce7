package link

import "time"

// Effect is what a disturbance does to a lane. Where several act on one lane
//   - delays and jitters are added,
//   - the lowest rate holds,
//   - each probability is drawn by itself,
//   - the lane is cut, or refuses, as long as one of them does.
type Effect struct {
	// Cut stops the bytes of a stream. None is lost: they go on when the cut ends,
	// and so does a close. A new connection is made and stays silent. A datagram
	// is lost.
	Cut bool
	// Refuse has new connections refused. It acts on the relay of From, whoever
	// else calls.
	Refuse bool
	// Delay is added to the time that each byte takes, with up to Jitter more or
	// less; the bytes of a stream stay in their order. When the delay ends or
	// shrinks, bytes already waiting are held no longer than bytes that arrive
	// afterwards. Making a connection is not delayed.
	Delay, Jitter time.Duration
	// Rate is how many bytes may pass in a second, of all connections and
	// datagrams together; 0 is no limit. A datagram that would wait for over a
	// second is lost.
	Rate float64
	// Corrupt is the probability that one bit of a byte is turned over, where no
	// checksum of the network sees it.
	Corrupt float64
	// Drop is the probability that a connection is reset somewhere in the next
	// 4 KiB that it carries. It is drawn once for each connection and direction.
	Drop float64
	// Loss, Duplicate and Reorder are probabilities of a datagram.
	Loss, Duplicate, Reorder float64
}

// either is the probability that at least one of two independent draws hits.
func either(p, q float64) float64 { return p + q - p*q }

// plus adds the effect of one more disturbance.
func (e Effect) plus(o Effect) Effect {
	e.Cut, e.Refuse = e.Cut || o.Cut, e.Refuse || o.Refuse
	e.Delay, e.Jitter = e.Delay+o.Delay, e.Jitter+o.Jitter
	if o.Rate > 0 && (e.Rate == 0 || o.Rate < e.Rate) {
		e.Rate = o.Rate
	}
	e.Corrupt, e.Drop = either(e.Corrupt, o.Corrupt), either(e.Drop, o.Drop)
	e.Loss, e.Duplicate, e.Reorder = either(e.Loss, o.Loss), either(e.Duplicate, o.Duplicate), either(e.Reorder, o.Reorder)
	return e
}

// actsOnStreams reports whether the bytes of a stream cannot go on at once and as they
// are.
func (e Effect) actsOnStreams() bool {
	return e.Cut || e.Delay > 0 || e.Jitter > 0 || e.Rate > 0 || e.Corrupt > 0 || e.Drop > 0
}

// lag is how long a byte waits because of the delay and the jitter, for a number
// drawn from [0, 1). It is negative where the jitter takes more than the delay.
func (e Effect) lag(lot float64) time.Duration {
	return e.Delay + time.Duration((2*lot-1)*float64(e.Jitter))
}
