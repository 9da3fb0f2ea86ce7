package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/dagon-star/dagon-star/runtime/site"
)

const serveMore = `
Shows the folder of runs as a site, at an address of this machine that no other
can reach: the list of the runs, and for each its verdict, its report where it has
one, its logs and its events. The page of a run that is under way goes on with it.
Nothing is changed. It ends on INT or TERM.

Examples:
  dagon-star serve
  dagon-star serve --address 127.0.0.1:8080 --runs-dir /tmp/runs
`

func runServe(c command) int {
	f := newFlags(c, "serve", "[FLAG...]", serveMore)
	address := f.String("address", "127.0.0.1:0", "HOST:PORT to listen on, of the loopback; port 0 is any free one")
	runs := runsDir(f)
	if code, done := parse(c, f, 0, 0); done {
		return code
	}
	host, _, err := net.SplitHostPort(*address)
	if err != nil {
		return c.mistake(f, fmt.Errorf("--address: %w: HOST:PORT was expected, such as 127.0.0.1:8080", err))
	}
	if !site.IsLoopback(host) {
		return c.mistake(f, fmt.Errorf("--address: %q is not the loopback, and others would see what nodes say: "+
			"127.0.0.1, [::1] or localhost was expected", host))
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return c.mistake(f, err)
	}
	if a, ok := listener.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // localhost may lead anywhere
		listener.Close()
		return c.mistake(f, fmt.Errorf("--address: %s leads to %s, which is not the loopback", *address, listener.Addr()))
	}
	ctx, _, stop := c.interrupts(nil)
	defer stop()
	server := &http.Server{Handler: site.New(*runs), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(c.stdout, "http://%s/\n", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		server.Close()
		err = <-served
	}
	if !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintf(c.stderr, "dagon-star serve: %v\n", err)
		return 1
	}
	return exitPassed
}
