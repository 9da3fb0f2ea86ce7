package event

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// Kind names what happened; it is the "kind" of a line.
type Kind string

// The kinds of events. The table kinds has the detail type of each.
const (
	KindRunStarted   Kind = "run_started"
	KindContained    Kind = "contained"
	KindListening    Kind = "listening"
	KindForked       Kind = "forked"
	KindSetup        Kind = "setup"
	KindWiped        Kind = "wiped"
	KindProbe        Kind = "probe"
	KindConnected    Kind = "connected"
	KindRefused      Kind = "refused"
	KindDisconnected Kind = "disconnected"
	KindLost         Kind = "lost"
	KindReceived     Kind = "received"
	KindSent         Kind = "sent"
	KindState        Kind = "state"
	KindAsked        Kind = "asked"
	KindExited       Kind = "exited"
	KindScheduled    Kind = "scheduled"
	KindFired        Kind = "fired"
	KindFault        Kind = "fault"
	KindApplied      Kind = "applied"
	KindTouched      Kind = "touched"
	KindHealed       Kind = "healed"
	KindAbandoned    Kind = "abandoned"
	KindAwait        Kind = "await"
	KindAwaitEnded   Kind = "await_ended"
	KindAction       Kind = "action"
	KindInvoke       Kind = "invoke"
	KindCompleted    Kind = "completed"
	KindUsage        Kind = "usage"
	KindProgress     Kind = "progress"
	KindHeld         Kind = "held"
	KindReleased     Kind = "released"
	KindPrint        Kind = "print"
	KindNotice       Kind = "notice"
	KindFinding      Kind = "finding"
	KindVerdict      Kind = "verdict"
	KindRunFinished  Kind = "run_finished"
)

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
	Repeat    string            `json:"repeat,omitempty"` // the command line that repeats the run
	StartedAt time.Time         `json:"started_at"`
	Nodes     []NodeSpec        `json:"nodes,omitempty"` // of the topology, in the order of the ini
}

// NodeSpec is a node as the ini has it.
type NodeSpec struct {
	Name string `json:"name"`
	Role string `json:"role,omitempty"` // "leader", "worker", "sender" or "receiver"
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
	// Ready is which keys of the ini say when it is ready: "log", "http", …; "none"
	// where nothing does. Without it that is the message /ready alone.
	Ready []string `json:"ready,omitempty"`
	Where string   `json:"where,omitempty"` // file:line:col of the script, which forked it
}

// Setup is the end of the command that sets a node's folder up, before its fork.
type Setup struct {
	TookS  float64 `json:"took_s"`
	Code   int     `json:"code"` // -1 where a signal ended it
	Signal string  `json:"signal,omitempty"`
	Error  string  `json:"error,omitempty"` // why it was not started, or was ended
}

// Wiped tells that a node's folder has been emptied.
type Wiped struct{}

// Probe is one of the keys that say when a node is ready, once for each incarnation:
// when all of them hold, or when it ends before that. That it was tried again and again
// is its count.
type Probe struct {
	What  string  `json:"what"`            // "ready.http http://127.0.1.3:2379/health"
	Tries int     `json:"tries,omitempty"` // 0 for what is waited for, and not tried
	TookS float64 `json:"took_s"`          // since the fork, until it held
	Held  bool    `json:"held"`
	Error string  `json:"error,omitempty"` // of the last try that failed
	Ready bool    `json:"ready,omitempty"` // with it all hold: the node is ready
}

// Connected is a control connection that said whose it is, and was believed.
type Connected struct {
	Peer string `json:"peer"`
}

// Refused is a control connection that was turned away, or a message on one that
// goes on.
type Refused struct {
	Peer    string `json:"peer"`
	Reason  string `json:"reason"`
	Message bool   `json:"message,omitempty"` // it was a message
	More    int    `json:"more,omitempty"`    // so many that are not told by themselves; the Reason says so
}

// Disconnected is the end of a control connection that had been believed.
type Disconnected struct {
	Peer     string `json:"peer"`
	Reason   string `json:"reason"`
	Cut      bool   `json:"cut,omitempty"`      // this side closed it, for the Reason
	Followed bool   `json:"followed,omitempty"` // and that was as the node had connected again
	Reset    bool   `json:"reset,omitempty"`    // the node's side reset it: what it had said last may be lost
}

// Lost tells that a node has lived on for a second without the control connection
// that it had. One that ends closes it a moment earlier.
type Lost struct{}

// Received is a message from a node, its address in the present protocol's
// names whatever dialect the node speaks.
type Received struct {
	Address string `json:"address"`
	Args    Args   `json:"args"`
	// Packet is the message in OSC, where Args does not come back from the log as it
	// was: see Args.Exact.
	Packet []byte `json:"packet,omitempty"`
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
	Why      string  `json:"why,omitempty"` // why it was not
	UserS    float64 `json:"user_s"`
	SystemS  float64 `json:"system_s"`
	MaxRSSKB int64   `json:"max_rss_kb"`
	Left     []int   `json:"left,omitempty"` // processes of its tree that outlived it and were killed
	// OutOfMemory is how many of its processes the kernel killed as they were at
	// their memory limit.
	OutOfMemory int    `json:"out_of_memory,omitempty"`
	Note        string `json:"note,omitempty"` // what else is known of its end
}

// Asked is a request to end, or another signal, to a node's present incarnation,
// which lived when it was asked. Which ends it makes asked-for, package roster says.
type Asked struct {
	By     string `json:"by"`               // "script", "fault" or "end"
	How    string `json:"how"`              // as package roster names it: "shutdown", "end", "stop", "signal", "kill", "may_exit"
	Signal string `json:"signal,omitempty"` // "TERM", …; "" for a message
}

// Scheduled is a fault that the script means to do: given to after, every or
// spawn, directly or as a function whose own text has one. It is closed by Fired,
// or by Abandoned, under the same id.
type Scheduled struct {
	ID    int64  `json:"id"`
	What  string `json:"what"` // "every(…, restart)"
	Where string `json:"where,omitempty"`
}

// Fired tells that what was scheduled has fired, for the first time where that is
// several times: a fault of it was planned, or the function came to its end without
// one.
type Fired struct {
	ID int64 `json:"id"`
}

// FaultPlanned is the intent to do something to nodes, logged before it is done.
// It is followed by FaultApplied or by Abandoned under the same id.
type FaultPlanned struct {
	ID     int64    `json:"id"`
	What   string   `json:"what"` // "kill", "pause", "resume", …
	Nodes  []string `json:"nodes"`
	Detail string   `json:"detail,omitempty"` // "HUP", "memory=64MiB", …
	// Links are the pairs of nodes between which it acts, where it acts on links.
	Links [][2]string `json:"links,omitempty"`
	// Lasting says that it stays in force until it is healed.
	Lasting bool `json:"lasting,omitempty"`
	// Harmless says that it harms nobody: it undoes a fault, or asks or tells
	// processes something by a signal that does not kill or stop them.
	Harmless bool   `json:"harmless,omitempty"`
	Where    string `json:"where,omitempty"` // file:line:col of the script
}

// FaultApplied tells that a fault has been applied, and whom it reached: To. Those
// whose process had ended before are Dead.
type FaultApplied struct {
	ID    int64    `json:"id"`
	TookS float64  `json:"took_s"`
	To    []string `json:"to"`
	Dead  []string `json:"dead,omitempty"`
	// Unseen says that what it touches may not be counted on this machine.
	Unseen bool `json:"unseen,omitempty"`
}

// FaultTouched tells what a fault has done in all. The log has it after the fault
// was applied, or for one that stays in force on links before it is healed.
type FaultTouched struct {
	ID int64 `json:"id"`
	Touched
}

// Touched counts what a fault has done: Processes for one of processes, and as
// link.Touched has it for one of links.
type Touched struct {
	Processes           int64 `json:"processes,omitempty"` // killed, stopped, limited or restarted
	BytesHeld           int64 `json:"bytes_held,omitempty"`
	ClosesHeld          int64 `json:"closes_held,omitempty"`
	BytesDelayed        int64 `json:"bytes_delayed,omitempty"`
	ClosesDelayed       int64 `json:"closes_delayed,omitempty"`
	BytesCorrupted      int64 `json:"bytes_corrupted,omitempty"`
	ConnectionsRefused  int64 `json:"connections_refused,omitempty"`
	ConnectionsReset    int64 `json:"connections_reset,omitempty"`
	ConnectionsSilent   int64 `json:"connections_silent,omitempty"`
	DatagramsLost       int64 `json:"datagrams_lost,omitempty"`
	DatagramsDelayed    int64 `json:"datagrams_delayed,omitempty"`
	DatagramsDuplicated int64 `json:"datagrams_duplicated,omitempty"`
	DatagramsReordered  int64 `json:"datagrams_reordered,omitempty"`
}

// Total is the sum of all counts.
func (t Touched) Total() int64 {
	return t.Processes + t.BytesHeld + t.ClosesHeld + t.BytesDelayed + t.ClosesDelayed + t.BytesCorrupted +
		t.ConnectionsRefused + t.ConnectionsReset + t.ConnectionsSilent +
		t.DatagramsLost + t.DatagramsDelayed + t.DatagramsDuplicated + t.DatagramsReordered
}

// FaultHealed tells that a fault that stays in force has been undone for nodes, or
// has ended with their processes.
type FaultHealed struct {
	ID    int64    `json:"id"`
	Nodes []string `json:"nodes"`
	// Unseen says that what it touched may not have been counted, as in FaultApplied.
	Unseen bool `json:"unseen,omitempty"`
}

// Abandoned tells that a fault that was scheduled or planned was not applied, or not
// to its end: what it touched all the same stands before it.
type Abandoned struct {
	ID     int64  `json:"id"`
	By     string `json:"by"` // "script", which cancelled it or was told by an error, or "end"
	Reason string `json:"reason"`
}

// Await is the beginning of a wait, AwaitEnded its end under the same id.
type Await struct {
	ID       int64    `json:"id"`
	What     string   `json:"what"`
	Nodes    []string `json:"nodes,omitempty"`
	TimeoutS float64  `json:"timeout_s"`
	Where    string   `json:"where,omitempty"` // file:line:col of the script
}

// AwaitEnded tells how a wait ended: "met", "timeout", "impossible" or
// "cancelled".
type AwaitEnded struct {
	ID      int64    `json:"id"`
	Outcome string   `json:"outcome"`
	WaitedS float64  `json:"waited_s"`
	Missing []string `json:"missing,omitempty"`
}

// Action is something that the script did to a node from outside of it, logged when it had
// come to its outcome: a command, a request, bytes over TCP. One that a wait tried again
// and again is told once.
type Action struct {
	What    string  `json:"what"`            // "GET client/health", "exec redis-cli ping"
	Outcome string  `json:"outcome"`         // "ok", "fail" or "info", of the last try
	TookS   float64 `json:"took_s"`          // of the last try
	Tries   int     `json:"tries,omitempty"` // where there was more than one
	Error   string  `json:"error,omitempty"`
}

// Invoke is the beginning of an operation on the system under test, Completed its end
// under the same number. Package history says what they tell.
type Invoke struct {
	Op      int    `json:"op"` // from 0
	Process int    `json:"process"`
	Client  string `json:"client,omitempty"`
	F       string `json:"f"`
	Key     JSON   `json:"key,omitempty"`
	Value   JSON   `json:"value,omitempty"`
	// At is when it was, in seconds since the start, where a node has told that and it is
	// not the event's own time; else 0.
	At float64 `json:"at,omitempty"`
}

// Completed tells what became of an operation: "ok", "fail" for surely not done, or
// "info" where nobody knows.
type Completed struct {
	Op      int     `json:"op"`
	Outcome string  `json:"outcome"`
	Result  JSON    `json:"result,omitempty"`
	Error   string  `json:"error,omitempty"`
	At      float64 `json:"at,omitempty"` // as of Invoke
}

// JSON is a value as JSON, valid UTF-8; "" is none.
type JSON string

// MarshalJSON returns the value as it is.
func (v JSON) MarshalJSON() ([]byte, error) {
	if v == "" {
		return []byte("null"), nil
	}
	return []byte(v), nil
}

// UnmarshalJSON takes a value as it is; null is none.
func (v *JSON) UnmarshalJSON(data []byte) error {
	if *v = JSON(data); *v == "null" {
		*v = ""
	}
	return nil
}

// Usage is what a node used at one moment, of all processes of its tree. It is logged as
// often as the setting usage says, for each node whose process runs.
type Usage struct {
	// CPUS is the processor time of the present incarnation so far, user and system, in
	// seconds. It never falls. What a process used whose parent had ended before it may be
	// missing, unless the node has a control group.
	CPUS float64 `json:"cpu_s"`
	// MemoryBytes is what its control group is charged with, caches included; without a
	// group the sum of what each process has in memory, where pages that processes share
	// count for each.
	MemoryBytes int64 `json:"memory_bytes"`
	Processes   int   `json:"processes"`
}

// Progress is how far the script says that it has come: N of Total.
type Progress struct {
	N     int64  `json:"n"`
	Total int64  `json:"total"`
	What  string `json:"what,omitempty"` // of what; each has a progress of its own
}

// Held is the beginning of a time in which the run is kept as it is, for a person to look
// at it, and Released its end. The time limit stands still meanwhile; what nodes do is in
// the log as ever.
type Held struct{}

// Released tells how long a run was Held, and why it went on.
type Released struct {
	HeldS float64 `json:"held_s"`
	Why   string  `json:"why"`
}

// Print is a line that the script printed.
type Print struct {
	Text  string `json:"text"`
	Where string `json:"where,omitempty"` // file:line:col of the script
}

// Notice is something a person should know that is no fault: a section that
// was skipped, a name that got no global.
type Notice struct {
	Text string `json:"text"`
}

// Finding is something that bears on the verdict. Package verdict says how.
type Finding struct {
	Outcome string   `json:"outcome"` // as that of Verdict; "passed" where it is only told
	Reason  string   `json:"reason"`
	Where   string   `json:"where,omitempty"`  // file:line:col of the script
	Nodes   []string `json:"nodes,omitempty"`  // whose doing it was, as far as that is known
	During  string   `json:"during,omitempty"` // "deferred", "teardown" or "end"
	Soft    bool     `json:"soft,omitempty"`   // the script went on
	Bug     bool     `json:"bug,omitempty"`    // of dagon-star
	Signal  int      `json:"signal,omitempty"` // the number of the signal that interrupted
}

// Verdict is what the run came to.
type Verdict struct {
	Outcome string `json:"outcome"` // "passed", "skipped", "inconclusive", "interrupted" or "failed"
	Reason  string `json:"reason,omitempty"`
	Where   string `json:"where,omitempty"` // file:line:col of the script
}

// RunFinished is the last event of a run that came to its end.
type RunFinished struct {
	DurationS  float64 `json:"duration_s"`
	LeftBehind []int   `json:"left_behind"` // processes that could not be ended
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
func (Setup) Kind() Kind        { return KindSetup }
func (Wiped) Kind() Kind        { return KindWiped }
func (Probe) Kind() Kind        { return KindProbe }
func (Connected) Kind() Kind    { return KindConnected }
func (Refused) Kind() Kind      { return KindRefused }
func (Disconnected) Kind() Kind { return KindDisconnected }
func (Lost) Kind() Kind         { return KindLost }
func (Received) Kind() Kind     { return KindReceived }
func (Sent) Kind() Kind         { return KindSent }
func (State) Kind() Kind        { return KindState }
func (Asked) Kind() Kind        { return KindAsked }
func (Exited) Kind() Kind       { return KindExited }
func (Scheduled) Kind() Kind    { return KindScheduled }
func (Fired) Kind() Kind        { return KindFired }
func (FaultPlanned) Kind() Kind { return KindFault }
func (FaultApplied) Kind() Kind { return KindApplied }
func (FaultTouched) Kind() Kind { return KindTouched }
func (FaultHealed) Kind() Kind  { return KindHealed }
func (Abandoned) Kind() Kind    { return KindAbandoned }
func (Await) Kind() Kind        { return KindAwait }
func (AwaitEnded) Kind() Kind   { return KindAwaitEnded }
func (Action) Kind() Kind       { return KindAction }
func (Invoke) Kind() Kind       { return KindInvoke }
func (Completed) Kind() Kind    { return KindCompleted }
func (Usage) Kind() Kind        { return KindUsage }
func (Progress) Kind() Kind     { return KindProgress }
func (Held) Kind() Kind         { return KindHeld }
func (Released) Kind() Kind     { return KindReleased }
func (Print) Kind() Kind        { return KindPrint }
func (Notice) Kind() Kind       { return KindNotice }
func (Finding) Kind() Kind      { return KindFinding }
func (Verdict) Kind() Kind      { return KindVerdict }
func (RunFinished) Kind() Kind  { return KindRunFinished }
func (u Unknown) Kind() Kind    { return u.Name }

// kinds has for each kind how its detail is made of the whole line that it
// stands in.
var kinds = map[Kind]func(line []byte) (Detail, error){
	KindRunStarted:   as[RunStarted],
	KindContained:    as[Contained],
	KindListening:    as[Listening],
	KindForked:       as[Forked],
	KindSetup:        as[Setup],
	KindWiped:        as[Wiped],
	KindProbe:        as[Probe],
	KindConnected:    as[Connected],
	KindRefused:      as[Refused],
	KindDisconnected: as[Disconnected],
	KindLost:         as[Lost],
	KindReceived:     as[Received],
	KindSent:         as[Sent],
	KindState:        as[State],
	KindAsked:        as[Asked],
	KindExited:       as[Exited],
	KindScheduled:    as[Scheduled],
	KindFired:        as[Fired],
	KindFault:        as[FaultPlanned],
	KindApplied:      as[FaultApplied],
	KindTouched:      as[FaultTouched],
	KindHealed:       as[FaultHealed],
	KindAbandoned:    as[Abandoned],
	KindAwait:        as[Await],
	KindAwaitEnded:   as[AwaitEnded],
	KindAction:       as[Action],
	KindInvoke:       as[Invoke],
	KindCompleted:    as[Completed],
	KindUsage:        as[Usage],
	KindProgress:     as[Progress],
	KindHeld:         as[Held],
	KindReleased:     as[Released],
	KindPrint:        as[Print],
	KindNotice:       as[Notice],
	KindFinding:      as[Finding],
	KindVerdict:      as[Verdict],
	KindRunFinished:  as[RunFinished],
}

// Kinds returns all kinds of events that this version knows, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }

func decode(kind Kind, line []byte) (Detail, error) {
	if make, ok := kinds[kind]; ok {
		return make(line)
	}
	return Unknown{Name: kind, Raw: bytes.Clone(line)}, nil
}

func as[D Detail](line []byte) (Detail, error) {
	var d D
	if err := exact.Unmarshal(line, &d); err != nil {
		return nil, err
	}
	return d, nil
}
