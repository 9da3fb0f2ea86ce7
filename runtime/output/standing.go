package output

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// standing reports whether a pattern matches a line that may go on, and none of its
// groups would match more of it if it did: "port (\d+)" does not match "port 80", of
// which "80" may follow, nor does "state (upgrading|up)" match "state up".
//
// Which groups could match more the pattern's own program tells: it has a thread for
// each way in which the text can go on to match. The threads that come before the match
// would take its place if they came to an end. One matters in which a group has begun
// where the match has it begin, and has not ended, or has ended later; and one that began
// where the match did, in which a group has begun or may still begin that the match has
// not at all. That the pattern might match something else further on in the line is no
// reason to wait. Whether a thread can come to an end is not asked.
func standing(pattern *regexp.Regexp, text []byte) bool {
	at := pattern.FindSubmatchIndex(text)
	if at == nil || len(at) == 2 {
		return at != nil
	}
	parsed, err := syntax.Parse(pattern.String(), syntax.Perl)
	if err != nil {
		return true // it was compiled by other rules
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return true
	}
	m := machine{prog: prog, seen: make([]int, len(prog.Inst))}
	for _, goesOn := range m.run(text) {
		if m.growsIn(goesOn, at) {
			return false
		}
	}
	return true
}

// machine is a program that runs on a text that may go on.
type machine struct {
	prog *syntax.Prog
	seen []int // instructions that have been come to, by the number of the step
	step int
	live []thread
	over []thread // that has come to the end of the program in this step, or none
}

// thread is a way in which a text can go on to match: its next instruction, where the
// match began, and where its groups begin and end so far, as of
// regexp.FindSubmatchIndex.
type thread struct {
	pc    uint32
	start int
	caps  []int
}

// run returns the threads that are left at the end of a text that goes on: those before
// the one that matches, and that itself. What may be the beginning of a character at the
// end is what goes on.
func (m *machine) run(text []byte) []thread {
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if end := text[len(text)-i:]; utf8.RuneStart(end[0]) {
			if !utf8.FullRune(end) {
				text = text[:len(text)-i]
			}
			break
		}
	}
	none := make([]int, m.prog.NumCap)
	for i := range none {
		none[i] = -1
	}
	var next []thread
	matched := false
	before, pos := rune(-1), 0
	begin := func(after rune) (over bool) {
		m.step++
		m.live, m.over = m.live[:0], m.over[:0]
		context := syntax.EmptyOpContext(before, after)
		over = matched
		for _, t := range next {
			if m.add(t, pos, context) {
				return true
			}
		}
		return over || m.add(thread{uint32(m.prog.Start), pos, none}, pos, context)
	}
	for pos < len(text) {
		r, size := utf8.DecodeRune(text[pos:])
		matched = begin(r)
		if next = next[:0]; len(m.live) == 0 && matched {
			return nil
		}
		before, pos = r, pos+size
		for _, t := range m.live {
			if i := &m.prog.Inst[t.pc]; i.MatchRune(r) {
				next = append(next, thread{i.Out, t.start, t.caps})
			}
		}
	}
	var left []thread
	for _, after := range []rune{'a', ' '} { // of a word, or of none: the line goes on with either
		begin(after)
		left = append(append(left, m.live...), m.over...) // that may be another than where the line ends here
	}
	return slices.DeleteFunc(left, func(t thread) bool { // no newline follows in a line
		i := m.prog.Inst[t.pc]
		return i.Op == syntax.InstRune1 && i.Rune[0] == '\n'
	})
}

// add adds the threads that one leads to before the next character, the first to be
// preferred first, and reports whether one is at its end: those after it are cut off.
func (m *machine) add(t thread, pos int, context syntax.EmptyOp) (matched bool) {
	if m.seen[t.pc] == m.step {
		return false
	}
	m.seen[t.pc] = m.step
	i := &m.prog.Inst[t.pc]
	out, arg := t, t
	out.pc, arg.pc = i.Out, i.Arg
	switch i.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return m.add(out, pos, context) || m.add(arg, pos, context)
	case syntax.InstEmptyWidth:
		return syntax.EmptyOp(i.Arg)&^context == 0 && m.add(out, pos, context)
	case syntax.InstCapture:
		out.caps = slices.Clone(t.caps)
		if out.caps[i.Arg] = pos; i.Arg%2 == 0 {
			out.caps[i.Arg+1] = -1
		}
		return m.add(out, pos, context)
	case syntax.InstNop:
		return m.add(out, pos, context)
	case syntax.InstMatch:
		m.over = append(m.over, t)
		return true
	case syntax.InstFail:
		return false
	}
	m.live = append(m.live, t)
	return false
}

// growsIn reports whether a group matches more in a thread than in a match, or may.
func (m *machine) growsIn(t thread, at []int) bool {
	for g := 2; g+1 < len(at); g += 2 {
		begin, end := t.caps[g], t.caps[g+1]
		switch {
		case at[g] >= 0:
			if begin == at[g] && (end < 0 || end > at[g+1]) {
				return true
			}
		case t.start == at[0] && (begin >= 0 || m.leadsTo(t.pc, uint32(g), map[uint32]bool{})):
			return true
		}
	}
	return false
}

// leadsTo reports whether a group may begin after an instruction.
func (m *machine) leadsTo(pc, group uint32, seen map[uint32]bool) bool {
	if seen[pc] {
		return false
	}
	seen[pc] = true
	switch i := &m.prog.Inst[pc]; i.Op {
	case syntax.InstMatch, syntax.InstFail:
		return false
	case syntax.InstAlt, syntax.InstAltMatch:
		return m.leadsTo(i.Out, group, seen) || m.leadsTo(i.Arg, group, seen)
	case syntax.InstCapture:
		return i.Arg == group || m.leadsTo(i.Out, group, seen)
	default:
		return m.leadsTo(i.Out, group, seen)
	}
}
