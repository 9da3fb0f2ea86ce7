package runtime

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// lostAfter is how long a node may live on without its control connection
// before it counts as lost: one that ends closes it a moment earlier.
const lostAfter = time.Second

// handler is the Run as the control socket sees it.
type handler Run

// A connection of a node that has connected before waits so long for what was said on
// the older ones to be heard, and then for the last to end, where it does not prove by
// its token that it is the same node.
const (
	hearBefore = 10 * time.Second
	handOver   = time.Second // from when the first of them has come
)

// Ready believes a connection, or says why not. Where only this machine reaches
// the socket, a node need not show its token, for a program that knows nothing
// of it may be one; but one that has, or is built in and always does, cannot be
// mistaken for another that has only heard its name. The reason goes to the log
// alone: who is refused is told nothing.
//
// A node may connect again. What it had said on its older connection is heard first;
// that one has ended then, or gives way to one that shows the token.
func (h *handler) Ready(c *control.Conn, hello control.Hello) error {
	r := (*Run)(h)
	r.j.Lock()
	n := r.nodes[hello.Name]
	again := n != nil && (n.conn != nil || n.losses > 0)
	if n != nil {
		n.callers++
	}
	r.j.Unlock()
	defer func() {
		if n != nil {
			r.j.Lock()
			n.callers--
			r.j.Unlock()
		}
	}()
	if before := c.Before(again || hello.ForNode != ""); len(before) > 0 {
		ctx, cancel := context.WithTimeout(r.ended, hearBefore)
		r.drivers.control.Settle(ctx, before, nil, false)
		cancel()
	}
	for {
		older, proven, wait, err := r.believe(c, hello)
		if older == nil {
			return err
		}
		if proven {
			older.Close(fmt.Sprintf("it has connected again, from %s", c.Peer()))
		}
		timer := time.NewTimer(wait)
		select {
		case <-older.Closed():
			timer.Stop()
			continue
		case <-c.Stopping():
			timer.Stop()
		case <-timer.C:
		}
		return fmt.Errorf("%s is already connected, from %s", hello.Name, older.Peer())
	}
}

// believe takes a connection for that of a node, or says why not. Where the node has
// another it is older, whose end is to be waited for, and proven says whether this one
// has shown the token.
func (r *Run) believe(c *control.Conn, hello control.Hello) (older *control.Conn, proven bool, wait time.Duration, err error) {
	r.j.Lock()
	defer r.j.Unlock()
	if hello.ForNode != "" && hello.Name != hello.ForNode {
		return nil, false, 0, fmt.Errorf("it says it is %q, and this port is that of %s", hello.Name, hello.ForNode)
	}
	n := r.nodes[hello.Name]
	r.awaitBirth(n)
	switch {
	case n == nil:
		return nil, false, 0, fmt.Errorf("no node of this run is named %q", hello.Name)
	case hello.Run != "" && hello.Run != r.id:
		return nil, false, 0, fmt.Errorf("%s belongs to run %q, this is run %s", hello.Name, hello.Run, r.id)
	case !n.Alive():
		return nil, false, 0, fmt.Errorf("%s is not running", hello.Name)
	case hello.Incarnation != 0 && hello.Incarnation != n.Incarnation,
		hello.ForIncarnation != 0 && hello.ForIncarnation != n.Incarnation:
		return nil, false, 0, fmt.Errorf("it is incarnation %d of %s, the present one is %d",
			cmp.Or(hello.Incarnation, hello.ForIncarnation), hello.Name, n.Incarnation)
	case (hello.Token != "" || r.needToken || n.showsToken) && subtle.ConstantTimeCompare([]byte(hello.Token), []byte(n.token)) == 0:
		return nil, false, 0, fmt.Errorf("the token is not that of %s: DAGON_TOKEN of its environment is expected", hello.Name)
	case n.conn != nil:
		if n.challenged != n.conn {
			n.challenged, n.challengedAt = n.conn, time.Now()
		}
		proven = hello.Token != ""
		if wait = handOver - time.Since(n.challengedAt); proven {
			wait = handOver
		}
		return n.conn, proven, max(wait, 0), nil
	}
	n.conn = c
	n.showsToken = n.showsToken || hello.Token != ""
	r.j.Append(hello.Name, event.Connected{Peer: c.Peer()})
	r.j.Append(hello.Name, event.Received{Address: control.AddressReady, Args: event.Args{hello.Name}})
	return nil, false, 0, nil
}

// awaitBirth waits for the fork of a node that has spoken before that is in the log. n
// may be nil. The lock is held, and given back meanwhile.
func (r *Run) awaitBirth(n *node) {
	for n != nil && n.birth != nil {
		settled := n.birth.settled
		r.j.Unlock()
		<-settled
		r.j.Lock()
	}
}

// Received logs messages.
func (h *handler) Received(c *control.Conn, all []*osc.Message) {
	r := (*Run)(h)
	received := make([]event.Received, len(all))
	for i, m := range all {
		received[i] = event.Received{Address: m.Address, Args: m.Arguments}
		if !received[i].Args.Exact() {
			received[i].Packet, _ = osc.Append(nil, m) // what was decoded can be encoded
		}
	}
	r.j.Lock()
	defer r.j.Unlock()
	n := r.nodes[c.Name()]
	if n == nil || n.conn != c {
		return
	}
	for _, m := range received {
		if r.j.Hears() {
			r.j.Append(c.Name(), m)
		}
	}
}

// Disconnected logs the end of a connection. A node that ends closes it; one
// that lives on without it is lost.
func (h *handler) Disconnected(c *control.Conn, reason string, cut bool) {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	n := r.nodes[c.Name()]
	if n == nil || n.conn != c {
		return
	}
	n.conn = nil
	r.j.Append(c.Name(), event.Disconnected{Peer: c.Peer(), Reason: reason, Cut: cut})
	n.losses++
	incarnation, loss := n.Incarnation, n.losses
	var lose func()
	lose = func() {
		r.j.Lock()
		defer r.j.Unlock()
		switch {
		case !n.Alive() || n.Incarnation != incarnation || n.conn != nil || n.losses != loss:
		case n.callers > 0: // it may be one of them
			r.clock.AfterFunc(lostAfter, lose)
		default:
			r.j.Append(n.Name, event.Lost{})
		}
	}
	r.clock.AfterFunc(lostAfter, lose)
}

// Refused logs a connection or a message that was turned away.
func (h *handler) Refused(refusal control.Refusal) {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	r.awaitBirth(r.nodes[refusal.Node])
	r.j.Append(refusal.Node, event.Refused{Peer: refusal.Peer, Reason: refusal.Reason, Message: refusal.Message})
}

// Paused is for how long of a time a node was paused.
func (h *handler) Paused(node string, from, to time.Time) time.Duration {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	n := r.nodes[node]
	if n == nil {
		return 0
	}
	now := r.Elapsed()
	return n.PausedWithin(now-time.Since(from), now-time.Since(to))
}

// settleLimit bounds how long is waited for what has arrived to be heard.
const settleLimit = time.Second

// hearOut returns when what nodes had said by the time of the call has been heard.
func (r *Run) hearOut(names []string) {
	ctx, cancel := context.WithTimeout(r.ended, settleLimit)
	defer cancel()
	var conns []*control.Conn
	var ports []*control.Port
	shared := false
	r.j.Lock()
	for _, name := range names {
		n := r.nodes[name]
		switch {
		case n == nil || !n.Alive():
		case n.conn != nil:
			conns = append(conns, n.conn)
		case n.port != nil:
			ports, shared = append(ports, n.port), true // it may have called the address that all know
		default:
			shared = true
		}
	}
	r.j.Unlock()
	r.drivers.control.Settle(ctx, conns, ports, shared)
}

// Failed ends the run: no node could be heard any more.
func (h *handler) Failed(err error) {
	(*Run)(h).Abort(fmt.Errorf("control socket: %w", err))
}
