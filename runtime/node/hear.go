package node

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

// A connection of a node that has connected before waits so long for what was said on
// the older ones to be heard, and then for the last to end, where it does not prove by
// its token that it is the same node.
const (
	hearBefore = 10 * time.Second
	handOver   = time.Second // from when the first of them has come
)

// Ready believes a connection that says it is the node's, or says why not. Where only
// this machine reaches the socket, a node need not show its token, for a program that
// knows nothing of it may be one; but one that has, or is built in and always does,
// cannot be mistaken for another that has only heard its name. The reason goes to the
// log alone: who is refused is told nothing.
//
// A node may connect again. What it had said on its older connection is heard first;
// that one has ended then, or gives way to one that shows the token.
func (n *Node) Ready(c *control.Conn, hello control.Hello) error {
	j := n.m.Journal
	j.Lock()
	again := n.conn != nil || n.losses > 0
	n.callers++
	j.Unlock()
	defer func() {
		j.Lock()
		n.callers--
		j.Unlock()
	}()
	n.m.hearBefore(c, again || hello.ForNode != "")
	for {
		older, proven, wait, err := n.believe(c, hello)
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

// Stranger returns why a connection is turned away that says a name that no node of the
// run has, once those before it have been heard.
func (m *Means) Stranger(c *control.Conn, hello control.Hello) error {
	m.hearBefore(c, hello.ForNode != "")
	if err := misplaced(hello); err != nil {
		return err
	}
	return fmt.Errorf("no node of this run is named %q", hello.Name)
}

// hearBefore returns when what was said on the connections before one has been heard,
// or after a while: see control.Conn.Before.
func (m *Means) hearBefore(c *control.Conn, unsaid bool) {
	if before := c.Before(unsaid); len(before) > 0 {
		ctx, cancel := context.WithTimeout(m.Ended, hearBefore)
		m.Control.Settle(ctx, before, nil, false)
		cancel()
	}
}

// misplaced is the error of who says on a node's port that it is another.
func misplaced(hello control.Hello) error {
	if hello.ForNode != "" && hello.Name != hello.ForNode {
		return fmt.Errorf("it says it is %q, and this port is that of %s", hello.Name, hello.ForNode)
	}
	return nil
}

// believe takes a connection for that of the node, or says why not. Where the node has
// another it is older, whose end is to be waited for, and proven says whether this one
// has shown the token.
func (n *Node) believe(c *control.Conn, hello control.Hello) (older *control.Conn, proven bool, wait time.Duration, err error) {
	n.ReadNow()
	n.m.Journal.Lock()
	defer n.m.Journal.Unlock()
	if err := misplaced(hello); err != nil {
		return nil, false, 0, err
	}
	n.AwaitBirth()
	switch {
	case hello.Run != "" && hello.Run != n.m.Run:
		return nil, false, 0, fmt.Errorf("%s belongs to run %q, this is run %s", hello.Name, hello.Run, n.m.Run)
	case !n.Alive():
		return nil, false, 0, fmt.Errorf("%s is not running", hello.Name)
	case hello.Incarnation != 0 && hello.Incarnation != n.Incarnation,
		hello.ForIncarnation != 0 && hello.ForIncarnation != n.Incarnation:
		return nil, false, 0, fmt.Errorf("it is incarnation %d of %s, the present one is %d",
			cmp.Or(hello.Incarnation, hello.ForIncarnation), hello.Name, n.Incarnation)
	case (hello.Token != "" || n.m.NeedToken || n.showsToken) && subtle.ConstantTimeCompare([]byte(hello.Token), []byte(n.token)) == 0:
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
	n.m.Journal.Append(n.Name, event.Connected{Peer: c.Peer()})
	n.m.Journal.Append(n.Name, event.Received{Address: control.AddressReady, Args: event.Args{hello.Name}})
	return nil, false, 0, nil
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
		if j.Hears() {
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
	j.Append(n.Name, event.Disconnected{Peer: c.Peer(), Reason: reason, Cut: cut})
	n.losses++
	incarnation, loss := n.Incarnation, n.losses
	var lose func()
	lose = func() {
		j.Lock()
		defer j.Unlock()
		switch {
		case !n.Alive() || n.Incarnation != incarnation || n.conn != nil || n.losses != loss:
		case n.callers > 0: // it may be one of them
			n.m.Clock.AfterFunc(lostAfter, lose)
		default:
			j.Append(n.Name, event.Lost{})
		}
	}
	n.m.Clock.AfterFunc(lostAfter, lose)
}
