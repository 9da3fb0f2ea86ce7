//go:build !unix

package main

import "context"

// readable reports false: no run can be started here (see process.New).
func readable(context.Context) bool { return false }
