// Package event is the log of a run: what happened, in the order in which the
// engine saw it.
//
// A log is a file of JSON objects, one a line, named events.jsonl in the run's
// folder. Every line has seq (from 0, no gaps), t (seconds since the start of
// the run, to the microsecond), kind, and node where it is about one node; the
// rest depends on the kind. The first line is run_started and carries the
// format's number. A byte of a string that is no UTF-8 is written as package exact
// does: \udce9 is the byte e9. A log is written a whole line at a time, so that one whose
// writer was killed reads back up to its last whole line.
package event

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// Format is the number of the log's format, written in its first line. It
// changes when a reader of the old format would misread the new one.
const Format = 1

// Event is one line of the log.
type Event struct {
	Seq    int64         // position in the log, from 0
	T      time.Duration // since the start of the run, whole microseconds
	Node   string        // the node it is about, or ""
	Detail Detail        // what happened
}

// Kind is the kind of the event's detail.
func (e Event) Kind() Kind { return e.Detail.Kind() }

// Detail is the part of an event that depends on its kind. It encodes as a
// JSON object whose fields follow the common ones.
type Detail interface{ Kind() Kind }

// MarshalJSON encodes the event as one line of the log, without its newline.
func (e Event) MarshalJSON() ([]byte, error) { return e.append(nil) }

func (e Event) append(dst []byte) ([]byte, error) {
	if u, ok := e.Detail.(Unknown); ok {
		return append(dst, u.Raw...), nil
	}
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, e.Seq, 10)
	dst = append(dst, `,"t":`...)
	dst = strconv.AppendFloat(dst, e.T.Seconds(), 'f', 6, 64)
	dst = append(dst, `,"kind":`...)
	dst = strconv.AppendQuote(dst, string(e.Detail.Kind()))
	if e.Node != "" {
		var err error
		if dst, err = exact.AppendString(append(dst, `,"node":`...), e.Node); err != nil {
			return nil, err
		}
	}
	switch d := e.Detail.(type) { // what there may be most of
	case Received:
		return d.append(append(dst, ','))
	case Invoke:
		return d.append(append(dst, ','))
	case Completed:
		return d.append(append(dst, ','))
	}
	detail, err := exact.Marshal(e.Detail)
	if err != nil {
		return nil, fmt.Errorf("event: cannot encode %s: %w", e.Detail.Kind(), err)
	}
	if len(detail) > len("{}") {
		dst = append(dst, ',')
	}
	return append(dst, detail[1:]...), nil
}

// UnmarshalJSON decodes one line of a log. A kind that is not known becomes
// Unknown; a line without seq, t or kind is an error.
func (e *Event) UnmarshalJSON(line []byte) error {
	var head struct {
		Seq  *int64   `json:"seq"`
		T    *float64 `json:"t"`
		Kind *Kind    `json:"kind"`
		Node string   `json:"node"`
	}
	if err := exact.Unmarshal(line, &head); err != nil {
		return err
	}
	if head.Seq == nil || head.T == nil || head.Kind == nil {
		return fmt.Errorf("event: not a line of an event log: seq, t and kind are expected")
	}
	if *head.T < 0 || *head.T > math.MaxInt64/float64(time.Second) {
		return fmt.Errorf("event: t is %v, expected seconds since the start", *head.T)
	}
	detail, err := decode(*head.Kind, line)
	if err != nil {
		return err
	}
	t := time.Duration(math.Round(*head.T*1e6)) * time.Microsecond
	*e = Event{Seq: *head.Seq, T: t, Node: head.Node, Detail: detail}
	return nil
}
