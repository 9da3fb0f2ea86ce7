package history

import "time"

// Verdict is what a checker makes of a history.
type Verdict string

// The verdicts, the best first.
const (
	Valid   Verdict = "valid"
	Unknown Verdict = "unknown" // it shows nothing: nothing was acknowledged, or nothing read
	Invalid Verdict = "invalid"
)

// Result is what a checker found.
type Result struct {
	Checker string // as scripts call it: "check_set"
	Verdict Verdict
	// Summary is the finding in a sentence without a verb of its own that is
	// complete without Groups: "5,000 of 5,000 acknowledged elements are lost".
	Summary string
	// Groups are what it is about, the worst first. Of a valid history they are what
	// is worth a note, such as what was recovered.
	Groups []Group
}

// Group is what is alike in a finding.
type Group struct {
	Name   string // "lost", "unexpected", "duplicated", "recovered", "stale"
	Bad    bool   // it makes the history invalid
	Points []Point
}

// Point is an element or an operation that a finding is about.
type Point struct {
	Element string        // as it is told; whole numbers that follow each other are told as a range
	Op      *Op           // the operation that it is from; nil where it is from a plain list
	Place   int           // its place in that list, from 1, where Op is nil
	At      time.Duration // when: an operation's own time
	Detail  string        // "acknowledged at 1.2s, absent from the read at 3.4s"; may be ""
}
