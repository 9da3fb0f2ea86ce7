package buffy

import (
	"sync"
	"sync/atomic"

	"github.com/dagon-star/dagon-star/runtime/osc"
)

// What a window bounds.
const (
	windowMessages = 1 << 14  // from the oldest that is kept to the newest
	windowBytes    = 16 << 20 // of their payloads
	batchBytes     = 32 << 10 // that are dealt at a time
	wakeAt         = 512      // messages that wait to be dealt, and are no longer left to gather
	keptBuffer     = 1 << 10  // bytes of a payload whose memory is used again
)

// window is what has been taken over to be dealt to others, in the order in
// which it came. A window that keeps holds each message until it is
// acknowledged, and deals it again after a rewind; another lets go of it once it
// is dealt. Who adds to a full window waits: at 16,384 messages from the oldest
// to the newest, or 16 MiB.
type window struct {
	keeps bool

	mu      sync.Mutex
	work    sync.Cond // there may be something to deal
	room    sync.Cond // there may be room
	waiting int       // for room
	slots   []slot
	places  places // of the ids, in a window that keeps
	bytes   int
	first   uint64 // the oldest that is kept
	next    uint64 // to be dealt
	fresh   uint64 // the first that has never been dealt
	last    uint64 // where the next goes
	held    bool   // nothing is to be dealt until there is a rewind
	over    bool   // nothing more will come
	saidEnd bool
	closed  bool

	count atomic.Int64 // how many have been acknowledged, or dealt where nothing is kept
}

type slot struct {
	payload []byte
	id      int64
	from    *upstream // who is told of the acknowledgement, or nil
	over    bool      // it has been acknowledged
}

// places says in which slot of a window an id is. Ids that follow each other, as
// those of a sender do, have homes side by side; of those that share a home all
// but one are in a map.
type places struct {
	homes []uint16 // a slot, from 1, or 0
	away  map[int64]uint16
}

func newPlaces() places {
	return places{make([]uint16, 2*windowMessages), map[int64]uint16{}}
}

// home is an id's home. Senders differ in the upper bits of their ids.
func (p *places) home(id int64) *uint16 {
	return &p.homes[(uint32(id)+uint32(id>>31)*0x9e3779b1)%(2*windowMessages)]
}

// find is the slot of an id.
func (p *places) find(slots []slot, id int64) (at uint16, ok bool) {
	if at := *p.home(id); at != 0 && slots[at-1].id == id {
		return at - 1, true
	}
	if len(p.away) == 0 {
		return 0, false
	}
	at, ok = p.away[id]
	return at, ok
}

// add notes the slot of an id that is in none.
func (p *places) add(id int64, at uint16) {
	if home := p.home(id); *home == 0 {
		*home = at + 1
	} else {
		p.away[id] = at
	}
}

// remove forgets the slot of an id.
func (p *places) remove(id int64, at uint16) {
	if home := p.home(id); *home == at+1 {
		*home = 0
	} else {
		delete(p.away, id)
	}
}

// newWindow makes a window. Whoever waits for it goes on when the component is
// to stop.
func (p *process) newWindow(keeps bool) *window {
	w := &window{keeps: keeps, slots: make([]slot, windowMessages), places: newPlaces()}
	w.work.L, w.room.L = &w.mu, &w.mu
	p.goes(func() error {
		p.stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.closed = true
		w.work.Broadcast()
		w.room.Broadcast()
		return nil
	})
	return w
}

// add takes messages over. One that the window holds already is not held twice,
// and is acknowledged to who sent it last and still asks for that.
func (w *window) add(items []osc.Item, from *upstream) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range items {
		if err := w.addOne(&items[i], from); err != nil {
			return err
		}
	}
	if w.last-w.next >= wakeAt {
		w.work.Signal()
	}
	return nil
}

// addOne takes a message over. The lock is held, but for waiting.
func (w *window) addOne(item *osc.Item, from *upstream) error {
	for {
		if w.closed {
			return errStopped
		}
		if at, ok := w.places.find(w.slots, item.Int64); ok {
			// What a lost connection still has may come after it was sent again.
			if from != nil && from.acks.Load() {
				w.slots[at].from = from
			}
			return nil
		}
		if n := w.last - w.first; n == 0 || n < windowMessages && w.bytes+len(item.String) <= windowBytes {
			break
		}
		w.waiting++
		w.work.Signal()
		w.room.Wait()
		w.waiting--
	}
	at := w.last % windowMessages
	s := &w.slots[at]
	s.payload = append(s.payload[:0], item.String...)
	s.id, s.from, s.over = item.Int64, from, false
	if w.keeps {
		w.places.add(s.id, uint16(at))
	}
	w.bytes += len(s.payload)
	w.last++
	w.over, w.saidEnd = false, false
	return nil
}

// wake has what was added dealt, though it is not much.
func (w *window) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work.Signal()
}

// end says that nothing more will be added.
func (w *window) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.work.Signal()
}

// ack lets go of messages, by their ids. It appends to tell who is to be told of
// each: nil is nobody, also where the window does not hold it.
func (w *window) ack(acks []osc.Item, tell []*upstream) []*upstream {
	w.mu.Lock()
	defer w.mu.Unlock()
	let := int64(0)
	for i := range acks {
		id := acks[i].Int64
		at, ok := w.places.find(w.slots, id)
		if !ok {
			tell = append(tell, nil)
			continue
		}
		w.places.remove(id, at)
		tell = append(tell, w.drop(uint64(at)))
		let++
	}
	w.count.Add(let)
	for w.first < w.last && w.slots[w.first%windowMessages].over {
		w.first++
	}
	w.next = max(w.next, w.first)
	if w.waiting > 0 && w.last-w.first <= windowMessages*3/4 {
		w.room.Broadcast()
	}
	if w.first == w.last && w.over {
		w.work.Signal()
	}
	return tell
}

// drop frees a slot. The lock is held.
func (w *window) drop(at uint64) (from *upstream) {
	s := &w.slots[at%windowMessages]
	w.bytes -= len(s.payload)
	if cap(s.payload) > keptBuffer {
		s.payload = nil
	}
	from, s.from, s.over = s.from, nil, true
	return from
}

// settle says that no acknowledgement follows at the moment.
func (w *window) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting > 0 {
		w.room.Broadcast()
	}
}

// rewind has all that is held dealt again, and the end said again.
func (w *window) rewind() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rewindLocked()
}

func (w *window) rewindLocked() {
	w.held, w.saidEnd = false, false
	w.next = w.first
	w.work.Signal()
}

// step is what is to be done with a window.
type step int

const (
	stepStop  step = iota // the component is to stop
	stepDeal              // what is in the batch is to be dealt
	stepFlush             // nothing follows at the moment
	stepEnd               // all is through, and nothing more will come
)

// batch is what is dealt at a time.
type batch struct {
	items  []osc.Item
	from   []*upstream // of each
	seq    []uint64    // of each
	again  int         // so many, the first, have been dealt before
	arena  []byte      // of the payloads
	unsaid bool        // what was dealt has not been flushed
}

// take waits for what is to be done. The lock is held.
func (w *window) take(b *batch) step {
	for {
		switch {
		case w.closed:
			return stepStop
		case !w.held && w.next < w.last:
			w.fill(b)
			b.unsaid = true
			return stepDeal
		case b.unsaid:
			b.unsaid = false
			return stepFlush
		case !w.held && w.over && w.first == w.last && !w.saidEnd:
			w.saidEnd = true
			return stepEnd
		}
		w.work.Wait()
	}
}

// fill copies what is next.
func (w *window) fill(b *batch) {
	b.items, b.from, b.seq, b.arena, b.again = b.items[:0], b.from[:0], b.seq[:0], b.arena[:0], 0
	for ; w.next < w.last && len(b.arena) < batchBytes && len(b.items) < 2*wakeAt; w.next++ {
		s := &w.slots[w.next%windowMessages]
		if s.over {
			continue
		}
		start := len(b.arena)
		b.arena = append(b.arena, s.payload...)
		b.items = append(b.items, osc.Item{String: b.arena[start:], Int64: s.id})
		b.from = append(b.from, s.from)
		b.seq = append(b.seq, w.next)
		if w.next < w.fresh {
			b.again++
		}
		if !w.keeps {
			w.drop(w.next)
			w.first = w.next + 1
		}
	}
	w.fresh = max(w.fresh, w.next)
	if !w.keeps && w.waiting > 0 {
		w.room.Broadcast()
	}
}

// target is to whom a window is dealt. What it returns ends the component.
type target interface {
	// chosen is called before a batch, with the window's lock.
	chosen()
	give(b *batch) error
	flush() error
	end() error
}

// deal deals what is in a window until the component is to stop. dealt is called
// after each batch.
func (w *window) deal(to target, dealt func(*batch) error) error {
	var b batch
	for {
		w.mu.Lock()
		step := w.take(&b)
		to.chosen()
		w.mu.Unlock()
		var err error
		switch step {
		case stepStop:
			return nil
		case stepDeal:
			if err = to.give(&b); err == nil {
				err = dealt(&b)
			}
		case stepFlush:
			err = to.flush()
		case stepEnd:
			err = to.end()
		}
		if err != nil {
			return err
		}
	}
}
