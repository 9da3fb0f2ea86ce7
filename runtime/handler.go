package runtime

import (
	"fmt"
	"time"

	"github.com/dagon-star/dagon-star/runtime/control"
	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// handler is the Run as the control socket sees it: it finds the node that is meant.
type handler Run

// Ready has the node that a connection says it is decide: see node.Node.Ready.
func (h *handler) Ready(c *control.Conn, hello control.Hello) error {
	h.j.Lock()
	n := h.nodes[hello.Name]
	h.j.Unlock()
	if n == nil {
		return h.means.Stranger(c, hello)
	}
	return n.Ready(c, hello)
}

// Received logs messages. Their connection was believed: there are nodes.
func (h *handler) Received(c *control.Conn, all []*osc.Message) {
	if n := h.nodes[c.Name()]; n != nil {
		n.Received(c, all)
	}
}

// Disconnected logs the end of a connection.
func (h *handler) Disconnected(c *control.Conn, reason string, cut bool) {
	if n := h.nodes[c.Name()]; n != nil {
		n.Disconnected(c, reason, cut)
	}
}

// Refused logs a connection or a message that was turned away.
func (h *handler) Refused(refusal control.Refusal) {
	h.j.Lock()
	defer h.j.Unlock()
	if n := h.nodes[refusal.Node]; n != nil {
		n.AwaitBirth()
	}
	h.j.Append(refusal.Node, event.Refused{Peer: refusal.Peer, Reason: refusal.Reason, Message: refusal.Message, More: refusal.More})
}

// Paused is for how long of a time a node was paused; of no node in particular, the one
// that was for the longest.
func (h *handler) Paused(node string, from, to time.Duration) (d time.Duration) {
	r := (*Run)(h)
	r.j.Lock()
	defer r.j.Unlock()
	for name, n := range r.nodes {
		if node == "" || name == node {
			d = max(d, n.PausedWithin(from, to))
		}
	}
	return d
}

// Stopped reports whether a node's process is stopped at this moment.
func (h *handler) Stopped(node string) bool {
	h.j.Lock()
	n := h.nodes[node]
	pid := 0
	if n != nil && n.Alive() {
		pid = n.PID
	}
	h.j.Unlock()
	return pid > 0 && process.Stopped(pid)
}

// hearOut returns when what nodes had said by the time of the call has been heard.
func (r *Run) hearOut(names []string) {
	var conns []*control.Conn
	var ports []*control.Port
	shared := false
	r.j.Lock()
	for _, name := range names {
		n := r.nodes[name]
		switch {
		case n == nil || !n.Alive():
		case n.Conn() != nil:
			conns = append(conns, n.Conn())
		case n.Port() != nil:
			ports, shared = append(ports, n.Port()), true // it may have called the address that all know
		default:
			shared = true
		}
	}
	r.j.Unlock()
	r.drivers.control.Settle(r.ended, conns, ports, shared)
}

// Failed ends the run: no node could be heard any more.
func (h *handler) Failed(err error) {
	(*Run)(h).Abort(fmt.Errorf("control socket: %w", err))
}
