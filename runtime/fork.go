package runtime

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
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/process"
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
	return r.ForkAll(context.Background(), []string{name}, o)
}

// ForkAll starts the processes of nodes side by side, and logs them in the order of
// names. The first of them that cannot be forked is the error, as of Fork: those
// before it have been forked then, and few of those after it. It is a *FilesError, and
// none is forked, if this process may not have as many files open as they need. When
// ctx is done ForkAll returns its cause at once. What it was about to start is logged
// all the same.
func (r *Run) ForkAll(ctx context.Context, names []string, o ForkOptions) error {
	b := &batch{r: r, ctx: ctx, names: names, o: o, inherited: os.Environ(), named: map[string]bool{}, over: make(chan struct{})}
	if err := b.begin(); err != nil {
		return err
	}
	select {
	case <-b.over:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// batch is nodes that are forked together. The journal's lock guards what is below.
type batch struct {
	r         *Run
	ctx       context.Context
	names     []string
	o         ForkOptions
	inherited []string      // the environment of this process
	over      chan struct{} // closed when nothing more is started or logged

	named    map[string]bool
	births   []*birth // in the order of names, as far as they were begun
	logged   int      // how many of them are in the log
	starters int      // goroutines that start them
	failed   int      // the place of the name that err is about
	err      error    // the first in the order of names
}

// birth is an incarnation of a node until it is in the log.
type birth struct {
	n           *node
	at          int // its place in the batch
	incarnation int
	token       string
	options     ForkOptions
	settled     chan struct{} // closed when it is in the log, or was not to be

	// Of the starter, until it is ended.
	ended   bool
	err     error
	port    *control.Port // of its own, or nil
	home    net.Addr      // that it phones
	argv    []string
	env     []string // what the ini and the script set
	process process.Process
}

// startersAtOnce is how many processes are being started at a time. Two are forked
// at a time; for the others there are folders to be made and pipes to be opened.
const startersAtOnce = 8

func (b *batch) begin() error {
	r := b.r
	r.j.Lock()
	defer r.j.Unlock()
	if r.ending {
		return ErrEnded
	}
	if err := r.checkFiles(b.names); err != nil {
		return err
	}
	b.starters = min(startersAtOnce, len(b.names))
	if b.starters == 0 {
		close(b.over)
	}
	for range b.starters {
		r.forking.Go(b.start)
	}
	return nil
}

// start starts one after the other of the batch, until there are no more or one
// could not be started.
func (b *batch) start() {
	for {
		n := b.next()
		if n == nil {
			return
		}
		n.err = b.r.explainFiles(n.n, b.r.start(n, b.inherited))
		b.ended(n)
	}
}

// next begins the next birth. It returns nil where there is none.
func (b *batch) next() *birth {
	r := b.r
	r.j.Lock()
	defer r.j.Unlock()
	at := len(b.births)
	if b.err == nil && at < len(b.names) {
		n, err := b.conceive(b.names[at])
		if err == nil {
			b.births = append(b.births, n)
			return n
		}
		b.fail(at, err)
	}
	if b.starters--; b.starters == 0 {
		close(b.over)
	}
	return nil
}

func (b *batch) fail(at int, err error) {
	if b.err == nil || at < b.failed {
		b.failed, b.err = at, err
	}
}

// conceive makes the birth of a node's next incarnation. Who connects and says that
// it is the node's waits until it is in the log. The lock is held.
func (b *batch) conceive(name string) (*birth, error) {
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	n, err := b.r.node(name)
	cannot := func(format string, args ...any) (*birth, error) {
		return nil, &StateError{Node: name, State: n.State, Text: "cannot fork it: " + fmt.Sprintf(format, args...)}
	}
	switch {
	case err != nil:
		return nil, err
	case b.r.ending:
		return nil, ErrEnded
	case b.named[name]:
		return cannot("it is named twice")
	case n.birth != nil:
		return cannot("it is being forked")
	case n.Alive():
		return cannot("it runs already, as pid %d", n.PID)
	}
	b.named[name] = true
	n.birth = &birth{n: n, at: len(b.births), incarnation: n.Incarnation + 1, token: randomHex(16), options: b.o, settled: make(chan struct{})}
	if b.o.Args == nil && b.o.Env == nil {
		n.birth.options = n.options
	}
	return n.birth, nil
}

// ended logs a birth that has ended, and those after it that waited for it.
func (b *batch) ended(n *birth) {
	b.r.j.Lock()
	defer b.r.j.Unlock()
	n.ended = true
	if n.err != nil {
		b.fail(n.at, n.err)
	}
	for ; b.logged < len(b.births) && b.births[b.logged].ended; b.logged++ {
		b.r.settle(b.births[b.logged])
		b.births[b.logged] = nil
	}
}

// settle logs that a node was forked, or forgets it where it was not. The lock is
// held.
func (r *Run) settle(b *birth) {
	n := b.n
	n.birth = nil
	defer close(b.settled)
	if b.err != nil {
		if b.port != nil {
			// Not here: it waits for strangers on it, and they for the lock.
			r.tasks.Go(func() { b.port.Close() })
		}
		return
	}
	n.token, n.process, n.port, n.gone, n.options, n.env = b.token, b.process, b.port, make(chan struct{}), b.options, b.env
	n.showsToken = n.spec.Component != "" && len(n.spec.Wrapper) == 0 // a wrapper may keep the environment back
	n.blows, n.endedBefore = nil, false
	if b.port != nil {
		r.j.Append(n.Name, event.Listening{Address: b.home.String()})
	}
	r.j.Append(n.Name, event.Forked{PID: n.process.PID(), Incarnation: b.incarnation, Argv: b.argv})
	p, gone := n.process, n.gone
	if e, ok := p.(process.Ender); ok {
		r.tasks.Add(1)
		e.AfterEnd(func() {
			defer r.tasks.Done()
			r.watchExit(n, p, gone)
		})
		return
	}
	r.tasks.Go(func() { r.watchExit(n, p, gone) })
}

// start starts the process of a birth.
func (r *Run) start(b *birth, inherited []string) (err error) {
	n := b.n
	if b.home = r.shared; b.home == nil {
		if b.port, err = r.drivers.control.ListenFor("127.0.0.1", n.Name, b.incarnation); err != nil {
			return fmt.Errorf("%s: control socket: %w", n.Name, err)
		}
		b.home = b.port.Addr()
	}
	home := phoneHome(b.home)
	argv, env, dir, err := r.cfg.Topology.Command(n.spec, r.addresses, home, r.cfg.Component)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	b.argv = append(argv, b.options.Args...)
	for _, k := range sortedKeys(b.options.Env) {
		env = append(env, k+"="+b.options.Env[k])
	}
	b.env = env
	if dir == "" {
		dir = r.NodeFolder(n.Name)
		if err := makeFolder(dir); err != nil {
			return fmt.Errorf("%s: cannot make its working folder: %w", n.Name, err)
		}
	}
	own := append([]string{"PWD=" + dir}, env...) // it is not the one that we were called in, but the ini may say another
	own = append(own, "DAGON_NAME="+n.Name, "DAGON_ROLE="+string(n.spec.Role), "DAGON_PHONE_HOME="+home, "DAGON_RUN="+r.id,
		"DAGON_INCARNATION="+strconv.Itoa(b.incarnation), "DAGON_TOKEN="+b.token, folder.Variable+"="+r.folder.Path)
	n.log.Begin(b.incarnation)
	if b.process, err = r.drivers.process.Start(process.Spec{
		Argv: b.argv, Env: lastOfEach(inherited, own), Dir: dir, TTY: n.spec.TTY, TTYSize: process.Size(n.spec.TTYSize), Tag: "DAGON_TOKEN=" + b.token,
		Stdout: n.log.Stdout(), Stderr: n.log.Stderr(),
	}); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// makeFolder makes a folder that is not there, with those that it is to be in, which
// mostly are: to ask for each of them first takes longer.
func makeFolder(path string) error {
	if os.Mkdir(path, 0o755) == nil {
		return nil
	}
	return os.MkdirAll(path, 0o755)
}

// phoneHome is the address that a node on this machine reaches the control
// socket by: one that listens everywhere is reached on the loopback, by IPv4,
// which all programs speak.
func phoneHome(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

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
