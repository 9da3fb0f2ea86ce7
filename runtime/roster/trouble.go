package roster

import (
	"fmt"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// trouble is what went wrong between an incarnation of a node and us: it may be why the
// node is awaited in vain, or died.
type trouble struct {
	end      string // how a connection of it ended that it did not close, or ""
	isOver   bool   // it has had another one since
	message  string // why the first of its messages that were refused was
	messages int    // how many were
	refused  string // the last connection that was refused since it has connected
}

// connected is told that the node has a connection.
func (t *trouble) connected() { t.isOver, t.refused = t.end != "", "" }

// disconnected is told how a connection of the node ended.
func (t *trouble) disconnected(d event.Disconnected) {
	switch {
	case d.Followed: // as the node wished
	case d.Cut:
		t.end, t.isOver = "was closed by dagon-star: "+d.Reason, false
	case d.Reset:
		t.end, t.isOver = "ended by a reset of its own: what it had said last may be lost", false
	}
}

// refuses is told of a connection or a message that was refused.
func (t *trouble) refuses(d event.Refused) {
	if !d.Message {
		t.refused = fmt.Sprintf("a connection from %s was refused: %s", d.Peer, d.Reason)
		return
	}
	if t.messages == 0 {
		t.message = "a message of it was refused: " + d.Reason
	}
	t.messages += max(1, d.More)
}

func (t *trouble) String() string {
	var all []string
	switch {
	case t.end != "" && t.isOver:
		all = append(all, "an earlier control connection of it "+t.end)
	case t.end != "":
		all = append(all, "its control connection "+t.end)
	}
	switch {
	case t.messages > 1:
		all = append(all, fmt.Sprintf("%s, and %d more", t.message, t.messages-1))
	case t.messages == 1:
		all = append(all, t.message)
	}
	if t.refused != "" {
		all = append(all, t.refused)
	}
	return strings.Join(all, "; ")
}
