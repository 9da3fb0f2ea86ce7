package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/fault"
	"github.com/dagon-star/dagon-star/runtime/roster"
)

// The kinds of spans.
const (
	spanNode      = "node" // an incarnation of one
	spanState     = "state"
	spanAwait     = "await"
	spanFault     = "fault"
	spanOperation = "operation"
)

// span is something that lasted.
type span struct {
	kind       string
	key        string // no other span of the run has it
	name, node string
	slot       int // spans of one kind and node that overlap have other slots
	begin, end time.Duration
	outcome    string // "" where it had not ended
	bad        bool
	attributes [][2]string
}

// instant is a message from or to a node.
type instant struct {
	t        time.Duration
	node     string
	received bool
	message  event.Received
}

func (i instant) text() string { return MessageText(i.node, i.message.Address, i.message.Args) }

// spans reads the log as spans, each told when it ends, and as messages between. What has
// not ended is told at last. It holds what is open.
type spans struct {
	span    func(*span) error
	message func(instant) error

	open   map[string]*span
	slots  map[[2]string][]bool
	ledger fault.Ledger
}

func (s *spans) read(r *Run) error {
	s.open, s.slots = map[string]*span{}, map[[2]string][]bool{}
	for e, err := range r.Log() {
		if err == nil {
			err = s.apply(e)
		}
		if err != nil {
			return err
		}
	}
	left := make([]*span, 0, len(s.open))
	for _, p := range s.open {
		left = append(left, p)
	}
	slices.SortFunc(left, func(a, b *span) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.key, b.key)) })
	for _, p := range left {
		p.end = max(p.begin, time.Duration(r.EndS*float64(time.Second)))
		if err := s.span(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *spans) start(e event.Event, p *span) {
	lane := [2]string{p.kind, p.node}
	taken := s.slots[lane]
	if p.slot = slices.Index(taken, false); p.slot < 0 {
		p.slot = len(taken)
		taken = append(taken, false)
	}
	taken[p.slot] = true
	s.slots[lane] = taken
	p.begin = e.T
	if p.key != "" {
		s.open[p.key] = p
	}
}

func (s *spans) finish(e event.Event, key, outcome string, bad bool, more ...[2]string) error {
	p := s.open[key]
	if p == nil {
		return nil
	}
	delete(s.open, key)
	s.slots[[2]string{p.kind, p.node}][p.slot] = false
	p.end, p.outcome, p.bad = e.T, outcome, bad
	for _, a := range more {
		if a[1] != "" {
			p.attributes = append(p.attributes, a)
		}
	}
	return s.span(p)
}

func (s *spans) apply(e event.Event) error {
	attributes := func(all ...[2]string) [][2]string {
		return slices.DeleteFunc(all, func(a [2]string) bool { return a[1] == "" })
	}
	switch d := e.Detail.(type) {
	case event.Received:
		return s.message(instant{e.T, e.Node, true, d})
	case event.Sent:
		return s.message(instant{e.T, e.Node, false, event.Received{Address: d.Address, Args: d.Args}})
	case event.Forked:
		s.start(e, &span{kind: spanNode, key: spanNode + e.Node, name: fmt.Sprintf("%s, incarnation %d", e.Node, d.Incarnation), node: e.Node,
			attributes: attributes([2]string{"pid", fmt.Sprint(d.PID)}, [2]string{"where", d.Where})})
	case event.State:
		if err := s.finish(e, spanState+e.Node, d.To, false); err != nil || d.To == "exited" {
			return err
		}
		s.start(e, &span{kind: spanState, key: spanState + e.Node, name: d.To, node: e.Node})
	case event.Exited:
		if err := s.finish(e, spanState+e.Node, "exited", false); err != nil {
			return err
		}
		return s.finish(e, spanNode+e.Node, "exited "+roster.ExitText(d.Code, d.Signal), !d.Expected, [2]string{"why", d.Why})
	case event.Await:
		s.start(e, &span{kind: spanAwait, key: fmt.Sprint(spanAwait, d.ID), name: "await " + d.What,
			attributes: attributes([2]string{"nodes", some(d.Nodes)}, [2]string{"where", d.Where}, [2]string{"timeout_s", fmt.Sprint(d.TimeoutS)})})
	case event.AwaitEnded:
		return s.finish(e, fmt.Sprint(spanAwait, d.ID), d.Outcome, d.Outcome == "timeout" || d.Outcome == "impossible", [2]string{"missing", some(d.Missing)})
	case event.Invoke:
		s.start(e, &span{kind: spanOperation, key: fmt.Sprint(spanOperation, d.Op), name: d.F, attributes: attributes(
			[2]string{"process", fmt.Sprint(d.Process)}, [2]string{"client", d.Client}, [2]string{"key", string(d.Key)}, [2]string{"value", string(d.Value)})})
	case event.Completed:
		return s.finish(e, fmt.Sprint(spanOperation, d.Op), d.Outcome, d.Outcome != "ok", [2]string{"result", string(d.Result)}, [2]string{"error", d.Error})
	case event.FaultPlanned:
		s.ledger.Apply(e)
		s.start(e, &span{kind: spanFault, key: fmt.Sprint(spanFault, d.ID), name: s.ledger.Record(d.ID).Title(), attributes: attributes(
			[2]string{"nodes", some(d.Nodes)}, [2]string{"where", d.Where})})
	case event.FaultApplied, event.FaultTouched, event.FaultHealed, event.Abandoned:
		s.ledger.Apply(e)
		return s.endFault(e)
	}
	return nil
}

// endFault ends the span of a fault: when it has been healed or abandoned, or applied
// where it does not last.
func (s *spans) endFault(e event.Event) error {
	var id int64
	outcome, bad := "", false
	switch d := e.Detail.(type) {
	case event.FaultApplied:
		if r := s.ledger.Record(d.ID); r == nil || r.Lasting {
			return nil
		}
		id, outcome = d.ID, "applied"
	case event.FaultHealed:
		id, outcome = d.ID, "healed"
	case event.Abandoned:
		id, outcome, bad = d.ID, "abandoned: "+d.Reason, true
	default:
		return nil
	}
	touched := ""
	if r := s.ledger.Record(id); r != nil {
		touched = r.Outcome()
	}
	return s.finish(e, fmt.Sprint(spanFault, id), outcome, bad, [2]string{"reached", touched})
}
