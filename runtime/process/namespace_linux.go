package process

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces says how a keeper is sealed, or why it cannot be.
func namespaces(attr *syscall.SysProcAttr) error {
	attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	attr.Pdeathsig = syscall.SIGKILL
	if os.Geteuid() == 0 {
		return nil // in a user namespace it would have fewer rights
	}
	if status, _ := os.ReadFile("/proc/self/status"); ambient(string(status)) {
		return errors.New("this process has ambient capabilities, which its nodes would lose in a user namespace")
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_KILL, unix.CAP_SYS_NICE}
	return nil
}

func ambient(status string) bool {
	for line := range strings.Lines(status) {
		if set, ok := strings.CutPrefix(line, "CapAmb:"); ok {
			return strings.Trim(strings.TrimSpace(set), "0") != ""
		}
	}
	return false
}

// refused words why a namespace was refused.
func refused(err error) error {
	root := os.Geteuid() == 0
	switchedOff := func(sysctl string) bool {
		text, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(sysctl, ".", "/"))
		return strings.TrimSpace(string(text)) == "0"
	}
	for _, off := range []struct {
		what, sysctl string
		needed       bool
	}{
		{"user namespaces are", "kernel.unprivileged_userns_clone", !root},
		{"user namespaces are", "user.max_user_namespaces", !root},
		{"PID namespaces are", "user.max_pid_namespaces", true},
		{"mount namespaces are", "user.max_mnt_namespaces", true},
	} {
		if off.needed && switchedOff(off.sysctl) {
			return fmt.Errorf("%s switched off (sysctl %s is 0)", off.what, off.sysctl)
		}
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return errors.New("the kernel refuses more namespaces (sysctls user.max_*_namespaces, of this user namespace or of one around it)")
	case !errors.Is(err, unix.EPERM):
		return fmt.Errorf("cannot start a keeper: %w", err)
	case root:
		return errors.New("the kernel refuses a PID namespace: CAP_SYS_ADMIN is needed, which containers mostly lack")
	}
	return fmt.Errorf("the kernel refuses a user namespace%s, as it does in most containers", appArmor())
}
