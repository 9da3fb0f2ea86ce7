package process

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
)

// StartError is a program that cannot be started.
type StartError struct {
	Program string
	Reason  string
	Err     error // of the system, or nil
}

func (e *StartError) Error() string { return fmt.Sprintf("cannot start %s: %s", e.Program, e.Reason) }
func (e *StartError) Unwrap() error { return e.Err }

// LookPath finds the program that Start would start, and finds what would keep
// it from starting as far as can be told without starting it. The error is a
// *StartError.
func LookPath(program, dir string, env []string) (string, error) {
	fail := func(err error, reason string, args ...any) (string, error) {
		return "", &StartError{Program: program, Reason: fmt.Sprintf(reason, args...), Err: err}
	}
	if program == "" {
		return fail(nil, "no program is named")
	}
	if dir != "" {
		if info, err := os.Stat(dir); err != nil {
			return fail(err, "its working folder %s does not exist", dir)
		} else if !info.IsDir() {
			return fail(nil, "its working folder %s is a file", dir)
		}
	}
	path := program
	if !strings.ContainsRune(program, '/') && !strings.ContainsRune(program, os.PathSeparator) {
		found, unfit := "", ""
		search := variable(env, "PATH")
		for _, folder := range filepath.SplitList(search) {
			p, err := exec.LookPath(filepath.Join(folder, program))
			if err == nil {
				found = p
				break
			}
			if reason, err := unexecutable(filepath.Join(folder, program)); unfit == "" && !errors.Is(err, fs.ErrNotExist) && reason != "" {
				unfit = fmt.Sprintf("; of %s: %s", filepath.Join(folder, program), reason)
			}
		}
		if found == "" {
			return fail(fs.ErrNotExist, "no such program in PATH (%s); to run a file, write its path with a slash%s", search, unfit)
		}
		path = found
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fail(err, "%v", err)
	}
	if reason, err := unfit(path, dir, maxInterpreters); reason != "" {
		return fail(err, "%s", reason)
	}
	return path, nil
}

// maxInterpreters is how many scripts may be the interpreters of each other.
const maxInterpreters = 4

// unfit says why a file cannot be executed in a working folder, as far as can be
// told from it and from the interpreter that its first line names; "" where nothing
// is wrong. The error is the system's, or nil.
func unfit(path, dir string, depth int) (reason string, err error) {
	if reason, err := unexecutable(path); reason != "" {
		return reason, err
	}
	interpreter, reason := interpreterOf(path)
	if interpreter == "" || reason != "" || depth == 0 {
		return reason, nil
	}
	at := interpreter
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
		why := "does not exist"
		if !filepath.IsAbs(interpreter) {
			why = fmt.Sprintf("is no absolute path; #!/usr/bin/env %s would find it in PATH", interpreter)
		}
		return fmt.Sprintf("its first line names the interpreter %s, which %s", interpreter, why), err
	}
	if reason, err := unfit(at, dir, depth-1); reason != "" {
		return fmt.Sprintf("its first line names the interpreter %s, and of that: %s", interpreter, reason), err
	}
	return "", nil
}

// unexecutable says why the system does not let a file be executed, whatever is in
// it; "" where it does. The error is the system's, or nil.
func unexecutable(path string) (reason string, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file: " + path, err
	case err != nil:
		return err.Error(), err
	case info.IsDir():
		return "it is a folder; the path of a program was expected", nil
	case !info.Mode().IsRegular():
		return fmt.Sprintf("it is no regular file (mode %s); the path of a program was expected", info.Mode()), nil
	}
	_, err = exec.LookPath(path)
	switch {
	case err == nil:
		return "", nil
	case info.Mode()&0o111 == 0:
		return fmt.Sprintf("it is not executable (mode %s); chmod +x it", info.Mode()), err
	case onNoexec(path):
		return "it is on a file system that is mounted noexec, from which nothing is executed; put it on another one, or " +
			"have this one mounted with exec", err
	}
	return fmt.Sprintf("this user may not execute it (mode %s); have its owner give others the right, such as by chmod a+rx", info.Mode()), err
}

// interpreterOf is the program that a script's first line names, as the kernel
// reads it, or "". The reason says why the kernel cannot find it, where that shows
// in the line.
func interpreterOf(path string) (interpreter, reason string) {
	f, err := os.Open(path)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	line, _, whole := strings.Cut(string(b[:n]), "\n")
	if text, marked := strings.CutPrefix(line, "\ufeff"); marked && strings.HasPrefix(text, "#!") {
		return "", "it begins with a byte order mark, so that the system does not see its #!; save it as UTF-8 without one"
	}
	rest, isScript := strings.CutPrefix(line, "#!")
	words := strings.FieldsFunc(rest, func(c rune) bool { return c == ' ' || c == '\t' })
	if !isScript || len(words) == 0 {
		return "", ""
	}
	last := words[len(words)-1]
	if name, ends := strings.CutSuffix(last, "\r"); ends && whole && (len(words) == 1 || filepath.Base(words[0]) == "env") {
		return "", fmt.Sprintf("its lines end in CRLF, as on Windows, so that its first line names %q and not %s; save "+
			"it with LF alone, such as by sed -i 's/\\r$//'", last, name)
	}
	return words[0], ""
}

func variable(env []string, name string) string {
	value := ""
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// startError words an error of starting a program that LookPath let pass; path is
// where that is.
func startError(program, path string, err error) error {
	reason := err.Error()
	switch {
	case errors.Is(err, errExecFormat):
		reason = "it is no program for this machine: " + formatOf(path)
	case errors.Is(err, fs.ErrNotExist):
		reason = "what it needs to be loaded, such as its dynamic linker, does not exist on this machine"
		if linker := linkerOf(path); linker != "" {
			reason = fmt.Sprintf("its dynamic linker %s does not exist on this machine; it was built for another system", linker)
		}
	case errors.Is(err, fs.ErrPermission):
		reason = "permission denied"
	}
	return &StartError{Program: program, Reason: reason, Err: err}
}

// formatOf says what a file is that the system does not know how to execute.
func formatOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	start := make([]byte, 4)
	n, _ := io.ReadFull(f, start)
	is := func(magic string) bool { return bytes.HasPrefix(start, []byte(magic)) }
	switch {
	case n == 0:
		return "it is an empty file"
	case is("MZ"):
		return "it is one for Windows"
	case is("\xcf\xfa\xed\xfe"), is("\xce\xfa\xed\xfe"), is("\xca\xfe\xba\xbe"):
		return "it is one for macOS"
	case is(elf.ELFMAG):
		if e, err := elf.NewFile(f); err == nil {
			return fmt.Sprintf("it is one for %s, and this is %s", strings.ToLower(strings.TrimPrefix(e.Machine.String(), "EM_")), goruntime.GOARCH)
		}
		return "it is a damaged executable"
	}
	return "neither an executable of its architecture nor a script that begins with #!"
}

// linkerOf is the dynamic linker that an executable names and that does not exist,
// or "".
func linkerOf(path string) string {
	e, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer e.Close()
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		linker := string(bytes.TrimRight(name, "\x00"))
		if _, missing := os.Stat(linker); err == nil && errors.Is(missing, fs.ErrNotExist) {
			return linker
		}
	}
	return ""
}
