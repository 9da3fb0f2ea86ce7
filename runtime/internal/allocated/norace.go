//go:build !race

package allocated

// Raced tells that the race detector is there: it has pools forget what they
// keep, so that By says nothing of what the program costs without it.
const Raced = false
