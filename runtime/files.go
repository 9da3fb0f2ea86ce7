package runtime

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime/internal/openfiles"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// FilesError is that nodes cannot be forked, as this process may not have as many
// files open as that takes.
type FilesError struct {
	Nodes []string // to be forked
	Need  Need     // of files
	Limit int      // of this process
	Links bool     // nodes have links, whose connections take two files each
	Err   error    // of the system, or nil
}

func (e *FilesError) Error() string {
	nodes := strings.Join(e.Nodes, "")
	if len(e.Nodes) > 1 {
		nodes = fmt.Sprintf("%d nodes", len(e.Nodes))
	}
	cause := ""
	if e.Err != nil {
		cause = e.Err.Error() + "\n  "
	}
	links := ""
	if e.Links {
		links = ", and by 2 for each further connection through a link"
	}
	return fmt.Sprintf("%scannot fork %s: that takes %d open files, and this process may have %d: %s; "+
		"raise the limit to %d or more%s: by ulimit -n in the shell, by LimitNOFILE= of a service, by --ulimit nofile= of a container",
		cause, nodes, e.Need.sum(), e.Limit, e.Need, e.Need.sum(), links)
}

func (e *FilesError) Unwrap() error { return e.Err }

// Need is how many files are needed for what.
type Need struct {
	Open        int // that are open already
	Linked      int // connections through links: two of the open files are for each
	Outputs     int // of the nodes to be forked: a pipe for each of two streams, or a terminal
	Connections int // control connections, of these and of those that have not connected yet
	Ends        int // where the kernel tells of the end of each, if no keeper does
	Passing     int // that are open for a moment only: what is being started or refused, log files
}

func (n Need) sum() int { return n.Open + n.Outputs + n.Connections + n.Ends + n.Passing }

func (n Need) String() string {
	var parts []string
	open := "are open"
	switch {
	case n.Linked == 1:
		open += " (2 of them for a connection through a link)"
	case n.Linked > 1:
		open += fmt.Sprintf(" (%d of them for %d connections through links)", 2*n.Linked, n.Linked)
	}
	for _, part := range []struct {
		count int
		what  string
	}{
		{n.Open, open}, {n.Outputs, "are for the nodes' output"}, {n.Connections, "for their control connections"},
		{n.Ends, "to hear of their ends"}, {n.Passing, "for what is open for a moment only"},
	} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.what))
		}
	}
	return strings.Join(parts, ", ")
}

// passing is how many files may be open for a moment only as nodes are forked: each
// that starts one has the other ends of its pipes, and there may be 64 log files, and
// as many connections that are not known yet.
func passing(nodes int) int { return 4*min(nodes, startersAtOnce) + 2*min(nodes, 64) }

// needFor is what nodes need that are to be forked, where some files are open and some
// nodes have not connected yet.
func needFor(specs []*topology.Node, open, unconnected int, rung process.Rung) Need {
	need := Need{Open: open, Connections: unconnected + len(specs), Passing: passing(len(specs))}
	for _, spec := range specs {
		if need.Outputs++; !spec.TTY {
			need.Outputs++
		}
	}
	if rung == process.Bare {
		need.Ends = len(specs)
	}
	return need
}

// checkFiles returns a *FilesError if this process may not have as many files open as
// nodes need that are to be forked. It is looked at each time, for links and others
// open files as they are used. The lock is held.
func (r *Run) checkFiles(names []string) error {
	var specs []*topology.Node
	for _, name := range names {
		if n := r.nodes[name]; n != nil {
			specs = append(specs, n.Spec)
		}
	}
	open, limit, known := openfiles.Count()
	rung := r.Containment().Rung
	if !known || needFor(specs, open, len(r.order), rung).sum() <= limit { // also if none has connected yet
		return nil
	}
	unconnected := 0
	for _, n := range r.order {
		if n.Alive() && !n.Phoned && n.Phones() {
			unconnected++
		}
	}
	if e := r.filesError(specs, needFor(specs, open, unconnected, rung), limit); e.Need.sum() > limit {
		return e
	}
	return nil
}

func (r *Run) filesError(specs []*topology.Node, need Need, limit int) *FilesError {
	e := &FilesError{Need: need, Limit: limit}
	if r.network != nil {
		e.Links, e.Need.Linked = true, r.network.Connections()
	}
	for _, spec := range specs {
		e.Nodes = append(e.Nodes, spec.Name)
	}
	return e
}

// explainFiles says what files are needed for, where a node could not be forked as
// none could be opened. There may be some again: all were open then.
func (r *Run) explainFiles(n *node.Node, err error) error {
	_, limit, known := openfiles.Count()
	if !errors.Is(err, syscall.EMFILE) || !known {
		return err
	}
	specs := []*topology.Node{n.Spec}
	e := r.filesError(specs, needFor(specs, limit, 0, r.Containment().Rung), limit)
	e.Err = err
	return e
}
