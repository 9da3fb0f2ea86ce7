package runtime

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

// handler is the Run as the control socket sees it.
type handler Run

// Ready believes a connection, or says why not. Where only this machine reaches
// the socket, a node need not show its token, for a program that knows nothing
// of it may be one; but one that has, or is built in and always does, cannot be
// mistaken for another that has only heard its name. The reason goes to the log
// alone: who is refused is told nothing.
func (h *handler) Ready(c *control.Conn, hello control.Hello) error {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	if hello.ForNode != "" && hello.Name != hello.ForNode {
		return fmt.Errorf("it says it is %q, and this port is that of %s", hello.Name, hello.ForNode)
	}
	n := r.nodes[hello.Name]
	for n != nil && n.birth != nil { // it has spoken before its fork is in the log
		settled := n.birth.settled
		r.j.Unlock()
		<-settled
		r.j.Lock()
	}
	switch {
	case n == nil:
		return fmt.Errorf("no node of this run is named %q", hello.Name)
	case hello.Run != "" && hello.Run != r.id:
		return fmt.Errorf("%s belongs to run %q, this is run %s", hello.Name, hello.Run, r.id)
	case !n.Alive():
		return fmt.Errorf("%s is not running", hello.Name)
	case hello.Incarnation != 0 && hello.Incarnation != n.Incarnation,
		hello.ForIncarnation != 0 && hello.ForIncarnation != n.Incarnation:
		return fmt.Errorf("it is incarnation %d of %s, the present one is %d",
			cmp.Or(hello.Incarnation, hello.ForIncarnation), hello.Name, n.Incarnation)
	case (hello.Token != "" || r.needToken || n.showsToken) && subtle.ConstantTimeCompare([]byte(hello.Token), []byte(n.token)) == 0:
		return fmt.Errorf("the token is not that of %s: DAGON_TOKEN of its environment is expected", hello.Name)
	case n.conn != nil:
		return fmt.Errorf("%s is already connected, from %s", hello.Name, n.conn.Peer())
	}
	n.conn = c
	n.showsToken = n.showsToken || hello.Token != ""
	r.j.Append(hello.Name, event.Connected{Peer: c.Peer()})
	r.j.Append(hello.Name, event.Received{Address: control.AddressReady, Args: event.Args{hello.Name}})
	return nil
}

// Received logs a message.
func (h *handler) Received(c *control.Conn, m *osc.Message) {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	if n := r.nodes[c.Name()]; n != nil && n.conn == c {
		r.j.Append(c.Name(), event.Received{Address: m.Address, Args: m.Arguments})
	}
}

// Disconnected logs the end of a connection. A node that ends closes it; one
// that lives on without it is lost.
func (h *handler) Disconnected(c *control.Conn, reason string) {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	n := r.nodes[c.Name()]
	if n == nil || n.conn != c {
		return
	}
	n.conn = nil
	r.j.Append(c.Name(), event.Disconnected{Peer: c.Peer(), Reason: reason})
	incarnation := n.Incarnation
	time.AfterFunc(lostAfter, func() {
		r.j.Lock()
		defer r.j.Unlock()
		if n.Alive() && n.Incarnation == incarnation && n.conn == nil {
			r.j.Append(n.Name, event.Lost{})
		}
	})
}

// Refused logs a connection or a message that was turned away.
func (h *handler) Refused(node, peer, reason string) {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	r.j.Append(node, event.Refused{Peer: peer, Reason: reason})
}

// Failed ends the run: no node could be heard any more.
func (h *handler) Failed(err error) {
	(*Run)(h).Abort(fmt.Errorf("control socket: %w", err))
}
