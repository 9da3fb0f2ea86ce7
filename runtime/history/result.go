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
	// Summary is the finding in a sentence that is complete without Groups: "5,000 of
	// 5,000 acknowledged elements are lost".
	Summary string
	// Groups are what it is about, the worst first. Of a valid history they are what
	// is worth a note, such as what was recovered. One without points says that there
	// is none of that name.
	Groups []Group

	// Where two lists are to be in the same order: what they have where they begin to
	// differ, nil where one has come to its end.
	differ          bool
	expected, found *Point
}

// Group is what is alike in a finding.
type Group struct {
	Name   string // "lost", "unexpected", "duplicated", "recovered", "stale"
	Bad    bool   // it makes the history invalid
	Points []Point
	// Told is that the Summary has told what the first of Points did: Text adds to it
	// who that was, when, and which faults were in force then, and no more of the group.
	Told bool

	inSummary bool   // the Summary has told how many there are
	before    *Point // what the first of Points repeats
}

// Point is an element or an operation that a finding is about.
type Point struct {
	Element string        // as it is told; whole numbers that follow each other are told as a range
	Op      *Op           // the operation that it is from; nil where it is from a list
	File    string        // the file of records that it is from, or ""
	Place   int           // its line in that, or its place in a plain list, from 1, where Op is nil
	At      time.Duration // when: a time of Op's, or of the record in File
	Detail  string        // what Op did with it then: "acknowledged"; what else is to be said of it
}

// judge sets the verdict: invalid if a bad group has points, else unknown if the
// history has shown nothing.
func (r *Result) judge(shown bool) *Result {
	r.Verdict = Valid
	if !shown {
		r.Verdict = Unknown
	}
	for _, g := range r.Groups {
		if g.Bad && len(g.Points) > 0 {
			r.Verdict = Invalid
		}
	}
	return r
}

// add adds a group that has points.
func (r *Result) add(g Group) {
	if len(g.Points) > 0 {
		r.Groups = append(r.Groups, g)
	}
}
