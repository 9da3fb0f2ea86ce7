// Package openfiles counts the files that this process has open: nodes and links need
// more of them than a process may have as a rule.
package openfiles
