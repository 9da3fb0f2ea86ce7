package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// Args are the arguments of an OSC message. In the log a number, string,
// boolean or null stands as itself, bytes as {"blob": base64}, a float that
// JSON cannot write, and any other OSC type, as {"osc": its text}. Read back, a
// whole number is an int32 where it fits, else an int64, any other a float32.
type Args []any

// Exact reports whether the arguments come back from the log as they were.
func (a Args) Exact() bool {
	for _, v := range a {
		switch v := v.(type) {
		case nil, bool, int32, []byte:
		case int64:
			if v == int64(int32(v)) {
				return false
			}
		case string:
			if !utf8.ValidString(v) {
				return false
			}
		case float32:
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) || f == math.Trunc(f) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// UnmarshalJSON decodes the arguments from the log.
func (a *Args) UnmarshalJSON(data []byte) error {
	var in []any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	if in == nil {
		*a = nil
		return nil
	}
	for i, v := range in {
		switch v := v.(type) {
		case json.Number:
			n, err := number(string(v))
			if err != nil {
				return err
			}
			in[i] = n
		case map[string]any:
			text, ok := v["blob"].(string)
			if blob, err := base64.StdEncoding.DecodeString(text); ok && err == nil && len(v) == 1 {
				in[i] = blob
			}
		}
	}
	*a = in
	return nil
}

// number is an argument that stands as a number.
func number(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n == int64(int32(n)) {
			return int32(n), nil
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 32)
	if err == nil {
		return float32(f), nil
	}
	// Of 64 bits, beside which the message's packet stands.
	return strconv.ParseFloat(text, 64)
}

// MarshalJSON encodes the arguments for the log.
func (a Args) MarshalJSON() ([]byte, error) {
	out := make([]any, len(a))
	for i, v := range a {
		out[i] = plain(v)
	}
	return exact.Marshal(out)
}

func plain(v any) any {
	switch v := v.(type) {
	case nil, bool, int32, int64, map[string]any:
		return v
	case string:
		if utf8.ValidString(v) {
			return v
		}
		return map[string]string{"osc": strconv.QuoteToASCII(v)}
	case []byte:
		return map[string]string{"blob": base64.StdEncoding.EncodeToString(v)}
	case float32:
		return finite(float64(v), v)
	case float64:
		return finite(v, v)
	}
	return map[string]string{"osc": fmt.Sprintf("%T(%v)", v, v)}
}

func finite(f float64, v any) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return map[string]string{"osc": fmt.Sprint(v)}
	}
	return v
}
