package site

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/folder"
)

// TestSite: what is shown, to whom, and what is not.
func TestSite(t *testing.T) {
	runs := t.TempDir()
	f, err := folder.Make(runs, "x.star", "0123", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f.Events, `{"seq":0,"t":0,"kind":"run_started","format":1,"run":"r","script":"<script>x","seed":7,"version":"v",`+
		`"started_at":"2026-01-02T03:04:05Z"}`+"\n")
	name := filepath.Base(f.Path)
	outside := filepath.Join(t.TempDir(), "secret")
	for path, text := range map[string]string{outside: "secret", f.Path + "/logs/a.log": "<b>said", f.Path + "/nodes/n": "n",
		f.Path + "/report.html": "<p>report"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink(outside, f.Path+"/logs/out.log")
	os.Symlink(filepath.Dir(outside), f.Path+"/logs/dir")
	os.Symlink(filepath.Dir(outside), runs+"/elsewhere")
	server := httptest.NewServer(New(runs))
	defer server.Close()
	get := func(host, path string) (int, string, http.Header) {
		request, err := http.NewRequest("GET", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body), response.Header
	}
	run := "/runs/" + name
	for path, want := range map[string]string{"/": "&lt;script&gt;x", run + "/": "running", "/runs/latest/": "under way", run + "/state": "running ",
		run + "/files/logs/a.log": "<b>said", run + "/files/events.jsonl": `"seq":0`, run + "/files/report.html": "<p>report"} {
		code, body, header := get("localhost:1", path)
		if code != 200 || !strings.Contains(body, want) || strings.Contains(body, "<script>x<") ||
			!strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v\n%s", path, code, header, body)
		}
		if isText := strings.HasPrefix(header.Get("Content-Type"), "text/plain"); isText != (strings.HasSuffix(path, "a.log") ||
			strings.HasSuffix(path, "jsonl") || strings.HasSuffix(path, "state")) {
			t.Errorf("%s: %v", path, header)
		}
	}
	for _, path := range []string{"/runs/../", "/runs/%2e%2e/", "/runs/elsewhere/", "/runs/none/", run + "/files/logs/out.log",
		run + "/files/logs/dir/secret", run + "/files/%2e%2e/%2e%2e/x", run + "/files/logs%2f..%2f..%2f..%2fx", run + "/files/nodes/n",
		run + "/files/lock", run + "/files/logs", "/runs/..%2f" + name + "/"} {
		if code, body, _ := get("127.0.0.1", path); code == 200 && path != "/runs/../" && !strings.Contains(body, "<h1>Runs") ||
			strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, host := range []string{"example.com", "10.0.0.1:80", "localhost.example.com", "127.0.0.1.example.com", "0.0.0.0"} {
		if code, body, _ := get(host, "/"); code != http.StatusForbidden || strings.Contains(body, "Runs") {
			t.Errorf("%s: %d %s", host, code, body)
		}
	}
	f.Close()
	if _, body, _ := get("[::1]:80", run+"/state"); !strings.HasPrefix(body, "unfinished ") {
		t.Errorf("the state is %s", body)
	}
}
