package history

import (
	"fmt"
	"strings"
	"time"
)

// Who tells whose operation it is, and when it was: "by process 2 (1.234s–1.301s)".
// Times have three digits after the point, or six where the operation took less than
// 10 ms.
func (o *Op) Who() string {
	digits := 3
	if o.Completed-o.Invoked < 10*time.Millisecond {
		digits = 6
	}
	var b strings.Builder
	fmt.Fprintf(&b, "by process %d (%.*fs–", o.Process, digits, o.Invoked.Seconds())
	switch {
	case o.Open:
		b.WriteString("open")
	case o.Outcome == Info:
		fmt.Fprintf(&b, "%.*fs, outcome unknown", digits, o.Completed.Seconds())
	case o.Outcome == Fail:
		fmt.Fprintf(&b, "%.*fs, failed", digits, o.Completed.Seconds())
	default:
		fmt.Fprintf(&b, "%.*fs", digits, o.Completed.Seconds())
	}
	b.WriteString(")")
	return b.String()
}
