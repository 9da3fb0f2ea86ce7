//go:build linux

package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// oracleScenario is one run, and what must come of it.
type oracleScenario struct {
	script, ini string
	rung        string
	test        bool // it is a function test_it
	unable      bool // of limiting memory
	interrupted bool // when it prints oracleInterrupt
	halted      bool // before it prints oracleWentOn
	patient     bool // nothing is slow or cut short, so that each node ends as the model says

	outcome oracleOutcome
	why     []string
	reached map[string]bool
	exits   map[string][]string
}

// What scripts print.
const (
	oracleInterrupt = "interrupt me"
	oracleWentOn    = "the script went on"
)

// oracleReactions are what a node may do, by what it reacts to: the first is what a good
// one does. A signal's "-" is its default action.
var oracleReactions = map[string][]string{
	"boot":  {"", "never", "exit 0", "exit 3", "SEGV", "KILL"},
	"ready": {"", "done", "done, exit 0", "answer, exit 0", "exit 0", "exit 3", "SEGV", "KILL", "hold", "done, talk"},
	"start": {"done", "", "done, exit 0", "done, exit 3", "exit 0", "exit 3", "SEGV", "done, ABRT", "done, talk"},
	"shutdown": {"answer, exit 0", "", "answer", "exit 0", "exit 5", "exit 143", "answer, exit 5", "answer, exit 143", "SEGV",
		"answer, SEGV", "KILL", "TERM"},
	"TERM": {"-", "", "exit 0", "exit 143", "exit 17", "SEGV", "KILL"},
	"HUP":  {"-", "", "exit 0", "exit 129", "exit 3"},
	"INT":  {"-", "exit 130", "exit 143"},
	"USR1": {"-", "", "exit 0", "exit 138"},
}

// oracleWords are what a script tells a node to do.
var oracleWords = []string{"say hello", "exit 0", "exit 3", "done, exit 0", "SEGV", "ABRT", "KILL", "TERM"}

// drawer writes a script, and has the model do what it writes.
type drawer struct {
	*oracleWorld
	random *rand.Rand
	s      *oracleScenario
	lines  []string
	names  int
	linked bool
	limit  string // time_limit
	last   bool   // nothing more can be told from here on
	hard   *oracleNode
	grace  time.Duration
}

// line writes lines of the script.
func (d *drawer) line(format string, args ...any) { d.text(fmt.Sprintf(format, args...)) }
func (d *drawer) text(lines string)               { d.lines = append(d.lines, strings.Split(lines, "\n")...) }

func (d *drawer) one(of ...string) string { return of[d.random.IntN(len(of))] }
func (d *drawer) chance(percent int) bool { return d.random.IntN(100) < percent }
func (d *drawer) variable() string        { d.names++; return fmt.Sprint("v", d.names) }

// node is a random one of those that something can be done to, or nil.
func (d *drawer) node(which func(*oracleNode) bool) *oracleNode {
	var some []*oracleNode
	for _, n := range d.nodes {
		if which(n) {
			some = append(some, n)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[d.random.IntN(len(some))]
}

func forked(n *oracleNode) bool { return n.forked }
func lives(n *oracleNode) bool  { return n.alive }
func dead(n *oracleNode) bool   { return n.forked && !n.alive }
func hears(n *oracleNode) bool  { return n.alive && n.ready && !n.paused }
func awake(n *oracleNode) bool  { return n.alive && !n.paused }

// slow reports whether a node goes on after what should end it, so that somebody
// waits for a grace.
func slow(n *oracleNode) bool {
	if n.on["boot"] == "never" {
		reaction, handled := n.on["TERM"]
		return handled && reaction == ""
	}
	return ends(n.on["shutdown"]) == ""
}

// drawNode draws a node. Beside one that is slow there are only such whose end
// does not depend on whether /shutdown or TERM reaches them first.
func (d *drawer) drawNode(name string) *oracleNode {
	n := &oracleNode{name: name, on: map[string]string{}, mayExit: d.chance(15)}
	for _, to := range slices.Sorted(maps.Keys(oracleReactions)) {
		if n.on[to] = oracleReactions[to][0]; d.chance(25) {
			n.on[to] = d.one(oracleReactions[to]...)
		}
		if n.on[to] == "-" {
			delete(n.on, to)
		}
	}
	_, handlesTerm := n.on["TERM"]
	switch {
	case slow(n) && d.hard == nil && len(d.nodes) == 0:
		d.hard, d.grace = n, time.Second // a busy machine must not make it late
		if reaction, handled := n.on["TERM"]; handled && reaction == "" {
			d.grace = 300 * time.Millisecond
		}
	case slow(n), d.hard != nil && (handlesTerm || !slices.Contains([]string{"answer, exit 0", "exit 0", "TERM"}, n.on["shutdown"])):
		return d.drawNode(name)
	}
	return n
}

// drawOracle draws a scenario.
func drawOracle(random *rand.Rand, rungs []string) *oracleScenario {
	w := &oracleWorld{reached: map[string]bool{}, exits: map[string][]string{}}
	d := &drawer{oracleWorld: w, random: random, grace: 10 * time.Second}
	d.s = &oracleScenario{rung: d.one(rungs...), test: d.chance(30), reached: w.reached, exits: w.exits}
	for _, name := range []string{"a", "b", "c", "d"}[:1+random.IntN(4)] {
		d.nodes = append(d.nodes, d.drawNode(name))
	}
	random.Shuffle(len(d.nodes), func(i, j int) { d.nodes[i], d.nodes[j] = d.nodes[j], d.nodes[i] })
	d.linked = len(d.nodes) > 1 && d.chance(30)
	w.reach("rung " + d.s.rung)
	for _, n := range d.nodes {
		if d.chance(90) {
			d.element("boot")
			d.bootNode(n, fmt.Sprintf("fork(%s)", n.name))
		}
	}
	for n := d.random.IntN(7); n > 0 && !w.over && !d.last; n-- {
		d.step(oracleElements[random.IntN(len(oracleElements))])
	}
	if !d.last && d.chance(30) && !w.over {
		d.step(named("shutdown_topology"))
	}
	if d.s.halted = w.halted; w.over {
		d.line("print(%q)\nfail(%[1]q)", oracleWentOn)
	}
	d.s.script = d.scriptText()
	d.s.ini = d.iniText()
	d.s.patient = d.hard == nil && d.limit == ""
	if d.s.outcome, d.s.why = w.verdict(); d.s.outcome == oracleMistake { // nothing else was
		clear(w.reached)
		w.reach("script: a mistake")
	}
	w.reach("outcome " + d.s.outcome.String())
	return d.s
}

// element counts one as reached, if the script comes to it.
func (d *drawer) element(name string) {
	if !d.over {
		d.reach("script: " + name)
	}
}

func named(name string) oracleElement {
	return oracleElements[slices.IndexFunc(oracleElements, func(e oracleElement) bool { return e.name == name })]
}

// step writes an element, if there is a node for it.
func (d *drawer) step(e oracleElement) {
	if e.draw(d) {
		d.reach("script: " + e.name)
	}
}

func (d *drawer) scriptText() string {
	text := ""
	if !d.s.test {
		return strings.Join(d.lines, "\n") + "\n"
	}
	if d.chance(70) {
		before := d.deferred
		d.deferred = nil
		call := d.deferredCall("teardown")
		d.deferred = append(d.deferred, before...) // it is called after them
		text = fmt.Sprintf("def teardown():\n    %s\n\n", call)
	}
	return text + "def test_it():\n    " + strings.Join(append(d.lines, "pass"), "\n    ") + "\n"
}

func (d *drawer) iniText() string {
	var b strings.Builder
	for i, n := range d.nodes {
		fmt.Fprintf(&b, "[%s]\npath = NODE\n", n.name)
		for _, to := range slices.Sorted(maps.Keys(n.on)) {
			fmt.Fprintf(&b, "on-%s = %s\n", to, n.on[to])
		}
		if n.mayExit {
			b.WriteString("may_exit = true\n")
		}
		if d.linked && i == 0 {
			fmt.Fprintf(&b, "peer = <%s:echo>\n", d.nodes[1].name)
		}
		if d.linked && i == 1 {
			b.WriteString("listen.echo = auto\nserve = <SELF:echo>\n")
		}
	}
	limit := "1m"
	if d.limit != "" {
		limit = d.limit
	}
	fmt.Fprintf(&b, "[dagon]\ntimeout = 20s\ngrace = %v\ntime_limit = %s\n", d.grace, limit)
	return b.String()
}

// bootNode forks a node and waits for all that it does by itself.
func (d *drawer) bootNode(n *oracleNode, fork string) {
	d.text(fork)
	if d.over {
		return
	}
	d.boot(n)
	switch {
	case n.on["boot"] == "never":
		d.line("await_output(%s, '^up$')", n)
		if d.chance(50) {
			d.timesOut(fmt.Sprintf("await_ready(%s, timeout='30ms')", n.name), n)
		}
		return
	case n.on["boot"] != "":
		if !d.over && d.chance(60) {
			d.impossible(fmt.Sprintf("await_ready(%s)", n.name))
		}
		d.awaitExit(n)
		return
	}
	d.line("await_ready(%s)", n)
	d.sync(n, n.on["ready"])
}

// sync waits for what a reaction makes of its node, so that what comes after does
// not depend on when it does.
func (d *drawer) sync(n *oracleNode, reaction string) {
	all := words(reaction)
	if slices.Contains(all, "done") || slices.Contains(all, "answer") {
		d.line("await_done(%s)", n)
	}
	if slices.Contains(all, "say hello") {
		d.line("await_message(%s, '/hello')", n)
	}
	if ends(reaction) != "" {
		d.awaitExit(n)
	}
}

// awaitExit stands where a node has been brought to its end. No catch swallows an
// end that is not fine.
func (d *drawer) awaitExit(n *oracleNode) {
	if d.chance(20) {
		d.line("catch(lambda: await_exit(%s))", n)
	} else {
		d.line("await_exit(%s)", n)
	}
}

// timesOut writes an await that cannot be met by a node that lives.
func (d *drawer) timesOut(await string, n *oracleNode) {
	d.caught(await, "an await that times out", "it cannot be met in time")
}

// impossible writes a call that is an error at once.
func (d *drawer) impossible(call string) { d.caught(call, "an impossible call", "it is impossible") }

func (d *drawer) caught(call, element, why string) {
	if d.chance(70) {
		d.element(element + ", caught")
		d.line("catch(lambda: %s)", call)
		return
	}
	d.element(element)
	d.text(call)
	if !d.over {
		d.stop(oracleFailed, "%s: %s", call, why)
	}
}

// oracleElement is a part of a script. draw reports false where there is no node
// for it.
type oracleElement struct {
	name string
	draw func(d *drawer) bool
}

// on makes an element that needs one node of a kind.
func on(which func(*oracleNode) bool, draw func(d *drawer, n *oracleNode)) func(*drawer) bool {
	return func(d *drawer) bool {
		n := d.node(which)
		if n != nil {
			draw(d, n)
		}
		return n != nil
	}
}

func always(draw func(d *drawer)) func(*drawer) bool {
	return func(d *drawer) bool { draw(d); return true }
}

// killNode is what kill does.
func (d *drawer) killNode(n *oracleNode) {
	d.fault("kill of "+n.name, n)
	if d.ask(n, "KILL"); n.alive {
		d.dies(n, "KILL", false)
	}
}

// sendSignal is what kill and signal do with another one than KILL.
func (d *drawer) sendSignal(n *oracleNode, name string) {
	if !slices.Contains(harmlessSignals, name) {
		d.fault("signal "+name+" of "+n.name, n)
	}
	before := n.alive
	d.ask(n, name)
	d.signal(n, name)
	if before && !n.alive {
		d.awaitExit(n)
	}
}

func signalElement(names ...string) func(*drawer) bool {
	return on(awake, func(d *drawer, n *oracleNode) {
		name := d.one(names...)
		d.line("%s(%s, %q)", d.one("kill", "signal"), n, name)
		d.sendSignal(n, name)
	})
}

// oracleDeferred are the calls that are made at the end of a run.
var oracleDeferred = []string{"fail", "check", "soft", "check_same of nothing", "require_faults", "inconclusive",
	"await_message in vain", "shutdown", "nothing"}

// deferredCall is a call that is made at the end of the run, and what comes of it
// there.
func (d *drawer) deferredCall(kind string) (call string) {
	then := func(name string, o oracleOutcome, c string) string {
		d.reach("script: " + kind + ", " + name)
		if o != oraclePassed {
			d.deferred = append(d.deferred, func() { d.find(o, "%s: %s", kind, c) })
		}
		return c
	}
	switch d.random.IntN(10) {
	case 0:
		return then("fail", oracleFailed, "fail('at the end')")
	case 1:
		return then("check", oracleFailed, "check(False)")
	case 2:
		return then("soft", oracleFailed, "check(False, soft=True)")
	case 3:
		return then("check_same of nothing", oracleInconclusive, "check_same([], [])")
	case 4:
		n := 1 + d.random.IntN(3)
		d.deferred = append(d.deferred, func() { d.required = max(d.required, n) })
		return then("require_faults", oraclePassed, fmt.Sprintf("require_faults(%d)", n))
	case 5:
		return then("inconclusive", oracleInconclusive, "inconclusive('at the end')")
	case 6: // it has exited, or it lives on and is silent, or it was never forked
		n := d.nodes[0]
		return then("await_message in vain", oracleFailed, fmt.Sprintf("await_message(%s, '/never', timeout='20ms')", n.name))
	case 7:
		n := d.node(func(n *oracleNode) bool { return d.hard == nil && n.on["boot"] == "" })
		if n != nil {
			d.deferred = append(d.deferred, func() { d.shutdownNode(n) })
			return then("shutdown", oraclePassed, fmt.Sprintf("shutdown(%s)", n.name))
		}
	}
	return then("nothing", oraclePassed, "print('the end')")
}

// shutdownNode is what shutdown does. A node that has answered is left alone.
func (d *drawer) shutdownNode(n *oracleNode) {
	if n.alive && !n.answered {
		d.ask(n, askedToStop)
		d.react(n, "shutdown")
	}
}

// restartNode restarts a node. A restart of one that is dead touches nothing.
func (d *drawer) restartNode(n *oracleNode, graceful bool) {
	if n.alive {
		d.fault("restart of "+n.name, n)
	}
	if graceful {
		d.end(n)
	} else if d.ask(n, "KILL"); n.alive {
		d.dies(n, "KILL", false)
	}
	call := fmt.Sprintf("restart(%s)", n.name)
	if !graceful {
		call = fmt.Sprintf("restart(%s, graceful=False)", n.name)
	}
	if d.over {
		d.text(call)
		return
	}
	d.bootNode(n, call)
}

// faultOn is a fault that a task does to a node, as arguments of after and as a
// call.
func (d *drawer) faultOn(n *oracleNode) (given, called string) {
	switch d.random.IntN(4) {
	case 0:
		return "kill, " + n.name, fmt.Sprintf("kill(%s)", n.name)
	case 1:
		return "restart, " + n.name, fmt.Sprintf("restart(%s)", n.name)
	case 2:
		return "pause, " + n.name, fmt.Sprintf("pause(%s)", n.name)
	}
	return fmt.Sprintf("signal, %s, 'SEGV'", n.name), fmt.Sprintf("signal(%s, 'SEGV')", n.name)
}

// neverFires plans a fault that the run ends before.
func neverFires(write func(d *drawer, n *oracleNode)) func(*drawer) bool {
	return on(forked, func(d *drawer, n *oracleNode) {
		write(d, n)
		d.find(oracleInconclusive, "a planned fault never fired")
	})
}

func (d *drawer) periodic() string { return d.one("after('1h', ", "every('1h', ") }

// link is a fault of the link between the first two nodes.
func (d *drawer) link(call string) (f *oracleFault, name string) {
	f, name = &oracleFault{what: call, inUse: true}, d.variable()
	d.links = append(d.links, f)
	d.line("%s = %s", name, call)
	return f, name
}

// pair are the ends of the link: the first calls the second.
func (d *drawer) pair() (a, b string) { return d.nodes[0].name, d.nodes[1].name }

// call has the first node call the second: what is in force on the link between
// them is touched. A call that is refused moves no byte.
func (d *drawer) call() {
	answer := "called"
	refused := slices.ContainsFunc(d.links, func(f *oracleFault) bool { return f.inUse && strings.HasPrefix(f.what, "net.refuse") })
	for _, f := range d.links {
		if f.inUse && refused == strings.HasPrefix(f.what, "net.refuse") {
			f.touched = true
		}
	}
	if refused {
		answer = "refused"
	}
	a, _ := d.pair()
	d.line("send(%s, '/do', 'call')\nawait_message(%[1]s, '/%s')", a, answer)
}

func (d *drawer) canCall() bool {
	return d.linked && hears(d.nodes[0]) && hears(d.nodes[1])
}

func (d *drawer) cut() bool {
	return slices.ContainsFunc(d.links, func(f *oracleFault) bool { return f.inUse && strings.HasPrefix(f.what, "net.partition") })
}

func linkElement(call string, traffic bool) func(*drawer) bool {
	return func(d *drawer) bool {
		if !d.linked || traffic && (!d.canCall() || d.cut()) || !d.nodes[0].forked || !d.nodes[1].forked {
			return false
		}
		a, b := d.pair()
		f, name := d.link(fmt.Sprintf(call, a, b))
		if traffic {
			d.call()
		}
		if d.chance(50) {
			d.line("%s.heal()", name)
			f.inUse = false
		}
		return true
	}
}

// oracleElements are the parts of scripts, beside the boot of nodes.
var oracleElements = []oracleElement{
	{"start", on(func(n *oracleNode) bool { return hears(n) && !n.done && !n.started }, func(d *drawer, n *oracleNode) {
		d.line("send(%s, 'start')", n)
		n.started = true
		d.react(n, "start")
		d.sync(n, n.on["start"])
	})},
	{"start after done", on(func(n *oracleNode) bool { return hears(n) && n.done }, func(d *drawer, n *oracleNode) {
		d.impossible(fmt.Sprintf("send(%s, 'start')", n.name))
	})},
	{"send", on(hears, func(d *drawer, n *oracleNode) {
		reaction := d.one(oracleWords...)
		d.reach("told to: " + reaction)
		d.line("send(%s, '/do', %q)", n, reaction)
		d.perform(n, reaction)
		d.sync(n, reaction)
	})},
	{"kill of one that has crashed", on(func(n *oracleNode) bool { return hears(n) && !n.may }, func(d *drawer, n *oracleNode) {
		how := d.one("exit 3", "SEGV")
		d.line("send(%s, '/do', 'hold, %s')\nawait_output(%[1]s, '^gone$')\n%[3]s\nawait_exit(%[1]s)", n, how,
			fmt.Sprintf(d.one("kill(%s)", "kill(%s, 'TERM')", "restart(%s, graceful=False)", "restart(%s)", "shutdown(%s)"), n.name))
		// The engine may see it end only after what came too late was asked, and let
		// the script go on.
		halted := d.halted
		d.dies(n, how, false)
		d.halted = halted
	})},
	{"await_message of one that talks after done", on(func(n *oracleNode) bool { return hears(n) && n.talks }, func(d *drawer, n *oracleNode) {
		d.line("await_message(%s, '/tick', since='now')", n)
	})},
	{"shutdown", on(func(n *oracleNode) bool { return dead(n) || hears(n) }, func(d *drawer, n *oracleNode) {
		if n.alive && !n.answered && n.on["shutdown"] == "" {
			d.ask(n, askedToStop)
			d.react(n, "shutdown")
			d.timesOut(fmt.Sprintf("shutdown(%s, timeout='50ms')", n.name), n)
			return
		}
		d.line("shutdown(%s)", n)
		if d.shutdownNode(n); !n.alive {
			d.awaitExit(n)
		}
	})},
	{"kill", on(lives, func(d *drawer, n *oracleNode) {
		d.line(d.one("kill(%s)", "catch(lambda: kill(%s))", "kill([%s], 'KILL')", "signal(%s, 'KILL')\nawait_exit(%[1]s)"), n)
		d.killNode(n)
	})},
	{"kill of the dead", on(dead, func(d *drawer, n *oracleNode) {
		d.line(d.one("kill(%s)", "catch(lambda: kill(%s))", "signal(%s, 'SEGV')", "kill(%s, 'ABRT')", "pause(%s)"), n)
		d.fault("a fault of "+n.name, n)
	})},
	{"kill of all", on(lives, func(d *drawer, n *oracleNode) {
		var names []string
		var all []*oracleNode
		for _, n := range d.nodes {
			if n.forked {
				names, all = append(names, n.name), append(all, n)
			}
		}
		d.line("kill([%s])", strings.Join(names, ", "))
		d.fault("kill of all", all...)
		for _, n := range all {
			if d.ask(n, "KILL"); n.alive {
				d.dies(n, "KILL", false)
			}
		}
	})},
	{"signal of the dead that harms nothing", on(dead, func(d *drawer, n *oracleNode) {
		d.line("%s(%s, %q)", d.one("kill", "signal"), n, d.one(harmlessSignals...))
	})},
	{"TERM", signalElement("TERM")},
	{"HUP", signalElement("HUP")},
	{"INT", signalElement("INT")},
	{"QUIT", signalElement("QUIT")},
	{"USR1", signalElement("USR1")},
	{"CONT, WINCH", signalElement("CONT", "WINCH")},
	{"SEGV, ABRT", signalElement("SEGV", "ABRT")},
	{"pause", on(awake, func(d *drawer, n *oracleNode) {
		d.line("pause(%s)", n)
		d.fault("pause", n)
		n.paused = true
	})},
	{"pause and resume", on(awake, func(d *drawer, n *oracleNode) {
		v := d.variable()
		d.line(d.one("pause(%s)\nresume(%[1]s)", v+" = pause(%s)\n"+v+".heal()"), n)
		d.fault("pause", n)
	})},
	{"TERM while paused", on(awake, func(d *drawer, n *oracleNode) {
		d.line("pause(%s)\nkill(%[1]s, 'TERM')\nresume(%[1]s)", n)
		d.fault("pause", n)
		d.sendSignal(n, "TERM")
	})},
	{"restart", on(lives, func(d *drawer, n *oracleNode) { d.restartNode(n, true) })},
	{"restart, not graceful", on(lives, func(d *drawer, n *oracleNode) { d.restartNode(n, false) })},
	{"restart of the dead", on(dead, func(d *drawer, n *oracleNode) { d.restartNode(n, d.chance(50)) })},
	{"fork again", on(dead, func(d *drawer, n *oracleNode) { d.bootNode(n, fmt.Sprintf("fork(%s)", n.name)) })},
	{"fork of what runs", on(lives, func(d *drawer, n *oracleNode) { d.impossible(fmt.Sprintf("fork(%s)", n.name)) })},
	{"limit", on(forked, func(d *drawer, n *oracleNode) {
		d.line("limit(%s, files=500)", n)
		d.fault("limit", n)
	})},
	{"limit that the machine cannot do", on(lives, func(d *drawer, n *oracleNode) {
		d.s.unable = true
		v := d.variable()
		d.line("%s = limit", v) // so that it is not found before the run
		if d.chance(30) {
			d.line("catch(lambda: %s(%s, memory='64MiB'))", v, n)
			return
		}
		d.line("%s(%s, memory='64MiB')", v, n)
		d.stop(oracleSkipped, "the machine cannot limit memory")
	})},
	{"may_exit", on(func(*oracleNode) bool { return true }, func(d *drawer, n *oracleNode) {
		d.line("may_exit(%s)", n)
		n.may = true
	})},
	{"await in vain", on(awake, func(d *drawer, n *oracleNode) {
		d.timesOut(fmt.Sprintf(d.one("await_exit(%s, timeout='20ms')", "await_output(%s, 'never', timeout='20ms')",
			"await_message(%s, '/never', timeout='20ms')",
			"wait_until(lambda: %s.state == 'never', timeout='20ms')"), n.name), n)
	})},
	{"await of the dead", on(dead, func(d *drawer, n *oracleNode) {
		d.impossible(fmt.Sprintf(d.one("await_output(%s, 'never')", "await_message(%s, '/never')", "await_count(%s, 1)"), n.name))
	})},
	{"soft", always(func(d *drawer) {
		d.text(d.one("check(False, soft=True)", "assert.eq(1, 2, soft=True)", "check_same(['x'], [], soft=True)"))
		d.find(oracleFailed, "a soft failure")
	})},
	{"fail", always(func(d *drawer) {
		d.text(d.one("fail('no')", "check(False)", "check_same(['x'], ['y'])", "assert.eq(1, 2)"))
		d.stop(oracleFailed, "fail")
	})},
	{"fail, caught", always(func(d *drawer) { // docs: its kind is "fail" or "inconclusive"
		d.text(d.one("catch(fail, 'no')", "catch(lambda: check(False))", "assert.fails(lambda: fail('no'))", "catch(inconclusive, 'no')"))
	})},
	{"inconclusive", always(func(d *drawer) {
		d.text("inconclusive('nothing was shown')")
		d.stop(oracleInconclusive, "inconclusive")
	})},
	{"check", always(func(d *drawer) { d.text(d.one("check(True)", "check_same(['x'], ['x'])")) })},
	{"check_same of nothing", always(func(d *drawer) {
		d.text(d.one("check_same([], [])", "check_subset([], ['x'])", "check_no_duplicates([])"))
		d.find(oracleInconclusive, "a comparison of nothing")
	})},
	{"require_faults", always(func(d *drawer) {
		n := 1 + d.random.IntN(3)
		d.line("require_faults(%d)", n)
		d.required = max(d.required, n)
	})},
	{"require_faults that is met", on(lives, func(d *drawer, n *oracleNode) {
		d.line("kill(%s)\nrequire_faults(1)", n)
		d.killNode(n)
		d.required = max(d.required, 1)
	})},
	{"defer", always(func(d *drawer) { d.line("defer(lambda: %s)", d.deferredCall("defer")) })},
	{"after that never fires", neverFires(func(d *drawer, n *oracleNode) {
		given, _ := d.faultOn(n)
		d.line("%s%s)", d.periodic(), given)
	})},
	{"after a lambda that never fires", neverFires(func(d *drawer, n *oracleNode) {
		_, called := d.faultOn(n)
		d.line("%slambda: %s)", d.periodic(), called)
	})},
	{"after a function that never fires", neverFires(func(d *drawer, n *oracleNode) {
		_, called := d.faultOn(n)
		v := d.variable()
		d.line("def %s():\n    print('now')\n    %s\n%s%[1]s)", v, called, d.periodic())
	})},
	{"after that is cancelled", on(forked, func(d *drawer, n *oracleNode) {
		given, called := d.faultOn(n)
		v := d.variable()
		d.line("%s = %s%s)\n%[1]s.cancel()", v, d.periodic(), d.one(given, "lambda: "+called))
	})},
	{"after of no fault that never fires", on(forked, func(d *drawer, n *oracleNode) {
		d.line(d.one("after('1h', kill, %s, 'TERM')", "every('1h', signal, %s, 'HUP')", "after('1h', send, %s, '/x')",
			"every('1h', lambda: print(%s))"), n)
	})},
	{"after that fires", on(lives, func(d *drawer, n *oracleNode) {
		v := d.variable()
		d.line("%s = %s\n%[1]s.wait()", v,
			fmt.Sprintf(d.one("after('2ms', kill, %s)", "after('2ms', lambda: kill(%s))", "spawn(kill, %s)",
				"every('2ms', kill, %s, times=1)"), n.name))
		d.killNode(n)
	})},
	{"every that fires", on(awake, func(d *drawer, n *oracleNode) {
		v := d.variable()
		d.line("def %s():\n    pause(%s)\n    resume(%[2]s)\nevery('2ms', %[1]s, times=2).wait()", v, n)
		d.fault("pause", n)
		d.fault("pause", n)
	})},
	{"spawn that fails", always(func(d *drawer) {
		d.text(d.one("spawn(fail, 'no').wait()", "spawn(lambda: check(False))\nsleep('10s')"))
		d.stop(oracleFailed, "a task failed")
	})},
	{"spawn that is cut short", on(func(n *oracleNode) bool { return hears(n) && n.on["shutdown"] == "" }, func(d *drawer, n *oracleNode) {
		d.line("spawn(restart, %s)\nsleep('5ms')", n)
		d.find(oracleInconclusive, "the run's end cut a restart short")
		d.last = true
	})},
	{"spawn that never begins", on(lives, func(d *drawer, n *oracleNode) {
		given, _ := d.faultOn(n)
		d.line("spawn(%s)", given)
		d.find(oracleInconclusive, "the run's end came before a fault")
		d.last = true
	})},
	{"a branch that is not taken", on(forked, func(d *drawer, n *oracleNode) {
		_, called := d.faultOn(n)
		d.line("if len(config.links) > 99:\n    %s", called)
	})},
	{"shutdown_topology", func(d *drawer) bool {
		if d.node(func(n *oracleNode) bool { return n.paused }) != nil { // whether it resumes: silent in the rules
			return false
		}
		d.text("shutdown_topology()")
		for _, n := range d.nodes {
			d.end(n)
		}
		return true
	}},
	{"an interruption", always(func(d *drawer) {
		d.s.interrupted = true
		d.line("print(%q)\n%s", oracleInterrupt, d.one("sleep('1h')", "catch(lambda: sleep('1h'))",
			"catch(lambda: wait_until(lambda: False, timeout='1h'))"))
		d.stop(oracleInterrupted, "interrupted")
	})},
	{"the time limit", always(func(d *drawer) { // that it fails the run: silent in the rules
		d.limit = "300ms"
		d.text(d.one("sleep('1h')", "catch(lambda: sleep('1h'))", "spawn(lambda: sleep('1h')).wait(timeout='2h')"))
		d.stop(oracleFailed, "the time limit")
	})},
	{"a mistake", always(func(d *drawer) {
		d.text(d.one("chek(True)", "sleep()", "kill(nobody)"))
		d.stop(oracleMistake, "a mistake")
	})},
	{"net.delay with traffic", linkElement("net.delay(%s, %s, '1ms')", true)},
	{"net.delay without traffic", linkElement("net.delay(%s, %s, '1ms')", false)},
	{"net.refuse with a call", linkElement("net.refuse(%s, %s)", true)},
	{"net.refuse without a call", linkElement("net.refuse(%s, %s)", false)},
	{"net.partition without traffic", linkElement("net.partition([%s], [%s])", false)},
	{"a call between nodes", func(d *drawer) bool {
		ok := d.canCall() && !d.cut()
		if ok {
			d.call()
		}
		return ok
	}},
	{"after a partition that never fires", func(d *drawer) bool {
		if d.linked {
			a, b := d.pair()
			d.line("after('1h', net.partition, [%s], [%s])", a, b)
			d.find(oracleInconclusive, "a planned partition never fired")
		}
		return d.linked
	}},
}
