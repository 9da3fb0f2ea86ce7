//go:build !linux

package process

import "syscall"

// Seen is a process that runs on this machine.
type Seen struct {
	PID, Parent int
	Began       uint64            // in clock ticks since boot
	User        int               // whose it is
	Variables   map[string]string // those that were looked for
	Abandoned   string            // the run whose keeper it is, if its driver is dead
}

// Look finds nothing: another process's environment is not to be seen here.
func Look(...string) ([]Seen, error) { return nil, nil }

// FindMarked finds nothing, as Look.
func FindMarked(...string) []Seen { return nil }

// Kill says that it cannot be done.
func (Seen) Kill() error { return syscall.EINVAL }

// AwaitEnd does nothing: nothing has been killed.
func AwaitEnd([]Seen) {}

// Moment is a point of time in the terms of Seen.Began.
type Moment struct {
	Boot  string // which boot of the machine it is counted from
	Ticks uint64 // clock ticks
}

// ticks is how many clock ticks a second has.
const ticks = 100

// Now is no moment: nothing is compared with it here.
func Now() Moment { return Moment{Boot: "-"} }

// SweepGroups does nothing: control groups are Linux's.
func SweepGroups() ([]string, error) { return nil, nil }
