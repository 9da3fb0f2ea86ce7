package history

import "fmt"

// Same compares what was received with what was sent: as often each, in any order, or
// if inOrder in the same. Of neither any it is Unknown.
func Same(sent, received Elements, inOrder bool) *Result {
	r := &Result{Checker: "check_same"}
	n := counted(sent.Len(), "record")
	differs := firstDifferent(sent, received)
	if differs < 0 {
		return r.compared("received is the same as sent: "+n, sent.Len())
	}
	c := compare(sent, received)
	missing := c.missing()
	switch {
	case len(missing)+len(c.extra)+len(c.duplicated) > 0:
		of := "of"
		if received.Len() > sent.Len() {
			of = "instead of"
		}
		r.Summary = fmt.Sprintf("received is not the same as sent: %s %s %s", thousands(received.Len()), of, n)
		r.Groups = []Group{{Name: "missing", Bad: true, Points: points(sent, missing)}}
		r.add(Group{Name: "duplicated", Bad: true, Points: points(received, c.duplicated)})
		r.Groups = append(r.Groups, Group{Name: "extra", Bad: true, Points: points(received, c.extra)})
	case inOrder:
		r.Summary = "received is not in the order of sent"
	default:
		return r.compared("received is the same as sent: "+n, sent.Len())
	}
	if inOrder {
		r.differ = true
		r.expected, r.found = pointAt(sent, differs), pointAt(received, differs)
	}
	r.Verdict = Invalid
	return r
}

// compared is the result of a comparison of so many that found no difference.
func (r *Result) compared(summary string, n int) *Result {
	if r.Summary = summary; n == 0 {
		r.Summary = "it compared no records"
	}
	return r.judge(n > 0)
}

// firstDifferent is the index of the first text that is not the same in two lists, or
// -1.
func firstDifferent(a, b Elements) int {
	for i := range min(a.Len(), b.Len()) {
		if a.Text(i) != b.Text(i) {
			return i
		}
	}
	if a.Len() != b.Len() {
		return min(a.Len(), b.Len())
	}
	return -1
}

// pointAt is the point at a place of a list, nil at its end.
func pointAt(of Elements, i int) *Point {
	if i >= of.Len() {
		return nil
	}
	p := of.Point(i)
	return &p
}

// Subset compares a part with the whole that it is to be of: each element is in it at
// least as often. Of an empty part it is Unknown.
func Subset(part, whole Elements) *Result {
	r := &Result{Checker: "check_subset"}
	c := compare(whole, part)
	n := len(c.extra) + len(c.duplicated)
	if n == 0 {
		return r.compared("part is in whole: "+counted(part.Len(), "record"), part.Len())
	}
	r.Summary = fmt.Sprintf("part is not in whole: %s of its %s %s not among the %s",
		thousands(n), counted(part.Len(), "record"), plural(n, "is", "are"), thousands(whole.Len()))
	r.add(Group{Name: "duplicated", Bad: true, Points: points(part, c.duplicated)})
	r.add(Group{Name: "extra", Bad: true, Points: points(part, c.extra)})
	return r.judge(true)
}

// NoDuplicates looks for elements that are there more than once. Of none it is Unknown.
func NoDuplicates(of Elements) *Result {
	if of.Len() == 0 {
		return (&Result{Checker: "check_no_duplicates"}).compared("", 0)
	}
	return unique("check_no_duplicates", of, "record")
}

// Unique looks for elements that were given out more than once: in a plain list, or by
// operations, of which those that are OK gave out what they returned, or each element
// of the list that they returned. Where none was given out it is Unknown.
func Unique(of Elements) *Result {
	r := unique("check_unique", found(of, "given out", not()), "element")
	if r.Verdict == Unknown {
		r.Summary = "nothing was given out"
	}
	return r
}

func unique(checker string, of Elements, noun string) *Result {
	var all []int
	before := -1 // the first of them repeats
	known := newIndex(of)
	known.find(of, func(i int, s *slot) {
		if s.at == 0 {
			s.at = uint32(i + 1)
			return
		}
		if before < 0 {
			before = int(s.at - 1)
		}
		all = append(all, i)
	})
	r := &Result{Checker: checker}
	if len(all) == 0 {
		r.Summary = counted(of.Len(), noun) + ", and no duplicate"
		return r.judge(of.Len() > 0)
	}
	r.Summary = fmt.Sprintf("%s of %s %s", thousands(len(all)), counted(of.Len(), noun), plural(len(all), "is a duplicate", "are duplicates"))
	r.add(Group{Name: "duplicated", Bad: true, Points: points(of, all), inSummary: true, before: pointAt(of, before)})
	return r.judge(true)
}
