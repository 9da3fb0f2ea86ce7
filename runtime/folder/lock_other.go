//go:build !unix

package folder

import "os"

// lockFile makes the file; elsewhere than on unix nothing is locked, for no
// run can be started there (see process.New).
func lockFile(path string) (*os.File, error) { return os.Create(path) }

// lockText is the run's id alone, for nobody looks at it.
func lockText(_ *os.File, id string) (string, error) { return id, nil }

// locked reports false, for no run can be started here.
func locked(lock string) (bool, error) {
	_, err := os.Stat(lock)
	return false, err
}

// lookAt knows nothing of a run, for no process of one is found.
func lookAt(claim) (state, life) { return unknown, life{} }
