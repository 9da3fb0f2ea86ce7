package builtins

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Bounds of shown, in bytes and in levels of nesting.
const (
	shownMax   = 500
	shownDepth = 8
)

// shown is a value as an error shows it: as the language writes it, and cut
// where that is long, without first writing all of it: a value that holds
// others many times over can be small and its text of any length.
func shown(v starlark.Value) string {
	var b strings.Builder
	show(&b, v, 0)
	if b.Len() > shownMax {
		return b.String()[:shownMax] + "…"
	}
	return b.String()
}

// show writes a value, and stops soon after there is more than enough.
func show(b *strings.Builder, v starlark.Value, depth int) {
	within := func(open, shut string, n int, element func(i int)) {
		b.WriteString(open)
		if depth == shownDepth {
			n = 0
			b.WriteString("...")
		}
		for i := 0; i < n && b.Len() <= shownMax; i++ {
			if i > 0 {
				b.WriteString(", ")
			}
			element(i)
		}
		b.WriteString(shut)
	}
	switch v := v.(type) {
	case starlark.String:
		b.WriteString(v[:min(len(v), shownMax)].String())
	case starlark.Bytes:
		b.WriteString(v[:min(len(v), shownMax)].String())
	case *starlark.List, recordList, opList:
		list := v.(starlark.Indexable)
		within("[", "]", list.Len(), func(i int) { show(b, list.Index(i), depth+1) })
	case recordValue:
		b.WriteString("record(payload = ")
		show(b, starlark.String(v.r.Payload), depth+1)
		fmt.Fprintf(b, ", time_us = %d)", v.r.Time)
	case opValue:
		b.WriteString(v.text(shownMax))
	case starlark.Tuple:
		shut := ")"
		if len(v) == 1 {
			shut = ",)"
		}
		within("(", shut, len(v), func(i int) { show(b, v[i], depth+1) })
	case *starlark.Set:
		elements := slices.Collect(v.Elements())
		within("set([", "])", len(elements), func(i int) { show(b, elements[i], depth+1) })
	case *starlark.Dict:
		items := v.Items()
		within("{", "}", len(items), func(i int) {
			show(b, items[i][0], depth+1)
			b.WriteString(": ")
			show(b, items[i][1], depth+1)
		})
	case *starlarkstruct.Struct:
		name, isName := starlark.AsString(v.Constructor())
		if !isName || v.Constructor() != starlarkstruct.Default {
			name = v.Constructor().String()
		}
		fields := v.AttrNames()
		within(name+"(", ")", len(fields), func(i int) {
			field, _ := v.Attr(fields[i])
			b.WriteString(fields[i] + " = ")
			show(b, field, depth+1)
		})
	default:
		b.WriteString(v.String())
	}
}
