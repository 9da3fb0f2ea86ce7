//go:build unix

package process

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// executable writes a file that may be executed.
func executable(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// image64 is an executable of 64 bits that is no more than its header, and the name
// of a dynamic linker where there is one.
func image64(t *testing.T, order binary.ByteOrder, machine elf.Machine, linker string) string {
	t.Helper()
	const size, programSize = 64, 56
	header := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: size,
		Phentsize: programSize}
	data := elf.ELFDATA2LSB
	if order == binary.BigEndian {
		data = elf.ELFDATA2MSB
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(data),
		byte(elf.EV_CURRENT)
	parts := []any{&header}
	if linker != "" {
		header.Phoff, header.Phnum = size, 1
		n := uint64(len(linker) + 1)
		parts = append(parts, elf.Prog64{Type: uint32(elf.PT_INTERP), Flags: uint32(elf.PF_R), Off: size + programSize, Filesz: n,
			Memsz: n, Align: 1}, []byte(linker+"\x00"))
	}
	var b bytes.Buffer
	for _, part := range parts {
		if err := binary.Write(&b, order, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestStartAdvice: whatever keeps a file from being executed is named, with what
// helps, and a file that can be is.
func TestStartAdvice(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	script := func(name, text string) []string { return []string{executable(t, path(name), text)} }
	if err := unix.Mkfifo(path("fifo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("plain.sh"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[goruntime.GOARCH]
	d := newDriver(t, Bare)
	for _, test := range []struct {
		argv []string
		want string // "" where it starts
	}{
		{script("fine", "#!/bin/sh\nexit 0\n"), ""},
		{script("crlf-body", "#!/bin/sh\nexit\r\n"), ""},
		{script("crlf", "#!/bin/sh\r\nexit 0\r\n"), `its lines end in CRLF, as on Windows, so that its first line names ` +
			`"/bin/sh\r" and not /bin/sh; save it with LF alone, such as by sed -i 's/\r$//'`},
		{script("crlf-env", "#! /usr/bin/env sh\r\n"), `so that its first line names "sh\r" and not sh`},
		{script("marked", "\ufeff#!/bin/sh\n"), "it begins with a byte order mark, so that the system does not see its #!"},
		{script("missing", "#!/no/such/sh -e\n"), "its first line names the interpreter /no/such/sh, which does not exist"},
		{script("relative", "#!python3\n"), "which is no absolute path; #!/usr/bin/env python3 would find it in PATH"},
		{script("unfit", "#!"+path("plain.sh")+" -x\n"), "names the interpreter " + path("plain.sh") +
			", and of that: it is not executable (mode -rw-r--r--); chmod +x it"},
		{script("nested", "#!"+path("missing")+"\n"), "and of that: its first line names the interpreter /no/such/sh, which does not exist"},
		{script("itself", "#!"+path("itself")+"\n"), "too many levels of symbolic links"},
		{script("empty", ""), "it is no program for this machine: it is an empty file"},
		{script("text", "hello"), "neither an executable of its architecture nor a script that begins with #!"},
		{script("windows", "MZ\x90\x00"), "it is no program for this machine: it is one for Windows"},
		{script("macos", "\xcf\xfa\xed\xfe"), "it is one for macOS"},
		{script("damaged", elf.ELFMAG), "it is a damaged executable"},
		{script("foreign", image64(t, binary.BigEndian, elf.EM_SPARCV9, "")), "it is one for sparcv9, and this is " + goruntime.GOARCH},
		{script("linker", image64(t, binary.LittleEndian, machine, "/no/such/ld.so")),
			"its dynamic linker /no/such/ld.so does not exist on this machine"},
		{[]string{path("fifo")}, "it is no regular file (mode prwxr-xr-x); the path of a program was expected"},
		{[]string{path("plain.sh")}, "it is not executable (mode -rw-r--r--); chmod +x it"},
		{[]string{"plain.sh"}, "no such program in PATH (/none:" + dir + "); to run a file, write its path with a slash; of " +
			path("plain.sh") + ": it is not executable"},
		{[]string{"none"}, "no such program in PATH (/none:" + dir + "); to run a file, write its path with a slash"},
	} {
		if goruntime.GOOS != "linux" && (strings.Contains(test.want, "machine") || strings.Contains(test.want, "levels")) {
			continue // how others say it is theirs
		}
		env := []string{"PATH=/none:" + dir}
		_, err := LookPath(test.argv[0], "", env)
		if err == nil {
			var p Process
			if p, err = d.Start(Spec{Argv: test.argv, Env: env}); err == nil {
				<-p.Done()
			}
		}
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.argv, err)
			}
			continue
		}
		var wrong *StartError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.argv, err, test.want)
		}
	}
}
