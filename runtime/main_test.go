package runtime

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/process"
)

// TestMain makes a node of the test binary, which behaves as MODE says.
func TestMain(m *testing.M) {
	if process.Keeper() {
		return
	}
	if os.Getenv("DAGON_NAME") != "" {
		os.Exit(testNode(os.Getenv("MODE")))
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or every node takes a second to exit
	goleak.VerifyTestMain(m)
}

func testNode(mode string) int {
	fmt.Println("up")
	config, err := component.FromEnvironment(os.Getenv, "", "")
	if err != nil {
		return 9
	}
	switch mode {
	case "silent":
		time.Sleep(time.Hour)
	case "stranger":
		config.Token = "wrong"
	case "late":
		config.Incarnation = 7
	case "other-run":
		config.Run = "another"
	}
	home, err := component.Dial(context.Background(), config)
	if err != nil {
		return 9
	}
	defer home.Close()
	home.Ready()
	if mode == "talks-and-exits" {
		for i := range manyWords {
			home.Send(osc.NewMessage("/word", int32(i)))
		}
	}
	if mode == "talks-and-exits" || mode == "exit-at-once" {
		home.Done()
		home.DoneShutdown()
		return 0
	}
	select {
	case <-home.Started():
		home.Done()
	case <-home.Stop():
	}
	<-home.Stop()
	if home.StopReason() != nil {
		time.Sleep(time.Hour)
	}
	home.DoneShutdown()
	return 0
}

// manyWords are more messages than can be heard in no time.
const manyWords = 100_000
