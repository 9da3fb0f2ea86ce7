package topology

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
)

// User is who a node runs as.
type User struct {
	Name     string
	Home     string
	UID, GID uint32
	Groups   []uint32 // all that the user is in, GID among them
	IsOwn    bool     // this process runs as the same user: there is nothing to change
}

// ErrNotRoot is in the error of FindUser where this process may not run a program as
// another user.
var ErrNotRoot = errors.New("only root can run a node as another user")

// FindUser finds a user of this machine, for user =. It is an error if there is none, or
// if this process may not run a program as another: only root may, and on Windows
// nobody.
func FindUser(name string) (User, error) {
	if runtime.GOOS == "windows" {
		return User{}, fmt.Errorf("a node cannot run as another user on Windows: leave user out")
	}
	found, err := user.Lookup(name)
	if err != nil {
		return User{}, fmt.Errorf("the name of a user of this machine was expected (%v)", err)
	}
	u := User{Name: found.Username, Home: found.HomeDir}
	for _, id := range []struct {
		text string
		to   *uint32
	}{{found.Uid, &u.UID}, {found.Gid, &u.GID}} {
		n, err := strconv.ParseUint(id.text, 10, 32)
		if err != nil {
			return User{}, fmt.Errorf("its id is %q, which is no number", id.text)
		}
		*id.to = uint32(n)
	}
	own := os.Geteuid()
	if u.IsOwn = own == int(u.UID); !u.IsOwn && own != 0 {
		return User{}, fmt.Errorf("%w, and this is the user with the id %d: run it as root, or as %s, or leave user out", ErrNotRoot, own, name)
	}
	groups, err := found.GroupIds()
	if err != nil && !u.IsOwn {
		return User{}, fmt.Errorf("its groups cannot be read: %w", err)
	}
	for _, id := range groups {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			u.Groups = append(u.Groups, uint32(n))
		}
	}
	return u, nil
}
