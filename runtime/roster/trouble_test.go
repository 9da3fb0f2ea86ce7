package roster_test

import (
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// TestTrouble: what went wrong with a node's connections and messages is told until its
// next incarnation, whatever else comes; what the node wished, or has got over, is not.
func TestTrouble(t *testing.T) {
	up := event.Connected{Peer: "a:1"}
	cut := event.Disconnected{Reason: "too long", Cut: true}
	refused := event.Refused{Peer: "a:2", Reason: "no token"}
	message := func(reason string, more int) event.Refused {
		return event.Refused{Reason: reason, Message: true, More: more}
	}
	const lost = "what it had said last may be lost"
	for _, test := range []struct {
		said []event.Detail
		want string
	}{
		{[]event.Detail{up}, ""},
		{[]event.Detail{up, event.Disconnected{Reason: "closed"}}, ""},
		{[]event.Detail{up, cut}, "its control connection was closed by dagon-star: too long"},
		{[]event.Detail{up, cut, up}, "an earlier control connection of it was closed by dagon-star: too long"},
		{[]event.Detail{up, cut, up, cut}, "its control connection was closed by dagon-star: too long"},
		{[]event.Detail{up, event.Disconnected{Cut: true, Reason: "again", Followed: true}, up}, ""},
		{[]event.Detail{up, event.Disconnected{Reset: true}}, "its control connection ended by a reset of its own: " + lost},
		{[]event.Detail{up, event.Disconnected{Reset: true}, up}, "an earlier control connection of it ended by a reset of its own: " + lost},
		{[]event.Detail{refused}, "a connection from a:2 was refused: no token"},
		{[]event.Detail{refused, up}, ""},
		{[]event.Detail{up, refused}, "a connection from a:2 was refused: no token"},
		{[]event.Detail{up, message("odd", 0)}, "a message of it was refused: odd"},
		{[]event.Detail{up, message("odd", 0), message("even", 0), message("and 5 more", 5)}, "a message of it was refused: odd, and 6 more"},
		{[]event.Detail{up, message("odd", 0), cut, refused},
			"its control connection was closed by dagon-star: too long; a message of it was refused: odd; a connection from " +
				"a:2 was refused: no token"},
		{[]event.Detail{up, cut, event.Forked{Incarnation: 2}}, ""},
	} {
		r := roster.New([]string{"n"}, func(string) bool { return false })
		r.Apply(event.Event{Node: "n", Detail: event.Forked{Incarnation: 1}})
		for _, d := range test.said {
			r.Apply(event.Event{Node: "n", Detail: d})
		}
		if got := r.Node("n").Trouble(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.said, got, test.want)
		}
	}
}
