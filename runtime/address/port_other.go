//go:build !linux

package address

import "errors"

// claimPort is not needed where hosts are not told apart.
func (a *Addresses) claimPort() (int, error) { return 0, errors.ErrUnsupported }
