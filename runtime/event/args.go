package event

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/exact"
)

// Args are the arguments of an OSC message. In the log a number, string,
// boolean or null stands as itself, bytes as {"blob": base64}, a float that
// JSON cannot write, and any other OSC type, as {"osc": its text}.
type Args []any

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
