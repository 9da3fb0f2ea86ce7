package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible is a text as it can be shown on a terminal, or put in XML, whoever
// wrote it. Line ends, tabs and everything that can be seen stay. What would act
// on the terminal, or cannot be seen, is written out: \x1b for a control
// character or a byte that is no UTF-8, \u202e for a character that changes the
// direction of the others.
func Visible(s string) string {
	if IsVisible(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		switch {
		case c == '\n', isVisible(c, n):
			b.WriteString(s[:n])
		case c == '\r':
			b.WriteString(`\r`)
		case n == 1:
			b.WriteString(`\x` + strconv.FormatUint(0x100+uint64(s[0]), 16)[1:])
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(c), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

// IsVisible reports whether Visible leaves a text as it is.
func IsVisible(s string) bool {
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c != '\n' && !isVisible(c, n) {
			return false
		}
		s = s[n:]
	}
	return true
}

// isVisible reports whether a character of n bytes, other than a line end, is
// shown as it is.
func isVisible(c rune, n int) bool {
	switch {
	case c == utf8.RuneError && n == 1: // no UTF-8
		return false
	case c == '\u2028', c == '\u2029': // line ends to some
		return false
	case c&0xfffe == 0xfffe: // no characters, and not XML
		return false
	}
	return c == '\t' || !unicode.IsControl(c) && !unicode.Is(unicode.Bidi_Control, c)
}
