package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/journal"
	"github.com/dagon-star/dagon-star/runtime/output"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/roster"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// A probe is tried again after firstPause, and then each time after longer, until that
// is lastPause. A try may take firstTry, and one that was given up for it makes that
// twice as long, up to the timeout of the run.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 200 * time.Millisecond
	firstTry   = time.Second
)

const notifyKey = "ready.notify"

// readyKeys are which keys of the ini say when a node is ready, for the log; nil where
// that is the message alone.
func readyKeys(spec *topology.Node) (keys []string) {
	r := spec.Ready
	if r.IsZero() {
		return []string{"none"}
	}
	if r == (topology.Ready{Message: true}) {
		return nil
	}
	for _, k := range []struct {
		name  string
		given bool
	}{{"log", r.Log != nil}, {"notify", r.Notify}, {"message", r.Message}, {"port", r.Port != ""},
		{"http", r.HTTP != topology.HTTPProbe{}}, {"exec", r.Exec != ""}} {
		if k.given {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// prober finds out when an incarnation is ready, by the keys of the ini that say so. All
// of them must hold, one after the other without one that does not: those that cost
// nothing come first, and none is tried before those that come before it hold.
type prober struct {
	m    *Means
	ctx  context.Context // of the incarnation
	stop context.CancelFunc
	over chan struct{} // closed when it has ended
	wake chan struct{} // something that is waited for has come
	in   surroundings  // of it
	says *probe.Notify // the socket of the incarnation; nil without ready.notify

	mu     sync.Mutex
	probes []*trial
	ready  bool
}

// trial is one key that is tried.
type trial struct {
	what    string
	awaited bool // it is waited for, not tried
	try     func(context.Context) error
	close   func() // or nil

	tries int
	last  error   // of the last try that failed
	held  bool    // the last one
	heldS float64 // when it began to, in seconds since the fork
}

// beginProbing begins to find out when the incarnation is ready. The lock is held.
func (i Incarnation) beginProbing() {
	if i.prober == nil {
		return
	}
	i.Node.m.Tasks.Go(func() { i.probe() })
}

// close gives back what the prober has.
func (p *prober) close() {
	p.stop()
	if p.says != nil {
		_ = p.says.Close() // what it leaves is in the run's folder
	}
}

// stopProbing has nothing more be tried. It does not wait for what is under way.
func (i Incarnation) stopProbing() {
	if i.prober != nil {
		i.prober.stop()
	}
}

// newProber makes what finds out when the incarnation that is being forked is ready; nil
// where the message alone tells it, or nothing does. It adds to the environment of the
// incarnation what that finds the socket of sd_notify by.
func (b *Birth) newProber(in *surroundings) (*prober, error) {
	if keys := readyKeys(b.Node.Spec); keys == nil || keys[0] == "none" {
		return nil, nil
	}
	var says *probe.Notify
	if b.Node.Spec.Ready.Notify {
		var users []uint32
		if in.user != nil {
			users = append(users, in.user.UID)
		}
		var err error
		if says, err = probe.ListenNotify(strings.TrimSuffix(b.Node.logFile, ".log")+".notify", users...); err != nil {
			return nil, fmt.Errorf("%s: ready.notify (%s): %w", b.Node.Spec.Name, b.Node.where("ready.notify"), err)
		}
		in.env = append(in.env, probe.NotifyVariable+"="+says.Address())
	}
	p := &prober{m: b.Node.m, over: make(chan struct{}), wake: make(chan struct{}, 1), in: *in, says: says}
	p.ctx, p.stop = context.WithCancel(b.Node.m.Ended)
	return p, nil
}

// probe tries until all holds, or the incarnation is at its end.
func (i Incarnation) probe() {
	p, m := i.prober, i.Node.m
	defer close(p.over)
	defer p.close()
	trials := i.trials()
	defer func() {
		p.stop() // they may wait for that
		for _, t := range trials {
			if t.close != nil {
				t.close()
			}
		}
	}()
	p.mu.Lock()
	p.probes = trials
	p.mu.Unlock()
	select {
	case <-i.gone: // the output may be that of the next one
		return
	default:
	}
	m.Journal.Lock()
	forked := i.Node.ForkedAt
	m.Journal.Unlock()
	sinceFork := func() float64 { return (m.Clock.Now() - forked).Truncate(time.Microsecond).Seconds() }
	pause, bound := firstPause, firstTry
	for {
		began := m.Clock.Now()
		failed, late := p.pass(bound, sinceFork)
		if failed == nil && i.hold(began) || p.ctx.Err() != nil {
			break
		}
		if late {
			bound = min(2*bound, max(m.Timeout, firstTry))
		}
		var due <-chan struct{} // never, where what is awaited wakes it
		stop := func() bool { return false }
		if failed == nil || !failed.awaited {
			due, stop = m.Clock.After(pause)
			pause = min(pause*3/2, lastPause)
		}
		select {
		case <-due:
		case <-p.wake:
		case <-p.ctx.Done():
		}
		stop()
	}
	i.tellProbes()
}

// pass tries all, and returns the first that does not hold, and whether that was given
// up as it took too long.
func (p *prober) pass(bound time.Duration, now func() float64) (failed *trial, late bool) {
	for _, t := range p.probes {
		ctx, cancel := p.ctx, context.CancelFunc(func() {})
		if !t.awaited {
			ctx, cancel = p.m.within(p.ctx, bound, fmt.Errorf("no answer within %s", bound))
		}
		err := t.try(ctx)
		late = ctx.Err() != nil
		cancel()
		if p.ctx.Err() != nil && err != nil { // it was not let come to its end
			return t, false
		}
		p.mu.Lock()
		if !t.awaited {
			t.tries++
		}
		if err == nil && !t.held {
			t.heldS = now()
		}
		if t.held = err == nil; !t.held {
			t.last = err
		} else if t.awaited {
			t.last = nil // it had only not come
		}
		p.mu.Unlock()
		if err != nil {
			return t, late
		}
	}
	return nil, false
}

// hold has the node be ready, if it has not been paused since all that was tried, and is not
// stopped: it was the kernel that answered then, or one who answers no more.
func (i Incarnation) hold(began time.Duration) bool {
	n, j := i.Node, i.Node.m.Journal
	j.Lock()
	defer j.Unlock()
	if !i.isPresent() {
		return false
	}
	if n.Paused != 0 || n.PausedWithin(began, n.m.Clock.Now()) > 0 || process.Stopped(i.Process.PID()) {
		return false
	}
	i.prober.mu.Lock()
	i.prober.ready = true
	i.prober.mu.Unlock()
	return true
}

// tellProbes logs what has become of the probes.
func (i Incarnation) tellProbes() {
	p, j := i.prober, i.Node.m.Journal
	j.Lock()
	defer j.Unlock()
	if !i.isPresent() {
		return
	}
	p.mu.Lock()
	var told []event.Probe
	ended := (j.Elapsed() - i.Node.ForkedAt).Truncate(time.Microsecond).Seconds()
	for at, t := range p.probes {
		took := ended
		if t.held {
			took = t.heldS
		}
		told = append(told, event.Probe{What: t.what, Tries: t.tries, TookS: took, Held: t.held, Error: t.lastText(),
			Ready: p.ready && at == len(p.probes)-1})
	}
	p.mu.Unlock()
	for _, e := range told {
		j.Append(i.Node.Name, e)
	}
}

func (t *trial) lastText() string {
	if t.last == nil {
		return ""
	}
	return t.last.Error()
}

// ReadyNote says which probe of the node's present incarnation does not hold, or "". The
// lock is held.
func (n *Node) ReadyNote() string {
	p := n.prober
	if p == nil || n.process == nil || n.WasReady {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.probes {
		switch {
		case t.held:
		case t.last == nil:
			return t.what + ": not tried yet"
		case t.what == notifyKey: // its status may be another by now
			if err := notified(p.says); err != nil {
				return t.what + ": " + err.Error()
			}
		case t.awaited:
			return t.what + ": " + t.lastText()
		default:
			return fmt.Sprintf("%s: %s, tried %s", t.what, t.lastText(), times(t.tries))
		}
	}
	return ""
}

// CanReach returns why a node cannot come to a state at all, whatever it does, or nil. The
// lock is held.
func (n *Node) CanReach(s roster.State) error {
	ready := n.Spec.Ready
	cannot := func(format string, args ...any) error {
		return &journal.StateError{Node: n.Name, State: n.State, Text: fmt.Sprintf("cannot await %s: ", s) + fmt.Sprintf(format, args...)}
	}
	place := fmt.Sprintf("%s:%d: [%s]", n.m.Topology.Path, n.Spec.Line, n.Spec.Section)
	switch {
	case s == roster.StateReady && ready.IsZero():
		return cannot("%s does not say when it is ready. Give it ready.log = REGEX, ready.port = ENDPOINT, ready.http = ENDPOINT/PATH, "+
			"ready.exec = SHELL, ready.notify = true or ready.message = true", place)
	case (s == roster.StateDone || s == roster.StateStarted) && n.Spec.Words != nil && !ready.Message && !n.Phoned:
		return cannot("%s is no program that speaks OSC, so that it never says it: await_output and await_exit see what it does, "+
			"and ready.message = true says that it speaks OSC", place)
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// trials are the node's probes, those that cost nothing first.
func (i Incarnation) trials() (all []*trial) {
	n, p, r := i.Node, i.prober, i.Node.Spec.Ready
	at := func(endpoint string) string { return ownAddress(n, endpoint) }
	wake := func() {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	if r.Log != nil {
		s := n.Log.Search(r.Log, output.Both, output.From{})
		met := false
		t := &trial{what: "ready.log " + r.Log.String(), awaited: true, close: s.Stop}
		t.try = func(context.Context) error {
			if met = met || s.Met(); met {
				s.Stop() // others that look for it find it too
				return nil
			}
			if err := s.Err(); err != nil {
				return err
			}
			return errors.New("no line of this incarnation's output matches")
		}
		s.Follow(wake)
		all = append(all, t)
	}
	if r.Notify {
		var waiting sync.WaitGroup
		waiting.Go(func() {
			select {
			case <-p.says.Ready():
				wake()
			case <-p.ctx.Done():
			}
		})
		t := &trial{what: notifyKey, awaited: true, close: waiting.Wait}
		t.try = func(context.Context) error { return notified(p.says) }
		all = append(all, t)
	}
	if r.Message {
		// It is waited for as long as the incarnation is there.
		w := n.m.Journal.Watch(journal.Condition{What: "message", Nodes: []string{n.Spec.Name}, Quiet: true, Expiry: true, Timeout: 1 << 62,
			Check: func(string) journal.Answer { return journal.Answer{Met: n.Said} }}, wake)
		t := &trial{what: "ready.message", awaited: true, close: w.Stop}
		t.try = func(context.Context) error {
			n.m.Journal.Lock()
			defer n.m.Journal.Unlock()
			if n.Said {
				return nil
			}
			return errors.New(control.AddressReady + " has not come")
		}
		all = append(all, t)
	}
	if r.Port != "" {
		to := at(r.Port)
		all = append(all, &trial{what: "ready.port " + to, try: func(ctx context.Context) error { return connects(ctx, to) }})
	}
	if r.HTTP != (topology.HTTPProbe{}) {
		all = append(all, i.httpTrial(r.HTTP))
	}
	if r.Exec != "" {
		all = append(all, i.execTrial(r.Exec))
	}
	return all
}

// notified returns why what a node says of itself is not that it is ready, or nil.
func notified(by *probe.Notify) error {
	select {
	case <-by.Ready():
		return nil
	default:
	}
	why := "READY=1 has not come at NOTIFY_SOCKET"
	if status := by.Status(); status != "" {
		why += ", but STATUS=" + topology.Brief(status, 80)
	}
	if n, user := by.Strangers(); n > 0 {
		why += fmt.Sprintf("; messages of another user do not count, such as of %d: %d came", user, n)
	}
	return errors.New(why)
}

// ownAddress is the host:port of an endpoint of the node's own: no link is between.
func ownAddress(n *Node, endpoint string) string {
	return n.m.Addresses.Endpoints(n.Spec)[endpoint]
}

// squatted is an error if somebody accepts connections already where a probe is to find
// the node: one who would be taken for it, such as a server of the machine that listens on
// that port of all addresses. The node does not run yet.
func (n *Node) squatted(ctx context.Context) error {
	r := n.Spec.Ready
	for _, of := range []struct{ key, endpoint string }{{"ready.port", r.Port}, {"ready.http", r.HTTP.Endpoint}} {
		if of.endpoint == "" {
			continue
		}
		at := ownAddress(n, of.endpoint)
		bounded, cancel := context.WithTimeout(ctx, firstTry)
		err := connects(bounded, at)
		cancel()
		if err == nil {
			return fmt.Errorf("%s: %s (%s) would take another program for it, which listens at %s already: end that one, or "+
				"give listen.%s another port, or auto",
				n.Spec.Name, of.key, n.where(of.key), at, of.endpoint)
		}
	}
	return nil
}

// connects returns why no connection is accepted, or nil.
func connects(ctx context.Context, to string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil { // the address is told already
			err = op.Err
		}
		return err
	}
	return conn.Close()
}

// maxAnswer is how many bytes of an answer, or of the output of a command, a probe takes.
const maxAnswer = 1 << 20

// problemOf is what an action failed with, without what its trial tells already.
func problemOf(err error) error {
	var not *probe.Error
	switch {
	case !errors.As(err, &not):
		return err
	case not.Err != nil:
		return fmt.Errorf("%s: %w", not.Problem, not.Err)
	}
	return errors.New(not.Problem)
}

// httpTrial is a GET that is answered by 200 to 399. Each try has a connection of its own:
// the node may have closed what it had accepted before it was ready.
func (i Incarnation) httpTrial(h topology.HTTPProbe) *trial {
	n := i.Node
	to := ownAddress(n, h.Endpoint)
	path, err := n.m.Topology.Expand(n.Spec, n.m.Place(), h.Path)
	t := &trial{what: "ready.http http://" + to + path}
	t.try = func(ctx context.Context) error {
		if err != nil {
			return err
		}
		client := probe.NewClient(probe.Target{Node: n.Spec.Name, Endpoint: h.Endpoint, Address: to}, maxAnswer)
		defer client.Close()
		answer, err := client.Do(ctx, probe.Request{Path: path})
		if answer != nil && (answer.Status < 200 || answer.Status > 399) {
			return errors.New(strings.TrimSpace(fmt.Sprintf("%d %s", answer.Status, firstLine(answer.Body))))
		}
		if answer != nil && len(answer.Body) == maxAnswer { // a page that is longer is an answer too
			return nil
		}
		var not *probe.Error
		if errors.As(err, &not) && not.Status != 0 { // it is a redirect
			return nil
		}
		return problemOf(err)
	}
	return t
}

// firstLine is the beginning of a text, for an error.
func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return topology.Brief(strings.TrimSpace(line), 80)
}

// execTrial is a command that exits with 0.
func (i Incarnation) execTrial(text string) *trial {
	n, in := i.Node, i.prober.in
	filled, err := n.m.Topology.Expand(n.Spec, n.m.Place(), text)
	t := &trial{what: "ready.exec " + topology.Brief(filled, 80)}
	t.try = func(ctx context.Context) error {
		if err != nil {
			return err
		}
		_, err := probe.Exec(ctx, n.m.Processes, probe.Command{Node: n.Spec.Name, Argv: probe.Shell(filled), Env: in.env, Dir: in.dir,
			Credential: in.user, MaxOutput: maxAnswer, Check: true})
		return problemOf(err)
	}
	return t
}
