package record

import "hash/maphash"

// payloads finds the first of the records of a list that have a payload. It does
// what a map from payloads to numbers would in about half the time: to look for
// one of a million waits once for the memory, for eight bytes of it, and not
// several times.
type payloads struct {
	of    []Record
	seed  maphash.Seed
	slots []slot // a power of two of them, at least a third of them free
}

// slot is where a payload is looked for, and then the next one, and so on.
type slot struct {
	tag uint32 // of the payload's hash
	at  uint32 // the first record that has it, from 1; 0 where the slot is free
}

// index makes the index of a list's payloads, which is filled by add. A list of
// 1<<32 records does not fit a machine's memory.
func index(of []Record) *payloads {
	size := 8
	for size*2 < len(of)*3 {
		size *= 2
	}
	return &payloads{of: of, seed: maphash.MakeSeed(), slots: make([]slot, size)}
}

// find is the slot of a payload: free where no record has it.
func (p *payloads) find(payload string) (s *slot, tag uint32) {
	hash := maphash.String(p.seed, payload)
	tag = uint32(hash >> 32)
	for i := hash; ; i++ {
		s := &p.slots[i&uint64(len(p.slots)-1)]
		if s.at == 0 || s.tag == tag && p.of[s.at-1].Payload == payload {
			return s, tag
		}
	}
}

// first is the index of the first record that was added with a payload, or -1.
func (p *payloads) first(payload string) int {
	s, _ := p.find(payload)
	return int(s.at) - 1
}

// add adds the record at i, and returns the index of the first that was added
// with its payload: its own where there was none.
func (p *payloads) add(i int) int {
	s, tag := p.find(p.of[i].Payload)
	if s.at == 0 {
		*s = slot{tag, uint32(i + 1)}
	}
	return int(s.at) - 1
}
