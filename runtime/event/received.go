package event

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// Messages are most of a long log. What is here writes and reads the same lines as
// encoding/json does, without reflection; whatever is not plain is left to that.

// append appends the fields of the message and the end of its line.
func (d Received) append(dst []byte) ([]byte, error) {
	dst, err := exact.AppendString(append(dst, `"address":`...), d.Address)
	if err != nil {
		return nil, err
	}
	dst = append(dst, `,"args":[`...)
	for i, v := range d.Args {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch v := v.(type) {
		case int32:
			dst = strconv.AppendInt(dst, int64(v), 10)
		case int64:
			dst = strconv.AppendInt(dst, v, 10)
		case string:
			if !exact.IsPlain(v) {
				if dst, err = appendValue(dst, plain(v)); err != nil {
					return nil, err
				}
				continue
			}
			dst = append(append(append(dst, '"'), v...), '"')
		default:
			if dst, err = appendValue(dst, plain(v)); err != nil {
				return nil, err
			}
		}
	}
	dst = append(dst, ']')
	if len(d.Packet) > 0 {
		dst = append(dst, `,"packet":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, d.Packet), '"')
	}
	return append(dst, '}'), nil
}

func appendValue(dst []byte, v any) ([]byte, error) {
	value, err := exact.Marshal(v)
	return append(dst, value...), err
}

// parseReceived reads the line of a message as append has written it; false where it
// is another line, or not plain.
func parseReceived(line []byte) (e Event, ok bool) {
	p := plainLine{line, true}
	p.token(`{"seq":`)
	seq := p.integer()
	p.token(`,"t":`)
	p.ok = p.ok && !bytes.HasPrefix(p.rest, []byte("-")) // -0 is none to an integer
	seconds := p.integer()
	p.token(".")
	micros := p.micros()
	p.token(`,"kind":"received","node":`)
	node := p.text()
	p.token(`,"address":`)
	address := p.text()
	p.token(`,"args":[`)
	args := p.args()
	if !p.ok || seconds < 0 || seconds > math.MaxInt64/int64(time.Second)-1 {
		return e, false
	}
	d := Received{Address: string(address), Args: args}
	if string(p.rest) != "}" {
		p.token(`,"packet":`)
		packet := p.text()
		p.token("}")
		var err error
		d.Packet, err = base64.StdEncoding.DecodeString(string(packet))
		if !p.ok || err != nil || len(d.Packet) == 0 || len(p.rest) > 0 {
			return e, false
		}
	}
	t := time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond
	return Event{Seq: seq, T: t, Node: string(node), Detail: d}, true
}

// plainLine is a line that is being read; ok is false once it is not as expected.
type plainLine struct {
	rest []byte
	ok   bool
}

func (p *plainLine) token(want string) {
	if !p.ok || len(p.rest) < len(want) || string(p.rest[:len(want)]) != want {
		p.ok = false
		return
	}
	p.rest = p.rest[len(want):]
}

// micros reads six digits.
func (p *plainLine) micros() (n int64) {
	for range 6 {
		if !p.ok || len(p.rest) == 0 || p.rest[0] < '0' || p.rest[0] > '9' {
			p.ok = false
			return 0
		}
		n = 10*n + int64(p.rest[0]-'0')
		p.rest = p.rest[1:]
	}
	return n
}

// integer reads a number without a fraction, of at most 18 digits.
func (p *plainLine) integer() (n int64) {
	i, negative := 0, false
	if len(p.rest) > 0 && p.rest[0] == '-' {
		i, negative = 1, true
	}
	first := i
	for ; i < len(p.rest) && p.rest[i] >= '0' && p.rest[i] <= '9'; i++ {
		if i-first == 18 {
			p.ok = false
			return 0
		}
		n = 10*n + int64(p.rest[i]-'0')
	}
	if i == first || i > first+1 && p.rest[first] == '0' {
		p.ok = false
		return 0
	}
	p.rest = p.rest[i:]
	if negative {
		return -n
	}
	return n
}

// text reads a string without escapes, which is good as long as the line is.
func (p *plainLine) text() []byte {
	p.token(`"`)
	end := bytes.IndexByte(p.rest, '"')
	if !p.ok || end < 0 || !exact.IsPlain(p.rest[:end]) {
		p.ok = false
		return nil
	}
	text := p.rest[:end]
	p.rest = p.rest[end+1:]
	return text
}

// args reads arguments up to their bracket: plain strings, and whole numbers.
func (p *plainLine) args() Args {
	args := Args{}
	for p.ok && len(p.rest) > 0 {
		switch c := p.rest[0]; {
		case c == ']' && len(args) == 0:
			p.rest = p.rest[1:]
			return args
		case c == '"':
			args = append(args, string(p.text()))
		default:
			negative := c == '-'
			n := p.integer()
			if negative && n == 0 { // a float
				p.ok = false
			}
			if n == int64(int32(n)) {
				args = append(args, int32(n))
			} else {
				args = append(args, n)
			}
		}
		if !p.ok || len(p.rest) == 0 {
			break
		}
		switch end := p.rest[0]; end {
		case ']':
			p.rest = p.rest[1:]
			return args
		case ',':
			p.rest = p.rest[1:]
			if len(p.rest) == 0 || p.rest[0] == ']' {
				p.ok = false
			}
		default: // a fraction, for one
			p.ok = false
		}
	}
	p.ok = false
	return nil
}
