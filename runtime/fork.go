package runtime

import (
	"context"
	"os"
	"sync"

	"github.com/dagon-star/dagon-star/runtime/node"
)

// ForkOptions add to what the ini says of a node. Where both are nil they are those
// of the node's last fork.
type ForkOptions = node.ForkOptions

// Fork starts a node's process. It is a *StateError if the node runs already,
// a *process.StartError if its program cannot be started, a *node.SetupError if its setup
// failed.
func (r *Run) Fork(name string, o ForkOptions) error {
	return r.ForkAll(context.Background(), []string{name}, o)
}

// ForkAll starts the processes of nodes side by side, and logs them in the order of
// names. Before the first of them is started it runs the setups that they need, all at the
// same time, so that no process that runs waits for the setup of another. The first of them that cannot be forked is the error, as of Fork: those
// before it have been forked then, and few of those after it. It is a *FilesError, and
// none is forked, if this process may not have as many files open as they need. When
// ctx is done ForkAll returns its cause at once. What it was about to start is logged
// all the same.
func (r *Run) ForkAll(ctx context.Context, names []string, o ForkOptions) error {
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.forks, func() { cancel(context.Cause(r.forks)) })()
	b := &batch{r: r, ctx: ctx, starting: starting, names: names, o: o, inherited: os.Environ(), over: make(chan struct{})}
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
	starting  context.Context // of what they wait for
	inherited []string        // the environment of this process
	over      chan struct{}   // closed when nothing more is started or logged

	births   []*birth // by the places of their names; nil where there is none, or no more
	begun    int      // how many of them have been begun to be started
	logged   int      // how many of them are in the log
	starters int      // goroutines that start them
	failed   int      // the place of the name that err is about
	err      error    // the first in the order of names
}

// birth is one of a batch.
type birth struct {
	*node.Birth
	at    int // its place in the batch
	ended bool
	err   error // that Start ended with
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
	named := map[string]bool{}
	for _, name := range b.names {
		n, err := r.node(name)
		if err != nil {
			return err
		}
		if named[name] {
			return &StateError{Node: name, State: n.State, Text: "cannot fork it: it is named twice"}
		}
		named[name] = true
	}
	if err := r.checkFiles(b.names); err != nil {
		return err
	}
	b.births, b.starters = make([]*birth, len(b.names)), min(startersAtOnce, len(b.names))
	if b.starters == 0 {
		close(b.over)
	}
	needy := b.needy()
	if len(needy) == 0 {
		b.startAll()
		return nil
	}
	r.forking.Go(func() {
		b.setUp(needy)
		b.startAll()
	})
	return nil
}

// needy begins the births of the nodes that need a setup. The lock is held.
func (b *batch) needy() (needy []*birth) {
	for at, name := range b.names {
		if n := b.r.nodes[name]; !n.NeedsSetup() {
			continue
		}
		n, err := b.conceive(at)
		if err != nil {
			b.fail(at, err)
			break
		}
		b.births[at] = n
		needy = append(needy, n)
	}
	return needy
}

// setUp runs setups, and returns when all have ended.
func (b *batch) setUp(needy []*birth) {
	var running sync.WaitGroup
	places := make(chan struct{}, setupsAtOnce)
	for _, n := range needy {
		places <- struct{}{}
		running.Go(func() {
			if err := b.r.explainFiles(n.Node, n.SetUp(b.starting, b.inherited)); err != nil {
				b.r.j.Lock()
				b.fail(n.at, err)
				b.r.j.Unlock()
			}
			<-places
		})
	}
	running.Wait()
}

// setupsAtOnce is how many setups run at a time.
const setupsAtOnce = 64

func (b *batch) startAll() {
	for range b.starters {
		b.r.forking.Go(b.start)
	}
}

// start starts one after the other of the batch, until there are no more or one
// could not be started.
func (b *batch) start() {
	for {
		n := b.next()
		if n == nil {
			return
		}
		n.err = b.r.explainFiles(n.Node, n.Start(b.starting, b.inherited))
		b.ended(n)
	}
}

// next begins the next birth. It returns nil where there is none.
func (b *batch) next() *birth {
	r := b.r
	r.j.Lock()
	defer r.j.Unlock()
	if at := b.begun; at < len(b.names) && (b.err == nil || at < b.failed) {
		n, err := b.births[at], b.isOver()
		if n == nil && err == nil {
			n, err = b.conceive(at)
		}
		if err == nil {
			b.births[at] = n
			b.begun++
			return n
		}
		b.fail(at, err)
	}
	if b.starters--; b.starters > 0 {
		return nil
	}
	for _, n := range b.births[b.logged:] { // that were set up, and are not started
		if n != nil {
			n.Settle(b.err)
		}
	}
	close(b.over)
	return nil
}

// isOver is why nothing more may be started. The lock is held.
func (b *batch) isOver() error {
	switch {
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case b.r.ending:
		return ErrEnded
	}
	return nil
}

func (b *batch) fail(at int, err error) {
	if b.err == nil || at < b.failed {
		b.failed, b.err = at, err
	}
}

// conceive makes the birth of the next incarnation of the node at a place of the batch. The
// lock is held.
func (b *batch) conceive(at int) (*birth, error) {
	if err := b.isOver(); err != nil {
		return nil, err
	}
	n, err := b.r.node(b.names[at])
	if err != nil {
		return nil, err
	}
	one, err := n.Conceive(randomHex(16), b.o)
	if err != nil {
		return nil, err
	}
	return &birth{Birth: one, at: at}, nil
}

// ended logs a birth that has ended, and those after it that waited for it.
func (b *batch) ended(n *birth) {
	b.r.j.Lock()
	defer b.r.j.Unlock()
	n.ended = true
	if n.err != nil {
		b.fail(n.at, n.err)
	}
	for ; b.logged < b.begun && b.births[b.logged].ended; b.logged++ {
		b.births[b.logged].Settle(b.births[b.logged].err)
		b.births[b.logged] = nil
	}
}
