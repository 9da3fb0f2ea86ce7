package report

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// otlpEvents is how many of its last messages a node's span has; the collector's default.
const otlpEvents = 128

// The parts of an OTLP request in JSON, as OpenTelemetry's protocol has them.
type (
	otlpValue struct {
		String string `json:"stringValue"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpStatus struct {
		Code    int    `json:"code"` // 0 unset, 1 ok, 2 error
		Message string `json:"message,omitempty"`
	}
	otlpEvent struct {
		Time       string          `json:"timeUnixNano"`
		Name       string          `json:"name"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
	}
	otlpSpan struct {
		Trace      string          `json:"traceId"` // 16 bytes in hexadecimal
		Span       string          `json:"spanId"`  // 8 bytes
		Parent     string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"` // 1 internal
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
		Events     []otlpEvent     `json:"events,omitempty"`
		Dropped    int             `json:"droppedEventsCount,omitempty"`
		Status     otlpStatus      `json:"status"`
	}
)

func otlpAttributes(pairs ...[2]string) (all []otlpAttribute) {
	for _, p := range pairs {
		if p[1] != "" {
			all = append(all, otlpAttribute{p[0], otlpValue{Visible(p[1])}})
		}
	}
	return all
}

// writeOTLP writes the run as one trace: a span for the run, below it one for each
// incarnation of a node, with its last messages as events, for each await, fault and
// operation. The ids follow from that of the run, so that it has the same ones each time.
func writeOTLP(r *Run, w io.Writer) error {
	b := bufio.NewWriter(w)
	id := func(key string, n int) string {
		sum := sha256.Sum256([]byte(r.Started.Run + "\n" + key))
		return hex.EncodeToString(sum[:n])
	}
	at := func(t time.Duration) string { return strconv.FormatInt(r.Started.StartedAt.Add(t).UnixNano(), 10) }
	trace, root := id("trace", 16), id("run", 8)
	resource, err := json.Marshal(struct {
		Attributes []otlpAttribute `json:"attributes"`
	}{otlpAttributes([2]string{"service.name", hostName}, [2]string{"service.version", r.Started.Version},
		[2]string{"service.instance.id", r.Started.Run}, [2]string{"dagon.script", r.Started.Script},
		[2]string{"dagon.topology", r.Started.Topology}, [2]string{"dagon.seed", fmt.Sprint(r.Started.Seed)},
		[2]string{"dagon.repeat", r.Started.Repeat}, [2]string{"dagon.folder", r.Folder})})
	if err != nil {
		return err
	}
	scope, err := json.Marshal(map[string]string{"name": "github.com/dagon-star/dagon-star", "version": Visible(r.Started.Version)})
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "{\"resourceSpans\":[{\"resource\":%s,\"scopeSpans\":[{\"scope\":%s,\"spans\":[\n", resource, scope)
	status := otlpStatus{1, ""}
	if !r.Passed() {
		status = otlpStatus{2, Visible(r.headline())}
	}
	first := true
	write := func(s otlpSpan) error {
		s.Trace, s.Kind = trace, 1
		text, err := json.Marshal(s)
		if !first {
			b.WriteString(",\n")
		}
		first = false
		if err == nil {
			_, err = b.Write(text)
		}
		return err
	}
	if err := write(otlpSpan{Span: root, Name: "run " + Visible(r.Started.Script), Start: at(0),
		End: at(time.Duration(r.EndS * float64(time.Second))), Status: status,
		Attributes: otlpAttributes([2]string{"outcome", r.Outcome}, [2]string{"where", r.Where}, [2]string{"culprits", strings.Join(r.Culprits, " ")})}); err != nil {
		return err
	}
	last, dropped := map[string][]instant{}, map[string]int{} // messages of the present incarnations
	s := spans{
		message: func(i instant) error {
			all := append(last[i.node], i)
			if len(all) == 2*otlpEvents {
				all = append(all[:0], all[otlpEvents:]...)
				dropped[i.node] += otlpEvents
			}
			last[i.node] = all
			return nil
		},
		span: func(p *span) error {
			if p.kind == spanState {
				return nil
			}
			o := otlpSpan{Span: id(p.key+"\n"+p.begin.String(), 8), Parent: root, Name: cmp.Or(Visible(p.name), p.kind), Start: at(p.begin), End: at(p.end),
				Attributes: otlpAttributes(append([][2]string{{"dagon.kind", p.kind}, {"dagon.node", p.node}, {"outcome", p.outcome}}, p.attributes...)...)}
			if p.bad {
				o.Status = otlpStatus{2, Visible(p.outcome)}
			}
			if p.kind == spanNode {
				all := last[p.node]
				o.Dropped = dropped[p.node] + max(0, len(all)-otlpEvents)
				for _, i := range all[max(0, len(all)-otlpEvents):] {
					way := "to the node"
					if i.received {
						way = "from the node"
					}
					o.Events = append(o.Events, otlpEvent{at(i.t), Visible(i.text()), otlpAttributes([2]string{"dagon.direction", way})})
				}
				delete(last, p.node)
				delete(dropped, p.node)
			}
			return write(o)
		},
	}
	if err := s.read(r); err != nil {
		return err
	}
	b.WriteString("\n]}]}]}\n")
	return b.Flush()
}
