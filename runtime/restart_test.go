//go:build unix

package runtime

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// TestRestartInHurry: a graceful restart that is under way, whose context is nobody's, holds
// up no end of the run.
func TestRestartInHurry(t *testing.T) {
	top, err := topology.Parse("test.ini", []byte("[n]\ncommand = sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.02; done'\nready.log = up\n"))
	must(t, err)
	top.Settings.Grace = time.Hour
	hurry, asked := make(chan struct{}), make(chan struct{})
	r := begin(t, Config{Topology: top, Hurry: hurry, Observer: func(e event.Event) {
		if _, isAsked := e.Detail.(event.Asked); isAsked && e.Node == "n" {
			select {
			case <-asked:
			default:
				close(asked)
			}
		}
	}})
	must(t, r.Fork("n", ForkOptions{}))
	ready := r.Reached([]string{"n"}, StateReady)
	ready.Timeout = time.Minute
	must(t, r.Wait(ready))
	step, err := r.Restart([]string{"n"}, RestartOptions{})
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- step.Do(context.Background()) }()
	<-asked
	close(hurry)
	result, err := r.End()
	must(t, err)
	if err := <-done; err == nil {
		t.Error("a restart that the end of the run cut short was done")
	}
	for _, f := range result.Beside {
		if strings.Contains(f.Reason, "could not be undone") {
			t.Error(f.Reason)
		}
	}
	if len(result.LeftBehind) > 0 || strings.Contains(result.Reason, "could not be undone") {
		t.Errorf("%s; left %v", result.Reason, result.LeftBehind)
	}
}
