package report_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
	"time"

	"github.com/dagon-star/dagon-star/runtime/report"
)

// BenchmarkPage tells how long the page of a million events takes, the reading of the log
// with it, as a ratio to gzip at its fastest alone over the same bytes, in turns.
func BenchmarkPage(b *testing.B) {
	log := longLog(b, 1000, 1_000_000)
	files := folder(log)
	var page, peer time.Duration
	for b.Loop() {
		began := time.Now()
		r, err := report.Open("x", files)
		if err == nil {
			err = report.WriteHTML(r, io.Discard)
		}
		page += time.Since(began)
		began = time.Now()
		w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
		_, wrong := io.Copy(w, bytes.NewReader(log))
		peer += time.Since(began)
		if err != nil || wrong != nil || w.Close() != nil {
			b.Fatal(err, wrong)
		}
	}
	b.ReportMetric(page.Seconds()/float64(b.N), "s/page")
	b.ReportMetric(page.Seconds()/peer.Seconds(), "×gzip")
}
