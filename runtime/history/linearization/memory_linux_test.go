package linearization

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/internal/allocated"
)

// explosive is a history that has no order, and of which porcupine needs more memory
// to find out than there is: twenty clients that never pause, and a wrong read near
// the end. It is the same history for one number.
func explosive(model string, n int) []history.Op {
	r := rand.New(rand.NewPCG(4, 5))
	ops := sample{model: model, ops: n, processes: 20, unknown: 0.02}.draw(r)
	for i := n * 9 / 10; i < n; i++ {
		if op := &ops[i]; op.Outcome == history.OK && (op.F == "read" || op.F == "dequeue" || op.F == "pop") {
			if op.Result = "1"; model == "set" {
				op.Result = "[1]"
			}
		}
	}
	return ops
}

// TestMemory holds that what a process takes for a search stays below the limit. The
// process is one of its own: this test's, which is told so by its environment.
func TestMemory(t *testing.T) {
	if model, limit, ok := strings.Cut(os.Getenv("DAGON_MEMORY"), " "); ok {
		explode(t, model, limit)
		return
	}
	limit := 128
	if os.Getenv("DAGON_SPEED") != "" {
		limit = 1024
	}
	for _, model := range []string{"cas-register", "queue", "stack", "set"} {
		t.Run(model, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.v")
			child.Env = append(os.Environ(), fmt.Sprintf("DAGON_MEMORY=%s %d", model, limit))
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

func explode(t *testing.T, model, limit string) {
	mebibytes, err := strconv.Atoi(limit)
	if err != nil {
		t.Fatal(err)
	}
	ops := explosive(model, 3000)
	before := resident(t)
	began := time.Now()
	found, err := Check(t.Context(), ops, Options{Model: model, MemoryLimit: int64(mebibytes) << 20, TimeLimit: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	took := resident(t) - before
	t.Logf("%v: %s; the process took %d MiB more, of %d", time.Since(began), found.Summary, took, mebibytes)
	if found.Verdict != history.Unknown || !strings.Contains(found.Summary, fmt.Sprintf("more than %d MiB", mebibytes)) {
		t.Errorf("%s: %s", found.Verdict, found.Summary)
	}
	if took > mebibytes && !allocated.Raced { // the detector takes memory of its own
		t.Errorf("the process took %d MiB", took)
	}
	if took < mebibytes/4 {
		t.Errorf("the search was ended at %d MiB, which is early", took)
	}
}

// resident returns the most memory that this process has had, in MiB.
func resident(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Skip("this system does not tell the most memory that a process has had")
	}
	kibibytes, _ := strconv.Atoi(string(m[1]))
	return kibibytes >> 10
}
