package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// actions are what has been opened for actions on nodes.
type actions struct {
	mu      sync.Mutex
	clients map[probe.Target]*probe.Client
	conns   map[*probe.Conn]bool
	closed  bool

	ended    context.Context // of the commands
	end      context.CancelCauseFunc
	commands sync.WaitGroup
}

// TLS says how a connection to a node is encrypted. The zero value is not at all.
type TLS struct {
	On bool
	CA string // a file of PEM certificates, relative to the node's folder; "" is those of the system
}

// target is a TCP endpoint of a node, which is reached itself, whatever a fault does to
// the links of nodes.
func (r *Run) target(name, endpoint string, t TLS) (probe.Target, error) {
	n, err := r.unlocked(name)
	if err != nil {
		return probe.Target{}, err
	}
	target := probe.Target{Node: name, Endpoint: endpoint, TLS: t.On}
	if t.CA != "" {
		target.CA = n.File(t.CA)
	}
	i := slices.IndexFunc(n.Spec.Endpoints, func(e topology.Endpoint) bool { return e.Name == endpoint })
	all := r.addresses.Endpoints(n.Spec)
	switch {
	case len(all) == 0:
		return target, fmt.Errorf("%s has no endpoint %q, as it has none: listen.%s = PORT in its section gives it one", name, endpoint, endpoint)
	case i < 0:
		return target, fmt.Errorf("%s has no endpoint %q%s", name, endpoint, oneOf(endpoint, slices.Sorted(maps.Keys(all))))
	case n.Spec.Endpoints[i].Network != "tcp":
		return target, fmt.Errorf("endpoint %q of %s is one of %s, and TCP is expected", endpoint, name, n.Spec.Endpoints[i].Network)
	}
	target.Address = all[endpoint]
	return target, nil
}

// oneOf says which name may have been meant.
func oneOf(name string, names []string) string {
	if near := topology.Nearest(name, names); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return fmt.Sprintf(" (there is %s)", strings.Join(names, ", "))
}

// HTTP sends a request to an endpoint of a node, over connections that are kept until the
// run ends: see probe.Client. The error of an action is a *probe.Error.
func (r *Run) HTTP(ctx context.Context, node, endpoint string, t TLS, request probe.Request) (*probe.Response, error) {
	target, err := r.target(node, endpoint, t)
	if err != nil {
		return nil, err
	}
	a := &r.actions
	a.mu.Lock()
	client := a.clients[target]
	switch {
	case a.closed:
		a.mu.Unlock()
		return nil, ErrEnded
	case client == nil:
		if a.clients == nil {
			a.clients = map[probe.Target]*probe.Client{}
		}
		client = probe.NewClient(target, 0)
		a.clients[target] = client
	}
	a.mu.Unlock()
	return client.Do(ctx, request)
}

// Dial connects to an endpoint of a node: see probe.Conn. The run's end closes what the
// caller does not. The error of an action is a *probe.Error.
func (r *Run) Dial(ctx context.Context, node, endpoint string, t TLS) (*probe.Conn, error) {
	target, err := r.target(node, endpoint, t)
	if err != nil {
		return nil, err
	}
	conn, err := probe.Dial(ctx, target, 0)
	if err != nil {
		return nil, err
	}
	a := &r.actions
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		conn.Close()
		return nil, ErrEnded
	}
	if a.conns == nil {
		a.conns = map[*probe.Conn]bool{}
	}
	a.conns[conn] = true
	return conn, nil
}

// Hangup closes a connection that Dial made.
func (r *Run) Hangup(conn *probe.Conn) error {
	r.actions.mu.Lock()
	delete(r.actions.conns, conn)
	r.actions.mu.Unlock()
	return conn.Close()
}

// Command is a command that is run beside a node: see node.Node.Exec.
type Command = node.Command

// Exec runs a command beside a node, which need not run: in its folder and environment, as
// its user, and contained as it is. It returns when nothing of it runs any more, at the
// latest at the end of the run. The error of an action is a *probe.Error.
func (r *Run) Exec(ctx context.Context, name string, c Command) (*probe.Output, error) {
	n, err := r.unlocked(name)
	if err != nil {
		return nil, err
	}
	a := &r.actions
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil, ErrEnded
	}
	a.commands.Add(1)
	a.mu.Unlock()
	defer a.commands.Done()
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.ended, func() { cancel(ErrEnded) })()
	return n.Exec(bounded, os.Environ(), c)
}

// close ends all that is under way, and closes all that is open.
func (a *actions) close() {
	a.mu.Lock()
	a.closed = true
	clients, conns := a.clients, a.conns
	a.clients, a.conns = nil, nil
	a.mu.Unlock()
	a.end(ErrEnded)
	a.commands.Wait()
	for _, client := range clients {
		client.Close()
	}
	for conn := range conns {
		conn.Close()
	}
}

// maxFile is how much of a file ReadFile reads.
const maxFile = 64 << 20

// ReadFile reads a file that a node has written, of up to 64 MiB. A relative path begins
// where the node works. The error is a *probe.Error: a file that is not there yet is an
// action that was surely not done.
func (r *Run) ReadFile(node, name string) ([]byte, error) {
	n, err := r.unlocked(node)
	if err != nil {
		return nil, err
	}
	data, err := userfile.Read(n.File(name), maxFile)
	if err != nil {
		problem := "it cannot be read"
		if errors.Is(err, fs.ErrNotExist) {
			problem = "there is no such file"
		}
		return nil, &probe.Error{Outcome: history.Fail, Action: "read " + name, Node: node, Problem: problem, Err: err}
	}
	return data, nil
}

// Acted logs an action that has come to its outcome, after so many tries.
func (r *Run) Acted(node, what string, tries int, took time.Duration, err error) {
	e := event.Action{What: what, Outcome: string(probe.OutcomeOf(err)), TookS: took.Truncate(time.Microsecond).Seconds()}
	if err != nil {
		e.Error = err.Error()
	}
	if tries > 1 {
		e.Tries = tries
	}
	r.j.Lock()
	defer r.j.Unlock()
	r.j.Append(node, e)
}
