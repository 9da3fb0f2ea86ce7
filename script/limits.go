package script

import (
	"fmt"

	"go.starlark.net/syntax"
)

// What is checked before the packages of the language recurse over it, or take
// time that grows with its square.
const (
	maxNesting = 5000    // of expressions and statements; the parser's own limit is below, but for chains such as a + b + c
	maxClauses = 1000    // for and if of a comprehension
	maxDigits  = 100_000 // in a row
	maxHints   = 10      // undefined names of a file for which what was meant is looked for
)

// unreadable says what is wrong with a text that the parser takes too long for,
// or stops in without a word; "" where nothing is.
func unreadable(data []byte) string {
	if len(data) > maxScript {
		return fmt.Sprintf("over %d MiB: no script", maxScript>>20)
	}
	line, digits := 1, 0
	for _, c := range data {
		if digits++; c < '0' || c > '9' {
			digits = 0
		}
		switch c {
		case '\n':
			line++
		case 0: // to the parser the end of the file
			return fmt.Sprintf("line %d has a NUL byte", line)
		}
		if digits > maxDigits {
			return fmt.Sprintf("line %d has over %d digits in a row", line, maxDigits)
		}
	}
	return ""
}

// tooDeep finds what is nested too deep. It does not go further, nor does it ask
// for the span of such a node, which is that of its innermost one.
func tooDeep(file *syntax.File) (at syntax.Position, found bool) {
	depth := 0
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			depth--
			return false
		}
		many := false
		if c, ok := n.(*syntax.Comprehension); ok {
			many = len(c.Clauses) > maxClauses
		}
		if found || many || depth >= maxNesting {
			if !found {
				at, found = position(n, file.Path), true
			}
			return false
		}
		depth++
		return true
	})
	return at, found
}

// position is a place in a node.
func position(n syntax.Node, file string) syntax.Position {
	switch n := n.(type) {
	case *syntax.BinaryExpr:
		return n.OpPos
	case *syntax.DotExpr:
		return n.Dot
	case *syntax.CallExpr:
		return n.Lparen
	case *syntax.IndexExpr:
		return n.Lbrack
	case *syntax.SliceExpr:
		return n.Lbrack
	case *syntax.IfStmt:
		return n.If
	case *syntax.Ident:
		return n.NamePos
	case *syntax.Literal:
		return n.TokenPos
	case *syntax.Comprehension:
		return n.Lbrack
	}
	return syntax.MakePosition(&file, 0, 0)
}
