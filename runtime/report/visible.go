package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Visible is a text as it can be shown on a terminal, or put in XML, whoever
// wrote it. Line ends, tabs and everything that can be seen stay. What would act
// on the terminal, or cannot be seen, is written out: \x1b for a control
// character or a byte that is no UTF-8, \u202e for a character that changes the
// direction of the others.
func Visible(s string) string {
	return written(s, func(c rune, n int, raw string) string {
		switch {
		case c == '\r':
			return `\r`
		case n == 1:
			return `\x` + strconv.FormatUint(0x100+uint64(raw[0]), 16)[1:]
		}
		return strings.Trim(strconv.QuoteRuneToASCII(c), "'")
	})
}

// VisibleJSON is Visible for JSON, which stays what it is: the escapes are those of
// its strings.
func VisibleJSON(s string) string {
	return written(s, func(c rune, _ int, _ string) string {
		var b strings.Builder
		for _, unit := range utf16.Encode([]rune{c}) {
			b.WriteString(`\u` + strconv.FormatUint(0x10000+uint64(unit), 16)[1:])
		}
		return b.String()
	})
}

// written is a text with what is not visible, a character of n bytes, written out.
func written(s string, out func(c rune, n int, raw string) string) string {
	if IsVisible(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == '\n' || isVisible(c, n) {
			b.WriteString(s[:n])
		} else {
			b.WriteString(out(c, n, s[:n]))
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
