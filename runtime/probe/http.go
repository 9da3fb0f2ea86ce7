package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"unicode"
)

// DefaultMaxBody is how many bytes of an answer's body a Client takes.
const DefaultMaxBody = 16 << 20

const (
	maxHeader    = 1 << 20 // bytes of an answer's head
	maxIdle      = 64      // connections that a client keeps for later
	maxRedirects = 10
	maxInterim   = 16 // answers of 1xx before the one that counts
)

// Request is an HTTP request.
type Request struct {
	Method string // "" is GET
	Path   string // with a query if there is one; "" is /
	Header http.Header
	Body   []byte
	// Follow goes where a redirect points to, at most 10 times: by GET after 303, and where
	// a POST is answered 301 or 302, else with the method and the body, as the Fetch
	// standard has it (HTTP-redirect fetch). Else the redirect is the answer, which is an
	// error. A header of the request goes along to the same host alone.
	Follow bool
}

// Changes reports whether the request can change something: its method does not only ask.
func (r *Request) Changes() bool { return r.Method != "" && !isSafe(r.Method) }

// Response is an HTTP answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	URL    string // that it is from, after redirects
}

// Client speaks HTTP/1.1 to one endpoint, over connections that it keeps. Its methods
// may be called from any goroutine. It knows no proxy, whatever the environment says,
// and keeps no cookies.
//
// A request is written once. What net/http does where a server closes a connection that
// was kept, to send the request again, would do it twice if the server had read it the
// first time. Here it is sent again only where the system has taken no byte of it. A
// connection that the server has closed is not used, as far as that can be seen before.
type Client struct {
	target  Target
	maxBody int64
	closed  context.Context
	close   context.CancelCauseFunc
	calls   sync.WaitGroup

	mu   sync.Mutex
	idle map[string][]*webConn // by scheme and address, the one that was used last at the end
	kept int                   // how many those are
}

// NewClient makes a client. maxBody bounds the body of an answer, in bytes; 0 is
// DefaultMaxBody.
func NewClient(t Target, maxBody int64) *Client {
	if maxBody <= 0 {
		maxBody = DefaultMaxBody
	}
	c := &Client{target: t, maxBody: maxBody, idle: map[string][]*webConn{}}
	c.closed, c.close = context.WithCancelCause(context.Background())
	return c
}

var errClosed = errors.New("the client is closed")

// Close ends the requests that are under way, and closes all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	c.close(errClosed)
	c.mu.Unlock()
	c.calls.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conns := range c.idle {
		for _, conn := range conns {
			conn.Close()
		}
	}
	c.idle = nil
	return nil
}

// Do sends a request and returns the answer. The error is an *Error, or a *Mistake where
// there is no such request. Beside an *Error that is about the answer's status, its length
// or a redirect, the response is what had come.
//
// What the answer to a POST that was led on by 301 or 302 says is of the GET, and the error
// then is an info: the POST may be done, or lost.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	c.mu.Lock()
	if c.closed.Err() != nil {
		c.mu.Unlock()
		return nil, c.target.error(None, false, r.Method+" "+r.Path, "it was not tried", "", errClosed)
	}
	c.calls.Add(1)
	c.mu.Unlock()
	defer c.calls.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.closed, func() { cancel(errClosed) })()
	return c.do(ctx, r)
}

func (c *Client) do(ctx context.Context, r Request) (*Response, error) {
	t, body, method := c.target, r.Body, r.Method
	header := r.Header.Clone()
	at, err := r.url(t)
	if err != nil {
		return nil, err
	}
	unsure := false // whether what an earlier answer said may have been done
	lost := 0       // the status by which a POST became a GET and says nothing of it
	for hops := 0; ; hops++ {
		response, err := c.once(ctx, t, method, at, header, body)
		var not *Error
		errors.As(err, &not)
		if not != nil && unsure {
			not = not.unsure()
			err = not
		}
		redirect := not != nil && isRedirect(not.Status)
		if r.Follow && err == nil && lost != 0 {
			err = t.error(Unsure, true, method+" "+at.RequestURI(), fmt.Sprintf("it was led there by GET from a %s that was answered %d: "+
				"whether that was done, it does not say", r.Method, lost), "303, 307 or 308", nil)
			err.(*Error).Status = response.Status
		}
		if !r.Follow || !redirect {
			return response, err
		}
		said := statusAnswer(method, response.Status)
		unsure = unsure || said == Unsure
		refuse := func(problem, expected string, err error) (*Response, error) {
			if unsure {
				said = Unsure
			}
			return response, t.error(said, true, method+" "+at.RequestURI(), problem, expected, err)
		}
		where := response.Header.Get("Location")
		next, err := at.Parse(where)
		switch {
		case hops == maxRedirects:
			return refuse(fmt.Sprintf("it was redirected more than %d times, the last time to %s", maxRedirects, where), "", nil)
		case where == "" || err != nil || next.Host == "":
			return refuse(fmt.Sprintf("it was redirected (%d) to %q", response.Status, where), "a Location that is an address", err)
		case next.Scheme != "http" && next.Scheme != "https":
			return refuse(fmt.Sprintf("it was redirected to %s", where), "an address of http or https", nil)
		}
		if next.Host != at.Host || next.Scheme != at.Scheme {
			header = nil
			t.Address, t.TLS = next.Host, next.Scheme == "https"
			if next.Port() == "" {
				t.Address += map[bool]string{false: ":80", true: ":443"}[t.TLS]
			}
		}
		if becomesGet(method, response.Status) {
			if response.Status != http.StatusSeeOther {
				lost = response.Status
			}
			body, method = nil, http.MethodGet
			header.Del("Content-Type")
		}
		at = next
	}
}

// becomesGet reports whether a redirect is followed by GET in place of another method: the
// Fetch standard, "HTTP-redirect fetch".
func becomesGet(method string, status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound:
		return method == http.MethodPost
	case http.StatusSeeOther:
		return method != http.MethodGet && method != http.MethodHead
	}
	return false
}

// url is where the request goes to. The error is a *Mistake.
func (r *Request) url(t Target) (*url.URL, error) {
	path := r.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	mistake := func(problem, expected string) (*url.URL, error) {
		return nil, &Mistake{Action: r.Method + " " + path, Problem: problem, Expected: expected}
	}
	if problem := unsendable(r.Method, r.Header); problem != "" {
		return mistake(problem, "")
	}
	const like = "such as /v1/keys?limit=5, with what else than ASCII is in it as %XX"
	at, err := url.Parse(map[bool]string{false: "http://", true: "https://"}[t.TLS] + t.Address + path)
	switch {
	case err != nil:
		return mistake(fmt.Sprintf("the path is none: %v", err), like)
	case strings.Contains(path, "#"):
		return mistake("what follows the # of a path is never sent", "%23 where a # is meant")
	}
	return at, nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// unsendable says why a method or a header cannot stand in a request, or "".
func unsendable(method string, header http.Header) string {
	isToken := func(s string) bool {
		return s != "" && strings.IndexFunc(s, func(r rune) bool {
			return r <= ' ' || r >= unicode.MaxASCII || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
		}) < 0
	}
	if !isToken(method) {
		return fmt.Sprintf("%q is no HTTP method", method)
	}
	for name, values := range header {
		if !isToken(name) {
			return fmt.Sprintf("%q is no name of a header", name)
		}
		if host := header.Get(name); name == "Host" && strings.ContainsFunc(host, isNoHost) {
			return fmt.Sprintf("the header Host is %q, which is none", host)
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") {
				return fmt.Sprintf("the header %s is %q: a value is one line", name, v)
			}
		}
	}
	return ""
}

// isNoHost reports whether a character cannot stand in the header Host.
func isNoHost(r rune) bool {
	return r <= ' ' || r >= unicode.MaxASCII || strings.ContainsRune(`"<>\^`+"`"+`{|}/?#@`, r)
}

// webConn is a connection that speaks HTTP.
type webConn struct {
	*link
	limit  *io.LimitedReader // below the reader
	reader *bufio.Reader
}

// once sends a request once. A connection that was kept and takes no byte of it is not
// the last.
func (c *Client) once(ctx context.Context, t Target, method string, at *url.URL, header http.Header, body []byte) (*Response, error) {
	action := method + " " + at.RequestURI()
	request := &http.Request{Method: method, URL: at, Header: header.Clone(), Host: at.Host, ProtoMajor: 1, ProtoMinor: 1}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	if request.Header["User-Agent"] == nil {
		request.Header.Set("User-Agent", "dagon-star")
	}
	key := at.Scheme + "://" + t.Address
	for {
		if len(body) > 0 {
			request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		conn := c.take(key)
		kept := conn != nil
		if !kept {
			l, err := t.dial(ctx, action)
			if err != nil {
				return nil, err
			}
			limit := &io.LimitedReader{R: l}
			conn = &webConn{link: l, limit: limit, reader: bufio.NewReader(limit)}
		}
		before := conn.written()
		response, usable, err := c.exchange(ctx, conn, t, action, request)
		switch sent := conn.written() > before; {
		case usable:
			c.give(key, conn)
		case kept && !sent && ctx.Err() == nil:
			conn.abort()
			continue
		default:
			conn.abort()
		}
		if response != nil {
			response.URL = at.String()
		}
		return response, err
	}
}

// exchange sends a request over a connection and reads the answer; usable is whether
// the connection can be used again.
func (c *Client) exchange(ctx context.Context, conn *webConn, t Target, action string, request *http.Request) (
	_ *Response, usable bool, _ error) {
	before := conn.written()
	release := conn.until(ctx, conn.SetDeadline)
	defer release()
	wrote := make(chan error, 1)
	go func() { // a server may answer, or stop reading, before it has been given all
		w := bufio.NewWriter(conn)
		err := request.Write(w)
		if err == nil {
			err = w.Flush()
		}
		wrote <- err
	}()
	answer, body, err := c.read(conn, request)
	if err != nil {
		conn.abort()
	} else {
		conn.SetWriteDeadline(aLongTimeAgo) // who has answered and takes no more does not need the rest
	}
	wroteAll := <-wrote
	sent := conn.written() > before
	var response *Response
	if answer != nil {
		response = &Response{Status: answer.StatusCode, Header: answer.Header, Body: body}
	}
	var long *tooLong
	var garbled *notHTTP
	switch {
	case errors.As(err, &long):
		return response, false, t.error(None, sent, action, long.Error(), "", nil)
	case errors.As(err, &garbled):
		return nil, false, t.error(None, sent, action, "the answer is not HTTP",
			"an answer that begins with HTTP/1.1 and a status", garbled.error)
	case err != nil:
		problem, cause := ioProblem(ctx, err)
		switch {
		case !sent:
			problem += " before anything was sent"
		case answer != nil:
			problem += fmt.Sprintf(" after the head (status %d) and %d bytes of the body", answer.StatusCode, len(body))
		default:
			problem += " after the request was sent and before there was an answer"
		}
		return response, false, t.error(None, sent, action, problem, "", cause)
	}
	usable = wroteAll == nil && ctx.Err() == nil && !answer.Close && conn.reader.Buffered() == 0 &&
		answer.StatusCode != http.StatusSwitchingProtocols
	if a := statusAnswer(request.Method, answer.StatusCode); a != Done {
		problem := fmt.Sprintf("it was answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
		if said := firstLine(body); said != "" {
			problem += ", " + said
		}
		if isRedirect(answer.StatusCode) {
			problem += fmt.Sprintf(", to %s, which was not followed", firstLine([]byte(answer.Header.Get("Location"))))
		}
		said := t.error(a, sent, action, problem, "", nil)
		said.Status = answer.StatusCode
		return response, usable, said
	}
	return response, usable, nil
}

// tooLong is an answer of which not all is read.
type tooLong struct {
	what  string
	limit int64
}

func (e *tooLong) Error() string {
	return fmt.Sprintf("the %s of the answer is longer than %d bytes", e.what, e.limit)
}

type notHTTP struct{ error }

// read reads an answer; what has come of it is returned beside an error too.
func (c *Client) read(conn *webConn, request *http.Request) (answer *http.Response, body []byte, err error) {
	conn.limit.N = maxHeader
	for interim := 0; answer == nil || answer.StatusCode < 200 && answer.StatusCode != http.StatusSwitchingProtocols; interim++ {
		if _, err = conn.reader.Peek(1); err == nil {
			answer, err = http.ReadResponse(conn.reader, request)
		}
		switch {
		case conn.limit.N <= 0:
			return nil, nil, &tooLong{"head", maxHeader}
		case err != nil && isMalformed(err):
			return nil, nil, &notHTTP{err}
		case err != nil:
			return nil, nil, err
		case interim == maxInterim:
			return nil, nil, &notHTTP{fmt.Errorf("more than %d answers of status 1xx", maxInterim)}
		}
	}
	conn.limit.N = math.MaxInt64
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return answer, nil, nil
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, c.maxBody+1))
	if int64(len(body)) > c.maxBody {
		return answer, body[:c.maxBody], &tooLong{"body", c.maxBody}
	}
	if err != nil && isMalformed(err) {
		return answer, body, &notHTTP{err}
	}
	return answer, body, err
}

// isMalformed reports whether an error is about what was read, and not of reading it.
func isMalformed(err error) bool {
	var failed net.Error
	return !errors.As(err, &failed) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed)
}

// take takes a connection that was kept and that the other side has not closed; nil if
// there is none.
func (c *Client) take(key string) *webConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conns := c.idle[key]; len(conns) > 0; {
		conn := conns[len(conns)-1]
		conns = conns[:len(conns)-1]
		c.idle[key] = conns
		c.kept--
		if conn.isQuiet() {
			return conn
		}
		conn.abort()
	}
	return nil
}

// give keeps a connection for later.
func (c *Client) give(key string, conn *webConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Err() != nil || c.kept >= maxIdle {
		conn.abort()
		return
	}
	c.idle[key] = append(c.idle[key], conn)
	c.kept++
}

// firstLine is the beginning of a text, quoted for an error; "" where there is none.
func firstLine(text []byte) string {
	const most = 200
	line, _, _ := bytes.Cut(bytes.TrimSpace(text[:min(len(text), 4*most)]), []byte("\n"))
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return ""
	}
	if len(line) > most {
		return fmt.Sprintf("%q…", line[:most])
	}
	return fmt.Sprintf("%q", line)
}
