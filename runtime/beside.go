package runtime

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dagon-star/dagon-star/runtime/address"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/folder"
	"github.com/dagon-star/dagon-star/runtime/node"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// addressesName is the file in a run's folder that says where its nodes are, for who looks
// at the run from another process.
const addressesName = "addresses.json"

// maxAddresses bounds it, in bytes.
const maxAddresses = 256 << 20

// ErrOver is the error of looking into a run that has ended.
var ErrOver = errors.New("the run is over")

// Beside is a command beside a node, as it is started: see node.Beside.
type Beside = node.Beside

// CommandBeside returns what a command is started as beside a node of a run that another
// process has under way, of which it knows what the run's folder tells: as Run.Exec starts
// it, but for who does. t is the topology of the run, inherited the environment of this
// process, component the program that runs components.
//
// It is ErrOver if the run has ended, and an error if the node does not run.
func CommandBeside(path string, t *topology.Topology, component, name string, inherited []string, c Command) (*Beside, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	spec := t.Find(name)
	if spec == nil {
		var names []string
		for _, n := range t.Nodes {
			names = append(names, n.Name)
		}
		return nil, fmt.Errorf("no node of the run is named %q%s", name, oneOf(name, names))
	}
	lives, err := folder.Lives(path)
	if err != nil {
		return nil, err
	}
	if !lives {
		return nil, ErrOver
	}
	id, err := whoRuns(path, spec.Name)
	if err != nil {
		return nil, err
	}
	data, err := userfile.Read(filepath.Join(path, addressesName), maxAddresses)
	if err != nil {
		return nil, fmt.Errorf("cannot read where the nodes are: %w", err)
	}
	addresses, err := address.Read(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, addressesName), err)
	}
	m := &node.Means{Run: id, Env: []string{folder.Variable + "=" + path}, Topology: t, Addresses: addresses, Component: component,
		Folder: func(name string) string { return filepath.Join(path, "nodes", name) }}
	return m.Beside(spec, inherited, c)
}

// whoRuns returns the id of a run, by its log, in which a node runs.
func whoRuns(path, node string) (id string, err error) {
	log, _, err := userfile.Open(filepath.Join(path, "events.jsonl"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	var state string
	var exit event.Exited
	var at time.Duration
	for e, err := range event.All(log) {
		if err != nil {
			return "", err
		}
		if d, ok := e.Detail.(event.RunStarted); ok {
			id = d.Run
		}
		if e.Node != node {
			continue
		}
		switch d := e.Detail.(type) {
		case event.State:
			state = d.To
		case event.Exited:
			exit, at = d, e.T
		}
	}
	switch State(state) {
	case "":
		return "", fmt.Errorf("%s does not run: it was not forked so far", node)
	case StateExited:
		return "", fmt.Errorf("%s does not run: it exited %s at %.3fs", node, roster.ExitText(exit.Code, exit.Signal), at.Seconds())
	}
	return id, nil
}
