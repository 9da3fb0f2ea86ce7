package builtins

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/history"
	"github.com/dagon-star/dagon-star/runtime/probe"
	"github.com/dagon-star/dagon-star/runtime/topology"
)

func actions() family {
	return family{"actions", `Do something to a node from outside of it. An action has an outcome. "ok": it was done. "fail": it was surely not
done; the connection was refused, nothing was sent, an answer was 4xx, 307 or 308, or a command exited with a code that
is not 0. "info": nobody knows; no answer came in time, the connection ended after something was sent, an answer was 5xx,
or a signal or a time limit of its own ended a command. An action that is not ok is an error: it ends the script, unless
op records it, wait_until takes it for "not yet", or catch returns it, with kind "action" and its outcome. What cannot
be sent or run as it is asked for, such as a method "A B", is no outcome: it is the script's error, in op and wait_until
too. An endpoint is the NAME of a key
listen.NAME of the node's section. Actions reach a node whatever net.* does to its links. What has to run for long,
such as a consumer, is no action but a section of its own.`, []builtin{
		{"http", "node, endpoint, path=\"/\", method=None, json=None, body=None, headers=None, check=True, follow=False, tls=False, timeout=None", `Sends an HTTP request to an endpoint of the node, and returns the answer: a value with status, ok, outcome, headers,
body, json and url; see response. json is a value that is sent as JSON; body is a string or bytes; headers is a dict.
The method is POST if there is json or body, else GET. An answer of 300 and above is an error, unless check=False; a 304
to GET or HEAD is none. 4xx, 307 and 308 are "fail", as is any redirect of a method that only asks: GET, HEAD, OPTIONS,
TRACE. Another redirect is "info", as servers send it both before and after they have done what was asked for. follow=True
goes where a redirect leads, and the last answer counts; but where a POST was led to a GET by 301 or 302, that is "info",
as the POST may be lost. tls=True speaks HTTPS; tls="FILE" does too, and trusts the certificates of a file in the node's
folder alone. Connections are kept, one client for each node; no proxy is used. A body may have 16 MiB. timeout is as for
await_ready.
Example:
check(http(web, "http", "/greeting.txt", timeout="2s").body == "hello\n")
missing = http(web, "http", "/nope", check=False)
check((missing.status, missing.outcome) == (404, "fail"))`, httpRequest},
		{"tcp", "node, endpoint, tls=False, timeout=None", `Connects to a TCP endpoint of the node, and returns the connection, which has .send(data), .line(), without its end,
.read(n), n bytes, .read_until(delim), with delim at its end, .read_all(), to the end of the connection, and .close().
What reads returns a string of up to 16 MiB. All but .close() take a timeout, and are actions: an error is "info" once
anything was sent on the connection, and "fail" before. tls is as for http. timeout is as for await_ready.
Example:
c = tcp(web, "http")
c.send("GET /greeting.txt HTTP/1.0\r\n\r\n")
check(c.line().startswith("HTTP/1.0 200"))
c.read_until("\r\n\r\n")
check(c.read(5) == "hello")`, dial},
		{"exec", "node, cmd, input=None, env=None, check=True, timeout=None", `Runs a command beside the node, which need not run: in its folder and environment, to which env, a dict, is added, as
its user, and contained as it is. cmd is a line for a shell, or a list of words; placeholders are filled in as in the
ini. input is what it reads: a string, or a list of lines. It returns a value with out and err, strings of up to 16 MiB
each, code, ok and signal; see output. A code other than 0, or a signal, is an error, unless check=False. A code is
"fail", but for those that leave it open, which are "info": 129 to 192, by which a shell tells of a signal, 124 of
timeout, 123 to 125 of xargs, and 255 of ssh. That it did not end within timeout is always an error, and its output is
lost: for a command that waits for more, such as a consumer, use "timeout 2 CMD" with check=False, or a section of its
own. A command is no part of the node: pause, limit
and kill leave it alone. When it has ended, or at the timeout, all that it has started is killed. timeout is as for
await_ready.
Example:
exec(web, "cat >> list.txt", input=["a", "b"])
check(exec(web, ["wc", "-l", "list.txt"]).out == "2 list.txt\n")
check(exec(web, "echo <NAME> at <SELF:http> >&2; exit 3", check=False).code == 3)`, execute},
		{"read", "node, file", `The text of a file that the node has written, of up to 64 MiB. A relative path begins in the node's folder. That there
is no such file is an action's error.
Example:
check(read(web, "greeting.txt") == "hello\n")`, readFile},
		{"base64.encode", "data", "Data, a string or bytes, as base64. Example: key = base64.encode(\"x\").", func(c *call) (starlark.Value, error) {
			data, err := c.data("data")
			return starlark.String(base64.StdEncoding.EncodeToString([]byte(data))), err
		}},
		{"base64.decode", "text", "What a text of base64 stands for, as a string. Example: check(base64.decode(\"eA==\") == \"x\").", func(c *call) (starlark.Value, error) {
			text, err := c.text("text", "")
			if err != nil {
				return nil, err
			}
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return nil, c.wrong("text", "%v", err)
			}
			return starlark.String(data), nil
		}},
	}}
}

// data is an argument that is a string or bytes.
func (c *call) data(name string) (string, error) {
	switch v := c.arg(name).(type) {
	case nil:
		return "", nil
	case starlark.String:
		return string(v), nil
	case starlark.Bytes:
		return string(v), nil
	default:
		return "", c.wrong(name, "got %s, want a string or bytes", v.Type())
	}
}

// act does an action on a node, and logs it; do gets a context that is done when the
// parameter timeout has passed. changes reports, when it is over, whether it can have
// changed something.
func (c *call) act(node, what string, changes func() bool, do func(context.Context) error) error {
	timeout, err := c.duration("timeout", c.host.run.Settings().Timeout)
	if err != nil {
		return err
	}
	return c.task.act(node, what, timeout, changes, do)
}

func always() bool { return true }
func never() bool  { return false }

// act does an action and logs it: see Act.
func (t *scriptTask) act(node, what string, timeout time.Duration, changes func() bool, do func(context.Context) error) error {
	run := t.host.run
	if err := t.Err(); err != nil {
		return err
	}
	began := run.Elapsed()
	err := t.While(func(ctx context.Context) error {
		bounded, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		late := run.Clock().AfterFunc(timeout, func() { cancel(&lateError{timeout}) })
		defer late.Stop()
		_, err := contained(func() (starlark.Value, error) { return nil, do(bounded) })
		return err
	})
	told := err
	switch {
	case err == nil, notYet(err) != nil:
	case t.isEnding():
		told = &runtime.GivenUpError{Node: node, What: what, Why: err}
	default: // there was none: it names no endpoint, or cannot be sent
		return err
	}
	t.acted(node, what, run.Elapsed()-began, told == nil && changes(), told)
	return err
}

// lateError is why an action is given up: its time has passed.
type lateError struct{ after time.Duration }

func (e *lateError) Error() string { return fmt.Sprintf("nothing came within %s", e.after) }

// acted logs an action, or counts it where a wait tries it.
func (t *scriptTask) acted(node, what string, took time.Duration, changes bool, err error) {
	t.trail.Add(changes, probe.OutcomeOf(err))
	if t.polls == nil {
		t.host.run.Acted(node, what, 1, took, err)
		return
	}
	t.polls.Acted(node, what, took, err)
}

// poll has the actions of the task counted, until the function that it returns is called,
// which logs them.
func (t *scriptTask) poll() (logged func()) {
	if t.polls != nil { // one wait is within another
		return func() {}
	}
	t.polls = t.host.run.Poll()
	return func() {
		t.polls.Log()
		t.polls = nil
	}
}

// notYet returns the error of an action, where that is what an error is: a wait that polls
// takes it for "not yet".
func notYet(err error) *probe.Error {
	var not *probe.Error
	if errors.As(err, &not) {
		return not
	}
	return nil
}

// tls is the parameter of that name.
func (c *call) tls() (runtime.TLS, error) {
	switch v := c.arg("tls").(type) {
	case nil:
		return runtime.TLS{}, nil
	case starlark.Bool:
		return runtime.TLS{On: bool(v)}, nil
	case starlark.String:
		return runtime.TLS{On: true, CA: string(v)}, nil
	default:
		return runtime.TLS{}, c.wrong("tls", "got %s, want True, or a file of certificates", v.Type())
	}
}

// at is the node and the endpoint that an action is for.
func (c *call) at() (node, endpoint string, t runtime.TLS, err error) {
	if node, err = c.node("node"); err != nil {
		return
	}
	if endpoint, err = c.text("endpoint", ""); err != nil {
		return
	}
	t, err = c.tls()
	return
}

func httpRequest(c *call) (starlark.Value, error) {
	node, endpoint, t, err := c.at()
	if err != nil {
		return nil, err
	}
	request, err := c.request()
	if err != nil {
		return nil, err
	}
	var answer *probe.Response
	err = c.act(node, fmt.Sprintf("%s %s%s", request.Method, endpoint, request.Path), request.Changes, func(ctx context.Context) (err error) {
		answer, err = c.host.run.HTTP(ctx, node, endpoint, t, request)
		return err
	})
	not := notYet(err)
	if not != nil && answer != nil && not.Status != 0 && c.isFalse("check") {
		return &responseValue{answer: answer, outcome: string(not.Outcome)}, nil
	}
	if err != nil {
		return nil, err
	}
	return &responseValue{answer: answer, outcome: "ok"}, nil
}

// request is the HTTP request that a script asks for.
func (c *call) request() (r probe.Request, err error) {
	if r.Path, err = c.text("path", "/"); err != nil {
		return r, err
	}
	if !strings.HasPrefix(r.Path, "/") {
		return r, c.wrong("path", "got %q, want one that begins with /", r.Path)
	}
	r.Header = http.Header{}
	r.Method = http.MethodGet
	body, err := c.data("body")
	if err != nil {
		return r, err
	}
	if value := c.arg("json"); value != nil {
		if c.arg("body") != nil {
			return r, c.wrong("json", "there is a body too: want one of them")
		}
		text, err := starlark.Call(c.thread, json.Module.Members["encode"], starlark.Tuple{value}, nil)
		if err != nil {
			return r, err
		}
		body = string(text.(starlark.String))
		r.Header.Set("Content-Type", "application/json")
	}
	if c.arg("json") != nil || c.arg("body") != nil {
		r.Method, r.Body = http.MethodPost, []byte(body)
	}
	if r.Method, err = c.text("method", r.Method); err != nil {
		return r, err
	}
	r.Follow = c.truth("follow")
	switch v := c.arg("headers").(type) {
	case nil:
	case starlark.IterableMapping:
		for _, kv := range v.Items() {
			name, ok := starlark.AsString(kv[0])
			if !ok {
				return r, c.wrong("headers", "got a key that is %s, want a string", kv[0].Type())
			}
			r.Header.Set(name, plainText(kv[1]))
		}
	default:
		return r, c.wrong("headers", "got %s, want a dict", v.Type())
	}
	return r, nil
}

// responseValue is an answer as a script has it. An operation whose function returns one
// has its outcome.
type responseValue struct {
	answer  *probe.Response
	outcome string
}

var _ starlark.HasAttrs = (*responseValue)(nil)

func (v *responseValue) String() string        { return fmt.Sprintf("response(status = %d)", v.answer.Status) }
func (v *responseValue) Type() string          { return "response" }
func (v *responseValue) Freeze()               {}
func (v *responseValue) Truth() starlark.Bool  { return true }
func (v *responseValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: response") }
func (v *responseValue) AttrNames() []string {
	return []string{"body", "headers", "json", "ok", "outcome", "status", "url"}
}

// Attr is an attribute of the answer. Its body is decoded where the script asks for that.
func (v *responseValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "status":
		return starlark.MakeInt(v.answer.Status), nil
	case "ok":
		return starlark.Bool(v.outcome == "ok"), nil
	case "outcome":
		return starlark.String(v.outcome), nil
	case "url":
		return starlark.String(v.answer.URL), nil
	case "body":
		return starlark.String(v.answer.Body), nil
	case "headers":
		headers := map[string]string{}
		for name, values := range v.answer.Header {
			headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		return dict(headers), nil
	case "json":
		text := string(v.answer.Body)
		if jsonDepth(text) > maxJSONDepth {
			return nil, fmt.Errorf("the body is no JSON that can be read: it is nested over %d deep", maxJSONDepth)
		}
		x, err := starlark.Call(&starlark.Thread{Name: "json"}, json.Module.Members["decode"], starlark.Tuple{starlark.String(text)}, nil)
		if err != nil {
			return nil, fmt.Errorf("the body of the answer (status %d) is no JSON: %.60q", v.answer.Status, text)
		}
		x.Freeze()
		return x, nil
	}
	return nil, nil
}

// connValue is a connection as a script has it.
type connValue struct {
	node, endpoint string
	conn           *probe.Conn
}

func (v *connValue) String() string        { return fmt.Sprintf("connection to %s:%s", v.node, v.endpoint) }
func (v *connValue) Type() string          { return "connection" }
func (v *connValue) Freeze()               {}
func (v *connValue) Truth() starlark.Bool  { return true }
func (v *connValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: connection") }
func (v *connValue) AttrNames() []string {
	return []string{"close", "line", "read", "read_all", "read_until", "send"}
}

func dial(c *call) (starlark.Value, error) {
	node, endpoint, t, err := c.at()
	if err != nil {
		return nil, err
	}
	v := &connValue{node: node, endpoint: endpoint}
	err = c.act(node, "connect "+endpoint, never, func(ctx context.Context) (err error) {
		v.conn, err = c.host.run.Dial(ctx, node, endpoint, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// reader is a method that reads.
func (v *connValue) reader(name, params string, read func(*call, context.Context) ([]byte, error)) *starlark.Builtin {
	params = strings.TrimPrefix(params+", timeout=None", ", ")
	return builtin{name: "connection." + name, params: params, call: func(c *call) (starlark.Value, error) {
		var data []byte
		err := c.act(v.node, name+" "+v.endpoint, v.conn.HasSent, func(ctx context.Context) (err error) {
			data, err = read(c, ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		return starlark.String(data), nil
	}}.make()
}

// Attr is a method of the connection.
func (v *connValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "send":
		return builtin{name: "connection.send", params: "data, timeout=None", call: func(c *call) (starlark.Value, error) {
			data, err := c.data("data")
			if err != nil {
				return nil, err
			}
			return nil, c.act(v.node, "send "+v.endpoint, v.conn.HasSent, func(ctx context.Context) error {
				return v.conn.Send(ctx, []byte(data))
			})
		}}.make(), nil
	case "line":
		return v.reader("line", "", func(_ *call, ctx context.Context) ([]byte, error) { return v.conn.Line(ctx) }), nil
	case "read_all":
		return v.reader("read_all", "", func(_ *call, ctx context.Context) ([]byte, error) { return v.conn.ReadAll(ctx) }), nil
	case "read":
		return v.reader("read", "n", func(c *call, ctx context.Context) ([]byte, error) {
			n, err := c.integer("n", 0, 0)
			if err != nil {
				return nil, err
			}
			return v.conn.Read(ctx, int(min(n, 1<<40)))
		}), nil
	case "read_until":
		return v.reader("read_until", "delim", func(c *call, ctx context.Context) ([]byte, error) {
			delim, err := c.data("delim")
			if err == nil && delim == "" {
				err = c.wrong("delim", "got an empty string")
			}
			if err != nil {
				return nil, err
			}
			return v.conn.ReadUntil(ctx, []byte(delim))
		}), nil
	case "close":
		return builtin{name: "connection.close", call: func(c *call) (starlark.Value, error) {
			return nil, c.task.briefly(func(context.Context) error {
				_ = c.host.run.Hangup(v.conn) // what it could say, the other side has lost
				return nil
			})
		}}.make(), nil
	}
	return nil, nil
}

func execute(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	command := runtime.Command{Check: !c.isFalse("check")}
	what := ""
	switch v := c.arg("cmd").(type) {
	case starlark.String:
		if strings.TrimSpace(string(v)) == "" {
			return nil, c.wrong("cmd", "got no command")
		}
		command.Line, what = string(v), string(v)
	case starlark.Iterable:
		if command.Argv, err = c.strings("cmd"); err != nil {
			return nil, err
		}
		if len(command.Argv) == 0 {
			return nil, c.wrong("cmd", "got no words")
		}
		what = strings.Join(command.Argv, " ")
	default:
		return nil, c.wrong("cmd", "got %s, want a line for a shell, or a list of words", v.Type())
	}
	if _, isText := c.arg("input").(starlark.Iterable); isText {
		lines, err := c.strings("input")
		if err != nil {
			return nil, err
		}
		for i := range lines {
			lines[i] += "\n"
		}
		command.Stdin = strings.Join(lines, "")
	} else if command.Stdin, err = c.data("input"); err != nil {
		return nil, err
	}
	if command.Env, err = c.variables("env"); err != nil {
		return nil, err
	}
	var out *probe.Output
	changes := func() bool { return out.Outcome() != history.Fail } // unchecked it is no error
	err = c.act(node, "exec "+topology.Brief(what, maxTold), changes, func(ctx context.Context) (err error) {
		out, err = c.host.run.Exec(ctx, node, command)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &outputValue{out}, nil
}

// outputValue is what a command came to as a script has it.
type outputValue struct{ out *probe.Output }

var _ starlark.HasAttrs = (*outputValue)(nil)

func (v *outputValue) String() string {
	return fmt.Sprintf("output(code = %d, out = %s, err = %s)", v.out.Code, starlark.String(v.out.Stdout), starlark.String(v.out.Stderr))
}
func (v *outputValue) Type() string          { return "output" }
func (v *outputValue) Freeze()               {}
func (v *outputValue) Truth() starlark.Bool  { return true }
func (v *outputValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: output") }
func (v *outputValue) AttrNames() []string   { return []string{"code", "err", "ok", "out", "signal"} }

// Attr is an attribute of what a command came to.
func (v *outputValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "code":
		return starlark.MakeInt(v.out.Code), nil
	case "err":
		return starlark.String(v.out.Stderr), nil
	case "ok":
		return starlark.Bool(v.out.Code == 0), nil
	case "out":
		return starlark.String(v.out.Stdout), nil
	case "signal":
		return starlark.String(v.out.Signal), nil
	}
	return nil, nil
}

// maxTold is how much of a command the log tells, in bytes.
const maxTold = 80

// strings is an argument that is a list of strings.
func (c *call) strings(name string) ([]string, error) {
	elements, err := c.sequence(name)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(elements))
	for i, e := range elements {
		text, ok := starlark.AsString(e)
		if !ok {
			return nil, c.wrong(name, "element %d is %s, want a string", i, e.Type())
		}
		texts[i] = text
	}
	return texts, nil
}

// variables is an argument that is variables of an environment; nil where it was left out.
func (c *call) variables(name string) (map[string]string, error) {
	v := c.arg(name)
	if v == nil {
		return nil, nil
	}
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, c.wrong(name, "got %s, want a dict of strings", v.Type())
	}
	all := map[string]string{}
	for _, item := range d.Items() {
		key, isKey := starlark.AsString(item[0])
		value, isValue := starlark.AsString(item[1])
		if !isKey || !isValue {
			return nil, c.wrong(name, "has %s: %s, want strings", shown(item[0]), shown(item[1]))
		}
		if key == "" || strings.ContainsAny(key, "=\x00") {
			return nil, c.wrong(name, "has %s, which is no name of a variable", shown(item[0]))
		}
		all[key] = value
	}
	return all, nil
}

func readFile(c *call) (starlark.Value, error) {
	node, err := c.node("node")
	if err != nil {
		return nil, err
	}
	file, err := c.text("file", "")
	if err != nil {
		return nil, err
	}
	if file == "" || strings.Contains(file, "\x00") {
		return nil, c.wrong("file", "got %q, which is no file's name", file)
	}
	began := c.host.run.Elapsed()
	var data []byte
	err = c.task.briefly(func(context.Context) (err error) {
		data, err = c.host.run.ReadFile(node, file)
		return err
	})
	if err == nil || notYet(err) != nil {
		c.task.acted(node, "read "+file, c.host.run.Elapsed()-began, false, err)
	}
	if err != nil {
		return nil, err
	}
	return starlark.String(data), nil
}
