//go:build !linux

package process

// Marked is a process that was executed with certain variables in its
// environment.
type Marked struct {
	PID       int
	User      int // whose it is
	Variables map[string]string
}

// FindMarked finds nothing: another process's environment is not to be seen
// here.
func FindMarked(...string) []Marked { return nil }

// Kill does nothing.
func (Marked) Kill() error { return nil }

// SweepGroups does nothing: control groups are Linux's.
func SweepGroups() ([]string, error) { return nil, nil }
