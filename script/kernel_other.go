//go:build !unix

package script

// kernel: there is no such name here.
func kernel() string { return "" }
