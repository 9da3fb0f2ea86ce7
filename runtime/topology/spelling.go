package topology

import "strings"

// MaxWords is how many words Nearest looks at.
const MaxWords = 1000

const maxWord = 64 // bytes of a word that Nearest looks at

// Nearest is the name that a misspelt one was meant to be, or "". It looks at
// words of up to 64 bytes, and at a thousand of them.
func Nearest(name string, names []string) string {
	if len(name) > maxWord {
		return ""
	}
	best, nearest := 1+len(name)/3, ""
	name = strings.ToLower(name)
	for _, n := range names[:min(len(names), MaxWords)] {
		if len(n) > maxWord {
			continue
		}
		if d := distance(name, strings.ToLower(n)); d < best || d == best && nearest == "" {
			best, nearest = d, n
		}
	}
	return nearest
}

// distance is the number of letters to change, add, take away or swap with the
// next to make one word of the other. Letters beyond 2*maxWord, which lower case
// may make of a word, count for nothing.
func distance(a, b string) int {
	a, b = a[:min(len(a), 2*maxWord)], b[:min(len(b), 2*maxWord)]
	var rows [3][2*maxWord + 1]int // the last, the one before it, and the one that is made
	last, before, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) {
		last[j+1] = j + 1
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			row[j+1] = min(d, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// Brief is a text, or the beginning of one that is longer than most bytes, so
// that an error does not hand on all that a stranger wrote.
func Brief(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
