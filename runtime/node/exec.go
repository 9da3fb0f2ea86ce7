package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// Command is a command that is run beside a node.
type Command struct {
	Line  string   // for a shell; its placeholders are filled in
	Argv  []string // where there is no Line: words, of which each has its placeholders filled in
	Env   map[string]string
	Stdin string
	Check bool // an end other than exit code 0 is an error
}

// Exec runs a command as probe.Exec does, in the node's folder and environment, and as its
// user. inherited is the environment of this process. The node need not run.
func (n *Node) Exec(ctx context.Context, inherited []string, c Command) (*probe.Output, error) {
	b, err := n.m.Beside(n.Spec, inherited, c)
	if err != nil {
		return nil, err
	}
	if err := n.makeFolder(b.surroundings); err != nil {
		return nil, err
	}
	return probe.Exec(ctx, n.m.Processes, probe.Command{Node: n.Spec.Name, Argv: b.Argv, Env: b.Env(), Dir: b.Dir(),
		Credential: b.User(), Stdin: c.Stdin, Check: c.Check})
}

// Beside is a command beside a node, as it is started.
type Beside struct {
	Argv []string // its words, with their placeholders filled in
	surroundings
}

// Dir is the folder that it works in, absolute.
func (b *Beside) Dir() string { return b.dir }

// Env is its whole environment.
func (b *Beside) Env() []string { return b.env }

// User is whom it runs as; nil for who runs the run.
func (b *Beside) User() *process.Credential { return b.user }

// Beside returns what a command beside a node is started as. Of the means it needs those
// that say where nodes are and what is in their environment.
func (m *Means) Beside(spec *topology.Node, inherited []string, c Command) (*Beside, error) {
	in, err := m.surroundings(spec, inherited, ForkOptions{Env: c.Env}, "")
	if err != nil {
		return nil, err
	}
	b := &Beside{surroundings: in, Argv: make([]string, len(c.Argv))}
	fill := func(text string) (string, error) {
		filled, err := m.Topology.Expand(spec, m.Place(), text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", spec.Name, err)
		}
		return filled, nil
	}
	for i, word := range c.Argv {
		if b.Argv[i], err = fill(word); err != nil {
			return nil, err
		}
	}
	if c.Argv == nil {
		line, err := fill(c.Line)
		if err != nil {
			return nil, err
		}
		b.Argv = probe.Shell(line)
	}
	return b, nil
}

// makeFolder makes the node's working folder, where that is one of the run's, and gives it
// to its user.
func (n *Node) makeFolder(in surroundings) error {
	if !in.own {
		return nil
	}
	if err := makeFolder(in.dir); err != nil {
		return fmt.Errorf("%s: cannot make its working folder: %w", n.Spec.Name, err)
	}
	if in.user == nil {
		return nil
	}
	if err := os.Lchown(in.dir, int(in.user.UID), int(in.user.GID)); err != nil {
		return fmt.Errorf("%s: cannot give its working folder to %s: %w", n.Spec.Name, in.user.Name, err)
	}
	return nil
}

// File is the path of a file that is told relative to where the node works.
func (n *Node) File(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(n.m.Topology.WorkingFolder(n.Spec, n.m.Place()), name)
}
