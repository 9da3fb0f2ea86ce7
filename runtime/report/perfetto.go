package report

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"time"
)

// The fields of Perfetto's trace packets that are written, by their numbers in its schema.
const (
	pfPacket          = 1 // of Trace
	pfTimestamp       = 8 // of TracePacket, nanoseconds
	pfSequence        = 10
	pfEvent           = 11
	pfTrack           = 60
	pfEventNotes      = 4 // of TrackEvent
	pfEventType       = 9
	pfEventTrack      = 11
	pfEventCategories = 22
	pfEventName       = 23
	pfEventValue      = 30
	pfTrackUUID       = 1 // of TrackDescriptor
	pfTrackName       = 2
	pfTrackProcess    = 3
	pfTrackParent     = 5
	pfTrackCounter    = 8
	pfProcessPID      = 1 // of ProcessDescriptor
	pfProcessName     = 6
	pfNoteText        = 6 // of DebugAnnotation
	pfNoteName        = 10

	pfBegin, pfEnd, pfInstant, pfCounter = 1, 2, 3, 4 // types of a TrackEvent
)

// writePerfetto writes the run as a trace that ui.perfetto.dev opens: a process for the
// host, with tracks for awaits, faults and operations, and one for each node, with its
// incarnations and states, its messages, and how many there have been.
func writePerfetto(r *Run, w io.Writer) error {
	p := perfetto{b: bufio.NewWriterSize(w, 64<<10), tracks: map[string]uint64{}}
	p.process("", hostName)
	for _, n := range r.Nodes {
		p.process(n.Name, n.Name)
	}
	counts := map[string]uint64{}
	s := spans{
		span: func(s *span) error {
			lane := s.kind
			if s.kind == spanNode || s.kind == spanState {
				lane = map[string]string{spanNode: "incarnation", spanState: "state"}[s.kind]
			}
			track := p.track(s.node, fmt.Sprintf("%s %d", lane, s.slot+1), false)
			var notes []byte
			for _, a := range append([][2]string{{"outcome", s.outcome}}, s.attributes...) {
				if a[1] != "" {
					note := pfText(pfText(nil, pfNoteName, a[0]), pfNoteText, a[1])
					notes = pfBytes(notes, pfEventNotes, note)
				}
			}
			name := s.name
			if s.bad {
				name += " ✕"
			}
			p.event(s.begin, pfText(pfText(notes, pfEventName, name), pfEventCategories, s.kind), pfBegin, track)
			return p.event(s.end, nil, pfEnd, track)
		},
		message: func(i instant) error {
			way, lane := "to", "messages to it"
			if i.received {
				way, lane = "from", "messages from it"
			}
			p.event(i.t, pfText(pfText(nil, pfEventName, i.text()), pfEventCategories, "message "+way), pfInstant, p.track(i.node, lane, false))
			counts[lane+"\n"+i.node]++
			return p.event(i.t, pfNumber(nil, pfEventValue, counts[lane+"\n"+i.node]), pfCounter, p.track(i.node, lane+", so far", true))
		},
	}
	if err := s.read(r); err != nil {
		return err
	}
	return p.b.Flush()
}

// perfetto writes packets.
type perfetto struct {
	b      *bufio.Writer
	tracks map[string]uint64 // their UUIDs, by node and name
	pids   uint64
}

// process describes the track of the host or of a node. The pids are the trace's own: a
// node has another one in each incarnation.
func (p *perfetto) process(node, name string) {
	p.pids++
	key := node + "\n"
	if _, ok := p.tracks[key]; ok {
		return
	}
	p.tracks[key] = pfUUID(key)
	process := pfText(pfNumber(nil, pfProcessPID, p.pids), pfProcessName, name)
	p.packet(pfBytes(nil, pfTrack, pfBytes(pfNumber(nil, pfTrackUUID, p.tracks[key]), pfTrackProcess, process)))
}

// track is the UUID of a track of the host or of a node, which is described the first time.
func (p *perfetto) track(node, name string, counter bool) uint64 {
	key := node + "\n" + name
	id, ok := p.tracks[key]
	if ok {
		return id
	}
	if _, ok := p.tracks[node+"\n"]; !ok {
		p.process(node, node)
	}
	id = pfUUID(key)
	p.tracks[key] = id
	track := pfText(pfNumber(pfNumber(nil, pfTrackUUID, id), pfTrackParent, p.tracks[node+"\n"]), pfTrackName, name)
	if counter {
		track = pfBytes(track, pfTrackCounter, nil)
	}
	p.packet(pfBytes(nil, pfTrack, track))
	return id
}

func (p *perfetto) event(t time.Duration, fields []byte, kind, track uint64) error {
	event := pfNumber(pfNumber(fields, pfEventType, kind), pfEventTrack, track)
	return p.packet(pfBytes(pfNumber(nil, pfTimestamp, uint64(t)), pfEvent, event))
}

func (p *perfetto) packet(fields []byte) error {
	_, err := p.b.Write(pfBytes(nil, pfPacket, pfNumber(fields, pfSequence, 1)))
	return err
}

// pfUUID is the UUID of a track, the same in each trace, and not 0, which is Perfetto's.
func pfUUID(key string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, key)
	return h.Sum64() | 1
}

// pfNumber, pfBytes and pfText append a field of a protobuf message.
func pfNumber(to []byte, field, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(to, field<<3), n)
}

func pfBytes(to []byte, field uint64, value []byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(to, field<<3|2), uint64(len(value))), value...)
}

func pfText(to []byte, field uint64, text string) []byte {
	return pfBytes(to, field, []byte(cut(Visible(text), 300)))
}
