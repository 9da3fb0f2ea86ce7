package runtime

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/process"
)

const (
	// lostAfter is how long a node may live on without its control connection
	// before it counts as lost: one that ends closes it a moment earlier.
	lostAfter = time.Second
	// hearOut bounds how long a dead node's connection is read to its end.
	// Only a descendant that inherited the socket can keep it open.
	hearOut = time.Second
)

// ForkOptions add to what the ini says of a node, for one incarnation.
type ForkOptions struct {
	Args []string          // at the end of its command line
	Env  map[string]string // in its environment
}

// Fork starts a node's process. It is a *StateError if the node runs already,
// a *process.StartError if its program cannot be started.
func (r *Run) Fork(name string, o ForkOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.node(name)
	switch {
	case err != nil:
		return err
	case r.ending:
		return ErrEnded
	case n.alive():
		return &StateError{Node: name, State: n.state, Text: fmt.Sprintf("cannot fork it: it runs already, as pid %d", n.pid)}
	}
	incarnation := n.incarnation + 1
	home := r.shared
	var port *control.Port
	if home == nil {
		if port, err = r.drivers.control.ListenFor("127.0.0.1", name, incarnation); err != nil {
			return fmt.Errorf("%s: control socket: %w", name, err)
		}
		home = port.Addr()
	}
	if err := r.start(n, incarnation, phoneHome(home), o); err != nil {
		if port != nil {
			// Not here: it waits for strangers on it, and they for the lock.
			r.tasks.Go(func() { port.Close() })
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	n.port = port
	if port != nil {
		r.record(name, event.Listening{Address: home.String()})
	}
	r.record(name, event.Forked{PID: n.process.PID(), Incarnation: incarnation, Argv: n.argv})
	r.tasks.Go(func() { r.watchExit(n, n.process, n.gone) })
	return nil
}

// start starts a node's process. The lock is held, so that what the process
// does at once finds it forked.
func (r *Run) start(n *node, incarnation int, home string, o ForkOptions) error {
	argv, env, dir, err := r.cfg.Topology.Command(n.spec, r.addresses, home, r.cfg.Component)
	if err != nil {
		return err
	}
	argv = append(argv, o.Args...)
	for _, k := range sortedKeys(o.Env) {
		env = append(env, k+"="+o.Env[k])
	}
	n.env = env
	token := randomHex(16)
	env = append(append(os.Environ(), env...),
		"DAGON_NAME="+n.spec.Name, "DAGON_PHONE_HOME="+home, "DAGON_RUN="+r.id,
		"DAGON_INCARNATION="+strconv.Itoa(incarnation), "DAGON_TOKEN="+token, folder.Variable+"="+r.folder.Path)
	if dir == "" {
		dir = r.NodeFolder(n.spec.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make its working folder: %w", err)
		}
	}
	n.log.Begin(incarnation)
	p, err := r.drivers.process.Start(process.Spec{
		Argv: argv, Env: lastOfEach(env), Dir: dir, TTY: n.spec.TTY, Tag: "DAGON_TOKEN=" + token,
		Stdout: n.log.Stdout(), Stderr: n.log.Stderr(),
	})
	if err != nil {
		return err
	}
	n.argv, n.token, n.process, n.gone, n.options = argv, token, p, make(chan struct{}), o
	n.showsToken = n.spec.Component != "" && len(n.spec.Wrapper) == 0 // a wrapper may keep the environment back
	n.stopAsked, n.signalled, n.neededKill, n.lost, n.sent = false, false, false, false, nil
	clear(n.returned)
	clear(n.outputRead)
	return nil
}

// watchExit waits for a node's end and logs it: after its output and its
// control connection have been read to their ends, for what it said last it
// said before it exited.
func (r *Run) watchExit(n *node, p process.Process, gone chan struct{}) {
	<-p.Done()
	n.log.End()
	r.mu.Lock()
	port := n.port
	n.port = nil
	r.mu.Unlock()
	timer := time.NewTimer(hearOut)
	defer timer.Stop()
	if port != nil {
		port.Close()
		select {
		case <-port.Heard():
		case <-timer.C:
			timer.Reset(0)
		}
	}
	r.mu.Lock()
	conn := n.conn
	r.mu.Unlock()
	if conn != nil {
		select {
		case <-conn.Closed():
		case <-timer.C:
			conn.Close()
			<-conn.Closed()
		}
	}
	output := n.log.Tail(tailLines)
	exit := p.Exit()

	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(gone)
	n.process = nil
	r.endFaults(n)
	lived := r.Elapsed() - n.forkedAt
	before := n.state
	exited := event.Exited{
		PID: p.PID(), Code: exit.Code, Signal: exit.Signal, Expected: n.expects(exit),
		UserS: exit.User.Seconds(), SystemS: exit.System.Seconds(), MaxRSSKB: exit.MaxRSS >> 10, Left: exit.Left,
		OutOfMemory: exit.OutOfMemory, Note: exit.Note,
	}
	if exited.Expected {
		r.record(n.spec.Name, exited)
		return
	}
	unasked := &ExitError{Node: n.spec.Name, Code: exit.Code, Signal: exit.Signal, Before: before,
		Lived: lived, Asked: n.stopAsked, Note: note(exit), Output: output}
	if !n.wasReady {
		unasked.Refusal = n.refusal
	}
	// The waits end by the unasked exit, whatever else it makes impossible.
	r.hushed = true
	r.record(n.spec.Name, exited)
	r.hushed = false
	if r.ending {
		r.violations = append(r.violations, unasked.Error())
	}
	r.abort(unasked)
	r.ask(false)
}

// note says what is known of an exit beside its code.
func note(e process.Exit) string {
	if e.OutOfMemory > 0 {
		return strings.TrimSuffix(fmt.Sprintf("the kernel killed %d of its processes as it ran out of the memory it is limited to; %s", e.OutOfMemory, e.Note), "; ")
	}
	return e.Note
}

// Send sends a message to a node, in the dialect and framing that the node
// speaks. It is a *StateError if the node is not connected, and if it is told
// to start after it has reported done: what it did, it did unasked.
func (r *Run) Send(name string, m *osc.Message) error {
	r.mu.Lock()
	n, err := r.node(name)
	if err == nil {
		err = r.sendable(n, m)
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	if m.Address == control.AddressShutdown {
		n.stopAsked = true
		if len(m.Arguments) == 0 {
			m = osc.NewMessage(m.Address, name)
		}
	}
	conn := n.conn
	r.record(name, event.Sent{Address: m.Address, Args: m.Arguments})
	r.mu.Unlock()
	if err := conn.Send(m); err != nil {
		return fmt.Errorf("%s: cannot send %s: %w", name, m.Address, err)
	}
	return nil
}

func (r *Run) sendable(n *node, m *osc.Message) error {
	cannot := func(why string) error {
		return &StateError{Node: n.spec.Name, State: n.state, Text: "cannot send it " + m.Address + ": " + why}
	}
	switch {
	case n.state == "":
		return cannot("it has not been forked")
	case n.state == StateExited:
		return cannot("it has exited " + ending(n.exit.Code, n.exit.Signal))
	case n.conn == nil:
		return cannot(cmp.Or(n.note(), "its control connection is closed"))
	case m.Address == control.AddressStart && n.wasDone:
		return cannot("it reported done before it was started")
	}
	return nil
}

// Shutdown asks the nodes to shut down; wait for StateDoneShutdown to know
// that they have. Nodes that were never forked, have exited, or have reported
// their end already are left alone, and so is one that has just closed its
// connection: whether it is about to exit, or lost, shows in the wait.
func (r *Run) Shutdown(names []string) error {
	var errs []error
	for _, name := range names {
		r.mu.Lock()
		n, err := r.node(name)
		needed := err == nil && n.alive() && !n.finished() && !(n.wasReady && n.conn == nil && !n.lost)
		var conn *control.Conn
		if needed {
			n.stopAsked = true
			conn = n.conn
		}
		r.mu.Unlock()
		if needed {
			if err = r.Send(name, osc.NewMessage(control.AddressShutdown)); err != nil && conn != nil {
				err = nil // it closed its connection at this moment
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MayExit allows the nodes to exit unasked, from now on and in all their
// incarnations.
func (r *Run) MayExit(names []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		n, err := r.node(name)
		if err != nil {
			return err
		}
		n.mayExit = true
	}
	return nil
}

// handler is the Run as the control socket sees it.
type handler Run

// Ready believes a connection, or says why not. Where only this machine reaches
// the socket, a node need not show its token, for a program that knows nothing
// of it may be one; but one that has, or is built in and always does, cannot be
// mistaken for another that has only heard its name. The reason goes to the log
// alone: who is refused is told nothing.
func (h *handler) Ready(c *control.Conn, hello control.Hello) error {
	r := (*Run)(h)
	r.mu.Lock()
	defer r.mu.Unlock()
	if hello.ForNode != "" && hello.Name != hello.ForNode {
		return fmt.Errorf("it says it is %q, and this port is that of %s", hello.Name, hello.ForNode)
	}
	n := r.nodes[hello.Name]
	switch {
	case n == nil:
		return fmt.Errorf("no node of this run is named %q", hello.Name)
	case hello.Run != "" && hello.Run != r.id:
		return fmt.Errorf("%s belongs to run %q, this is run %s", hello.Name, hello.Run, r.id)
	case !n.alive():
		return fmt.Errorf("%s is not running", hello.Name)
	case hello.Incarnation != 0 && hello.Incarnation != n.incarnation,
		hello.ForIncarnation != 0 && hello.ForIncarnation != n.incarnation:
		return fmt.Errorf("it is incarnation %d of %s, the present one is %d",
			cmp.Or(hello.Incarnation, hello.ForIncarnation), hello.Name, n.incarnation)
	case (hello.Token != "" || r.needToken || n.showsToken) && subtle.ConstantTimeCompare([]byte(hello.Token), []byte(n.token)) == 0:
		return fmt.Errorf("the token is not that of %s: DAGON_TOKEN of its environment is expected", hello.Name)
	case n.conn != nil:
		return fmt.Errorf("%s is already connected, from %s", hello.Name, n.conn.Peer())
	}
	n.conn, n.lost = c, false
	n.showsToken = n.showsToken || hello.Token != ""
	r.record(hello.Name, event.Connected{Peer: c.Peer()})
	r.record(hello.Name, event.Received{Address: control.AddressReady, Args: event.Args{hello.Name}})
	return nil
}

// Received logs a message.
func (h *handler) Received(c *control.Conn, m *osc.Message) {
	r := (*Run)(h)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[c.Name()]; n != nil && n.conn == c {
		r.record(c.Name(), event.Received{Address: m.Address, Args: m.Arguments})
	}
}

// Disconnected logs the end of a connection. A node that ends closes it; one
// that lives on without it is lost.
func (h *handler) Disconnected(c *control.Conn, reason string) {
	r := (*Run)(h)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[c.Name()]
	if n == nil || n.conn != c {
		return
	}
	n.conn = nil
	r.record(c.Name(), event.Disconnected{Peer: c.Peer(), Reason: reason})
	incarnation := n.incarnation
	time.AfterFunc(lostAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n.alive() && n.incarnation == incarnation && n.conn == nil {
			n.lost = true
			r.ask(false)
		}
	})
}

// Refused logs a connection or a message that was turned away.
func (h *handler) Refused(node, peer, reason string) {
	r := (*Run)(h)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record(node, event.Refused{Peer: peer, Reason: reason})
}

// Failed ends the run: no node could be heard any more.
func (h *handler) Failed(err error) {
	(*Run)(h).Abort(fmt.Errorf("control socket: %w", err))
}
