//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// The model of TestOracle: what the rules make of a run. It is written from the
// rules and not from the engine. Where they are silent, it says what a user would:
//
//   - An exit with 0 after done is fine, whatever else was asked.
//   - The time limit fails the run.
//   - An await that cannot be met fails the run in a deferred call and in teardown
//     too, unless it is caught.
//   - A wrong call, such as a fork of what runs, fails the run unless it is caught.
//   - catch swallows fail and inconclusive, as their documentation says.
//   - A signal that harms nothing is no planned fault where it is given to after or
//     every, either.
//   - A restart of the dead touches nothing, as it starts them: require_faults does
//     not count it, and it need not touch anything.
//   - A fault that is given to spawn, and that the end of the script comes before,
//     has never fired.
//   - What the machine cannot do makes a run skipped only if nothing worse was
//     found, such as a planned fault that never fired.
//   - After a bad end that was asked for, the script may go on or not.
//
// What cannot be decided, or depends on a race, is not drawn:
//
//   - every that fired less often than its times, a lambda that ran and did not come
//     to its fault, and a function that calls another one that has a fault.
//   - A fault in a deferred call.
//   - shutdown_topology while a node is paused, STOP by signal, and shutdown of a
//     node that is paused or not connected.
//   - A link fault beside traffic that is not awaited: a partition with traffic, and
//     net.reset, which need a connection that stays open.
//   - A kill of a node that may exit, and has done so without having been noticed.
//   - A second node that is slow to end beside one: the end waits for all of them
//     together.

// oracleOutcome is what a run comes to. The worst of all findings holds.
type oracleOutcome int

const (
	oraclePassed oracleOutcome = iota
	oracleSkipped
	oracleInconclusive
	oracleInterrupted
	oracleFailed
	oracleMistake // found before the first fork
)

func (o oracleOutcome) String() string {
	return [...]string{"passed", "skipped", "inconclusive", "interrupted", "failed", "mistake"}[o]
}

// exitCode is that of "run", and of "test" with one test: all of its being skipped
// shows nothing.
func (o oracleOutcome) exitCode() int {
	return [...]int{0, 3, 3, 128 + 15, 1, 2}[o]
}

// askedToStop is a request by /shutdown, by the engine's TERM, by a graceful restart
// or by the end of the run. The others are the names of signals.
const askedToStop = "stop"

// fine is the table of exits. how is "exit 3" or "SEGV"; asked is what was asked
// of the node while it lived, by the script or the engine.
func fine(how string, asked []string, done, mayExit, killedByEngine bool) bool {
	switch {
	case killedByEngine:
		return false
	case mayExit, how == "exit 0" && done:
		return true
	}
	return slices.ContainsFunc(asked, func(request string) bool {
		switch request {
		case askedToStop:
			return how == "exit 0" || how == "TERM" || how == "exit 143"
		case "TERM", "INT", "QUIT", "HUP":
			return how == request || how == "exit 0" || how == fmt.Sprint("exit ", 128+signalNumbers[request])
		}
		return how == request
	})
}

var (
	signalNumbers = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "TERM": 15}
	// toldOnly are signals that a process survives if it does nothing about them.
	toldOnly = []string{"CONT", "WINCH"}
	// harmlessSignals are signals that ask or tell: no faults.
	harmlessSignals = []string{"TERM", "INT", "QUIT", "HUP", "CONT", "USR1", "USR2", "WINCH"}
)

// oracleNode is a node as the model sees it. on says how it reacts: by "boot",
// "ready", "start", "shutdown", "do" and names of signals, each to words that it
// carries out in their order. A signal that is not there has its default action.
type oracleNode struct {
	name    string
	on      map[string]string
	mayExit bool // by the ini

	// Of its present incarnation, but for may.
	may, forked, alive, ready, started, done, answered, talks, paused bool

	asked       []string
	incarnation int
}

func (n *oracleNode) String() string { return n.name }

// words are those of a reaction: "done", "answer", "say NAME", "hold", "talk",
// "call", "exit N" and names of signals, each of which ends the node.
func words(reaction string) []string {
	if reaction == "" {
		return nil
	}
	return strings.Split(reaction, ", ")
}

// ends reports how a reaction ends its node: "exit 3", "SEGV"; "" where it does
// not.
func ends(reaction string) string {
	all := words(reaction)
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	if strings.HasPrefix(last, "exit ") || strings.ToUpper(last) == last {
		return last
	}
	return ""
}

// oracleFinding bears on the outcome.
type oracleFinding struct {
	outcome oracleOutcome
	why     string
}

// oracleFault is one that was applied to links: traffic may touch it later.
type oracleFault struct {
	what           string
	touched, inUse bool
}

// oracleWorld is the state of a run.
type oracleWorld struct {
	nodes    []*oracleNode
	findings []oracleFinding
	over     bool // the main part of the script has ended
	halted   bool // it must have: after a bad end that was asked for it may go on
	faults   int  // that touched something
	links    []*oracleFault
	required int
	deferred []func() // and teardown before them all
	reached  map[string]bool
	exits    map[string][]string // by node, how each incarnation ended
}

func (w *oracleWorld) reach(what string) { w.reached[what] = true }

// find adds a finding; stop ends the script with it too.
func (w *oracleWorld) find(o oracleOutcome, format string, args ...any) {
	w.findings = append(w.findings, oracleFinding{o, fmt.Sprintf(format, args...)})
}

func (w *oracleWorld) stop(o oracleOutcome, format string, args ...any) {
	w.find(o, format, args...)
	w.over, w.halted = true, w.halted || !w.over
}

// ask asks a node for its end, or another signal's.
func (w *oracleWorld) ask(n *oracleNode, what string) {
	if n.alive {
		n.asked = append(n.asked, what)
	}
}

// dies judges an end. One that is not fine ends the script too; whether it does
// where something was asked, the rules leave open.
func (w *oracleWorld) dies(n *oracleNode, how string, killedByEngine bool) {
	n.alive, n.paused = false, false
	w.exits[n.name] = append(w.exits[n.name], how)
	if !fine(how, n.asked, n.done, n.may, killedByEngine) {
		w.halted = w.halted || !w.over && len(n.asked) == 0
		w.over = true
		w.find(oracleFailed, "%s, incarnation %d, ended by %s: asked for: %q, done: %v, killed by the engine: %v", n.name,
			n.incarnation, how, n.asked, n.done, killedByEngine)
	}
}

// react lets a node do what it does when it is told something.
func (w *oracleWorld) react(n *oracleNode, to string) {
	if to != "do" {
		w.reach(fmt.Sprintf("on %s: %s", to, n.on[to]))
	}
	w.perform(n, n.on[to])
}

func (w *oracleWorld) perform(n *oracleNode, reaction string) {
	for _, word := range words(reaction) {
		switch word {
		case "done":
			n.done = true
		case "answer":
			n.done, n.answered = true, true
		case "talk":
			n.talks = true
		}
	}
	if how := ends(reaction); how != "" {
		w.dies(n, how, false)
	}
}

// signal sends a signal; the request has been noted.
func (w *oracleWorld) signal(n *oracleNode, name string) {
	switch _, handled := n.on[name]; {
	case !n.alive:
	case handled:
		w.react(n, name)
	case !slices.Contains(toldOnly, name):
		w.reach("on " + name + ": dies")
		w.dies(n, name, false)
	}
}

// boot forks a node and lets it get ready, if it does.
func (w *oracleWorld) boot(n *oracleNode) {
	*n = oracleNode{name: n.name, on: n.on, mayExit: n.mayExit, may: n.may || n.mayExit, forked: true, alive: true,
		incarnation: n.incarnation + 1}
	if w.react(n, "boot"); !n.alive || n.on["boot"] == "never" {
		return
	}
	n.ready = true
	w.react(n, "ready")
}

// end ends a node as the end of the run, shutdown_topology and a graceful restart
// do: it is resumed, asked by /shutdown, then by TERM, and then killed.
func (w *oracleWorld) end(n *oracleNode) {
	if !n.alive {
		return
	}
	n.paused = false
	w.ask(n, askedToStop)
	if n.ready && !n.answered {
		w.react(n, "shutdown")
	}
	if n.alive {
		w.signal(n, "TERM")
	}
	if n.alive {
		w.reach(fmt.Sprintf("killed by the engine, answered: %v, ready: %v", n.answered, n.ready))
		w.dies(n, "KILL", true)
	}
}

// fault is a fault of processes that was applied to nodes: it touched those that
// lived.
func (w *oracleWorld) fault(what string, nodes ...*oracleNode) {
	if slices.ContainsFunc(nodes, func(n *oracleNode) bool { return n.alive }) {
		w.faults++
		return
	}
	w.find(oracleInconclusive, "%s touched nothing: all that it befell was dead", what)
}

// verdict ends the run: the deferred calls, the nodes, and what is known only
// then.
func (w *oracleWorld) verdict() (worst oracleOutcome, why []string) {
	w.over = true
	for _, n := range w.nodes {
		n.paused = false
	}
	for _, call := range slices.Backward(w.deferred) {
		call()
	}
	for _, n := range w.nodes {
		w.end(n)
	}
	for _, f := range w.links {
		if f.touched {
			w.faults++
		} else {
			w.find(oracleInconclusive, "%s touched no byte and no connection", f.what)
		}
	}
	if w.faults < w.required {
		w.find(oracleInconclusive, "%d faults touched something, and %d are required", w.faults, w.required)
	}
	for _, f := range w.findings {
		worst = max(worst, f.outcome)
		why = append(why, fmt.Sprintf("%v: %s", f.outcome, f.why))
	}
	return worst, why
}
