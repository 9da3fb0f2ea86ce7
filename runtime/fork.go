package runtime

import (
	"context"
	"os"

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
// names. The first of them that cannot be forked is the error, as of Fork: those
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

	births   []*birth // in the order of names, as far as they were begun
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
		n.err = b.r.explainFiles(n.Node, n.Start(b.starting, b.inherited))
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

// conceive makes the birth of a node's next incarnation. The lock is held.
func (b *batch) conceive(name string) (*birth, error) {
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	n, err := b.r.node(name)
	switch {
	case err != nil:
		return nil, err
	case b.r.ending:
		return nil, ErrEnded
	}
	one, err := n.Conceive(randomHex(16), b.o)
	if err != nil {
		return nil, err
	}
	return &birth{Birth: one, at: len(b.births)}, nil
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
		b.births[b.logged].Settle(b.births[b.logged].err)
		b.births[b.logged] = nil
	}
}
