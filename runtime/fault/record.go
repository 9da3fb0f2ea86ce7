package fault

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/verdict"
)

// Record is what a log tells of the life of one fault, or of one that was only
// scheduled.
type Record struct {
	ID        int64
	What      string
	Detail    string
	Where     string // where it was scheduled; "" for one that was planned
	Nodes     []string
	Links     [][2]string
	Lasting   bool
	Harmless  bool
	Scheduled bool // it was scheduled: what it does is in records of its own
	Fired     bool
	Applied   bool
	To, Dead  []string
	Unseen    bool
	Touched   event.Touched
	Healed    bool
	// AppliedAt and HealedAt are when it was, since the start of the run.
	AppliedAt, HealedAt time.Duration
	Abandoned           *event.Abandoned
	Seq                 int64         // of the event by which it was scheduled or planned
	T                   time.Duration // of that event, since the start of the run
}

// Ledger is what a log tells of the lives of faults: a fold over its events, of
// bounded size however long the log is. The zero value is that of an empty log.
type Ledger struct {
	records []*Record
	byID    map[int64]*Record
	cut     bool
}

// Records are the lives of faults, in the order in which they began.
func (t *Ledger) Records() []*Record { return t.records }

// Record is the life of the fault of an id, or nil.
func (t *Ledger) Record(id int64) *Record { return t.byID[id] }

// CutShort reports whether the log tells of something that ended the script: what it
// had not come to then tells nothing.
func (t *Ledger) CutShort() bool { return t.cut }

// Clone copies what is known now.
func (t *Ledger) Clone() Ledger {
	c := Ledger{cut: t.cut}
	for _, r := range t.records {
		copied := *r
		c.records = append(c.records, &copied)
	}
	return c
}

// Apply folds an event.
func (t *Ledger) Apply(e event.Event) {
	add := func(id int64, r *Record) {
		if t.byID == nil {
			t.byID = map[int64]*Record{}
		}
		r.ID, r.Seq, r.T = id, e.Seq, e.T
		t.byID[id] = r
		t.records = append(t.records, r)
	}
	switch d := e.Detail.(type) {
	case event.Scheduled:
		add(d.ID, &Record{What: d.What, Where: d.Where, Scheduled: true})
	case event.FaultPlanned:
		add(d.ID, &Record{What: d.What, Detail: d.Detail, Nodes: d.Nodes, Links: d.Links, Lasting: d.Lasting, Harmless: d.Harmless})
	case event.Fired:
		if r := t.byID[d.ID]; r != nil {
			r.Fired = true
		}
	case event.FaultApplied:
		if r := t.byID[d.ID]; r != nil {
			r.Applied, r.AppliedAt, r.To, r.Dead, r.Unseen = true, e.T, d.To, d.Dead, d.Unseen
		}
	case event.FaultTouched:
		if r := t.byID[d.ID]; r != nil {
			r.Touched = d.Touched
		}
	case event.FaultHealed:
		if r := t.byID[d.ID]; r != nil {
			r.Healed, r.HealedAt, r.Unseen = true, e.T, r.Unseen || d.Unseen
		}
	case event.Abandoned:
		if r := t.byID[d.ID]; r != nil {
			r.Abandoned = &d
		}
	case event.Finding:
		t.cut = t.cut || !d.Soft && verdict.Worse(verdict.Outcome(d.Outcome), verdict.Inconclusive)
	}
}

// Struck reports whether the record is of a fault that touched something, and that
// was applied, or given up by the script on its way: what require_faults counts.
func (r *Record) Struck() bool {
	done := r.Applied || r.Abandoned != nil && r.Abandoned.By == "script"
	return !r.Scheduled && !r.Harmless && done && r.Touched != (event.Touched{})
}

// Title is what was done to whom: "kill worker-1 (KILL)".
func (r *Record) Title() string {
	title := r.What
	if len(r.Links) == 0 && len(r.Nodes) > 0 {
		title += " " + strings.Join(r.Nodes, " ")
	}
	if r.Detail != "" {
		title += " (" + r.Detail + ")"
	}
	if r.Where != "" {
		title += " at " + r.Where
	}
	return title
}

// InForce reports whether the fault stayed in force at a time of the run.
func (r *Record) InForce(at time.Duration) bool {
	return r.Lasting && r.Applied && r.AppliedAt <= at && (!r.Healed || at < r.HealedAt)
}

// Shortcoming is why the fault has shown nothing, "" where it has or need not:
//   - one that was scheduled and never fired, unless the script cancelled it,
//   - one that was planned, and cut off before it was applied by the end of the run,
//   - one that was applied, and touched nothing.
//
// These need not touch anything: what harms nobody, a restart of nodes that were
// dead, which starts them, and what this machine cannot see. What failed to be
// applied the script was told.
func (r *Record) Shortcoming() string {
	ended := r.Abandoned != nil && r.Abandoned.By == "end"
	switch {
	case r.Scheduled && !r.Fired && (ended || r.Abandoned == nil):
		return r.Title() + " never fired"
	case r.Scheduled || r.Harmless || r.Struck() || r.Unseen || r.Applied && r.What == "restart" && len(r.Nodes) > 0:
		return ""
	case r.Applied:
		return fmt.Sprintf("%s touched nothing: %s (seq %d)", r.Title(), r.whyUntouched(), r.Seq)
	case ended || r.Abandoned == nil:
		return r.Title() + " was planned, and the run ended before it was applied"
	}
	return ""
}

func (r *Record) whyUntouched() string {
	switch {
	case len(r.Nodes) == 0:
		return "it was given no nodes"
	case r.What == "pause" && len(r.To) > 0:
		return strings.Join(r.To, ", ") + " had been stopped before"
	case len(r.Links) == 0 && len(r.To) > 0:
		return strings.Join(r.To, ", ") + " did not end of it"
	case len(r.Links) == 0:
		return strings.Join(r.Dead, ", ") + " had exited before"
	}
	switch r.What {
	case "net.refuse":
		return "nobody is known to have called"
	case "net.rate":
		return "nothing that crossed had to wait, if anything did"
	case "net.delay":
		return "no byte was held up"
	case "net.drop_connections", "net.corrupt":
		return "it hit nothing of what crossed, if anything did"
	case "net.loss", "net.duplicate", "net.reorder":
		return "it hit no datagram"
	}
	return "no byte crossed, and nobody called"
}

// Findings returns what the lives of the faults in a log show about the run:
// nothing, or why it is inconclusive. required is how many faults the script
// wanted to touch something. Of a run that was cut short, a fault that was not
// applied is no finding.
func (t *Ledger) Findings(required int64) (all []verdict.Finding) {
	add := func(why string) {
		all = append(all, verdict.Finding{Outcome: verdict.Inconclusive, Reason: why, During: verdict.AtEnd})
	}
	var struck int64
	for _, r := range t.records {
		if r.Struck() {
			struck++
		}
		if why := r.Shortcoming(); why != "" && (r.Applied || !t.cut) {
			add(why)
		}
	}
	if struck < required {
		were := "faults"
		if struck == 1 {
			were = "fault"
		}
		add(fmt.Sprintf("require_faults(%d) was not met: %d %s touched something", required, struck, were))
	}
	return all
}

// Alike reports whether two records are of the same thing done to the same nodes,
// and reached the same ones. Where a log ends before it says what one reached, that
// is not compared.
func (r *Record) Alike(o *Record) bool {
	if r.What != o.What || r.Detail != o.Detail || r.Scheduled != o.Scheduled || !slices.Equal(r.Nodes, o.Nodes) {
		return false
	}
	return r.open() || o.open() || r.Applied == o.Applied && slices.Equal(r.To, o.To) && r.Struck() == o.Struck()
}

// open reports whether the log does not tell what became of the fault.
func (r *Record) open() bool {
	if r.Scheduled {
		return true
	}
	return !r.Applied && r.Abandoned == nil
}

// Outcome is what became of the fault: "reached a", "touched nothing", …
func (r *Record) Outcome() string {
	var words []string
	switch {
	case r.Scheduled && r.Fired:
		return "fired"
	case r.Abandoned != nil && r.Touched != (event.Touched{}):
		return TouchedText(r.Touched) + ", and was given up: " + r.Abandoned.Reason
	case r.Abandoned != nil:
		return "not applied: " + r.Abandoned.Reason
	case r.Scheduled || !r.Applied:
		return ""
	case len(r.To) == 0:
		words = append(words, "reached nobody")
	case len(r.Links) == 0:
		words = append(words, "reached "+strings.Join(r.To, " "))
	}
	if len(r.Dead) > 0 {
		words = append(words, "already dead: "+strings.Join(r.Dead, " "))
	}
	if !r.Harmless && len(r.To) > 0 {
		words = append(words, TouchedText(r.Touched))
	}
	return strings.Join(words, ", ")
}

// TouchedText words what a fault has touched: "touched 1024 bytes held".
func TouchedText(t event.Touched) string {
	var words []string
	for _, c := range []struct {
		n         int64
		one, many string
	}{
		{t.Processes, "process", "processes"},
		{t.BytesHeld, "byte held", "bytes held"},
		{t.ClosesHeld, "close held", "closes held"},
		{t.BytesDelayed, "byte delayed", "bytes delayed"},
		{t.ClosesDelayed, "close delayed", "closes delayed"},
		{t.BytesCorrupted, "byte corrupted", "bytes corrupted"},
		{t.ConnectionsRefused, "connection refused", "connections refused"},
		{t.ConnectionsReset, "connection reset", "connections reset"},
		{t.ConnectionsSilent, "connection kept silent", "connections kept silent"},
		{t.DatagramsLost, "datagram lost", "datagrams lost"},
		{t.DatagramsDelayed, "datagram delayed", "datagrams delayed"},
		{t.DatagramsDuplicated, "datagram doubled", "datagrams doubled"},
		{t.DatagramsReordered, "datagram overtaken", "datagrams overtaken"},
	} {
		switch c.n {
		case 0:
		case 1:
			words = append(words, "1 "+c.one)
		default:
			words = append(words, fmt.Sprintf("%d %s", c.n, c.many))
		}
	}
	if len(words) == 0 {
		return "touched nothing"
	}
	return "touched " + strings.Join(words, ", ")
}
