package script

import (
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dagon-star/dagon-star/runtime/process"
	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// lookPath is process.LookPath, but for what is there and no file: that is not
// looked into, as to open a FIFO would wait for its writer.
func lookPath(program, dir string, env []string) (string, error) {
	for _, path := range candidates(program, env) {
		info, err := userfile.Stat(path)
		if err == nil {
			break // process.LookPath says what is wrong with it
		}
		if info != nil && !info.IsDir() {
			return "", &process.StartError{Program: program, Reason: cause(err).Error(), Err: err}
		}
	}
	return process.LookPath(program, dir, env)
}

// candidates are the paths of what can be executed under a program's name, in the
// order in which they are tried.
func candidates(program string, env []string) (paths []string) {
	if strings.ContainsAny(program, "/"+string(filepath.Separator)) {
		return []string{program}
	}
	search := ""
	for _, v := range env {
		if value, isPath := strings.CutPrefix(v, "PATH="); isPath {
			search = value
		}
	}
	for _, folder := range filepath.SplitList(search) {
		if path, err := exec.LookPath(filepath.Join(folder, program)); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}
