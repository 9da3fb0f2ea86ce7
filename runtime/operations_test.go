package runtime

import (
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// TestOperationsOfNode holds what becomes of what a node says of its operations: an
// operation that is refused is missing in the history, and so the run shows nothing; a
// completion that is refused changes nothing.
func TestOperationsOfNode(t *testing.T) {
	says := func(address string, args ...any) event.Received { return event.Received{Address: address, Args: args} }
	write := func(number int32) event.Received { return says("/invoke", number, "p", "write", "k", number) }
	for name, c := range map[string]struct {
		messages []event.Received
		refused  string // the last one is; "" where it is not
		missing  bool
		outcomes string // of the history
	}{
		"told":  {[]event.Received{write(1), says("/ok", int32(1), nil), write(2)}, "", false, "ok info"},
		"twice": {[]event.Received{write(1), write(1)}, "/invoke: operation 1 has not completed", true, "info"},
		"two":   {[]event.Received{write(1), write(2), write(3)}, `/invoke: client "p" has not completed its last operation`, true, "info"},
		"garbled": {[]event.Received{says("/invoke", "x")}, "/invoke: argument 1 is a string: operation, a whole " +
			"number, was expected", true, ""},
		"never": {[]event.Received{says("/fail", int32(7), "why")}, "/fail: operation 7 is not open", false, ""},
		"completed": {[]event.Received{write(1), says("/info", int32(1), "why"), says("/ok", int32(1))},
			"/ok: operation 1 is not open", false, "info"},
	} {
		t.Run(name, func(t *testing.T) {
			r := beginUp(t, Config{})
			for i, m := range c.messages {
				r.j.Lock()
				known, err := r.operate("node", m)
				r.j.Unlock()
				if isLast := i == len(c.messages)-1; !known || isLast && (err == nil) != (c.refused == "") ||
					isLast && err != nil && !strings.HasPrefix(err.Error(), c.refused) {
					t.Errorf("%s: %v", m.Address, err)
				}
			}
			var outcomes []string
			for _, o := range r.History(nil) {
				outcomes = append(outcomes, string(o.Outcome))
				if o.Node != "node" || o.Outcome == history.OK && o.F != "write" {
					t.Errorf("%+v", o)
				}
			}
			if got := strings.Join(outcomes, " "); got != c.outcomes {
				t.Errorf("%s", got)
			}
			result, err := r.End(nil)
			must(t, err)
			isMissing := result.Outcome == verdict.Inconclusive && strings.Contains(result.Reason, "the history lacks an operation of node")
			if isMissing != c.missing || !c.missing && result.Outcome != Passed || len(result.Beside) > 0 {
				t.Errorf("%+v", result.Verdict)
			}
		})
	}
}
