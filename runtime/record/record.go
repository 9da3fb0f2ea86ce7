// Package record is the format of the files in which the ends of a topology keep
// the messages that went through them, and what can be told by comparing such
// files.
//
// A file has a record a line: the time in microseconds since 1970, a comma and a
// space, and the payload. A payload that has a control character, begins with a
// double quote, or is not UTF-8 is quoted as in Go. A line without a newline at
// the end of a file is still being written, and is no record yet.
package record

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/userfile"
)

// Record is a message that was sent or received.
type Record struct {
	Payload string
	Time    int64  // microseconds since 1970
	File    string // what the file is called that it is from; "" where it is from none, and has no time
	Line    int    // its line in the file, else its place in the list, from 1
}

// Append appends the line of a record.
func Append(dst []byte, t time.Time, payload []byte) []byte {
	return AppendPayload(AppendTime(dst, t), payload)
}

// AppendTime appends the beginning of a record's line, and AppendPayload the rest:
// messages that went through together share a beginning.
func AppendTime(dst []byte, t time.Time) []byte {
	dst = strconv.AppendInt(dst, t.UnixMicro(), 10)
	return append(dst, ", "...)
}

// AppendPayload appends the rest of the line that AppendTime began.
func AppendPayload(dst, payload []byte) []byte {
	if plain(payload) {
		dst = append(dst, payload...)
	} else {
		dst = strconv.AppendQuote(dst, string(payload))
	}
	return append(dst, '\n')
}

// plain reports whether a payload need not be quoted.
func plain(payload []byte) bool {
	if len(payload) > 0 && payload[0] == '"' {
		return false
	}
	ascii := true
	for _, c := range payload {
		if c-' ' < 0x7f-' ' {
			continue
		}
		if c < utf8.RuneSelf {
			return false
		}
		ascii = false
	}
	return ascii || utf8.Valid(payload)
}

// ReadFile reads the records that a file has now; name is what they are to call
// it, while errors, of the form path:line, call it by its path. It takes as much
// memory as the file has bytes, of which there may be a GiB, and some fifty bytes
// for each record.
func ReadFile(path, name string) ([]Record, error) {
	f, info, err := userfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s: it has over %d MiB: no file of records", path, maxSize>>20)
	}
	var text strings.Builder
	text.Grow(int(info.Size()))
	if _, err := io.Copy(&text, io.LimitReader(f, info.Size())); err != nil { // whoever writes it may go on
		return nil, err
	}
	records, line, err := parse(text.String(), name)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, line, err)
	}
	return records, nil
}

// maxSize is how many bytes a file may have: memory that is not there ends the
// whole program, and no test passes so much.
const maxSize = 1 << 30

// leastLine is the length of the shortest line, an empty payload at time 0.
const leastLine = len("0, \n")

// parse reads the text of a file of that name; line is where an error is. It
// allocates in proportion to the text, whose memory the payloads share.
func parse(text, name string) (records []Record, line int, err error) {
	lines := strings.Count(text, "\n")
	records = make([]Record, 0, min(lines, len(text)/leastLine)) // no more than so many can follow
	for line = 1; line <= lines; line++ {
		end := strings.IndexByte(text, '\n')
		r := Record{File: name, Line: line}
		if r.Time, r.Payload, err = parseLine(text[:end]); err != nil {
			return nil, line, err
		}
		records = append(records, r)
		text = text[end+1:]
	}
	return records, 0, nil
}

// parseLine reads a line without its newline.
func parseLine(line string) (us int64, payload string, err error) {
	stamp, payload, ok := strings.Cut(line, ", ")
	if ok {
		us, err = strconv.ParseInt(stamp, 10, 64)
	}
	if !ok || err != nil {
		return 0, "", fmt.Errorf("%s is no record: \"MICROSECONDS, PAYLOAD\" was expected", quote(line))
	}
	if strings.HasPrefix(payload, `"`) {
		if payload, err = strconv.Unquote(payload); err != nil {
			return 0, "", fmt.Errorf("%s has a quoted payload that cannot be read", quote(line))
		}
	}
	return us, payload, nil
}

// quoteMax is how much of a payload or a line an error shows, in bytes.
const quoteMax = 60

// quote is a text as an error shows it.
func quote(text string) string {
	if len(text) > quoteMax {
		return strconv.Quote(strings.ToValidUTF8(text[:quoteMax], "")) + "…"
	}
	return strconv.Quote(text)
}
