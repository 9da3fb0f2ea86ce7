package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// ForkOptions add to what the ini says of a node. Where both are nil they are those
// of the node's last fork.
type ForkOptions struct {
	Args []string          // at the end of its command line
	Env  map[string]string // in its environment
}

// Fork starts a node's process. It is a *StateError if the node runs already,
// a *process.StartError if its program cannot be started.
func (r *Run) Fork(name string, o ForkOptions) error {
	r.j.Lock()
	defer r.j.Unlock()
	n, err := r.node(name)
	switch {
	case err != nil:
		return err
	case r.ending:
		return ErrEnded
	case n.Alive():
		return &StateError{Node: name, State: n.State, Text: fmt.Sprintf("cannot fork it: it runs already, as pid %d", n.PID)}
	}
	if o.Args == nil && o.Env == nil {
		o = n.options
	}
	incarnation := n.Incarnation + 1
	home := r.shared
	var port *control.Port
	if home == nil {
		if port, err = r.drivers.control.ListenFor("127.0.0.1", name, incarnation); err != nil {
			return fmt.Errorf("%s: control socket: %w", name, err)
		}
		home = port.Addr()
	}
	argv, err := r.start(n, incarnation, phoneHome(home), o)
	if err != nil {
		if port != nil {
			// Not here: it waits for strangers on it, and they for the lock.
			r.tasks.Go(func() { port.Close() })
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	n.port = port
	if port != nil {
		r.j.Append(name, event.Listening{Address: home.String()})
	}
	r.j.Append(name, event.Forked{PID: n.process.PID(), Incarnation: incarnation, Argv: argv})
	r.tasks.Go(func() { r.watchExit(n, n.process, n.gone) })
	return nil
}

// start starts a node's process, and returns its command line. The lock is held, so that what the process
// does at once finds it forked.
func (r *Run) start(n *node, incarnation int, home string, o ForkOptions) ([]string, error) {
	argv, env, dir, err := r.cfg.Topology.Command(n.spec, r.addresses, home, r.cfg.Component)
	if err != nil {
		return nil, err
	}
	argv = append(argv, o.Args...)
	for _, k := range sortedKeys(o.Env) {
		env = append(env, k+"="+o.Env[k])
	}
	n.env = env
	token := randomHex(16)
	if dir == "" {
		dir = r.NodeFolder(n.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make its working folder: %w", err)
		}
	}
	// PWD is not the one that we were called in; what the ini says of it comes after.
	env = append(append(append(os.Environ(), "PWD="+dir), env...),
		"DAGON_NAME="+n.Name, "DAGON_ROLE="+string(n.spec.Role), "DAGON_PHONE_HOME="+home, "DAGON_RUN="+r.id,
		"DAGON_INCARNATION="+strconv.Itoa(incarnation), "DAGON_TOKEN="+token, folder.Variable+"="+r.folder.Path)
	n.log.Begin(incarnation)
	p, err := r.drivers.process.Start(process.Spec{
		Argv: argv, Env: lastOfEach(env), Dir: dir, TTY: n.spec.TTY, TTYSize: process.Size(n.spec.TTYSize), Tag: "DAGON_TOKEN=" + token,
		Stdout: n.log.Stdout(), Stderr: n.log.Stderr(),
	})
	if err != nil {
		return nil, err
	}
	n.token, n.process, n.gone, n.options = token, p, make(chan struct{}), o
	n.showsToken = n.spec.Component != "" && len(n.spec.Wrapper) == 0 // a wrapper may keep the environment back
	n.blows, n.endedBefore = nil, false
	clear(n.returned)
	return argv, nil
}

// Send sends a message to a node, in the dialect and framing that the node
// speaks. It is a *StateError if the node is not connected, and if it is told
// to start after it has reported done: what it did, it did unasked.
func (r *Run) Send(name string, m *osc.Message) error { return r.send("script", name, m) }

// send is Send, by whom is in the log where it asks the node to shut down.
func (r *Run) send(by, name string, m *osc.Message) error {
	r.j.Lock()
	n, err := r.node(name)
	if err == nil {
		err = r.sendable(n, m)
	}
	if err != nil {
		r.j.Unlock()
		return err
	}
	if m.Address == control.AddressShutdown {
		if n.process.Alive() {
			r.j.Append(name, event.Asked{By: by, How: roster.Shutdown})
		}
		if len(m.Arguments) == 0 {
			m = osc.NewMessage(m.Address, name)
		}
	}
	conn := n.conn
	r.j.Append(name, event.Sent{Address: m.Address, Args: m.Arguments})
	r.j.Unlock()
	if err := conn.Send(m); err != nil {
		return fmt.Errorf("%s: cannot send %s: %w", name, m.Address, err)
	}
	return nil
}

func (r *Run) sendable(n *node, m *osc.Message) error {
	cannot := func(why string) error {
		return &StateError{Node: n.Name, State: n.State, Text: "cannot send it " + m.Address + ": " + why}
	}
	switch {
	case n.State == "":
		return cannot("it has not been forked")
	case n.State == StateExited:
		return cannot("it has " + n.Note())
	case n.conn == nil:
		return cannot(cmp.Or(n.Note(), "its control connection is closed"))
	case m.Address == control.AddressStart && n.WasDone:
		return cannot("it reported done before it was started")
	}
	return nil
}

// Shutdown asks the nodes to shut down; wait for StateDoneShutdown to know
// that they have. These are left alone:
//   - nodes that were never forked, have exited, or have reported their end,
//   - one that has just closed its connection: whether it is about to exit, or
//     lost, shows in the wait.
func (r *Run) Shutdown(names []string) error { return r.shutdown("script", names) }

func (r *Run) shutdown(by string, names []string) error {
	var errs []error
	for _, name := range names {
		r.j.Lock()
		n, err := r.node(name)
		needed := err == nil && n.Alive() && !n.Finished() && !(n.WasReady && n.conn == nil && !n.Lost)
		connected := needed && n.conn != nil
		r.j.Unlock()
		if needed {
			if err = r.send(by, name, osc.NewMessage(control.AddressShutdown)); connected {
				err = nil // it closed its connection at this moment
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MayExit allows the nodes to exit unasked, from now on and in all their
// incarnations. One that has ended before is judged without it.
func (r *Run) MayExit(names []string) error {
	r.j.Lock()
	defer r.j.Unlock()
	for _, name := range names {
		n, err := r.node(name)
		if err != nil {
			return err
		}
		n.endedBefore = n.endedBefore || !n.MayExit && n.process != nil && !n.process.Alive()
		r.j.Append(name, event.Asked{By: "script", How: roster.MayExit})
	}
	return nil
}

// phoneHome is the address that a node on this machine reaches the control
// socket by: one that listens everywhere is reached on the loopback, by IPv4,
// which all programs speak.
func phoneHome(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// lastOfEach keeps the last of each variable, as an environment with two of a
// name means different things to different programs.
func lastOfEach(env []string) []string {
	last := map[string]int{}
	for i, v := range env {
		last[key(v)] = i
	}
	out := make([]string, 0, len(last))
	for i, v := range env {
		if last[key(v)] == i {
			out = append(out, v)
		}
	}
	return out
}
