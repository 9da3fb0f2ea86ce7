// Package buffy is the sample system: a small stream processor in the shape of
// Buffy, with Giles Sender and Giles Receiver at its ends, as the components
// that are built into dagon-star.
//
// Data flows as /data messages, each with an id that no other message of the run
// has: from the senders to the leader (--source), which deals them to the workers
// in turn; the worker on turn does the first stage and passes its result to the
// next worker, which does the second and delivers to the sink. A worker that is
// alone does both, and so does a leader that has no workers. Without a leader the
// senders deal to the workers themselves, and --next says who is next.
//
// Nothing is lost at the end: each says /end to those it sends to when all that
// send to it have said it. One that closes deliberately before that says
// /leaving; one that closes without either is lost.
//
// Nor is anything lost by a crash of a worker or the leader, or by a connection
// that breaks. Who has said /acks on a connection is told there by /ack of every
// message that is through: Giles Receiver says so of what is in its record, the
// workers pass it on, and the leader, and a sender that has --at-least-once, keep
// a message until then. A worker that has lost the leader signs in with it again;
// whenever one comes or goes the leader has the live ones form their ring anew,
// and deals again what is not acknowledged. What has come twice Giles Receiver
// knows by its id, and drops. Nobody is asked for acknowledgements who may not
// know them: those that --buffy and --sink name only with --at-least-once.
package buffy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/dagon-star/dagon-star/runtime/component"
	"github.com/dagon-star/dagon-star/runtime/osc"
	"github.com/dagon-star/dagon-star/runtime/record"
)

// part is a component: run does its work between being connected and being
// told to stop.
type part struct {
	name    string
	summary string
	run     func(*process) error
}

func parts() []part {
	return []part{
		{"dagon-child", "the smallest component: says ready, done when it is started, or is a receiver, and done_shutdown", runChild},
		{"double-divide", "doubles each number and halves it again; the leader with -l, else a worker", runDoubleDivide},
		{"giles-receiver", "writes what it receives to received.txt", runReceiver},
		{"giles-sender", "sends numbers from 1, or the lines of a file, and writes them to sent.txt", runSender},
		{"word-count", "counts the words of lines; the leader with -l, else a worker", runWordCount},
	}
}

// Names are the names of the components, sorted.
func Names() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// Summaries tells what each component is, a line each.
func Summaries() string {
	var b strings.Builder
	for _, p := range parts() {
		fmt.Fprintf(&b, "  %-15s %s\n", p.name, p.summary)
	}
	return b.String()
}

// Run runs a component until it is told to shut down, its control connection is
// lost, or ctx is cancelled, as it is to be on TERM. It returns the exit code: 0
// where it was told to end, 1 where something failed, 2 for flags that are
// wrong. Files are written in the working folder.
func Run(ctx context.Context, name string, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	i := slices.IndexFunc(parts(), func(p part) bool { return p.name == name })
	if i < 0 {
		fmt.Fprintf(stderr, "no component is named %q; there are:\n%s", name, Summaries())
		return 2
	}
	p := &process{ctx: ctx, out: stdout, failed: make(chan struct{}), connections: map[net.Conn]bool{}}
	if err := p.parse(name, args, getenv); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprintf(stdout, "%s: %s\n\nFlags:\n%s", name, parts()[i].summary, p.flags.FlagUsages())
			return 0
		}
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}
	home, err := component.Dial(ctx, p.config)
	if err != nil && ctx.Err() != nil { // told to end before it could say that it is there
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.config.Name, err)
		return 1
	}
	p.home = home
	defer home.Close()
	var cancel context.CancelFunc
	p.ctx, cancel = context.WithCancel(ctx)
	p.goes(func() error {
		p.stop()
		p.unblock()
		cancel()
		return nil
	})
	if err = parts()[i].run(p); errors.Is(err, errStopped) {
		err = nil
	}
	p.stopping()
	cancel()
	for _, close := range slices.Backward(p.closers) {
		err = errors.Join(err, close())
	}
	p.running.Wait()
	if err == nil {
		err = p.failure()
	}
	if err == nil && ctx.Err() == nil {
		if err = home.StopReason(); err == nil {
			err = home.DoneShutdown()
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.config.Name, err)
		return 1
	}
	return 0
}

// process is a component as it runs.
type process struct {
	ctx    context.Context
	config component.Config
	home   *component.Home
	flags  *pflag.FlagSet
	o      options
	out    io.Writer // one line a write

	receiver bool // DAGON_ROLE says so

	running sync.WaitGroup
	closers []func() error // in the order of opening

	mu          sync.Mutex
	err         error
	failed      chan struct{} // closed at the first error
	ending      bool
	connections map[net.Conn]bool // the open ones
	leaving     bool              // …are not waited for any more
}

// options are the flags of all components, as the older documented ini files
// pass them.
type options struct {
	leader         bool
	workers        int
	controlAddress string
	dataAddress    string
	source, sink   []string
	ownData        string
	next           string
	metrics        string
	buffy          []string
	messages       int64
	file           string
	rate           float64
	listen         string
	expect         int64
	host, port     string
	atLeastOnce    bool
	atMostOnce     bool
}

func (p *process) parse(name string, args []string, getenv func(string) string) error {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	p.flags = f
	f.SortFlags = false
	f.SetOutput(io.Discard)
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	nodeName := f.StringP("name", "n", "", "the component's name; else DAGON_NAME")
	o := &p.o
	phoneShort, expectShort := "p", ""
	switch name {
	case "dagon-child":
		phoneShort = ""
		f.ParseErrorsAllowlist.UnknownFlags = true // it stands for any component
		f.StringVarP(&o.host, "phone-home-host", "h", "", "the host to report to, in the oldest form")
		f.StringVarP(&o.port, "phone-home-service", "p", "", "the port to report to, in the oldest form")
	case "giles-sender":
		f.StringSliceVarP(&o.buffy, "buffy", "b", nil, "where to send to, HOST:PORT; several are dealt to in turn")
		f.Int64VarP(&o.messages, "messages", "m", 100, "how many messages to send; of a file, at most")
		f.StringVarP(&o.file, "file", "f", "", "a file whose lines are sent, instead of numbers from 1")
		f.Float64Var(&o.rate, "rate", 0, "messages a second; 0 is as fast as they are taken")
		f.BoolVar(&o.atLeastOnce, "at-least-once", false, "ask --buffy to acknowledge each message, and send again what may be lost")
	case "giles-receiver":
		expectShort = "e"
		f.StringVarP(&o.listen, "listen", "l", "", "where to receive, HOST:PORT")
		f.Int64VarP(&o.expect, "expect", expectShort, 0, "done after so many messages; 0: when all upstreams have said /end")
	default:
		f.BoolVar(&o.atLeastOnce, "at-least-once", false, "ask --sink to acknowledge what is delivered, as "+
			"giles-receiver does; else what it has taken is as good as delivered")
		f.BoolVar(&o.atMostOnce, "at-most-once", false, "as the leader keep nothing, send nothing again, and wait for no "+
			"worker that is slow: what a lost one had is lost, and what comes while they are 1,024 behind")
		f.BoolVarP(&o.leader, "leader", "l", false, "be the leader")
		f.IntVarP(&o.workers, "worker-count", "w", 0, "how many workers the leader waits for")
		f.StringVarP(&o.controlAddress, "leader-control-address", "c", "", "where workers sign in, HOST:PORT")
		f.StringVarP(&o.dataAddress, "leader-data-address", "d", "", "where workers are dealt their messages, HOST:PORT")
		f.StringSliceVarP(&o.source, "source", "r", nil, "where the leader, or a worker without one, receives, HOST:PORT; several with commas")
		f.StringSliceVarP(&o.sink, "sink", "k", nil, "where to deliver, HOST:PORT; the first is used")
		f.StringVar(&o.ownData, "data-address", "", "where a worker receives from another, HOST:PORT; else any free port")
		f.StringVar(&o.next, "next", "", "the next worker's --data-address; else the leader says")
		f.StringVarP(&o.metrics, "metrics", "m", "", "taken for the older ini files, and not used")
	}
	phoneHome := f.StringP("phone-home", phoneShort, "", "where to report to, HOST:PORT; else DAGON_PHONE_HOME")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if *phoneHome == "" && o.host != "" {
		*phoneHome = net.JoinHostPort(o.host, o.port)
	}
	var err error
	p.receiver = getenv("DAGON_ROLE") == "receiver"
	p.config, err = component.FromEnvironment(getenv, *nodeName, *phoneHome)
	return err
}

// say prints a line.
func (p *process) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// fail ends the component with an error.
func (p *process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && !p.ending && err != nil && !errors.Is(err, errStopped) {
		p.err = err
		close(p.failed)
	}
}

func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// stopping says that what is lost from now on is no failure.
func (p *process) stopping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
}

// goes runs a part of the component whose error ends it.
func (p *process) goes(f func() error) { p.running.Go(func() { p.fail(f()) }) }

// until waits for a step of the component; false where it is to stop before.
func (p *process) until(step <-chan struct{}) bool { return waitFor(p, step) }

func waitFor[T any](p *process, step <-chan T) bool {
	select {
	case <-step:
		return true
	case <-p.home.Stop():
	case <-p.ctx.Done():
	case <-p.failed:
	}
	return false
}

// stop waits until the component is to stop.
func (p *process) stop() { p.until(nil) }

// errStopped is the error of what was not done because the component is to stop.
var errStopped = errors.New("told to stop")

// progressEvery is how often a count is reported at most.
const progressEvery = 10 * time.Millisecond

// progress reports how far the component is, at most every 10 ms: report says
// that the count may be another, and with now reports it at once. A count is
// reported once.
func (p *process) progress(count func() int64) (report func(now bool) error) {
	var mu sync.Mutex
	last := int64(-1)
	say := func(now bool) error {
		mu.Lock()
		defer mu.Unlock()
		n := count()
		if n == last || n == 0 && !now {
			return nil
		}
		last = n
		return p.home.Count(n)
	}
	moved := make(chan struct{}, 1)
	p.goes(func() error {
		for p.until(moved) {
			timer := time.NewTimer(progressEvery)
			ok := waitFor(p, timer.C)
			if timer.Stop(); !ok {
				break
			}
			if err := say(false); err != nil {
				return err
			}
		}
		return nil
	})
	return func(now bool) error {
		if now {
			return say(true)
		}
		select {
		case moved <- struct{}{}:
		default:
		}
		return nil
	}
}

// recording is a file of messages that is being written.
type recording struct {
	mu    sync.Mutex
	file  *os.File
	stamp []byte
	buf   []byte
	n     int64
}

func (p *process) create(name string) (*recording, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	r := &recording{file: f}
	p.closers = append(p.closers, r.close)
	return r, nil
}

// add records messages that were read, or are to be written, at once: the time of
// all is now. It returns how many there are.
func (r *recording) add(items []osc.Item) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stamp = record.AppendTime(r.stamp[:0], time.Now())
	for i := range items {
		r.buf = append(r.buf, r.stamp...)
		r.buf = record.AppendPayload(r.buf, items[i].String)
	}
	r.n += int64(len(items))
	if len(r.buf) < 64<<10 {
		return r.n, nil
	}
	return r.n, r.write()
}

func (r *recording) write() error {
	_, err := r.file.Write(r.buf)
	r.buf = r.buf[:0]
	return err
}

func (r *recording) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write()
}

// count is how many messages have been added.
func (r *recording) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func (r *recording) close() error { return errors.Join(r.flush(), r.file.Close()) }
