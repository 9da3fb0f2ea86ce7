package node

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// ForkOptions add to what the ini says of a node. Where all are nil they are those
// of the node's last fork.
type ForkOptions struct {
	Args  []string          // at the end of its command line
	Words []string          // after them, with placeholders, which are filled in for each node
	Env   map[string]string // in its environment
	Where string            // who forks it, for the log: file:line:col of a script
}

// variables are those of Env, KEY=VALUE, in the order of their names.
func (o ForkOptions) variables() (env []string) {
	for _, k := range slices.Sorted(maps.Keys(o.Env)) {
		env = append(env, k+"="+o.Env[k])
	}
	return env
}

// Birth is an incarnation of a node until it is in the log. SetUp is called first, or left
// out, then Start, and then Settle, each once. After an error only Settle follows.
type Birth struct {
	Node *Node

	incarnation int
	token       string
	options     ForkOptions
	settled     chan struct{} // closed when it is in the log, or was not to be

	// Of SetUp and Start, until they have returned.
	in      *surroundings // nil before SetUp
	port    *control.Port // of its own, or nil
	home    net.Addr      // that it phones
	argv    []string
	env     []string // what the ini and the script set
	process process.Process
	prober  *prober // nil where the message alone tells that it is ready
}

// Conceive begins the birth of the node's next incarnation, with a token of its own. Who
// connects and says that it is the node's waits until it is settled. It is a
// *journal.StateError if the node runs or is being forked. The lock is held.
func (n *Node) Conceive(token string, o ForkOptions) (*Birth, error) {
	switch {
	case n.birth != nil:
		return nil, n.cannotFork("it is being forked")
	case n.wiping:
		return nil, n.cannotFork("its folder is being wiped")
	case n.Alive():
		return nil, n.cannotFork(fmt.Sprintf("it runs already, as pid %d", n.PID))
	}
	if o.Args == nil && o.Words == nil && o.Env == nil {
		where := o.Where
		o = n.options
		o.Where = where
	}
	n.birth = &Birth{Node: n, incarnation: n.Incarnation + 1, token: token, options: o, settled: make(chan struct{})}
	return n.birth, nil
}

func (n *Node) cannotFork(why string) error {
	return &journal.StateError{Node: n.Name, State: n.State, Text: "cannot fork it: " + why}
}

// NeedsSetup reports whether the node's setup is to be run before its next fork. The lock
// is held.
func (n *Node) NeedsSetup() bool { return n.Spec.Setup != "" && !n.isSetUp }

// SetUp prepares the node's folder. inherited is the environment of this process. The error
// is a *SetupError if its setup failed. A setup is ended when ctx is done; with the timeout
// of the run it is in any case.
func (b *Birth) SetUp(ctx context.Context, inherited []string) (err error) {
	n, m, name := b.Node, b.Node.m, b.Node.Spec.Name
	if b.home = m.Shared; b.home == nil {
		if b.port, err = m.Control.ListenFor("127.0.0.1", name, b.incarnation); err != nil {
			return fmt.Errorf("%s: control socket: %w", name, err)
		}
		b.home = b.port.Addr()
	}
	more := []string{"DAGON_PHONE_HOME=" + phoneHome(b.home), "DAGON_INCARNATION=" + strconv.Itoa(b.incarnation), "DAGON_TOKEN=" + b.token}
	in, err := m.surroundings(n.Spec, inherited, b.options, phoneHome(b.home), more...)
	if err != nil {
		return err
	}
	b.argv, b.env = append(in.argv, b.options.Args...), in.set
	for _, word := range b.options.Words {
		if word, err = m.Topology.Expand(n.Spec, m.Place(), word); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.argv = append(b.argv, word)
	}
	b.in = &in
	return n.prepare(ctx, in)
}

// Start starts the process, in surroundings that it makes if SetUp has not been called: its
// arguments and errors are as of that. The error is a *process.StartError if its program
// cannot be started.
func (b *Birth) Start(ctx context.Context, inherited []string) (err error) {
	if b.in == nil {
		if err := b.SetUp(ctx, inherited); err != nil {
			return err
		}
	}
	n, m, name, in := b.Node, b.Node.m, b.Node.Spec.Name, *b.in
	if err := n.squatted(ctx); err != nil {
		return err
	}
	if b.prober, err = b.newProber(&in); err != nil {
		return err
	}
	n.Log.Begin(b.incarnation)
	if b.process, err = m.Processes.Start(process.Spec{
		Argv: b.argv, Env: in.env, Dir: in.dir, Credential: in.user, TTY: n.Spec.TTY, TTYSize: process.Size(n.Spec.TTYSize),
		Tag: "DAGON_TOKEN=" + b.token, Stdout: n.Log.Stdout(), Stderr: n.Log.Stderr(),
	}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Settle logs that the node was forked, or forgets the birth where err is the error of
// Start. The lock is held.
func (b *Birth) Settle(err error) {
	n, m := b.Node, b.Node.m
	n.birth = nil
	defer close(b.settled)
	if err != nil {
		if b.prober != nil {
			b.prober.close()
		}
		if b.port != nil {
			// Not here: it waits for strangers on it, and they for the lock.
			m.Tasks.Go(func() { b.port.Close() })
		}
		return
	}
	n.token, n.process, n.port, n.gone, n.options, n.env = b.token, b.process, b.port, make(chan struct{}), b.options, b.env
	n.showsToken = n.Spec.Component != "" && len(n.Spec.Wrapper) == 0 // a wrapper may keep the environment back
	n.blows, n.endedBefore, n.stopped = nil, false, nil
	n.prober = b.prober
	if b.port != nil {
		m.Journal.Append(n.Name, event.Listening{Address: b.home.String()})
	}
	m.Journal.Append(n.Name, event.Forked{PID: n.process.PID(), Incarnation: b.incarnation, Argv: b.argv, Ready: readyKeys(n.Spec),
		Where: b.options.Where})
	born, _ := n.Present()
	born.beginProbing()
	if e, ok := born.Process.(process.Ender); ok {
		m.Tasks.Add(1)
		e.AfterEnd(func() {
			defer m.Tasks.Done()
			born.watch()
		})
		return
	}
	m.Tasks.Go(born.watch)
}

// AwaitBirth returns when the node is not being forked, or that is in the log. It is
// for who has heard of the node. The lock is held, and given back meanwhile.
func (n *Node) AwaitBirth() {
	for n.birth != nil {
		settled := n.birth.settled
		n.m.Journal.Unlock()
		<-settled
		n.m.Journal.Lock()
	}
}

// makeFolder makes a folder that is not there, with those that it is to be in, which
// mostly are: to ask for each of them first takes longer.
func makeFolder(path string) error {
	if os.Mkdir(path, 0o755) == nil {
		return nil
	}
	return os.MkdirAll(path, 0o755)
}

// phoneHome is the address that a node on this machine reaches a control socket by:
// one that listens everywhere is reached on the loopback, by IPv4, which all programs
// speak.
func phoneHome(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}

// lastOfEach keeps the last of each variable, as an environment with two of a
// name means different things to different programs.
func lastOfEach(inherited, own []string) []string {
	has := make(map[string]bool, len(inherited)+len(own))
	out := make([]string, 0, len(inherited)+len(own))
	for _, env := range [][]string{own, inherited} {
		for _, v := range slices.Backward(env) {
			if !has[key(v)] {
				has[key(v)] = true
				out = append(out, v)
			}
		}
	}
	slices.Reverse(out)
	return out
}

// key is the name in a KEY=VALUE of an environment.
func key(variable string) string {
	for i := 1; i < len(variable); i++ { // from 1: Windows has names that begin with "="
		if variable[i] == '=' {
			return variable[:i]
		}
	}
	return variable
}
