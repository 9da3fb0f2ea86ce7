// Package node is one node of a run: the handles of its present incarnation, which are
// its process, its control connection and port, its token and its output, beside what
// the roster knows of it. It knows no other node, and nothing of faults.
//
// A node is born by a Birth, whose process may be started beside those of other
// nodes, and which is then logged. It is heard by Ready, Received and Disconnected,
// which the run's control.Handler passes on to it, and is spoken to by Send. An
// Incarnation is one process of it, which signals are sent to. Whatever ends that, the
// node logs it, after its output and its connection have been read to their ends.
//
// The journal's lock guards a node. Methods that need it held say so; the others take
// it themselves.
package node

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/address"
	"github.com/dagon-star/dagon-star/runtime/clock"
	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Means are what the nodes of one run have in common. They are not changed once there
// is a node.
type Means struct {
	Run       string   // its id
	Env       []string // KEY=VALUE, in the environment of each, whatever the ini says
	Journal   *journal.Journal
	Clock     *clock.Clock
	Processes process.Driver
	Control   *control.Server
	Shared    net.Addr // of Control, that all nodes share; nil where each has a port of its own
	NeedToken bool     // other machines reach Shared
	Topology  *topology.Topology
	Addresses *address.Addresses
	Folder    func(node string) string // that it works in, unless the ini says another
	Component string                   // the program that component= sections run
	Timeout   time.Duration            // of a setup, and of one try of a probe
	Grace     time.Duration            // from TERM to KILL
	Ended     context.Context          // done when the run is at its end
	Tasks     *sync.WaitGroup          // of the goroutines that watch and stop processes

	// Operation is called with the lock held for each message of a node, and records one
	// that tells of an operation: known is false for any other. The error is that of
	// one that is to be refused. It may be nil.
	Operation func(node string, m event.Received) (known bool, err error)
	// Gone is called with the lock held when a node's process has ended, before its
	// exit is logged.
	Gone func(node string)
	// Unasked is called with the lock held when the exit of a node that nobody asked
	// for has been logged, before the conditions of waits are checked.
	Unasked func(*ExitError)
}

// Place is where the nodes are, for placeholders.
func (m *Means) Place() topology.Place {
	return topology.Place{Addresses: m.Addresses, Folder: m.Folder}
}

// within returns a context that is done when a duration of the run's time has passed, for
// a cause.
func (m *Means) within(ctx context.Context, d time.Duration, late error) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithCancelCause(ctx)
	timer := m.Clock.AfterFunc(d, func() { cancel(late) })
	return bounded, func() {
		timer.Stop()
		cancel(nil)
	}
}

// Node is one node.
type Node struct {
	*roster.Node                // what is known of it
	Spec         *topology.Node // what the ini says of it
	Log          *output.Log    // what it writes

	m       *Means
	logFile string

	isSetUp bool    // its folder, by setup =
	wiping  bool    // its folder is being emptied
	prober  *prober // of the present incarnation; nil where the message alone tells that it is ready

	birth       *Birth      // of the next incarnation, while it is being forked
	token       string      // of the present incarnation
	showsToken  bool        // it has shown it, or will: who does not is another
	options     ForkOptions // of the present incarnation
	endedBefore bool        // its present incarnation, before it was allowed to exit
	blows       []blow      // signals of a crash that it was sent, of the present incarnation
	env         []string    // what the ini and the script set, of the present incarnation

	process process.Process // nil where its exit has been logged
	stopped *time.Duration  // when the present incarnation was sent its stop signal; nil where it was not
	port    *control.Port   // of its own, until its process has ended
	conn    *control.Conn
	losses  int // of connections so far
	callers int // connections that say they are its, and are not yet

	followed     *control.Conn // that another one closes, which has shown the token
	challenged   *control.Conn // that another of its connections wants to follow
	challengedAt time.Duration // since when
	gone         chan struct{} // closed when the incarnation's exit has been logged

	// asking is held by who asks the process to end, from the act until the
	// request is in the log, and taken whole by who logs its exit: so that what a
	// dead process was asked is not taken for the reason of its end. It is taken
	// before the journal's lock.
	asking sync.RWMutex
}

// New makes a node of the topology, which the roster of the journal has. logFile is the path of log.
func (m *Means) New(spec *topology.Node, log *output.Log, logFile string) *Node {
	return &Node{Node: m.Journal.Roster().Node(spec.Name), Spec: spec, Log: log, m: m, logFile: logFile}
}

// Conn is its control connection, or nil. The lock is held.
func (n *Node) Conn() *control.Conn { return n.conn }

// Port is its own port, until its process has ended; nil where it shares one. The lock
// is held.
func (n *Node) Port() *control.Port { return n.port }

// Running reports whether it has a process that has not ended, by the kernel's word at
// the moment of the call. The lock is held.
func (n *Node) Running() bool { return n.process != nil && n.process.Alive() }

// AllowExit allows the node to exit unasked, from now on and in all its incarnations.
// One that has ended before is judged without it. by says who allows it, for the log.
// The lock is held.
func (n *Node) AllowExit(by string) {
	n.endedBefore = n.endedBefore || !n.MayExit && n.process != nil && !n.process.Alive()
	n.m.Journal.Append(n.Name, event.Asked{By: by, How: roster.MayExit})
}

// tailLines is how many of a node's last lines an error quotes.
const tailLines = 10

// Tail returns the last lines that an incarnation of the node has written, for an error to
// quote.
func (n *Node) Tail(incarnation int) []string { return n.Log.TailOf(incarnation, tailLines) }

// ReadNow returns when what the node has written so far is in its log, where its
// process can be read out of turn.
func (n *Node) ReadNow() {
	n.m.Journal.Lock()
	p := n.process
	n.m.Journal.Unlock()
	if p, ok := p.(process.Reader); ok {
		p.ReadNow()
	}
}

// CloseLog closes its log. The error, a *journal.LogError, says that it could not be
// written, or is not what was written.
func (n *Node) CloseLog() error { return n.logError(n.Log.Close()) }

func (n *Node) logError(err error) error {
	if err == nil {
		return nil
	}
	return &journal.LogError{Err: fmt.Errorf("log of %s: %w", n.Spec.Name, err)}
}

// Info is what is known of a node at one moment.
type Info struct {
	Name        string
	Section     string // of the ini
	Role        topology.Role
	State       roster.State // "" where it was never forked
	PID         int          // of its present or last incarnation, 0 before its first
	Incarnation int          // 0 before its first
	Restarts    int          // incarnations after the first
	ExitCode    *int         // nil while it has not exited; -1 where a signal ended it
	Signal      string
	Connected   bool
	WasReady    bool // in its present incarnation, as WasDone
	WasDone     bool
	Finished    bool // it has reported its end, or exited as it was asked or allowed to
	MayExit     bool
	Paused      bool
	Args        []string          // its command line, program first
	Env         map[string]string // what the ini and the script set
	Options     map[string]string // its other keys in the ini, as they stand there
	Host        string            // its address, on which its endpoints are
	Endpoints   map[string]string // host:port by name
	LogFile     string
}

// Info returns what is known of the node now. The lock is held.
func (n *Node) Info() Info {
	info := Info{
		Name: n.Name, Section: n.Spec.Section, Role: n.Spec.Role, State: n.State,
		PID: n.PID, Incarnation: n.Incarnation, Restarts: max(0, n.Incarnation-1),
		Connected: n.Connected, WasReady: n.WasReady, WasDone: n.WasDone,
		Finished: n.State != "" && n.Finished(), MayExit: n.MayExit, Paused: n.Paused != 0, Args: slices.Clone(n.Argv),
		Env: map[string]string{}, Options: map[string]string{}, Endpoints: map[string]string{},
		LogFile: n.logFile,
	}
	if n.State == roster.StateExited {
		code := n.Exit.Code
		info.ExitCode, info.Signal = &code, n.Exit.Signal
	}
	if n.env == nil {
		for _, v := range n.Spec.Env {
			info.Env[v.Key] = v.Value
		}
	}
	for _, v := range n.env {
		info.Env[key(v)] = v[len(key(v))+1:]
	}
	for _, f := range n.Spec.Flags {
		info.Options[f.Key] = f.Value
	}
	info.Host = n.m.Addresses.Host(n.Spec.Name)
	maps.Copy(info.Endpoints, n.m.Addresses.Endpoints(n.Spec))
	return info
}
