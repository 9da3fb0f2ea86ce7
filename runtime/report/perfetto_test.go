package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// readPerfetto reads a trace by Perfetto's schema, and holds what its importer asks for: no
// field that is unknown, tracks that are described before they are used, slices that nest
// and end, counters on counter tracks alone. It returns the tracks and their events.
func readPerfetto(t testing.TB, data string) []string {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"testdata"}}}
	files, err := c.Compile(context.Background(), "perfetto.proto")
	if err != nil {
		t.Fatal(err)
	}
	trace := dynamicpb.NewMessage(files[0].Messages().ByName("Trace"))
	if err := proto.Unmarshal([]byte(data), trace); err != nil {
		t.Fatal(err)
	}
	field := func(m protoreflect.Message, name protoreflect.Name) protoreflect.Value {
		return m.Get(m.Descriptor().Fields().ByName(name))
	}
	has := func(m protoreflect.Message, name protoreflect.Name) bool {
		return m.Has(m.Descriptor().Fields().ByName(name))
	}
	var known func(m protoreflect.Message)
	known = func(m protoreflect.Message) {
		if u := m.GetUnknown(); len(u) > 0 {
			t.Fatalf("%s has an unknown field: %x", m.Descriptor().Name(), u)
		}
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case f.Kind() == protoreflect.StringKind && !f.IsList() && !utf8.ValidString(v.String()):
				t.Errorf("%s is no UTF-8", f.Name())
			case f.Kind() == protoreflect.MessageKind && f.IsList():
				for i := range v.List().Len() {
					known(v.List().Get(i).Message())
				}
			case f.Kind() == protoreflect.MessageKind:
				known(v.Message())
			}
			return true
		})
	}
	known(trace)
	packets := field(trace, "packet").List()
	names, counters := map[uint64]string{}, map[uint64]bool{}
	type moment struct {
		t     uint64
		at    int
		event protoreflect.Message
	}
	var moments []moment
	for i := range packets.Len() {
		p := packets.Get(i).Message()
		if !has(p, "track_descriptor") {
			moments = append(moments, moment{field(p, "timestamp").Uint(), i, field(p, "track_event").Message()})
			if id := field(moments[len(moments)-1].event, "track_uuid").Uint(); names[id] == "" {
				t.Errorf("the track %d is not described", id)
			}
			continue
		}
		d := field(p, "track_descriptor").Message()
		id, parent := field(d, "uuid").Uint(), field(d, "parent_uuid").Uint()
		if names[id] != "" || parent != 0 && names[parent] == "" {
			t.Errorf("the track %d is described twice, or its parent is not", id)
		}
		name := field(field(d, "process").Message(), "process_name").String()
		if parent != 0 {
			name = names[parent] + "/" + field(d, "name").String()
		}
		names[id], counters[id] = cmp.Or(name, "-"), has(d, "counter")
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.t, b.t) })
	depth := map[uint64]int{}
	var told []string
	for _, m := range moments {
		id, kind := field(m.event, "track_uuid").Uint(), field(m.event, "type").Enum()
		if counters[id] != (kind == pfCounter) {
			t.Errorf("an event of type %d on %s", kind, names[id])
		}
		switch kind {
		case pfBegin:
			depth[id]++
		case pfEnd:
			depth[id]--
		}
		if depth[id] < 0 || depth[id] > 1 {
			t.Errorf("%s has %d slices at once", names[id], depth[id])
		}
		if kind == pfBegin || kind == pfInstant {
			told = append(told, fmt.Sprintf("%s: %s", names[id], field(m.event, "name").String()))
		}
	}
	for id, n := range depth {
		if n != 0 {
			t.Errorf("a slice of %s does not end", names[id])
		}
	}
	return told
}

func TestPerfetto(t *testing.T) {
	text := write(t, lifecycle(t), "perfetto")
	got := readPerfetto(t, text)
	for _, want := range []string{"r/incarnation 1: r, incarnation 1", "s/incarnation 1: s, incarnation 1 ✕", "dagon-star/fault 1: pause r",
		"r/messages from it: count 4", "s/messages to it: start", "s/state 1: forked"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if text != write(t, lifecycle(t), "perfetto") {
		t.Error("it is another one the second time")
	}
	readPerfetto(t, write(t, hostileRun(t), "perfetto"))
}
