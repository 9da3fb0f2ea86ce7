package report_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dagon-star/dagon-star/runtime/event"
)

// newBrowser starts Chromium without a window. Where it is not installed the test is skipped,
// but not in CI.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("chromium is not installed")
	}
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	for _, name := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "hide-scrollbars"} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, flags...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if _, err := chromedp.Run(ctx, chromedp.Title()); err != nil { // it starts
		t.Fatal(err)
	}
	return ctx
}

// pageWatch has what a page must not do: tell errors, or ask for anything.
type pageWatch struct {
	mu  sync.Mutex
	bad []string
}

func (w *pageWatch) see(e any) {
	text := ""
	switch e := e.(type) {
	case *runtime.EventExceptionThrown:
		text = "exception: " + fmt.Sprintf("%+v", e.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		text = fmt.Sprintf("console: %s", e.Type)
	case *cdplog.EventEntryAdded:
		text = "log: " + e.Entry.Text
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "file://") || !strings.HasSuffix(e.Request.URL, "/report.html") {
			text = "request: " + e.Request.URL
		}
	}
	if text != "" {
		w.mu.Lock()
		w.bad = append(w.bad, text)
		w.mu.Unlock()
	}
}

// usable waits until the page has opened its data and drawn them.
const usable = `opened.then(() => new Promise((go) => { const look = () => document.documentElement.dataset.ready ? go(true) : setTimeout(look, 5); look(); }))`

// openPage opens a page, and tells when something of it was first seen and when it could be used, in milliseconds.
func openPage(t *testing.T, ctx context.Context, file string, width, height int64) (w *pageWatch, firstScreen, ready float64) {
	t.Helper()
	w = &pageWatch{}
	err := chromedp.Listen(ctx, w.see)
	if err == nil {
		err = chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
			if err == nil {
				_, err = cdp.Call(ctx, target, cdplog.Enable, cdp.Empty{})
			}
			return err
		}), chromedp.EmulateViewport(width, height), chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String()))
	}
	if err != nil {
		t.Fatalf("%s: %v %v", file, err, w.bad)
	}
	js[bool](t, ctx, usable)
	return w, js[float64](t, ctx, `performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1`),
		js[float64](t, ctx, `Number(document.documentElement.dataset.ready)`)
}

// js evaluates an expression in the page.
func js[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits for a condition of the page, and reports whether it came within ten seconds.
func until(t *testing.T, ctx context.Context, condition string) bool {
	t.Helper()
	return js[bool](t, ctx, `new Promise((go) => { const end = performance.now() + 10000, look = () => {
		const is = `+condition+`;
		if (is || performance.now() > end) go(Boolean(is)); else setTimeout(look, 10);
	}; look(); })`)
}

// drawn waits for what is due to be drawn.
const drawn = `new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(() => go(true))))`

// screenshot writes what is seen into $DAGON_SCREENSHOTS, where that is set, else into the test's artifacts.
func screenshot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("DAGON_SCREENSHOTS")
	if dir == "" {
		dir = t.ArtifactDir()
	}
	path := filepath.Join(dir, name+".png")
	if err := os.WriteFile(path, png, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("screenshot %s", path)
}

// TestBrowser opens reports in Chromium: it finds the verdict, filters the lines, moves the
// slider, clicks a message, and lands at its moment in all views.
func TestBrowser(t *testing.T) {
	failed := failedLog(t)
	lines := bytes.SplitAfter(failed, []byte("\n"))
	passed := logOf(t, 10*time.Millisecond, started("a"), "a", event.Forked{PID: 3, Incarnation: 1, Where: "break.star:1:1"}, "a", event.State{To: "forked"},
		"a", event.Received{Address: "/ready", Args: event.Args{"a"}}, "a", event.Sent{Address: "/shutdown"}, "a", event.Exited{PID: 3, Expected: true},
		event.Verdict{Outcome: "passed"}, event.RunFinished{})
	killed := append(bytes.Join(lines[:len(lines)-6], nil), lines[len(lines)-6][:20]...) // in the middle of a line
	strange := append(bytes.Clone(killed[:len(killed)-20]), fmt.Sprintf("{\"seq\":%d,\"t\":0.7,\"kind\":\"of_later\",\"node\":\"b\",\"x\":1}\n", len(lines)-6)...)
	million := longLog(t, 1000, 1_000_000)
	for _, c := range []struct {
		name, outcome string
		log           []byte
		events        int
	}{
		{"passed", "passed", passed, 8}, {"failed", "failed", failed, len(lines) - 1}, {"killed", "unfinished", killed, len(lines) - 6},
		{"strange", "unfinished", strange, len(lines) - 5}, {"thousand", "failed", million, bytes.Count(million, []byte("\n"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "report.html")
			f, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			b := bufio.NewWriter(f)
			began := time.Now()
			const said = "0.020000 out hello from a\n0.030000 err WARN \x1b[31mred\n"
			write(t, folder(c.log, "logs/a.log", said, "logs/node-0000.log", said), b)
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
			wrote := time.Since(began)
			info, _ := f.Stat()
			f.Close()
			ctx := newBrowser(t)
			w, first, ready := openPage(t, ctx, file, 1280, 800)
			t.Logf("%d events, %d bytes of log: %d bytes of page written in %v; first screen after %.0f ms, usable after %.0f ms",
				c.events, len(c.log), info.Size(), wrote.Round(time.Millisecond), first, ready)
			if os.Getenv("DAGON_SPEED") == "1" && (first > 1000 || ready > 2000) {
				t.Errorf("the first screen came after %.0f ms, and the page was usable after %.0f ms", first, ready)
			}
			screenshot(t, ctx, c.name)
			if got := js[string](t, ctx, `document.querySelector("#verdict .outcome").innerText`); !strings.HasSuffix(got, c.outcome) {
				t.Errorf("the verdict is %q", got)
			}
			if got := js[int](t, ctx, `opened.then((o) => o.events.n)`); got != c.events {
				t.Errorf("%d events, expected %d", got, c.events)
			}
			line := "boot()"
			if c.name == "thousand" { // its first message comes when all are forked
				line = "await_done(b)"
			}
			walk(t, ctx, line)
			js[bool](t, ctx, drawn)
			screenshot(t, ctx, c.name+"-views")
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, bad := range w.bad {
				t.Error(bad)
			}
		})
	}
}

// walk uses the page as a person does: by its fields, its keys and clicks. A line of the
// script is where the first message falls.
func walk(t *testing.T, ctx context.Context, line string) {
	t.Helper()
	all := js[int](t, ctx, `opened.then((o) => o.logs.n)`)
	js[bool](t, ctx, `(() => { byID("filter-level").value = "output"; byID("filter-level").dispatchEvent(new Event("change")); return true; })()`)
	err := chromedp.Do(ctx, chromedp.Focus("#filter-text"), chromedp.KeyEvent("hello"))
	if err != nil || !until(t, ctx, `byID("log-count").textContent.startsWith("1 of ")`) {
		t.Errorf("the filter of %d lines: %v; %s", all, err, js[string](t, ctx, `byID("log-count").textContent`))
	}
	if got := js[string](t, ctx, `[...document.querySelectorAll(".log-line:not([hidden]) .log-text")].map((e) => e.textContent).join()`); got != "hello from a" {
		t.Errorf("the filter leaves %q", got)
	}
	js[bool](t, ctx, `(() => { byID("filter-text").value = ""; byID("filter-level").value = "all"; byID("filter-level").dispatchEvent(new Event("change")); return true; })()`)
	// The slider: End and Home of its ends, and a shorter range by the keyboard.
	before := js[string](t, ctx, `byID("slider-from").getAttribute("aria-valuenow")`)
	if err = chromedp.Do(ctx, chromedp.Focus("#slider-from"), chromedp.KeyEvent(kb.ArrowRight+kb.ArrowRight)); err != nil || !until(t, ctx, fmt.Sprintf(`byID("slider-from").getAttribute("aria-valuenow") !== %q`, before)) {
		t.Errorf("the slider: %v", err)
	}
	// A range in which arrows are drawn, about the first message, which is clicked.
	js[bool](t, ctx, `opened.then(({view, events}) => {
		let i = 0;
		while (!events.isMessage(i)) i++;
		view.setRange(events.t[i] - 0.005, events.t[i] + 0.02);
		byID("chart").scrollIntoView();
		return true;
	})`)
	js[bool](t, ctx, drawn)
	type spot struct {
		X, Y float64
		Seq  int
		T    float64
	}
	at := js[spot](t, ctx, `opened.then(({chart, events}) => {
		chart.box.scrollTop = 0;
		const k = chart.rows.findIndex((r) => r.kind === "message"), box = chart.surface.canvas.getBoundingClientRect();
		chart.box.scrollTop = Math.max(0, k * 21 - 100);
		return {x: box.left + 120, y: box.top + 26 + k * 21 + 10 - chart.box.scrollTop, seq: chart.rows[k].i, t: chart.rows[k].t};
	})`)
	if err := chromedp.Do(ctx, chromedp.MouseClickXY(at.X, at.Y)); err != nil {
		t.Fatal(err)
	}
	js[bool](t, ctx, drawn)
	type landed struct {
		Seq, Line      int
		At, Slider     float64
		Row            int
		Source, Detail string
	}
	got := js[landed](t, ctx, `opened.then(({view, chart, logs}) => ({seq: view.chosen, at: view.at, line: logs.shown[logs.first + logs.place],
		slider: Number(byID("slider-at").getAttribute("aria-valuenow")), row: chart.rows[chart.selected].i,
		source: document.querySelector("#source-body .executing code")?.textContent ?? "", detail: byID("detail").textContent}))`)
	if got.Seq != at.Seq || got.Line != at.Seq || got.Row != at.Seq || got.At != at.T || got.Slider != at.T || got.Source != line ||
		!strings.HasPrefix(got.Detail, fmt.Sprintf(`{"seq":%d,`, at.Seq)) {
		t.Errorf("a click on message %d at %v s landed at %+v", at.Seq, at.T, got)
	}
}

// TestPicture makes pictures of the first screens of real runs, as the README shows one:
//
//	dagon-star run kill-worker.star --param at_most_once=true
//	DAGON_PICTURE_OF=$PWD/runs/latest DAGON_SCREENSHOTS=$PWD/cmd/dagon-star/docs go test ./runtime/report -run Picture
//
// DAGON_PICTURE_OF has run folders with a colon between them. The first is report.png, and
// the others report-2.png and so on; of each there is a narrow one too.
func TestPicture(t *testing.T) {
	folders := filepath.SplitList(os.Getenv("DAGON_PICTURE_OF"))
	if len(folders) == 0 {
		t.Skip("DAGON_PICTURE_OF names no folder")
	}
	for i, dir := range folders {
		name := "report"
		if i > 0 {
			name += fmt.Sprintf("-%d", i+1)
		}
		var page bytes.Buffer
		write(t, os.DirFS(dir), &page)
		file := filepath.Join(t.TempDir(), "report.html")
		if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx := newBrowser(t)
		openPage(t, ctx, file, 1280, 800)
		screenshot(t, ctx, name)
		if below := js[float64](t, ctx, `byID("nodes").querySelector("tbody tr").getBoundingClientRect().bottom`); below > 800 {
			t.Errorf("%s: what the first node said last is at %.0f of 800 pixels", dir, below)
		}
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(400, 1600)); err != nil {
			t.Fatal(err)
		}
		js[bool](t, ctx, drawn)
		js[bool](t, ctx, drawn)
		if wide := js[float64](t, ctx, `document.documentElement.scrollWidth`); wide > 400 {
			t.Errorf("%s: the page is %.0f pixels wide where there are 400", dir, wide)
		}
		screenshot(t, ctx, name+"-narrow")
	}
}
