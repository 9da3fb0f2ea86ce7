// Package site is the folder of runs as a site for the machine's own browser: a list, a
// page for each run, its files. It only reads, and follows no symbolic link out of the
// folder.
package site

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/archive"
)

//go:embed pages.html
var pagesText string

//go:embed follow.js
var follow string

// New makes the site of a folder of runs. It answers only who has asked for the loopback,
// as a page of another site that has its name lead there has not.
func New(runs string) http.Handler {
	s := &site{runs: runs, pages: template.Must(template.New("").Parse(pagesText))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /follow.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		io.WriteString(w, follow)
	})
	mux.HandleFunc("GET /runs/{run}/{$}", s.run)
	mux.HandleFunc("GET /runs/{run}/state", s.state)
	mux.HandleFunc("GET /runs/{run}/files/{file...}", s.file)
	return guarded(mux)
}

// guarded refuses who did not ask for the loopback, and has pages load nothing from elsewhere.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		if !IsLoopback(r.Host) {
			http.Error(w, "this site is asked for as localhost or by a loopback address only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsLoopback reports whether a host, with a port or without, is localhost or an address of
// the loopback.
func IsLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

type site struct {
	runs  string
	pages *template.Template
}

// shown is a run as a page shows it.
type shown struct {
	archive.Run
	Files  []string
	Report bool
	Log    int64 // bytes of its events
}

// CameTo is what the run came to, or how far it is.
func (s shown) CameTo() string {
	if s.State != archive.Running && s.Verdict != "" {
		return s.Verdict
	}
	return s.State
}

// Took is its duration.
func (s shown) Took() string { return fmt.Sprintf("%.3f s", s.DurationS) }

func (s *site) page(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

func (s *site) index(w http.ResponseWriter, _ *http.Request) {
	all, err := archive.List(s.runs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	runs := make([]shown, len(all))
	for i, r := range all {
		runs[i] = shown{Run: r}
	}
	s.page(w, "index", runs)
}

// open opens the folder of a run, and nothing outside of it. latest is the run that it
// leads to.
func (s *site) open(name string) (*os.Root, archive.Run, error) {
	runs, err := os.OpenRoot(s.runs)
	if err != nil {
		return nil, archive.Run{}, err
	}
	defer runs.Close()
	if name == "latest" {
		if to, err := runs.Readlink(name); err == nil && filepath.IsLocal(to) {
			name = to
		}
	}
	info, err := runs.Lstat(name)
	if err != nil || !info.IsDir() || name != filepath.Base(name) || name == "." || name == ".." {
		return nil, archive.Run{}, fs.ErrNotExist
	}
	r, ok := archive.Read(filepath.Join(s.runs, name))
	if !ok {
		return nil, r, fs.ErrNotExist
	}
	root, err := runs.OpenRoot(name)
	return root, r, err
}

func (s *site) run(w http.ResponseWriter, r *http.Request) {
	root, run, err := s.open(r.PathValue("run"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer root.Close()
	page := shown{Run: run, Log: size(root)}
	for _, name := range []string{"report.html", "events.jsonl", "recipe.json", "history.jsonl"} {
		if info, err := root.Lstat(name); err == nil && info.Mode().IsRegular() {
			page.Files = append(page.Files, name)
			page.Report = page.Report || name == "report.html"
		}
	}
	logs, _ := fs.Glob(root.FS(), "logs/*")
	slices.Sort(logs)
	page.Files = append(page.Files, logs...)
	s.page(w, "run", page)
}

func size(root *os.Root) int64 {
	info, err := root.Lstat("events.jsonl")
	if err != nil {
		return 0
	}
	return info.Size()
}

// state is how far a run is, for its page to see that it has gone on.
func (s *site) state(w http.ResponseWriter, r *http.Request) {
	root, run, err := s.open(r.PathValue("run"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer root.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, run.State+" "+strconv.FormatInt(size(root), 10))
}

// file is a file of a run, as text; its report as the page that it is, which may run what
// is in it and load nothing.
func (s *site) file(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	root, _, err := s.open(r.PathValue("run"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer root.Close()
	top, _, _ := strings.Cut(name, "/")
	isShown := top == "logs" || name == path.Base(name) && name != "lock"
	info, err := root.Lstat(filepath.FromSlash(name))
	if err != nil || !info.Mode().IsRegular() || !isShown { // no FIFO is opened, and no link followed
		http.NotFound(w, r)
		return
	}
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if name == "report.html" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "+
			"style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	}
	http.ServeContent(w, r, "", time.Time{}, f)
}
