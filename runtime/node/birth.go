package node

import (
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

// ForkOptions add to what the ini says of a node. Where both are nil they are those
// of the node's last fork.
type ForkOptions struct {
	Args []string          // at the end of its command line
	Env  map[string]string // in its environment
}

// Birth is an incarnation of a node until it is in the log. Start is called first, and
// then Settle, each once.
type Birth struct {
	Node *Node

	incarnation int
	token       string
	options     ForkOptions
	settled     chan struct{} // closed when it is in the log, or was not to be

	// Of Start, until it has returned.
	port    *control.Port // of its own, or nil
	home    net.Addr      // that it phones
	argv    []string
	env     []string // what the ini and the script set
	process process.Process
}

// Conceive begins the birth of the node's next incarnation, with a token of its own. Who
// connects and says that it is the node's waits until it is settled. It is a
// *journal.StateError if the node runs or is being forked. The lock is held.
func (n *Node) Conceive(token string, o ForkOptions) (*Birth, error) {
	switch {
	case n.birth != nil:
		return nil, n.cannotFork("it is being forked")
	case n.Alive():
		return nil, n.cannotFork(fmt.Sprintf("it runs already, as pid %d", n.PID))
	}
	if o.Args == nil && o.Env == nil {
		o = n.options
	}
	n.birth = &Birth{Node: n, incarnation: n.Incarnation + 1, token: token, options: o, settled: make(chan struct{})}
	return n.birth, nil
}

func (n *Node) cannotFork(why string) error {
	return &journal.StateError{Node: n.Name, State: n.State, Text: "cannot fork it: " + why}
}

// Start starts the process. inherited is the environment of this process. The error is
// a *process.StartError if its program cannot be started.
func (b *Birth) Start(inherited []string) (err error) {
	n, m, name := b.Node, b.Node.m, b.Node.Spec.Name
	if b.home = m.Shared; b.home == nil {
		if b.port, err = m.Control.ListenFor("127.0.0.1", name, b.incarnation); err != nil {
			return fmt.Errorf("%s: control socket: %w", name, err)
		}
		b.home = b.port.Addr()
	}
	home := phoneHome(b.home)
	argv, env, dir, err := m.Topology.Command(n.Spec, m.Place(), home, m.Component)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.argv = append(argv, b.options.Args...)
	for _, k := range slices.Sorted(maps.Keys(b.options.Env)) {
		env = append(env, k+"="+b.options.Env[k])
	}
	b.env = env
	if dir == "" {
		dir = m.Folder(name)
		if err := makeFolder(dir); err != nil {
			return fmt.Errorf("%s: cannot make its working folder: %w", name, err)
		}
	}
	own := append([]string{"PWD=" + dir}, env...) // it is not the one that we were called in, but the ini may say another
	own = append(own, "DAGON_NAME="+name, "DAGON_ROLE="+string(n.Spec.Role), "DAGON_PHONE_HOME="+home, "DAGON_RUN="+m.Run,
		"DAGON_INCARNATION="+strconv.Itoa(b.incarnation), "DAGON_TOKEN="+b.token)
	own = append(own, m.Env...)
	n.Log.Begin(b.incarnation)
	if b.process, err = m.Processes.Start(process.Spec{
		Argv: b.argv, Env: lastOfEach(inherited, own), Dir: dir, TTY: n.Spec.TTY, TTYSize: process.Size(n.Spec.TTYSize),
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
		if b.port != nil {
			// Not here: it waits for strangers on it, and they for the lock.
			m.Tasks.Go(func() { b.port.Close() })
		}
		return
	}
	n.token, n.process, n.port, n.gone, n.options, n.env = b.token, b.process, b.port, make(chan struct{}), b.options, b.env
	n.showsToken = n.Spec.Component != "" && len(n.Spec.Wrapper) == 0 // a wrapper may keep the environment back
	n.blows, n.endedBefore = nil, false
	if b.port != nil {
		m.Journal.Append(n.Name, event.Listening{Address: b.home.String()})
	}
	m.Journal.Append(n.Name, event.Forked{PID: n.process.PID(), Incarnation: b.incarnation, Argv: b.argv})
	born, _ := n.Present()
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
