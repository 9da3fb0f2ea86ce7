package record

import "hash/maphash"

// payloads finds the first of the records of a list that have a payload, as a map
// from payloads to numbers would. To look for one of a million is to wait for the
// memory; so many are looked for at a time, and one wait is that of all of them,
// which takes a quarter of the time.
type payloads struct {
	of      []Record
	seed    maphash.Seed
	slots   []slot // a power of two of them, at least a third of them free
	touched uint32 // nothing; what is read must be of some use to be read
}

// slot is where a payload is looked for, and then the next one, and so on.
type slot struct {
	tag uint32 // of the payload's hash
	at  uint32 // the first record that has it, from 1; 0 where the slot is free
}

// index makes the index of a list's payloads, with none of them in it. A list of
// 1<<32 records does not fit a machine's memory.
func index(of []Record) *payloads {
	size := 8
	for size*2 < len(of)*3 {
		size *= 2
	}
	return &payloads{of: of, seed: maphash.MakeSeed(), slots: make([]slot, size)}
}

// find calls found with each record of a list, in their order, and the slot of
// its payload. One that is free becomes that of the payload if found sets at.
func (p *payloads) find(records []Record, found func(i int, s *slot)) {
	var hashes [128]uint64
	last := uint64(len(p.slots) - 1)
	for from := 0; from < len(records); from += len(hashes) {
		some := records[from:min(from+len(hashes), len(records))]
		for i := range some {
			hashes[i] = maphash.String(p.seed, some[i].Payload)
		}
		for i := range some {
			p.touched += p.slots[hashes[i]&last].at
		}
		for i := range some {
			found(from+i, p.slot(hashes[i], some[i].Payload))
		}
	}
}

// slot is the slot of a payload, or a free one that can be.
func (p *payloads) slot(hash uint64, payload string) *slot {
	tag := uint32(hash >> 32)
	for i := hash; ; i++ {
		s := &p.slots[i&uint64(len(p.slots)-1)]
		if s.at == 0 {
			s.tag = tag
			return s
		}
		if s.tag == tag && p.of[s.at-1].Payload == payload {
			return s
		}
	}
}
