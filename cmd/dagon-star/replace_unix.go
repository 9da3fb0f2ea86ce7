//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/dagon-star/dagon-star/runtime"
)

// replaceBy has a program take the place of this process, as the user of a command. It
// returns only an error.
func replaceBy(program string, b *runtime.Beside) error {
	if u := b.User(); u != nil {
		groups := make([]int, len(u.Groups))
		for i, g := range u.Groups {
			groups[i] = int(g)
		}
		if os.Geteuid() != 0 {
			return fmt.Errorf("the node runs as %s: only root can run a command as another user", u.Name)
		}
		if err := syscall.Setgroups(groups); err != nil {
			return fmt.Errorf("cannot become %s: %w", u.Name, err)
		}
		if err := syscall.Setgid(int(u.GID)); err != nil {
			return fmt.Errorf("cannot become %s: %w", u.Name, err)
		}
		if err := syscall.Setuid(int(u.UID)); err != nil {
			return fmt.Errorf("cannot become %s: %w", u.Name, err)
		}
	}
	return fmt.Errorf("cannot start %s: %w", program, syscall.Exec(program, b.Argv, b.Env()))
}
