//go:build !unix

package main

import (
	"errors"

	"github.com/dagon-star/dagon-star/runtime"
)

// replaceBy fails: no run can be under way here (see process.New).
func replaceBy(string, *runtime.Beside) error {
	return errors.New("a command beside a node can be run on unix only")
}
