package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/exact"
)

// schema is a JSON Schema of draft 2020-12, or a part of one.
type schema map[string]any

// Schemas are the JSON Schemas of what programs read: of a line of events.jsonl, of report
// --format json, and of the summary of test --json. They are made of the types that are
// written. Their $id has the format's number. What they do not name may be there too.
func Schemas() map[string][]byte {
	out := map[string][]byte{}
	for name, s := range map[string]schema{
		"events": eventSchema(),
		"report": headed("report", OverviewFormat, schemaOf(reflect.TypeFor[Overview]())),
		"tests":  headed("tests", SummaryFormat, schemaOf(reflect.TypeFor[Summary]())),
	} {
		text, err := exact.MarshalIndent(s, "  ")
		if err != nil {
			panic(err) // of maps, slices and strings
		}
		out[name] = append(text, '\n')
	}
	return out
}

// headed is a schema with its name and the number of the format.
func headed(name string, format int, s schema) schema {
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = fmt.Sprintf("urn:dagon-star:%s:%d", name, format)
	return s
}

// eventSchema has a definition a kind.
func eventSchema() schema {
	kinds, cases := schema{}, []any{}
	for _, kind := range event.Kinds() {
		kinds[string(kind)] = kindSchema(kind)
		cases = append(cases, schema{
			"if":   schema{"properties": schema{"kind": schema{"const": string(kind)}}},
			"then": schema{"$ref": "#/$defs/" + string(kind)},
		})
	}
	return headed("events", event.Format, schema{
		"type":     "object",
		"required": []string{"seq", "t", "kind"},
		"properties": schema{
			"seq":  schema{"type": "integer", "minimum": 0, "description": "the position in the log, from 0, without gaps"},
			"t":    schema{"type": "number", "minimum": 0, "description": "seconds since the start of the run"},
			"kind": schema{"enum": slices.Sorted(maps.Keys(kinds))},
			"node": schema{"type": "string", "description": "the node that it is about"},
		},
		"allOf": cases,
		"$defs": kinds,
	})
}

// kindSchema is the schema of what a kind of event has beside what all have.
func kindSchema(kind event.Kind) schema {
	e, err := event.Parse(fmt.Appendf(nil, `{"seq":0,"t":0,"kind":%q}`, kind))
	if err != nil {
		panic(err) // a kind that cannot be empty
	}
	return schemaOf(reflect.TypeOf(e.Detail))
}

// schemaOf is the schema of a type as encoding/json writes it.
func schemaOf(t reflect.Type) schema {
	switch t {
	case reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case reflect.TypeFor[event.JSON](), reflect.TypeFor[json.RawMessage]():
		return schema{}
	case reflect.TypeFor[[]byte]():
		return schema{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return schema{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return schema{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.Array:
		return schema{"type": "array", "items": schemaOf(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Slice:
		return schema{"type": []string{"array", "null"}, "items": schemaOf(t.Elem())}
	case reflect.Map:
		return schema{"type": []string{"object", "null"}, "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		properties, required := schema{}, []string{}
		addFields(t, properties, &required)
		slices.Sort(required)
		return schema{"type": "object", "properties": properties, "required": required}
	case reflect.Interface:
		return schema{}
	}
	panic("no schema of " + t.String())
}

// addFields adds the fields of a struct, and of those that are embedded in it.
func addFields(t reflect.Type, properties schema, required *[]string) {
	for f := range fields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			addFields(f.Type, properties, required)
		case f.IsExported() && name != "-":
			properties[name] = schemaOf(f.Type)
			if !strings.Contains(options, "omitempty") {
				*required = append(*required, name)
			}
		}
	}
}

func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}
