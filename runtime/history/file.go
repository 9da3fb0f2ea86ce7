package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dagon-star/dagon-star/runtime/exact"
	"github.com/dagon-star/dagon-star/runtime/internal/lines"
)

// Encoder writes a history as Jepsen has it, one JSON object a line, two lines an
// operation:
//
//	{"index":0,"type":"invoke","process":0,"f":"read","value":null,"time":1000,"key":"x","client":"3","node":"n1"}
//	{"index":1,"type":"ok","process":0,"f":"read","value":5,"time":2000,"key":"x","client":"3","node":"n1"}
//
// The index counts lines, from 0; the time is that of the run, in nanoseconds; type
// is invoke, ok, fail or info. The value is what the operation was invoked with, and
// where it is OK what it Returned. Key, client and node are there where there is one.
// A completion may also have error; result, where what the operation came back with
// is not told by the two values; and open, where it has never completed.
//
// So does elle-cli read histories (github.com/ligurio/elle-cli, its README and
// src/elle_cli/cli.clj): it makes keywords of type, f and the first of each
// micro-operation in a value such as [["append","x",1],["r","y",null]], and leaves
// keys that it does not know alone. As JSON it takes one array, not lines, so that
//
//	jq -s . history.jsonl >history.json
//	java -jar elle-cli-standalone.jar --model list-append history.json
//
// It has no histories of several keys but for those of transactions: for its other
// models choose one, with jq -s 'map(select(.key == "x"))'. Jepsen's
// jepsen.independent has [key, value] in the place of the value.
type Encoder struct {
	lines lines.Writer
	index int
}

// NewEncoder makes an Encoder that writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{lines: lines.Writer{To: w}} }

// Flush writes what Invoke and Complete have appended, in one call of the writer.
// What cannot be written is written by the next Flush.
func (e *Encoder) Flush() error {
	if err := e.lines.Flush(); err != nil {
		return fmt.Errorf("history: cannot write: %w", err)
	}
	return nil
}

// Unwritten is how many bytes the next Flush has to write.
func (e *Encoder) Unwritten() int { return len(e.lines.Buf) }

// Invoke appends the beginning of an operation. Operations begin in the order of
// their Index.
func (e *Encoder) Invoke(o *Op) {
	dst := e.begin(o, "invoke", o.Value, o.Invoked)
	e.lines.Buf = append(dst, "}\n"...)
	e.index++
}

// Complete appends the completion of an operation.
func (e *Encoder) Complete(o *Op) {
	value := o.Value
	if o.Outcome == OK {
		value = o.Returned()
	}
	dst := e.begin(o, string(o.Outcome), value, o.Completed)
	if o.Outcome == OK && told(o.Value, value) != o.Result && !o.Result.IsNone() {
		dst = append(append(dst, `,"result":`...), o.Result...)
	}
	if o.Error != "" {
		dst = appendField(dst, "error", o.Error)
	}
	if o.Open {
		dst = append(dst, `,"open":true`...)
	}
	e.lines.Buf = append(dst, "}\n"...)
	e.index++
}

// told is the result that the values of an invocation and of a completion tell of.
func told(invoked, completed Value) Value {
	if invoked == completed || invoked.IsNone() && completed.IsNone() {
		return None
	}
	return completed
}

// begin appends what both lines of an operation have.
func (e *Encoder) begin(o *Op, kind string, value Value, at time.Duration) []byte {
	dst := append(e.lines.Buf, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(e.index), 10)
	dst = append(append(append(dst, `,"type":"`...), kind...), `","process":`...)
	dst = strconv.AppendInt(dst, int64(o.Process), 10)
	dst = appendField(dst, "f", o.F)
	dst = append(dst, `,"value":`...)
	if value.IsNone() {
		value = "null"
	}
	dst = append(append(dst, value...), `,"time":`...)
	dst = strconv.AppendInt(dst, int64(at), 10)
	if !o.Key.IsNone() {
		dst = append(append(dst, `,"key":`...), o.Key...)
	}
	if o.Client != "" {
		dst = appendField(dst, "client", o.Client)
	}
	if o.Node != "" {
		dst = appendField(dst, "node", o.Node)
	}
	return dst
}

func appendField(dst []byte, name, text string) []byte {
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	dst, _ = exact.AppendString(dst, text) // a string always marshals
	return dst
}

// maxLine is how long a line may be that is read, in bytes.
const maxLine = 256 << 20

// Read reads a history back: the operations in the order of their invocations. One
// without a completion is Open, and completed at the last time of the file. A last
// line that was cut short is left out. Lines whose process is no whole number, as that
// of Jepsen's nemesis, are passed over. What is no history is an error that names the
// line; the operations before it are returned too.
func Read(r io.Reader) ([]Op, error) {
	var ops []Op
	open := map[int]int{} // of each process, the operation that has not completed
	br := bufio.NewReaderSize(r, 64<<10)
	var last time.Duration
	end := func(err error) ([]Op, error) {
		for _, i := range open {
			ops[i].Open, ops[i].Outcome, ops[i].Completed = true, Info, max(last, ops[i].Invoked)
		}
		return ops, err
	}
	for number := 1; ; number++ {
		text, err := readLine(br)
		if err == nil {
			err = readOp(text, &ops, open, &last)
		}
		if errors.Is(err, io.EOF) {
			return end(nil)
		}
		if err != nil {
			return end(fmt.Errorf("history: line %d: %.300w", number, err))
		}
	}
}

// readLine reads a line without its newline. The memory is the reader's, or the
// line's own.
func readLine(br *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := br.ReadSlice('\n')
		switch {
		case err == nil && long == nil:
			return part[:len(part)-1], nil
		case err == nil:
			return append(long, part[:len(part)-1]...), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
		if long = append(long, part...); len(long) > maxLine {
			return nil, fmt.Errorf("longer than %d MiB", maxLine>>20)
		}
	}
}

// line is a line as it is read. Its texts are decoded by Value, which keeps bytes
// that are no UTF-8.
type line struct {
	Type, Process, F, Value, Time, Key, Client, Node, Error, Result json.RawMessage
	Open                                                            bool
}

// readOp takes a line to the operations.
func readOp(text []byte, ops *[]Op, open map[int]int, last *time.Duration) error {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	process, err := strconv.Atoi(string(l.Process))
	if err != nil && l.Process != nil {
		return nil
	}
	at, err2 := strconv.ParseInt(string(l.Time), 10, 64)
	if l.Time != nil && err2 != nil || l.Process == nil || l.Type == nil {
		return fmt.Errorf("not an operation: type, process and a time in nanoseconds are expected")
	}
	var value, key, result, why, f, client, node Value
	for _, p := range []struct {
		to   *Value
		from json.RawMessage
	}{{&value, l.Value}, {&key, l.Key}, {&result, l.Result}, {&why, l.Error}, {&f, l.F}, {&client, l.Client}, {&node, l.Node}} {
		if p.from == nil {
			continue
		}
		if *p.to, err = ParseValue(p.from); err != nil {
			return err
		}
	}
	*last = max(*last, time.Duration(at))
	outcome := Outcome(Value(l.Type).Text())
	i, isOpen := open[process]
	switch {
	case outcome == "invoke" && isOpen:
		return fmt.Errorf("process %d invokes an operation, and has not completed its last one", process)
	case outcome == "invoke":
		open[process] = len(*ops)
		*ops = append(*ops, Op{Index: len(*ops), Process: process, Client: client.Text(), Node: node.Text(), F: f.Text(),
			Key: key, Value: value, Invoked: time.Duration(at)})
		return nil
	case outcome != OK && outcome != Fail && outcome != Info:
		return fmt.Errorf("type is %s, expected invoke, ok, fail or info", quote(string(outcome)))
	case !isOpen:
		return fmt.Errorf("process %d completes an operation, and has invoked none", process)
	}
	o := &(*ops)[i]
	if time.Duration(at) < o.Invoked {
		return fmt.Errorf("time is %d, before %d, when the operation was invoked", at, o.Invoked)
	}
	delete(open, process)
	o.Outcome, o.Error, o.Completed, o.Open = outcome, why.Text(), time.Duration(at), l.Open && outcome == Info
	if outcome == OK {
		if o.Result = result; result.IsNone() {
			o.Result = told(o.Value, value)
		}
	}
	return nil
}
