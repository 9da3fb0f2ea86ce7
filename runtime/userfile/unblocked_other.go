//go:build !unix

package userfile

// unblocked: there are no FIFOs among files here.
const unblocked = 0
