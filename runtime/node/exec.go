package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dagon-star/dagon-star/runtime/probe"
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
	in, err := n.surroundings(inherited, ForkOptions{Env: c.Env}, "")
	if err != nil {
		return nil, err
	}
	fill := func(text string) (string, error) {
		filled, err := n.m.Topology.Expand(n.Spec, n.m.Place(), text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", n.Spec.Name, err)
		}
		return filled, nil
	}
	argv := make([]string, len(c.Argv))
	for i, word := range c.Argv {
		if argv[i], err = fill(word); err != nil {
			return nil, err
		}
	}
	if c.Argv == nil {
		line, err := fill(c.Line)
		if err != nil {
			return nil, err
		}
		argv = probe.Shell(line)
	}
	if err := n.makeFolder(in); err != nil {
		return nil, err
	}
	return probe.Exec(ctx, n.m.Processes, probe.Command{Node: n.Spec.Name, Argv: argv, Env: in.env, Dir: in.dir,
		Credential: in.user, Stdin: c.Stdin, Check: c.Check})
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
