package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

// What is shown of a message's arguments, and of one of them, in characters.
const (
	maxArguments = 60
	maxArgument  = 40
)

// MessageText is a message from or to a node as it is shown: its address without the
// slash, and its arguments, unless all that they tell is the node's name.
func MessageText(node, address string, args event.Args) string {
	return strings.TrimPrefix(address, "/") + arguments(node, args)
}

// arguments are those of a message as they are shown after its address; nothing
// where all that it tells is the node's name.
func arguments(node string, args event.Args) string {
	if len(args) == 1 && args[0] == node {
		return ""
	}
	text := strings.Join(argumentWords(args), " ")
	switch {
	case text == "":
		return ""
	case utf8.RuneCountInString(text) > maxArguments:
		return " " + string([]rune(text)[:maxArguments]) + "…"
	}
	return " " + text
}

func argumentWords(args []any) (words []string) {
	for _, a := range args[:min(len(args), maxArguments)] {
		word := ""
		switch a := a.(type) {
		case string:
			if word = fmt.Sprintf("%.*q", maxArgument, a); utf8.RuneCountInString(a) > maxArgument {
				word += "…"
			}
		case []byte:
			word = fmt.Sprintf("<%d bytes>", len(a))
		case osc.Array:
			word = "[" + strings.Join(argumentWords(a), " ") + "]"
		case nil:
			word = "None"
		case bool:
			if word = "False"; a {
				word = "True"
			}
		default:
			word = fmt.Sprint(a)
		}
		words = append(words, word)
	}
	return words
}
