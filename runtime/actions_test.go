package runtime

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

// TestActionsAtEnd: a command that is under way when the run ends is ended, and nobody can
// begin another action.
func TestActionsAtEnd(t *testing.T) {
	top, err := topology.Parse("t.ini", []byte("[n]\ncommand = sleep 60\nlisten.x = auto\n"))
	if err != nil {
		t.Fatal(err)
	}
	run, err := Start(t.Context(), Config{Topology: top, Settings: top.Settings, RunsDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan error, 1)
	go func() {
		_, err := run.Exec(context.Background(), "n", Command{Line: "sleep 60"})
		came <- err
	}()
	for _, err := os.Stat(run.NodeFolder("n")); err != nil; _, err = os.Stat(run.NodeFolder("n")) { // which it makes first
		runtime.Gosched()
	}
	if _, err := run.End(nil); err != nil {
		t.Fatal(err)
	}
	if err := <-came; err == nil {
		t.Error("a command has outlived the run")
	}
	if _, err := run.Exec(context.Background(), "n", Command{Line: "true"}); !errors.Is(err, ErrEnded) {
		t.Errorf("Exec after the end: %v", err)
	}
	if _, err := run.HTTP(context.Background(), "n", "x", TLS{}, probe.Request{}); !errors.Is(err, ErrEnded) {
		t.Errorf("HTTP after the end: %v", err)
	}
	if conn, err := run.Dial(context.Background(), "n", "x", TLS{}); err == nil {
		conn.Close()
		t.Error("a connection after the end")
	}
}
