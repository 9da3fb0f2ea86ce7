package link

// cause is why something happened to what moves in a lane.
type cause int

const (
	causeCut       cause = iota // it was held, or lost
	causeRefuse                 // a connection was refused
	causeDelay                  // it waited for its delay
	causeRate                   // it waited for the rate
	causeOverflow               // it was lost, since too much waited
	causeCorrupt                // a bit was turned over
	causeDrop                   // its connection was reset
	causeLoss                   // it was lost by chance
	causeDuplicate              // it was doubled
	causeReorder                // it was held back
)

// probability is the probability of a cause that is drawn.
func (c cause) probability(e Effect) float64 {
	switch c {
	case causeCorrupt:
		return e.Corrupt
	case causeDrop:
		return e.Drop
	case causeLoss:
		return e.Loss
	case causeDuplicate:
		return e.Duplicate
	case causeReorder:
		return e.Reorder
	}
	return 0
}

// touchedBy calls touch with the index of each effect that did its part in what
// happened, given that it happened. lot is the number that was drawn for it, from
// [0, 1), where one was drawn.
//
//   - Cut: every effect that cuts, for each would have done it alone.
//   - Refuse: every effect that refuses.
//   - Delay: every effect whose own share of the wait is positive, unless the
//     jitters together left no wait.
//   - Rate: those of the lowest rate, which is the one that holds.
//   - Overflow: those of the lowest rate; without a rate those that delay.
//   - The others: those whose own draw hit, see struck.
func touchedBy(why cause, effects []Effect, lot float64, touch func(int)) {
	var sum Effect
	for _, e := range effects {
		sum = sum.plus(e)
	}
	if why == causeOverflow && sum.Rate > 0 {
		why = causeRate
	}
	if p := why.probability(sum); p > 0 {
		struck(effects, why.probability, lot/p, touch)
		return
	}
	for i, e := range effects {
		var did bool
		switch why {
		case causeCut:
			did = e.Cut
		case causeRefuse:
			did = e.Refuse
		case causeDelay:
			did = sum.lag(lot) > 0 && e.lag(lot) > 0
		case causeRate:
			did = e.Rate > 0 && e.Rate == sum.Rate
		case causeOverflow:
			did = e.Delay > 0 || e.Jitter > 0
		}
		if did {
			touch(i)
		}
	}
}

// struck says which of several independent draws hit, given that at least one did.
// One number, uniform in [0, 1), decides all of them: it falls into the part of a
// hit or of a miss of the first draw, and where it lies within that part is as
// uniform, and decides the next. So one draw serves any number of effects, and what
// is drawn does not depend on how many there are.
func struck(effects []Effect, probability func(Effect) float64, lot float64, touch func(int)) {
	hit := false
	for i, e := range effects {
		p := probability(e)
		if p <= 0 {
			continue
		}
		rest := 0.0 // the probability that one of those after it hits
		for _, o := range effects[i+1:] {
			rest = either(rest, probability(o))
		}
		switch {
		case hit:
		case rest == 0: // the last, and none has hit
			touch(i)
			return
		default:
			p /= either(p, rest)
		}
		if lot < p {
			hit = true
			touch(i)
			lot /= p
		} else {
			lot = (lot - p) / (1 - p)
		}
	}
}
