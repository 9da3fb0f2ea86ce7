//go:build !unix

package live

import (
	"errors"
	"io"
	"os"

	"github.com/gdamore/tcell/v2"
)

// openTerminal says that there is no live table here: nothing can be run either.
func openTerminal(func(io.Writer) io.Writer) (tcell.Screen, error) { return nil, errors.ErrUnsupported }

type job struct{ continued chan os.Signal }

func newJob() *job              { return &job{} }
func (j *job) close()           {}
func (j *job) stop()            {}
func (j *job) foreground() bool { return true }
