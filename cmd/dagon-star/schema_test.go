//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/report"
)

// compiled are the schemas as somebody else's validator has them.
var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	out := map[string]*jsonschema.Schema{}
	for name, text := range report.Schemas() {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name+".json", value); err != nil {
			return nil, err
		}
		if out[name], err = c.Compile(name + ".json"); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// validate holds each value of a file to a schema.
func validate(ts *testscript.TestScript, name, file string) {
	schemas, err := compiled()
	ts.Check(err)
	f, err := os.Open(file)
	ts.Check(err)
	defer f.Close()
	values := json.NewDecoder(f)
	values.UseNumber()
	for {
		var v any
		if err := values.Decode(&v); err == io.EOF {
			return
		} else if err != nil {
			ts.Fatalf("%s: %v", file, err)
		}
		if err := schemas[name].Validate(v); err != nil {
			ts.Fatalf("%s: %v", file, err)
		}
	}
}

// isValid is validate: valid SCHEMA FILE.
func isValid(ts *testscript.TestScript, neg bool, args []string) {
	validate(ts, args[0], ts.MkAbs(args[1]))
}

// TestSchema compares the schemas with those in the repository, which DAGON_WRITE=1 writes
// again, and looks for a definition of each kind, which refuses what is none.
func TestSchema(t *testing.T) {
	for name, text := range report.Schemas() {
		file := filepath.Join("docs", name+".schema.json")
		if os.Getenv("DAGON_WRITE") == "1" {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if kept, err := os.ReadFile(file); err != nil || !bytes.Equal(kept, text) {
			t.Errorf("%s is not that of the types: %v; DAGON_WRITE=1 writes it", file, err)
		}
	}
	schemas, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	var events struct {
		Defs map[event.Kind]any `json:"$defs"`
	}
	if err := json.Unmarshal(report.Schemas()["events"], &events); err != nil {
		t.Fatal(err)
	}
	for _, kind := range event.Kinds() {
		if events.Defs[kind] == nil {
			t.Errorf("%s has no definition", kind)
		}
	}
	for text, want := range map[string]bool{
		`{"seq":0,"t":0,"kind":"print","text":"x"}`:                   true,
		`{"seq":0,"t":0,"kind":"print","text":"x","later":1}`:         true,
		`{"seq":0,"t":0,"kind":"print"}`:                              false,
		`{"seq":0,"t":0,"kind":"print","text":1}`:                     false,
		`{"seq":-1,"t":0,"kind":"print","text":"x"}`:                  false,
		`{"seq":0,"t":0,"kind":"nothing"}`:                            false,
		`{"seq":0,"t":0,"kind":"sent","address":"/x","args":[1,"a"]}`: true,
	} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas["events"].Validate(v); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
