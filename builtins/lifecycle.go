package builtins

import (
	"context"
	"errors"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func lifecycle() family {
	return family{"lifecycle", "Boot nodes, talk to them, and shut them down.", []builtin{
		{"fork", "nodes, args=None, env=None", "Starts the process of each node, with args added to the end of its command line and env to its environment. args is a list of words, taken as they are, or a text, which is taken apart as a command of the ini is, with the placeholders filled in for each node; \"\" has none. Before its first process the node's setup is run. Where neither is given they are those of the node's last fork; args=[] has none of either. It returns when the process runs, which says nothing of its being ready. It is an error if a node runs already, its setup fails, or its program cannot be started. Example: fork(worker_1, args=[\"--verbose\"]).", fork},
		{"boot", "nodes, args=None, env=None, timeout=None", "Forks nodes as fork does, all at the same time, and waits until each is ready as await_ready does. Example: boot(worker_1, \"--verbose --name-of-leader <leader>\").", boot},
		{"await_ready", "nodes, timeout=None", "Waits until every node is ready: until all the ready keys of its section hold, or without any of them until it has reported ready. It is an error for a node with command = and without ready keys. It ends at once with an error if one exits before, or cannot be ready any more. timeout is a duration; without it config.timeout. Example: await_ready(workers, timeout=\"5s\").", awaitState(runtime.StateReady)},
		{"send", "nodes, address, *args, types=None", "Sends a message to each node. \"start\" is the same as \"/start\"; any other address is the user's own. An int is sent as i, or h where it is larger; a float as f, True and False as T and F, None as N, a string as s, bytes as b, a list as an array; types = \"hd\" says otherwise, with one OSC type tag for each argument. A value that does not fit its type is an error, and so is a node that is not connected. Example: send(senders, \"start\").", send},
		{"await_done", "nodes, timeout=None", "Waits until every node has reported done; done_shutdown implies it. It ends at once with an error if one exits before. timeout is as for await_ready. Example: await_done(senders + receivers).", awaitState(runtime.StateDone)},
		{"shutdown", "nodes, timeout=None", "Asks the nodes to shut down, all at the same time, and waits until each has reported done_shutdown or exited. A node without a control connection is sent the stop signal of its section, TERM. A node that has done so already, has exited, or was never forked is left alone. timeout is as for await_ready. Example: shutdown(workers).", shutdown},
		{"await_exit", "nodes, timeout=None", "Waits until the process of every node has ended. timeout is as for await_ready. Example: await_exit(sender, timeout=60).", awaitState(runtime.StateExited)},
		{"wipe", "nodes", "Empties the folders of nodes that do not run. Their setups are run again before their next forks. It is an error for a node that runs, and for one with cwd =. Example: wipe(worker_1).", wipe},
		{"may_exit", "nodes", "Allows the nodes to exit unasked from now on: it does not fail the run any more. Example: may_exit(giles_sender).", mayExit},
		{"are_we_ready", "", "True if every node of the topology runs and has reported ready. Example: check(are_we_ready(), \"some node is not ready\").", func(c *call) (starlark.Value, error) {
			return c.all(func(n runtime.NodeInfo) bool { return n.State != "" && n.State != runtime.StateExited && n.WasReady })
		}},
		{"are_we_done_yet", "", "True if every node that was forked has reported done_shutdown, or has exited as it was allowed to. Example: check(are_we_done_yet(), \"some node is not done\").", func(c *call) (starlark.Value, error) {
			return c.all(func(n runtime.NodeInfo) bool { return n.State == "" || n.Finished })
		}},
		{"shutdown_topology", "", "Ends every node that still runs: by shutdown in the documented order, leaders, workers, senders, receivers, then by its stop signal, and after config.grace by KILL. It returns when all have exited. Example: shutdown_topology().", shutdownTopology},
	}}
}

func fork(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	o, err := c.forkOptions()
	if err != nil {
		return nil, err
	}
	forkAll := func(ctx context.Context) error { return c.host.run.ForkAll(ctx, nodes, o) }
	for _, name := range nodes {
		if spec := c.host.run.Topology().Node(name); spec != nil && spec.Setup != "" { // it takes as long as it likes
			return nil, c.task.While(forkAll)
		}
	}
	return nil, c.task.Apply(func() (func(context.Context) error, error) { return forkAll, nil })
}

func boot(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	for _, name := range nodes {
		if err := c.host.run.CanReach(name, runtime.StateReady); err != nil {
			return nil, err // before it runs
		}
	}
	if _, err := fork(c); err != nil {
		return nil, err
	}
	return awaitState(runtime.StateReady)(c)
}

func wipe(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	return nil, c.task.Apply(func() (func(context.Context) error, error) {
		return func(context.Context) error { return c.host.run.Wipe(nodes) }, nil
	})
}

// forkOptions are the parameters args and env.
func (c *call) forkOptions() (o runtime.ForkOptions, err error) {
	if text, ok := c.arg("args").(starlark.String); ok {
		words, err := topology.Words(string(text))
		if err != nil {
			return o, c.wrong("args", "got %s: %v", text, err)
		}
		o.Words = append([]string{}, words...) // it was given, if only to have none
	} else if c.arg("args") != nil {
		words, err := c.strings("args")
		if err != nil {
			return o, err
		}
		o.Args = append([]string{}, words...) // it was given, if only to have none
	}
	o.Env, err = c.variables("env")
	o.Where = c.task.calls.Load().place()
	return o, err
}

func awaitState(s runtime.State) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) {
		nodes, err := c.nodes("nodes")
		if err != nil {
			return nil, err
		}
		condition := c.host.run.Reached(nodes, s)
		if condition.Timeout, err = c.timeout(); err != nil {
			return nil, err
		}
		return nil, c.task.await(condition)
	}
}

func shutdown(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	timeout, err := c.timeout()
	if err != nil {
		return nil, err
	}
	if err := c.task.briefly(func(context.Context) error { return c.host.run.Shutdown(nodes) }); err != nil {
		return nil, err
	}
	var forked []string
	for _, name := range nodes {
		if info, _ := c.host.run.Node(name); info.State != "" {
			forked = append(forked, name)
		}
	}
	condition := c.host.run.Reached(forked, runtime.StateDoneShutdown)
	condition.Timeout = timeout
	return nil, c.task.await(condition)
}

func send(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	address, err := c.address("address")
	if err != nil {
		return nil, err
	}
	types, err := c.text("types", "")
	if err != nil {
		return nil, err
	}
	m, err := message(address, c.rest, types)
	if err != nil {
		return nil, err
	}
	c.task.trail.Add(true, history.OK) // what a node does of it, nobody tells
	return nil, c.task.briefly(func(context.Context) error {
		var errs []error
		for _, name := range nodes {
			errs = append(errs, c.host.run.Send(name, m))
		}
		return errors.Join(errs...)
	})
}

// address is an argument that is an address, with or without its slash.
func (c *call) address(name string) (string, error) {
	address, err := c.text(name, "")
	if err != nil {
		return "", err
	}
	if address == "" {
		return "", c.wrong(name, "got an empty string, want an address such as \"start\" or \"/my/own\"")
	}
	if address[0] != '/' {
		address = "/" + address
	}
	return address, nil
}

func mayExit(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	return nil, c.host.run.MayExit(nodes)
}

func (c *call) all(holds func(runtime.NodeInfo) bool) (starlark.Value, error) {
	for _, n := range c.host.run.Nodes() {
		if !holds(n) {
			return starlark.False, nil
		}
	}
	return starlark.True, nil
}

func shutdownTopology(c *call) (starlark.Value, error) {
	return nil, Wait(c.thread, func(ctx context.Context) error { return c.host.run.ShutdownTopology(ctx) })
}
