package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/history"
)

// swallow reads a request, its body included, and returns it.
func swallow(c net.Conn) (*http.Request, []byte, error) { return swallowFrom(bufio.NewReader(c)) }

func swallowFrom(r *bufio.Reader) (*http.Request, []byte, error) {
	request, err := http.ReadRequest(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(request.Body)
	return request, body, err
}

// answering reads a request and answers with bytes; then it does what then does.
func answering(answer string, then func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		if _, _, err := swallow(c); err != nil {
			return
		}
		io.WriteString(c, answer)
		then(c)
	}
}

// giveUp, in place of a timeout, is to give up when the server has done its part.
const giveUp = -1

func stay(net.Conn)    {}
func leave(c net.Conn) { c.Close() }

// TestAnswers does a POST at servers that behave in every way that one may, and looks
// at the outcome.
func TestAnswers(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	for _, c := range []struct {
		name    string
		handle  func(net.Conn)
		timeout time.Duration
		want    history.Outcome
		texts   []string
		body    string
	}{
		{"ok", answering(ok, stay), patience, history.OK, nil, "hi"},
		{"no body", answering("HTTP/1.1 204 No Content\r\n\r\n", stay), patience, history.OK, nil, ""},
		{"1.0", answering("HTTP/1.0 200 OK\r\n\r\nto the end", leave), patience, history.OK, nil, "to the end"},
		{"302", answering("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", stay), patience, history.Info,
			[]string{`302 Found, to "/x", which was not followed`}, ""},
		{"307", answering("HTTP/1.1 307 x\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nno", stay), patience, history.Fail,
			[]string{`307 Temporary Redirect, "no", to "/x"`, "surely not done"}, "no"},
		{"interim", answering("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+ok, stay), patience, history.OK, nil, "hi"},
		{"interim without end", answering(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), stay), patience, history.Info,
			[]string{"not HTTP"}, ""},
		{"404", answering("HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno such", stay), patience, history.Fail,
			[]string{`404 Not Found, "no such"`, "surely not done"}, "no such"},
		{"500", answering("HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", stay), patience, history.Info, []string{"500"}, ""},
		{"503", answering("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", stay), patience, history.Info, []string{"503"}, ""},
		{"reset in the request", func(c net.Conn) { io.ReadFull(c, make([]byte, 1)); reset(c) }, patience, history.Info,
			[]string{"after the request was sent"}, ""},
		{"reset after it", answering("", reset), patience, history.Info, []string{"reset after the request"}, ""},
		{"closed after it", answering("", leave), patience, history.Info, []string{"closed after the request"}, ""},
		{"half a status", answering("HTTP/1.1 20", leave), patience, history.Info, []string{"not HTTP"}, ""},
		{"half a head", answering("HTTP/1.1 200 OK\r\nContent-", leave), patience, history.Info, nil, ""},
		{"half a body", answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", leave), patience, history.Info,
			[]string{"status 200", "4 bytes of the body"}, "half"},
		{"half a body, reset", answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", reset), patience, history.Info, nil, "*"},
		{"half a chunk", answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", leave), patience, history.Info, nil, "ab"},
		{"no last chunk", answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", leave), patience,
			history.Info, nil, "ab"},
		{"bad chunk", answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", stay), patience, history.Info,
			[]string{"not HTTP"}, ""},
		{"nothing", answering("", stay), giveUp, history.Info, []string{"given up after the request was sent", "it takes too long"}, ""},
		{"nothing, hardly read", func(c net.Conn) { io.ReadFull(c, make([]byte, 1)) }, giveUp, history.Info, nil, ""},
		{"half, and then nothing", answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", stay), giveUp, history.Info,
			[]string{"given up"}, "*"},
		{"too long by its length", answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi, and more", stay), patience, history.OK, nil, "hi"},
		{"length that is none", answering("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi", stay), patience, history.Info,
			[]string{"not HTTP"}, ""},
		{"body without end", answering("HTTP/1.1 200 OK\r\n\r\n", flood), patience, history.Info,
			[]string{"body", "longer than 100000 bytes"}, "*"},
		{"head without end", answering("HTTP/1.1 200 OK\r\nA: ", flood), patience, history.Info, []string{"head", "longer than"}, ""},
		{"slow", slow(ok), patience, history.OK, nil, "hi"},
		{"too slow", slow(strings.Repeat(ok, 1) + "x"), 0, history.Fail, []string{"before it was given up"}, ""},
		{"not HTTP", answering("-ERR unknown command\r\n", stay), patience, history.Info, []string{"not HTTP"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := c.timeout
			if timeout == giveUp {
				timeout = patience
			}
			ctx, cancel := context.WithCancelCause(within(t, timeout))
			s := serve(t, func(conn net.Conn) {
				if c.handle(conn); c.timeout == giveUp {
					cancel(errors.New("it takes too long"))
				}
			})
			client := NewClient(Target{Node: "n1", Endpoint: "api", Address: s.address}, 100_000)
			defer client.Close()
			response, err := client.Do(ctx, Request{Method: "POST", Path: "/x", Body: []byte("once")})
			wants(t, err, c.want, c.texts...)
			if response == nil && (c.want == history.OK || c.body != "" && c.body != "*") {
				t.Fatalf("there is no answer: %v", err)
			}
			if response != nil && c.body != "*" && string(response.Body) != c.body {
				t.Errorf("the body is %q, want %q", response.Body, c.body)
			}
			if err != nil && c.timeout != 0 {
				wants(t, err, c.want, "POST /x on n1, endpoint api ("+s.address+")")
			}
		})
	}
}

func flood(c net.Conn) {
	for b := bytes.Repeat([]byte("x"), 1<<16); ; {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// slow writes an answer a byte at a time.
func slow(answer string) func(net.Conn) {
	return answering("", func(c net.Conn) {
		c.(*net.TCPConn).SetNoDelay(true)
		for i := range len(answer) {
			io.WriteString(c, answer[i:i+1])
		}
	})
}

// TestNothingSent holds that what did not get to be sent is a fail, and what cannot be sent
// none.
func TestNothingSent(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	do := func(ctx context.Context, target Target, r Request) error {
		client := NewClient(target, 0)
		defer client.Close()
		_, err := client.Do(ctx, r)
		return err
	}
	ctx := within(t, patience)
	wants(t, do(ctx, Target{Node: "n1", Address: unused(t)}, Request{}), history.Fail, "GET / on n1", "refused; nothing listens")
	wants(t, do(ctx, Target{Address: "no-such-host.invalid:80"}, Request{}), history.Fail)
	wants(t, do(ctx, Target{Address: "127.0.0.1"}, Request{}), history.Fail, "host:port")
	for _, r := range []Request{{Method: "BAD METHOD"}, {Header: http.Header{"A": {"x\ny"}}},
		{Header: http.Header{"A b": {"x"}}}, {Path: "/%zz"}, {Path: "/\x00"}, {Path: "/a#b"}, {Header: http.Header{"Host": {"a b"}}}} {
		s := serve(t, stay)
		wantsMistake(t, do(ctx, Target{Address: s.address}, r))
		if n := s.accepted(); n != 0 {
			t.Errorf("%+v: %d connections", r, n)
		}
	}
}

// TestResetBeforeRequest holds that an outcome is true whichever comes first, the reset
// or the request.
func TestResetBeforeRequest(t *testing.T) {
	s := serve(t, reset)
	seen := map[history.Outcome]int{}
	for range 300 {
		client := NewClient(Target{Address: s.address}, 0)
		_, err := client.Do(within(t, patience), Request{Method: "POST", Body: []byte("x")})
		client.Close()
		if err == nil {
			t.Fatal("it was answered")
		}
		outcome := OutcomeOf(err)
		seen[outcome]++
		if before := strings.Contains(err.Error(), "before anything was sent") ||
			strings.Contains(err.Error(), ": the connection was reset ["); before != (outcome == history.Fail) {
			t.Fatal(err)
		}
	}
	t.Log(seen)
}

// TestEarlyAnswer holds that an answer counts also where the server has not read the
// request to its end.
func TestEarlyAnswer(t *testing.T) {
	for name, then := range map[string]func(net.Conn){"stays": stay, "half closes": func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(c net.Conn) {
				http.ReadRequest(bufio.NewReaderSize(c, 16))
				io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				then(c)
			})
			client := NewClient(Target{Address: s.address}, 0)
			defer client.Close()
			_, err := client.Do(within(t, patience), Request{Method: "PUT", Body: make([]byte, 64<<20)})
			wants(t, err, history.Fail, "413")
		})
	}
}

// TestKept holds that connections are kept, and that one that has more than its answer
// is not.
func TestKept(t *testing.T) {
	s := serve(t, func(c net.Conn) {
		for r := bufio.NewReader(c); ; {
			request, _, err := swallowFrom(r)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%s", strings.TrimPrefix(request.URL.Path, "/"))
		}
	})
	client := NewClient(Target{Address: s.address}, 0)
	defer client.Close()
	get := func(path, want string) {
		t.Helper()
		response, err := client.Do(within(t, patience), Request{Path: path})
		if err != nil || string(response.Body) != want {
			t.Fatalf("%s: %v, %v", path, response, err)
		}
	}
	for range 100 {
		get("a", "a")
	}
	if n := s.accepted(); n != 1 {
		t.Errorf("100 requests took %d connections", n)
	}
	get("/xyz", "x") // the rest must not be taken for the next answer
	get("/b", "b")
	if n := s.accepted(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// TestNotAgain holds that a request over a connection that was kept is not sent twice:
// the server reads it, does it, and closes without an answer.
func TestNotAgain(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		var mu sync.Mutex
		done := map[string]int{}
		s := serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for i := 0; ; i++ {
				request, _, err := swallowFrom(r)
				if err != nil {
					return
				}
				mu.Lock()
				done[request.URL.Path]++
				mu.Unlock()
				if i == 1 {
					c.Close()
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		client := NewClient(Target{Address: s.address}, 0)
		if _, err := client.Do(within(t, patience), Request{Method: method, Path: "/1"}); err != nil {
			t.Error(err)
		}
		_, err := client.Do(within(t, patience), Request{Method: method, Path: "/2"})
		wants(t, err, history.Info, "closed after the request was sent")
		client.Close()
		mu.Lock()
		if done["/1"] != 1 || done["/2"] != 1 {
			t.Errorf("%s: %v", method, done)
		}
		mu.Unlock()
	}
}

// TestIdleRaces sends requests to a server that closes its idle connections just when
// the next request comes. An ok was done once, a fail never, an info at most once.
func TestIdleRaces(t *testing.T) {
	var mu sync.Mutex
	done := map[string]int{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		done[r.URL.Path]++
	}))
	s.Config.IdleTimeout = 200 * time.Microsecond
	s.Start()
	defer s.Close()
	client := NewClient(Target{Address: s.Listener.Addr().String()}, 0)
	defer client.Close()
	outcomes := map[string]history.Outcome{}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 250 {
				path := fmt.Sprintf("/%d/%d", worker, i)
				_, err := client.Do(within(t, patience), Request{Method: "POST", Path: path, Body: []byte("x")})
				mu.Lock()
				outcomes[path] = OutcomeOf(err)
				mu.Unlock()
				for began := time.Now(); time.Since(began) < time.Duration(rand.IntN(400))*time.Microsecond; {
				}
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	seen := map[history.Outcome]int{}
	for path, outcome := range outcomes {
		seen[outcome]++
		if n := done[path]; outcome == history.OK && n != 1 || outcome == history.Fail && n != 0 || n > 1 {
			t.Errorf("%s: %s, and done %d times", path, outcome, n)
		}
	}
	t.Log(seen)
}

// TestStale holds that a connection that the server has closed in the meantime is not
// used, by a server that answers and closes without having said so.
func TestStale(t *testing.T) {
	gone := make(chan struct{}, 1)
	s := serve(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", func(c net.Conn) {
		c.Close()
		gone <- struct{}{}
	}))
	client := NewClient(Target{Address: s.address}, 0)
	defer client.Close()
	for range 100 {
		if _, err := client.Do(within(t, patience), Request{Method: "POST", Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		<-gone
	}
	if n := s.accepted(); n != 100 {
		t.Errorf("%d connections, want 100", n)
	}
}

// TestHTTPS holds who is trusted, and that what fails in the handshake was not sent.
func TestHTTPS(t *testing.T) {
	certificate, ca := authority(t)
	_, other := authority(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, listener, func(c net.Conn) {
		defer c.Close()
		for r := bufio.NewReader(c); ; {
			request, _, err := swallowFrom(r)
			if err != nil {
				return
			}
			if request.URL.Path == "/reset" {
				reset(c)
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
	})
	_, port, _ := net.SplitHostPort(s.address)
	raw := serve(t, func(c net.Conn) { io.ReadFull(c, make([]byte, 1)); reset(c) })
	plain := serve(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	silent := serve(t, stay)
	for _, c := range []struct {
		target  Target
		path    string
		timeout time.Duration
		want    history.Outcome
		text    string
	}{
		{Target{Address: s.address, TLS: true, CA: ca}, "/", patience, history.OK, ""},
		{Target{Address: s.address, TLS: true, CA: ca}, "/reset", patience, history.Info, "after the request was sent"},
		{Target{Address: s.address, TLS: true, CA: other}, "/", patience, history.Fail, "certificate"},
		{Target{Address: s.address, TLS: true}, "/", patience, history.Fail, "certificate"},
		{Target{Address: "localhost:" + port, TLS: true, CA: ca}, "/", patience, history.Fail, "handshake failed"},
		{Target{Address: s.address, TLS: true, CA: "no such file"}, "/", patience, history.Fail, "CA file"},
		{Target{Address: s.address, TLS: true, CA: "http_test.go"}, "/", patience, history.Fail, "BEGIN CERTIFICATE"},
		{Target{Address: raw.address, TLS: true, CA: ca}, "/", patience, history.Fail, "handshake failed"},
		{Target{Address: plain.address, TLS: true, CA: ca}, "/", patience, history.Fail, "handshake"},
		{Target{Address: silent.address, TLS: true, CA: ca}, "/", 300 * time.Millisecond, history.Fail, "before it was given up"},
		{Target{Address: s.address}, "/", patience, history.Info, ""},
	} {
		client := NewClient(c.target, 0)
		_, err := client.Do(within(t, c.timeout), Request{Path: c.path, Method: "POST", Body: []byte("x")})
		if wants(t, err, c.want); c.text != "" {
			wants(t, err, c.want, c.text)
		}
		client.Close()
	}
	client := NewClient(Target{Address: s.address, TLS: true, CA: ca}, 0)
	defer client.Close()
	before := s.accepted()
	for range 20 {
		if _, err := client.Do(within(t, patience), Request{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.accepted() - before; n != 1 {
		t.Errorf("20 requests took %d connections", n)
	}
}

// TestFollow holds where redirects lead, and what goes along.
func TestFollow(t *testing.T) {
	type seen struct{ method, path, body, auth string }
	var mu sync.Mutex
	var last []seen
	note := func(r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		last = append(last, seen{r.Method, r.URL.Path, string(body), r.Header.Get("Authorization")})
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { note(r); io.WriteString(w, "other") }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		code := 0
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		switch {
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case r.URL.Path == "/nowhere":
			w.WriteHeader(http.StatusFound)
		case r.URL.Path == "/gone":
			w.WriteHeader(http.StatusNotFound)
		case strings.HasSuffix(r.URL.Path, "/gone"):
			http.Redirect(w, r, "/gone", code)
		case strings.HasSuffix(r.URL.Path, "/other"):
			http.Redirect(w, r, other.URL+"/there", code)
		case code != 0:
			http.Redirect(w, r, "/there", code)
		default:
			io.WriteString(w, "there")
		}
	}))
	defer s.Close()
	client := NewClient(Target{Address: s.Listener.Addr().String()}, 0)
	defer client.Close()
	for _, c := range []struct {
		path string
		want seen
		body string
	}{
		{"/303", seen{"GET", "/there", "", "me"}, "there"},
		{"/307", seen{"POST", "/there", "x", "me"}, "there"},
		{"/308/other", seen{"POST", "/there", "x", ""}, "other"},
	} {
		response, err := client.Do(within(t, patience), Request{
			Method: "POST", Path: c.path, Body: []byte("x"), Header: http.Header{"Authorization": {"me"}}, Follow: true,
		})
		if err != nil || string(response.Body) != c.body || last[len(last)-1] != c.want {
			t.Errorf("%s: %v %v, seen %+v", c.path, response, err, last[len(last)-1])
		}
	}
	// a POST that becomes a GET may be lost, which its answer does not say; a PUT stays one
	for _, path := range []string{"/301", "/302"} {
		response, err := client.Do(within(t, patience), Request{Method: "POST", Path: path, Body: []byte("x"), Follow: true})
		wants(t, err, history.Info, "led there by GET from a POST that was answered "+path[1:])
		if response == nil || response.Status != 200 || last[len(last)-1] != (seen{"GET", "/there", "", ""}) {
			t.Errorf("%s: %v, seen %+v", path, response, last[len(last)-1])
		}
		response, err = client.Do(within(t, patience), Request{Method: "PUT", Path: path, Body: []byte("x"), Follow: true})
		if err != nil || response.Status != 200 || last[len(last)-1] != (seen{"PUT", "/there", "x", ""}) {
			t.Errorf("%s: %v %v, seen %+v", path, response, err, last[len(last)-1])
		}
		response, err = client.Do(within(t, patience), Request{Path: path, Follow: true})
		if err != nil || response.Status != 200 {
			t.Errorf("%s: %v %v", path, response, err)
		}
	}
	response, err := client.Do(within(t, patience), Request{Path: "/loop", Follow: true})
	wants(t, err, history.Fail, "more than 10 times", "/loop")
	if response == nil || response.Status != http.StatusTemporaryRedirect {
		t.Errorf("%v", response)
	}
	_, err = client.Do(within(t, patience), Request{Path: "/nowhere", Follow: true})
	wants(t, err, history.Fail, "a Location")
	// what a POST has done before its redirect, a 404 behind that does not undo
	for path, want := range map[string]history.Outcome{"/303/gone": history.Info, "/307/gone": history.Fail, "/nowhere": history.Info} {
		_, err = client.Do(within(t, patience), Request{Method: "POST", Path: path, Body: []byte("x"), Follow: true})
		wants(t, err, want)
	}
	response, err = client.Do(within(t, patience), Request{Path: "/307"})
	wants(t, err, history.Fail, "307", "which was not followed")
	if response == nil || response.Status != http.StatusTemporaryRedirect {
		t.Errorf("%v, %v", response, err)
	}
}

// TestCloseClient holds that to close a client ends what it does, and that it does nothing
// after that.
func TestCloseClient(t *testing.T) {
	asked := make(chan struct{})
	s := serve(t, answering("", func(net.Conn) { asked <- struct{}{} }))
	client := NewClient(Target{Address: s.address}, 0)
	failed := make(chan error)
	go func() {
		_, err := client.Do(context.Background(), Request{})
		failed <- err
	}()
	<-asked
	go client.Close()
	err := <-failed
	wants(t, err, history.Info, "the client is closed")
	if !errors.Is(err, errClosed) {
		t.Error(err)
	}
	client.Close()
	_, err = client.Do(context.Background(), Request{})
	wants(t, err, history.Fail, "not tried")
}

// BenchmarkHTTP compares a request with one by net/http.
func BenchmarkHTTP(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hi") }))
	defer s.Close()
	b.Run("probe", func(b *testing.B) {
		client := NewClient(Target{Address: s.Listener.Addr().String()}, 0)
		defer client.Close()
		for b.Loop() {
			if _, err := client.Do(context.Background(), Request{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("net/http", func(b *testing.B) {
		for b.Loop() {
			response, err := s.Client().Get(s.URL)
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	})
}
