// Package scenarios holds the scenarios that are shipped with dagon-star:
// scripts, topologies to run them against, and the files that these put into the
// folders of their nodes.
package scenarios

import (
	"embed"
	"io/fs"
	"slices"
)

//go:embed *.star *.ini systems
var files embed.FS

// Open returns a shipped file by its name, such as "default.star" or
// "systems/redis.star"; false if there is none.
func Open(name string) ([]byte, bool) {
	data, err := files.ReadFile(name)
	return data, err == nil
}

// Files has all shipped files under their names.
func Files() fs.FS { return files }

// Names are the names of all shipped scripts and topologies, sorted; those in folders
// with slashes.
func Names() []string {
	var names []string
	for _, pattern := range []string{"*", "systems/*.star", "systems/*/*.star", "systems/*/*.ini"} {
		found, _ := fs.Glob(files, pattern) // the patterns are well-formed
		for _, name := range found {
			if name != "systems" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
