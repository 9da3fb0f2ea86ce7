// Package event is the log of a run: what happened, in the order in which the
// engine saw it.
//
// A log is a file of JSON objects, one a line, named events.jsonl in the run's
// folder. Every line has seq (from 0, no gaps), t (seconds since the start of
// the run, to the microsecond), kind, and node where it is about one node; the
// rest depends on the kind. The first line is run_started and carries the
// format's number. A log is written a whole line at a time, so that one whose
// writer was killed reads back up to its last whole line.
package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// Format is the number of the log's format, written in its first line. It
// changes when a reader of the old format would misread the new one.
const Format = 1

// Kind names what happened; it is the "kind" of a line.
type Kind string

// The kinds of events, each with a detail type of the same name.
const (
	KindRunStarted   Kind = "run_started"
	KindContained    Kind = "contained"
	KindListening    Kind = "listening"
	KindForked       Kind = "forked"
	KindConnected    Kind = "connected"
	KindRefused      Kind = "refused"
	KindDisconnected Kind = "disconnected"
	KindReceived     Kind = "received"
	KindSent         Kind = "sent"
	KindState        Kind = "state"
	KindExited       Kind = "exited"
	KindFault        Kind = "fault"
	KindApplied      Kind = "applied"
	KindHealed       Kind = "healed"
	KindAwait        Kind = "await"
	KindAwaitEnded   Kind = "await_ended"
	KindPrint        Kind = "print"
	KindNotice       Kind = "notice"
	KindVerdict      Kind = "verdict"
	KindRunFinished  Kind = "run_finished"
)

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

// RunStarted is the first event of every log.
type RunStarted struct {
	Format    int               `json:"format"` // see Format
	Run       string            `json:"run"`    // the run's id, DAGON_RUN in its nodes' environment
	Script    string            `json:"script"`
	Topology  string            `json:"topology,omitempty"`
	Seed      uint64            `json:"seed"`
	Params    map[string]string `json:"params,omitempty"`
	Version   string            `json:"version"` // of dagon-star
	Argv      []string          `json:"argv,omitempty"`
	StartedAt time.Time         `json:"started_at"`
}

// Contained says how surely no process of the run outlives it: the rung of the
// containment ladder that it is on, and why it is on none that is higher.
type Contained struct {
	Rung    string    `json:"rung"`
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal is a rung that the machine does not give.
type Refusal struct {
	Rung   string `json:"rung"`
	Reason string `json:"reason"`
}

// Listening says where the control socket listens: for the event's node, or
// for all where it has none.
type Listening struct {
	Address string `json:"address"`
}

// Forked is the start of a node's process.
type Forked struct {
	PID         int      `json:"pid"`
	Incarnation int      `json:"incarnation"` // 1 for the first
	Argv        []string `json:"argv"`
}

// Connected is a control connection that said whose it is, and was believed.
type Connected struct {
	Peer string `json:"peer"`
}

// Refused is a control connection, or a message on one, that was turned away.
type Refused struct {
	Peer   string `json:"peer"`
	Reason string `json:"reason"`
}

// Disconnected is the end of a control connection that had been believed.
type Disconnected struct {
	Peer   string `json:"peer"`
	Reason string `json:"reason"`
}

// Received is a message from a node, its address in the present protocol's
// names whatever dialect the node speaks.
type Received struct {
	Address string `json:"address"`
	Args    Args   `json:"args"`
}

// Sent is a message to a node, logged before its first byte is written, so
// that what it causes follows it in the log.
type Sent struct {
	Address string `json:"address"`
	Args    Args   `json:"args"`
}

// State is a node's change of state.
type State struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Exited is the end of a node's process, logged after its output has been
// read and its control connection has been heard to the end.
type Exited struct {
	PID      int     `json:"pid"`
	Code     int     `json:"code"`             // -1 where a signal ended it
	Signal   string  `json:"signal,omitempty"` // "KILL", "SEGV", …
	Expected bool    `json:"expected"`
	UserS    float64 `json:"user_s"`
	SystemS  float64 `json:"system_s"`
	MaxRSSKB int64   `json:"max_rss_kb"`
	Left     []int   `json:"left,omitempty"` // processes of its tree that outlived it and were killed
	// OutOfMemory is how many of its processes the kernel killed as they were at
	// their memory limit.
	OutOfMemory int    `json:"out_of_memory,omitempty"`
	Note        string `json:"note,omitempty"` // what else is known of its end
}

// Fault is the intent to do something to nodes, logged before it is done;
// Applied under the same id tells that it has been.
type Fault struct {
	ID     int64    `json:"id"`
	What   string   `json:"what"` // "kill", "pause", "resume", …
	Nodes  []string `json:"nodes"`
	Detail string   `json:"detail,omitempty"` // "HUP", "memory=64MiB", …
	// Links are the pairs of nodes between which it acts, where it acts on links.
	Links [][2]string `json:"links,omitempty"`
}

// Applied tells that a fault has been applied, to all its nodes but those that
// were dead.
type Applied struct {
	ID    int64    `json:"id"`
	TookS float64  `json:"took_s"`
	Dead  []string `json:"dead,omitempty"`
}

// Healed tells that a fault that stays in force has been undone for nodes, or
// has ended with their processes.
type Healed struct {
	ID    int64    `json:"id"`
	Nodes []string `json:"nodes"`
}

// Await is the beginning of a wait, AwaitEnded its end under the same id.
type Await struct {
	ID       int64    `json:"id"`
	What     string   `json:"what"`
	Nodes    []string `json:"nodes,omitempty"`
	TimeoutS float64  `json:"timeout_s"`
}

// AwaitEnded tells how a wait ended: "met", "timeout", "impossible" or
// "cancelled".
type AwaitEnded struct {
	ID      int64    `json:"id"`
	Outcome string   `json:"outcome"`
	WaitedS float64  `json:"waited_s"`
	Missing []string `json:"missing,omitempty"`
}

// Print is a line that the script printed.
type Print struct {
	Text string `json:"text"`
}

// Notice is something a person should know that is no fault: a section that
// was skipped, a name that got no global.
type Notice struct {
	Text string `json:"text"`
}

// Verdict is what the run came to.
type Verdict struct {
	Outcome string `json:"outcome"` // "passed", "failed", "inconclusive" or "interrupted"
	Reason  string `json:"reason,omitempty"`
	Where   string `json:"where,omitempty"` // file:line:col of the script
}

// RunFinished is the last event of a run that came to its end.
type RunFinished struct {
	DurationS  float64  `json:"duration_s"`
	LeftBehind []int    `json:"left_behind"`        // processes that could not be ended
	Teardown   []string `json:"teardown,omitempty"` // what went wrong while tearing down, apart from the verdict
}

// Unknown is an event of a kind that this version does not know; it keeps the
// line as it was.
type Unknown struct {
	Name Kind
	Raw  json.RawMessage
}

func (RunStarted) Kind() Kind   { return KindRunStarted }
func (Contained) Kind() Kind    { return KindContained }
func (Listening) Kind() Kind    { return KindListening }
func (Forked) Kind() Kind       { return KindForked }
func (Connected) Kind() Kind    { return KindConnected }
func (Refused) Kind() Kind      { return KindRefused }
func (Disconnected) Kind() Kind { return KindDisconnected }
func (Received) Kind() Kind     { return KindReceived }
func (Sent) Kind() Kind         { return KindSent }
func (State) Kind() Kind        { return KindState }
func (Exited) Kind() Kind       { return KindExited }
func (Fault) Kind() Kind        { return KindFault }
func (Applied) Kind() Kind      { return KindApplied }
func (Healed) Kind() Kind       { return KindHealed }
func (Await) Kind() Kind        { return KindAwait }
func (AwaitEnded) Kind() Kind   { return KindAwaitEnded }
func (Print) Kind() Kind        { return KindPrint }
func (Notice) Kind() Kind       { return KindNotice }
func (Verdict) Kind() Kind      { return KindVerdict }
func (RunFinished) Kind() Kind  { return KindRunFinished }
func (u Unknown) Kind() Kind    { return u.Name }

// decode makes the detail of a kind from the whole line it stands in.
func decode(kind Kind, line []byte) (Detail, error) {
	switch kind {
	case KindRunStarted:
		return as[RunStarted](line)
	case KindContained:
		return as[Contained](line)
	case KindListening:
		return as[Listening](line)
	case KindForked:
		return as[Forked](line)
	case KindConnected:
		return as[Connected](line)
	case KindRefused:
		return as[Refused](line)
	case KindDisconnected:
		return as[Disconnected](line)
	case KindReceived:
		return as[Received](line)
	case KindSent:
		return as[Sent](line)
	case KindState:
		return as[State](line)
	case KindExited:
		return as[Exited](line)
	case KindFault:
		return as[Fault](line)
	case KindApplied:
		return as[Applied](line)
	case KindHealed:
		return as[Healed](line)
	case KindAwait:
		return as[Await](line)
	case KindAwaitEnded:
		return as[AwaitEnded](line)
	case KindPrint:
		return as[Print](line)
	case KindNotice:
		return as[Notice](line)
	case KindVerdict:
		return as[Verdict](line)
	case KindRunFinished:
		return as[RunFinished](line)
	}
	return Unknown{Name: kind, Raw: bytes.Clone(line)}, nil
}

func as[D Detail](line []byte) (Detail, error) {
	var d D
	if err := json.Unmarshal(line, &d); err != nil {
		return nil, err
	}
	return d, nil
}

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
		name, err := marshal(e.Node)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, `,"node":`...), name...)
	}
	detail, err := marshal(e.Detail)
	if err != nil {
		return nil, fmt.Errorf("event: cannot encode %s: %w", e.Detail.Kind(), err)
	}
	if len(detail) > len("{}") {
		dst = append(dst, ',')
	}
	return append(dst, detail[1:]...), nil
}

// marshal is json.Marshal without the escapes that only a page needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
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
	if err := json.Unmarshal(line, &head); err != nil {
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

// Args are the arguments of an OSC message. In the log a number, string,
// boolean or null stands as itself, bytes as {"blob": base64}, a float that
// JSON cannot write, and any other OSC type, as {"osc": its text}.
type Args []any

// MarshalJSON encodes the arguments for the log.
func (a Args) MarshalJSON() ([]byte, error) {
	out := make([]any, len(a))
	for i, v := range a {
		out[i] = plain(v)
	}
	return marshal(out)
}

func plain(v any) any {
	switch v := v.(type) {
	case nil, bool, int32, int64, map[string]any:
		return v
	case string:
		if utf8.ValidString(v) {
			return v
		}
		return map[string]string{"osc": strconv.QuoteToASCII(v)}
	case []byte:
		return map[string]string{"blob": base64.StdEncoding.EncodeToString(v)}
	case float32:
		return finite(float64(v), v)
	case float64:
		return finite(v, v)
	}
	return map[string]string{"osc": fmt.Sprintf("%T(%v)", v, v)}
}

func finite(f float64, v any) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return map[string]string{"osc": fmt.Sprint(v)}
	}
	return v
}
