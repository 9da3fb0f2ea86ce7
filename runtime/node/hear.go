package node

import (
	"cmp"
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

// A connection of a node that has another follows that once what was said on it has been
// heard and it has ended. Where the new one proves by its token that it is the same node,
// the other is closed once nothing more has come on it for giveWay, or after handOver;
// else it has handOver to end, from when the first that wants to follow it has come.
const (
	handOver = time.Second
	giveWay  = 50 * time.Millisecond
)

// Ready believes a connection that says it is the node's, or says why not. Where only
// this machine reaches the socket, a node need not show its token, for a program that
// knows nothing of it may be one; but one that has, or is built in and always does,
// cannot be mistaken for another that has only heard its name. The reason goes to the
// log alone: who is refused is told nothing.
//
// A node may connect again, at any address that it knows. What it had said on its older
// connection is heard first; that one has ended then, or gives way to one that shows the
// token.
func (n *Node) Ready(c *control.Conn, hello control.Hello) error {
	j := n.m.Journal
	j.Lock()
	n.callers++
	j.Unlock()
	defer func() {
		j.Lock()
		n.callers--
		j.Unlock()
	}()
	c.HearBefore(n.m.Ended)
	for {
		older, err := n.believe(c, hello)
		if older == nil {
			return err
		}
		n.m.Control.Settle(n.m.Ended, []*control.Conn{older}, nil, false)
		if hello.Token != "" {
			if !n.hasEnded(older.Closed(), giveWay, handOver) {
				n.wishEnd(older)
				older.Close(fmt.Sprintf("it has connected again, from %s", c.Peer()))
				<-older.Closed()
			}
			continue
		}
		if !n.follow(c, older) {
			return fmt.Errorf("%s is already connected, from %s", hello.Name, older.Peer())
		}
	}
}

// wishEnd has the end of a connection, which we are about to close, logged as wished.
func (n *Node) wishEnd(c *control.Conn) {
	n.m.Journal.Lock()
	defer n.m.Journal.Unlock()
	n.followed = c
}

// follow waits for the end of an older connection, and reports whether it has come in
// time.
func (n *Node) follow(c, older *control.Conn) bool {
	j := n.m.Journal
	j.Lock()
	if n.challenged != older {
		n.challenged, n.challengedAt = older, n.m.Clock.Now()
	}
	since := n.challengedAt
	j.Unlock()
	for {
		j.Lock()
		left := n.left(since, handOver)
		j.Unlock()
		late, stop := n.m.Clock.After(left)
		select {
		case <-older.Closed():
			stop()
			return true
		case <-c.Stopping():
			stop()
			return false
		case <-late:
		}
		if left <= 0 {
			return false
		}
	}
}

// left is what is left of a while that began at an instant, in which the node was not
// paused; at least a little where it has not passed. The lock is held.
func (n *Node) left(since, while time.Duration) time.Duration {
	now := n.m.Clock.Now()
	left := while - (now - since) + n.PausedWithin(since, now)
	if left <= 0 {
		return 0
	}
	return max(left, leastLeft)
}

// leastLeft is how often is looked at a while that stands still, as its node is paused.
const leastLeft = 20 * time.Millisecond

// Stranger returns why a connection is turned away that says a name that no node of the
// run has, once those before it have been heard.
func (m *Means) Stranger(c *control.Conn, hello control.Hello) error {
	c.HearBefore(m.Ended)
	if err := misplaced(hello); err != nil {
		return err
	}
	return fmt.Errorf("no node of this run is named %q", hello.Name)
}

// misplaced is the error of who says on a node's port that it is another.
func misplaced(hello control.Hello) error {
	if hello.ForNode != "" && hello.Name != hello.ForNode {
		return fmt.Errorf("it says it is %q, and this port is that of %s", hello.Name, hello.ForNode)
	}
	return nil
}

// believe takes a connection for that of the node, or says why not. Where the node has
// another that is older, whose end is to be waited for.
func (n *Node) believe(c *control.Conn, hello control.Hello) (older *control.Conn, err error) {
	n.ReadNow()
	n.m.Journal.Lock()
	defer n.m.Journal.Unlock()
	if err := misplaced(hello); err != nil {
		return nil, err
	}
	n.AwaitBirth()
	switch {
	case hello.Run != "" && hello.Run != n.m.Run:
		return nil, fmt.Errorf("%s belongs to run %q, this is run %s", hello.Name, hello.Run, n.m.Run)
	case !n.Alive():
		return nil, fmt.Errorf("%s is not running", hello.Name)
	case hello.Incarnation != 0 && hello.Incarnation != n.Incarnation,
		hello.ForIncarnation != 0 && hello.ForIncarnation != n.Incarnation:
		return nil, fmt.Errorf("it is incarnation %d of %s, the present one is %d",
			cmp.Or(hello.Incarnation, hello.ForIncarnation), hello.Name, n.Incarnation)
	case (hello.Token != "" || n.m.NeedToken || n.showsToken) && subtle.ConstantTimeCompare([]byte(hello.Token), []byte(n.token)) == 0:
		return nil, fmt.Errorf("the token is not that of %s: DAGON_TOKEN of its environment is expected", hello.Name)
	case n.conn != nil:
		return n.conn, nil
	}
	n.conn = c
	n.showsToken = n.showsToken || hello.Token != ""
	n.m.Journal.Append(n.Name, event.Connected{Peer: c.Peer()})
	n.m.Journal.Append(n.Name, event.Received{Address: control.AddressReady, Args: event.Args{hello.Name}})
	return nil, nil
}

// Received logs messages that came on a connection, if it is the node's. What the node
// wrote before it sent them is in its log then.
func (n *Node) Received(c *control.Conn, all []*osc.Message) {
	n.ReadNow()
	received := make([]event.Received, len(all))
	for i, m := range all {
		received[i] = event.Received{Address: m.Address, Args: m.Arguments}
		if !received[i].Args.Exact() {
			received[i].Packet, _ = osc.Append(nil, m) // what was decoded can be encoded
		}
	}
	j := n.m.Journal
	j.Lock()
	defer j.Unlock()
	if n.conn != c {
		return
	}
	for _, m := range received {
		if !j.Hears() {
			continue
		}
		known, err := false, error(nil)
		if n.m.Operation != nil {
			known, err = n.m.Operation(n.Name, m)
		}
		switch {
		case err != nil:
			j.Append(n.Name, event.Refused{Peer: c.Peer(), Reason: err.Error(), Message: true})
		case !known:
			j.Append(n.Name, m)
		}
	}
}

// Disconnected logs the end of a connection, if it is the node's. A node that ends
// closes it; one that lives on without it is lost.
func (n *Node) Disconnected(c *control.Conn, reason string, cut bool) {
	j := n.m.Journal
	j.Lock()
	defer j.Unlock()
	if n.conn != c {
		return
	}
	n.conn = nil
	j.Append(n.Name, event.Disconnected{Peer: c.Peer(), Reason: reason, Cut: cut, Followed: cut && n.followed == c,
		Reset: reason == control.Reset})
	n.losses++
	incarnation, loss, since := n.Incarnation, n.losses, n.m.Clock.Now()
	var lose func()
	lose = func() {
		j.Lock()
		defer j.Unlock()
		left := n.left(since, lostAfter)
		switch {
		case !n.Alive() || n.Incarnation != incarnation || n.conn != nil || n.losses != loss:
		case left > 0:
			n.m.Clock.AfterFunc(left, lose)
		case n.callers > 0: // it may be one of them
			n.m.Clock.AfterFunc(lostAfter, lose)
		default:
			j.Append(n.Name, event.Lost{})
		}
	}
	n.m.Clock.AfterFunc(lostAfter, lose)
}
