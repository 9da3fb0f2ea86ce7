package builtins

import (
	"fmt"
	"math"

	"go.starlark.net/starlark"

	"github.com/dagon-star/dagon-star/runtime"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// message makes an OSC message of a script's values; types are their type tags,
// or "" for those that the values suggest.
func message(address string, args starlark.Tuple, types string) (*osc.Message, error) {
	if types != "" && len(types) != len(args) {
		return nil, fmt.Errorf("for parameter types: %q has %d type tags for %d arguments", types, len(types), len(args))
	}
	m := osc.NewMessage(address)
	left := osc.MaxTags - len(args)
	for i, v := range args {
		var tag byte
		if types != "" {
			tag = types[i]
		}
		a, err := toOSC(v, tag, 0, &left)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		m.Arguments = append(m.Arguments, a)
	}
	if _, err := osc.Append(nil, m); err != nil {
		return nil, err
	}
	return m, nil
}

// toOSC makes an argument of a value; tag is its type tag, or 0 for the one
// that the value suggests; left is how many elements the message may still have,
// as a small list can hold another many times over.
func toOSC(v starlark.Value, tag byte, depth int, left *int) (any, error) {
	misfit := func() error { return fmt.Errorf("%s %s does not fit type tag %q", v.Type(), shown(v), tag) }
	switch v := v.(type) {
	case starlark.NoneType:
		if tag == 0 || tag == 'N' {
			return nil, nil
		}
		if tag == 'I' {
			return osc.Impulse{}, nil
		}
	case starlark.Bool:
		if tag == 0 || tag == 'T' && bool(v) || tag == 'F' && !bool(v) {
			return bool(v), nil
		}
	case starlark.String:
		switch tag {
		case 0, 's':
			return string(v), nil
		case 'S':
			return osc.Symbol(v), nil
		case 'b':
			return []byte(v), nil
		}
	case starlark.Bytes:
		if tag == 0 || tag == 'b' {
			return []byte(v), nil
		}
	case starlark.Float:
		switch tag {
		case 0, 'f':
			if f := float32(v); !math.IsInf(float64(f), 0) || math.IsInf(float64(v), 0) {
				return f, nil
			}
			return nil, fmt.Errorf("float %s does not fit 32 bits: types = \"d\" sends it in 64", v)
		case 'd':
			return float64(v), nil
		}
	case starlark.Int:
		return intToOSC(v, tag, misfit)
	case *starlark.List, starlark.Tuple:
		if tag != 0 {
			return nil, misfit()
		}
		if depth == osc.MaxDepth {
			return nil, fmt.Errorf("has lists nested over %d deep", osc.MaxDepth)
		}
		if *left -= starlark.Len(v); *left < 0 {
			return nil, fmt.Errorf("the message has over %d values", osc.MaxTags)
		}
		array := osc.Array{}
		for element := range starlark.Elements(v.(starlark.Iterable)) {
			a, err := toOSC(element, 0, depth+1, left)
			if err != nil {
				return nil, err
			}
			array = append(array, a)
		}
		return array, nil
	default:
		return nil, fmt.Errorf("got %s, want None, a bool, int, float, string, bytes or list", v.Type())
	}
	return nil, misfit()
}

func intToOSC(v starlark.Int, tag byte, misfit func() error) (any, error) {
	n, ok := v.Int64()
	u, unsigned := v.Uint64()
	small := ok && n >= math.MinInt32 && n <= math.MaxInt32
	switch {
	case (tag == 0 || tag == 'i') && small:
		return int32(n), nil
	case (tag == 0 || tag == 'h') && ok:
		return n, nil
	case (tag == 'f' || tag == 'd') && !math.IsInf(float64(v.Float()), 0):
		return toOSC(v.Float(), tag, 0, nil)
	case tag == 't' && unsigned:
		return osc.Timetag(u), nil
	case tag == 'c' && small:
		return osc.Char(n), nil
	case tag == 'r' && unsigned && u <= math.MaxUint32:
		return osc.RGBA(u), nil
	case tag == 0:
		return nil, fmt.Errorf("int %s does not fit 64 bits", shown(v))
	}
	return nil, misfit()
}

// fromOSC makes a value of an argument.
func fromOSC(a any) starlark.Value {
	switch a := a.(type) {
	case nil:
		return starlark.None
	case bool:
		return starlark.Bool(a)
	case int32:
		return starlark.MakeInt(int(a))
	case int64:
		return starlark.MakeInt64(a)
	case float32:
		return starlark.Float(a)
	case float64:
		return starlark.Float(a)
	case string:
		return starlark.String(a)
	case osc.Symbol:
		return starlark.String(a)
	case []byte:
		return starlark.Bytes(a)
	case osc.Timetag:
		return starlark.MakeUint64(uint64(a))
	case osc.Char:
		return starlark.MakeInt(int(a))
	case osc.RGBA:
		return starlark.MakeUint64(uint64(a))
	case osc.MIDI:
		return starlark.Bytes(a[:])
	case osc.Impulse:
		return starlark.None
	case osc.Array:
		t := make(starlark.Tuple, len(a))
		for i, v := range a {
			t[i] = fromOSC(v)
		}
		return t
	}
	return starlark.String(fmt.Sprint(a))
}

// messageValue is a message as a script has it.
func (h *Host) messageValue(node string, m runtime.Message) starlark.Value {
	return frozenStruct("message", starlark.StringDict{
		"address": starlark.String(m.Address),
		"args":    fromOSC(osc.Array(m.Args)),
		"node":    &nodeValue{host: h, name: node},
		"t":       starlark.Float(m.T.Seconds()),
	})
}
