// Package scenarios holds the scenarios that are shipped with dagon-star:
// scripts, and topologies to run them against.
package scenarios

import (
	"embed"
	"io/fs"
)

//go:embed *.star *.ini
var files embed.FS

// Open returns a shipped file by its name, such as "default.star"; false if
// there is none.
func Open(name string) ([]byte, bool) {
	data, err := files.ReadFile(name)
	return data, err == nil
}

// Names are the names of all shipped files, sorted.
func Names() []string {
	names, _ := fs.Glob(files, "*") // the pattern is well-formed
	return names
}
