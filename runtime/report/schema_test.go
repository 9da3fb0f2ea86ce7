package report_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A schema in the part of XML Schema that testdata uses: sequences of references, and
// attributes of simple types.
type (
	schema struct {
		Elements []declaration `xml:"element"`
	}
	declaration struct {
		Name  string       `xml:"name,attr"`
		Type  string       `xml:"type,attr"`
		Inner *complexType `xml:"complexType"`
	}
	complexType struct {
		Mixed      bool        `xml:"mixed,attr"`
		Sequence   []reference `xml:"sequence>element"`
		Attributes []attribute `xml:"attribute"`
	}
	reference struct {
		Ref string `xml:"ref,attr"`
		Min int    `xml:"minOccurs,attr"`
		Max string `xml:"maxOccurs,attr"`
	}
	attribute struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
		Use  string `xml:"use,attr"`
	}
)

// element is an element of a document.
type element struct {
	XMLName    xml.Name
	Attributes []xml.Attr `xml:",any,attr"`
	Children   []element  `xml:",any"`
	Text       string     `xml:",chardata"`
}

// attr is an attribute of an element, "" where it has none.
func (e element) attr(name string) string {
	v, _ := e.find(name)
	return v
}

func (e element) find(name string) (value string, ok bool) {
	for _, a := range e.Attributes {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

// simple are the simple types.
var simple = map[string]*regexp.Regexp{
	"xs:string":             regexp.MustCompile(`(?s)^.*$`),
	"xs:decimal":            regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$`),
	"xs:nonNegativeInteger": regexp.MustCompile(`^\+?[0-9]+$`),
	"xs:positiveInteger":    regexp.MustCompile(`^\+?0*[1-9][0-9]*$`),
	"xs:dateTime":           regexp.MustCompile(`^-?[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$`),
}

// against checks a document against a schema of testdata, and returns its root.
func against(t *testing.T, name string, document io.Reader) (element, error) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := xml.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	var root element
	if err := xml.NewDecoder(document).Decode(&root); err != nil {
		return root, err
	}
	return root, s.check(root)
}

// check finds the first thing in an element that the schema does not allow.
func (s schema) check(e element) error {
	for _, d := range s.Elements {
		if d.Name != e.XMLName.Local {
			continue
		}
		if d.Inner == nil {
			d.Inner = &complexType{Mixed: true}
		}
		return s.checkAs(e, *d.Inner)
	}
	return fmt.Errorf("no element is named %q", e.XMLName.Local)
}

func (s schema) checkAs(e element, as complexType) error {
	if !as.Mixed && strings.TrimSpace(e.Text) != "" {
		return fmt.Errorf("%s has the text %q", e.XMLName.Local, e.Text)
	}
	declared := map[string]bool{}
	for _, a := range as.Attributes {
		declared[a.Name] = true
		switch v, has := e.find(a.Name); {
		case !has && a.Use == "required":
			return fmt.Errorf("%s has no %s", e.XMLName.Local, a.Name)
		case has && !simple[a.Type].MatchString(v):
			return fmt.Errorf("%s has %s = %q, which is no %s", e.XMLName.Local, a.Name, v, a.Type)
		}
	}
	for _, a := range e.Attributes {
		if !declared[a.Name.Local] {
			return fmt.Errorf("%s has an attribute %s", e.XMLName.Local, a.Name.Local)
		}
	}
	left := e.Children
	for _, r := range as.Sequence {
		n := 0
		for ; n < len(left) && left[n].XMLName.Local == r.Ref; n++ {
			if err := s.check(left[n]); err != nil {
				return err
			}
		}
		if most, err := strconv.Atoi(r.Max); n < r.Min || err == nil && n > most {
			return fmt.Errorf("%s has %d %s", e.XMLName.Local, n, r.Ref)
		}
		left = left[n:]
	}
	if len(left) > 0 {
		return fmt.Errorf("%s has no place for %s", e.XMLName.Local, left[0].XMLName.Local)
	}
	return nil
}
