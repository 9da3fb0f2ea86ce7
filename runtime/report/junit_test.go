package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/joshdk/go-junit"

	"github.com/dagon-star/dagon-star/runtime/report"
)

// outcomes are tests of each outcome, and of names that XML and readers trip over.
func outcomes() report.Summary {
	s := report.Summary{Format: report.SummaryFormat, Seed: 7, StartedAt: time.Unix(1_800_000_000, 5).UTC(), DurationS: 1.25}
	for i, outcome := range []string{"passed", "failed", "inconclusive", "interrupted", report.Broken, report.Skipped, report.NotRun} {
		s.Tests = append(s.Tests, report.Test{File: "dir/a.star", Name: "test_a[<&\"'\x00\x1b\xff\ufffe]", Outcome: outcome,
			Reason: "it said <b>\x07&amp;]]>\nand more", Where: "dir/a.star:3:1", Source: "dir/a.star", Line: i + 1, Seed: uint64(i % 5),
			DurationS: 0.5, Output: "\x00\xed\xa0\x80 last\n", Beside: []string{"told\x01"}})
	}
	s.Tests = append(s.Tests, report.Test{File: "shipped.star", Outcome: "passed", DurationS: 0.1},
		report.Test{File: "once.star", Name: "test_b", Outcome: "passed", Source: "lib.star", Line: 9, DurationS: 0.1})
	return s
}

// TestJUnit: what is written is what readers take, each test is a case of a name of its
// own, and says where it is written.
func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := report.WriteJUnit(&b, outcomes()); err != nil {
		t.Fatal(err)
	}
	root, err := against(t, "junit.xsd", bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Errorf("%v in\n%s", err, b.Bytes())
	}
	var got []string
	for _, suite := range root.Children {
		for _, c := range suite.Children {
			problem := "passed"
			for _, child := range c.Children {
				if name := child.XMLName.Local; name == "failure" || name == "error" || name == "skipped" {
					problem = name + " " + child.attr("type")
				}
			}
			got = append(got, fmt.Sprintf("%s|%s|%s:%s|%s", suite.attr("name"), c.attr("name"), c.attr("file"), c.attr("line"), problem))
		}
	}
	name := `dir/a.star|test_a[<&"'\x00\x1b\xff\ufffe] (seed `
	want := []string{
		name + "0)|dir/a.star:1|passed", name + "1)|dir/a.star:2|failure failed", name + "2)|dir/a.star:3|error inconclusive",
		name + "3)|dir/a.star:4|error interrupted", name + "4)|dir/a.star:5|error " + report.Broken,
		name + "0) #2|dir/a.star:6|skipped skipped", name + "1) #2|dir/a.star:7|skipped " + report.NotRun,
		"shipped.star|shipped.star|:|passed", "once.star|test_b|lib.star:9|passed",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the cases are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	suites, err := junit.Ingest(b.Bytes())
	if err != nil || len(suites) != 3 || suites[0].Totals.Tests != 7 || suites[0].Totals.Failed != 1 || suites[0].Totals.Error != 3 ||
		suites[0].Totals.Skipped != 2 {
		t.Errorf("another parser reads %+v: %v", suites, err)
	}
}

// TestSchema: the schema refuses what no reader takes.
func TestSchema(t *testing.T) {
	for _, text := range []string{
		`<testcases/>`, `<testsuites>text</testsuites>`, `<testsuites tests="-1"/>`, `<testsuites extra="1"/>`,
		`<testsuites><testsuite name="a"/></testsuites>`, `<testsuites><testsuite name="a" tests="1"><failure/></testsuite></testsuites>`,
		`<testsuites><testsuite name="a" tests="1"><testcase name="b" classname="c" line="0"/></testsuite></testsuites>`,
		`<testsuites><testsuite name="a" tests="1"><testcase name="b" classname="c"><skipped/><failure/></testcase></testsuite></testsuites>`,
	} {
		if _, err := against(t, "junit.xsd", strings.NewReader(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestBrief(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		" a\n b\t c \n":          "a; b c ;",
		strings.Repeat("x", 300): strings.Repeat("x", 300),
		strings.Repeat("x", 301): strings.Repeat("x", 297) + "…",
		strings.Repeat("数", 101): strings.Repeat("数", 99) + "…",
	} {
		if got := report.Brief(in); got != want || !utf8.ValidString(got) {
			t.Errorf("Brief(%q) is %q, want %q", in, got, want)
		}
	}
}
