package builtins

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/link"
)

func networkFaults() family {
	const between = " between two nodes, or any of one list and any of another,"
	return family{"network faults", "Do harm to the links between nodes. A link is where the ini has <node:NAME>: the section that has it reaches the endpoint through a relay of its own. All faults act both ways unless one_way=True, which leaves what moves from b to a alone; it is an error if a pair of nodes has no link, unless partial=True, which passes over those that have none as long as one has. One that touches nothing - no byte crossed, nobody called - leaves the run inconclusive: wait_until(lambda: f.touched) waits until it has. Each is in the event log, and stays in force until it is healed or the run ends. Faults may be put on top of each other: delays add up, the lowest rate holds, each probability is drawn by itself, and what one of them cuts or refuses stays so until that one is healed; net.reset and net.half_open act at once, through a cut too. A link that waits holds up to 8 MiB in each direction of a connection, and then holds up who writes. Where nobody listens yet a call through a link is answered by a reset, and not refused. Each link draws from a stream of its own.", []builtin{
		{"net.partition", "*groups, one_way=False, partial=False", "Cuts the links between groups of nodes; a single group is cut off from all other nodes, and nodes in no group reach all. A dict gives for each node those that it cannot reach. Bytes stop and none is lost: after the heal the same connections go on; a close is held until then; a new connection is made and stays silent; datagrams are lost. With one_way=True groups do not reach those after them. Example: f = net.partition([leader], workers).", partition},
		{"net.isolate", "nodes, one_way=False, partial=False", "Cuts each of the nodes off from every other node, as net.partition does; with one_way=True what it sends is cut, and it still hears. Few topologies have a link between all of their nodes: partial=True passes over the others. Example: net.isolate(worker_1, partial=True).", isolate},
		{"net.halves", "nodes", "Two groups for net.partition, drawn at random: the first has half of the nodes, or one more. Example: net.partition(net.halves(workers)).", func(c *call) (starlark.Value, error) {
			return c.shape(2, func(names []string) starlark.Value {
				at := (len(names) + 1) / 2
				return starlark.NewList([]starlark.Value{c.host.nodeList(names[:at]), c.host.nodeList(names[at:])})
			})
		}},
		{"net.split_one", "nodes", "Two groups for net.partition, drawn at random: one node, and the others. Example: net.partition(net.split_one(workers)).", func(c *call) (starlark.Value, error) {
			return c.shape(2, func(names []string) starlark.Value {
				return starlark.NewList([]starlark.Value{c.host.nodeList(names[:1]), c.host.nodeList(names[1:])})
			})
		}},
		{"net.bridge", "nodes", "A dict for net.partition, drawn at random: two halves that do not reach each other, and a node between them that reaches all. Example: net.partition(net.bridge(workers)).", func(c *call) (starlark.Value, error) {
			return c.shape(3, func(names []string) starlark.Value {
				rest := names[1:]
				at := (len(rest) + 1) / 2
				return c.host.grudges(rest, func(i, j int) bool { return i < at != (j < at) })
			})
		}},
		{"net.majorities_ring", "nodes", "A dict for net.partition, drawn at random: the nodes stand in a ring, each reaches a majority, and no two the same. Example: net.partition(net.majorities_ring(workers)).", func(c *call) (starlark.Value, error) {
			return c.shape(4, func(names []string) starlark.Value {
				n := len(names)
				reach := (n/2 + 1) / 2 // on each side, so that with itself they are a majority
				return c.host.grudges(names, func(i, j int) bool { return min((i-j+n)%n, (j-i+n)%n) > reach })
			})
		}},
		{"net.delay", "a, b, delay, jitter=0, one_way=False, partial=False", "Delays all bytes" + between + " by a duration, each way: twice that for a round trip. jitter is how much more or less it may be, drawn for each piece; the bytes of a connection stay in their order. A call itself is not delayed. What waits when it is healed goes on at once. Example: net.delay(sender, leader, \"50ms\", jitter=\"10ms\").", func(c *call) (starlark.Value, error) {
			delay, err := c.duration("delay", 0)
			if err != nil {
				return nil, err
			}
			jitter, err := c.duration("jitter", 0)
			if err != nil {
				return nil, err
			}
			if delay == 0 && jitter == 0 {
				return nil, c.wrong("delay", "got %s, want more than 0", c.arg("delay"))
			}
			detail := delay.String()
			if jitter > 0 {
				detail += " ±" + jitter.String()
			}
			return c.disturb(detail, link.Effect{Delay: delay, Jitter: jitter})
		}},
		{"net.rate", "a, b, rate, one_way=False, partial=False", "Limits how many bytes move" + between + " in a second, each way, all their connections together: a number, or such as \"1MB/s\" or \"64KiB/s\". What is too much waits; of datagrams, what would wait over a second is lost. Example: net.rate(sender, leader, \"100KB/s\").", func(c *call) (starlark.Value, error) {
			rate, err := c.rate()
			if err != nil {
				return nil, err
			}
			return c.disturb(fmt.Sprintf("%d B/s", rate), link.Effect{Rate: float64(rate)})
		}},
		{"net.refuse", "a, b, one_way=False, partial=False", "Refuses new connections" + between + " as a machine does where nobody listens; those that are open stay. With one_way=True only those that a makes. Example: net.refuse(sender, leader).", effect(link.Effect{Refuse: true})},
		{"net.reset", "a, b, partial=False", "Resets every connection" + between + " whichever has made it: both ends see ECONNRESET. It is done when it returns; there is nothing to heal. It is an error if there is no connection. Example: net.reset(worker_1, leader).", func(c *call) (starlark.Value, error) {
			pairs, err := c.pairs()
			if err != nil {
				return nil, err
			}
			return c.do(false, func() (*runtime.Step, error) { return c.host.run.ResetLinks(c.linkPlan("", pairs)) })
		}},
		{"net.half_open", "a, b, partial=False", "Ends every connection" + between + " for b alone, by a reset; a does not know, and what it sends goes nowhere, as after a power cut at b. The heal resets it for a. It is an error if there is no connection. Example: net.half_open(sender, leader).", func(c *call) (starlark.Value, error) {
			a, err := c.nodes("a")
			if err != nil {
				return nil, err
			}
			b, err := c.nodes("b")
			if err != nil {
				return nil, err
			}
			return c.do(false, func() (*runtime.Step, error) { return c.host.run.HalfOpen(c.linkPlan("", runtime.Across(a, b))) })
		}},
		{"net.corrupt", "a, b, rate, one_way=False, partial=False", "Turns over one bit of a byte" + between + " with the probability rate, for each byte. It is corruption that TCP cannot see, as of a bad memory or a broken router: no real network does this to a TCP connection often. Example: net.corrupt(sender, leader, rate=0.0001).", probability("rate", func(p float64) link.Effect { return link.Effect{Corrupt: p} })},
		{"net.drop_connections", "a, b, probability, one_way=False, partial=False", "Resets connections" + between + " with a probability, drawn once for each connection and way while there is such a fault: somewhere in the next 4 KiB that it carries. Example: net.drop_connections(sender, leader, probability=0.5).", probability("probability", func(p float64) link.Effect { return link.Effect{Drop: p} })},
		{"net.loss", "a, b, probability, one_way=False, partial=False", "Loses datagrams" + between + " with a probability, drawn for each. Connections of TCP never lose anything: it is an error where there is no link of UDP. Example: net.loss(sender, leader, probability=0.1).", probability("probability", func(p float64) link.Effect { return link.Effect{Loss: p} })},
		{"net.duplicate", "a, b, probability, one_way=False, partial=False", "Doubles datagrams" + between + " with a probability; where there are several such faults, none comes more than twice. Example: net.duplicate(sender, leader, probability=0.1).", probability("probability", func(p float64) link.Effect { return link.Effect{Duplicate: p} })},
		{"net.reorder", "a, b, probability, one_way=False, partial=False", "Holds datagrams" + between + " back with a probability, so that later ones overtake them. Example: net.reorder(sender, leader, probability=0.1).", probability("probability", func(p float64) link.Effect { return link.Effect{Reorder: p} })},
		{"net.heal", "", "Undoes every network fault that is in force. Example: net.heal().", func(c *call) (starlark.Value, error) { return c.undo(c.host.run.HealLinks) }},
	}}
}

// pairs are the directions between the nodes of the parameters a and b.
func (c *call) pairs() ([]link.Pair, error) {
	a, err := c.nodes("a")
	if err != nil {
		return nil, err
	}
	b, err := c.nodes("b")
	if err != nil {
		return nil, err
	}
	return c.ways(runtime.Across(a, b)), nil
}

// ways adds the way back to directions, unless the call is one_way. Each is
// there once.
func (c *call) ways(pairs []link.Pair) []link.Pair {
	oneWay := slices.ContainsFunc(c.params, func(p Param) bool { return p.Name == "one_way" }) && c.truth("one_way")
	seen := map[link.Pair]bool{}
	var all []link.Pair
	add := func(p link.Pair) {
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	for _, p := range pairs {
		if add(p); !oneWay {
			add(link.Pair{From: p.To, To: p.From})
		}
	}
	return all
}

// disturb puts an effect between the nodes of the parameters a and b.
func (c *call) disturb(detail string, e link.Effect) (starlark.Value, error) {
	pairs, err := c.pairs()
	if err != nil {
		return nil, err
	}
	return c.disturbPairs(detail, pairs, e)
}

func (c *call) disturbPairs(detail string, pairs []link.Pair, e link.Effect) (starlark.Value, error) {
	return c.do(false, func() (*runtime.Step, error) { return c.host.run.Disturb(c.linkPlan(detail, pairs), e) })
}

// linkPlan is the call as a plan.
func (c *call) linkPlan(detail string, pairs []link.Pair) runtime.LinkPlan {
	return runtime.LinkPlan{What: c.name, Detail: detail, Pairs: pairs, Partial: c.truth("partial")}
}

func effect(e link.Effect) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) { return c.disturb("", e) }
}

// probability makes a fault of a parameter that is a probability.
func probability(name string, of func(float64) link.Effect) func(*call) (starlark.Value, error) {
	return func(c *call) (starlark.Value, error) {
		p, err := c.number(name, 0)
		if err != nil {
			return nil, err
		}
		if p <= 0 || p > 1 {
			return nil, c.wrong(name, "got %g, want a probability over 0 and at most 1", p)
		}
		return c.disturb(fmt.Sprintf("%s %g", name, p), of(p))
	}
}

// rate is the parameter of that name, in bytes a second.
func (c *call) rate() (int64, error) {
	if text, ok := starlark.AsString(c.arg("rate")); ok {
		amount, isRate := strings.CutSuffix(text, "/s")
		n, ok := sizeOf(amount)
		if !ok || !isRate {
			return 0, c.wrong("rate", "got %q, want a number of bytes a second, or such as \"1MB/s\" or \"64KiB/s\"", text)
		}
		return n, nil
	}
	return c.integer("rate", 0, 1)
}

func partition(c *call) (starlark.Value, error) {
	groups := []starlark.Value(c.rest)
	if len(groups) == 1 { // what net.halves and others return
		if dict, ok := groups[0].(*starlark.Dict); ok {
			return c.partitionDict(dict)
		}
		if list, ok := groups[0].(starlark.Sequence); ok && list.Len() > 1 {
			elements := slices.Collect(starlark.Elements(list))
			isGroup := func(v starlark.Value) bool { _, ok := v.(starlark.Sequence); return ok }
			if !slices.ContainsFunc(elements, func(v starlark.Value) bool { return !isGroup(v) }) {
				groups = elements
			}
		}
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("got no group, want groups of nodes, or a dict of those that each cannot reach")
	}
	names := make([][]string, len(groups))
	in := map[string]int{}
	for i, v := range groups {
		left := maxNodes
		var err error
		if names[i], err = c.host.nodeNames(v, nil, 0, &left); err != nil {
			return nil, c.wrong("groups", "group %d: %v", i+1, err)
		}
		if len(names[i]) == 0 {
			return nil, c.wrong("groups", "group %d has no node", i+1)
		}
		for _, name := range names[i] {
			if before, twice := in[name]; twice && before != i {
				return nil, c.wrong("groups", "%s is in group %d and in group %d", name, before+1, i+1)
			}
			in[name] = i
		}
	}
	return c.disturbPairs("", c.ways(runtime.Between(c.name, names, c.host.run.Topology())), link.Effect{Cut: true})
}

func (c *call) partitionDict(dict *starlark.Dict) (starlark.Value, error) {
	var pairs []link.Pair
	left := maxNodes
	for _, item := range dict.Items() {
		from, err := c.host.nodeNames(item[0], nil, 0, &left)
		if err != nil {
			return nil, c.wrong("groups", "a key: %v", err)
		}
		to, err := c.host.nodeNames(item[1], nil, 0, &left)
		if err != nil {
			return nil, c.wrong("groups", "those that %s cannot reach: %v", shown(item[0]), err)
		}
		pairs = append(pairs, runtime.Across(from, to)...)
	}
	return c.disturbPairs("", c.ways(pairs), link.Effect{Cut: true})
}

func isolate(c *call) (starlark.Value, error) {
	nodes, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	return c.disturbPairs("", c.ways(runtime.Between(c.name, [][]string{nodes}, c.host.run.Topology())), link.Effect{Cut: true})
}

// shape makes groups of nodes, of at least so many, in random order.
func (c *call) shape(least int, of func(names []string) starlark.Value) (starlark.Value, error) {
	names, err := c.nodes("nodes")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) < least {
		return nil, c.wrong("nodes", "has %d nodes, want at least %d", len(names), least)
	}
	c.task.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return of(names), nil
}

func (h *Host) nodeList(names []string) starlark.Value { return starlark.NewList(h.nodeValues(names)) }

// grudges is a dict of the nodes that each cannot reach, where it cannot reach
// all.
func (h *Host) grudges(names []string, cut func(i, j int) bool) starlark.Value {
	d := &starlark.Dict{}
	for i, name := range names {
		var against []string
		for j, other := range names {
			if cut(i, j) {
				against = append(against, other)
			}
		}
		if len(against) > 0 {
			d.SetKey(&nodeValue{host: h, name: name}, h.nodeList(against)) // a node can be a key
		}
	}
	return d
}
