package topology

import "strings"

// Nearest is the name that a misspelt one was meant to be, or "".
func Nearest(name string, names []string) string {
	best, nearest := 1+len(name)/3, ""
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < best || d == best && nearest == "" {
			best, nearest = d, n
		}
	}
	return nearest
}

// distance is the number of letters to change, add, take away or swap with the
// next to make one word of the other.
func distance(a, b string) int {
	var before []int // the row before the last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
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
		before, last = last, row
	}
	return last[len(b)]
}
