package report

import (
	"math"
	"strings"
	"testing"

	"github.com/dagon-star/dagon-star/runtime/event"
	"github.com/dagon-star/dagon-star/runtime/osc"
)

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		args event.Args
		want string
	}{
		{nil, ""},
		{event.Args{"api"}, ""},
		{event.Args{"db"}, ` "db"`},
		{event.Args{"api", int32(1)}, ` "api" 1`},
		{event.Args{int64(-7), float32(1.5), 2.5, true, false, nil, []byte{1, 2}}, " -7 1.5 2.5 True False None <2 bytes>"},
		{event.Args{"a\nb\x1b"}, ` "a\nb\x1b"`},
		{event.Args{strings.Repeat("x", 1000), int32(1)}, ` "` + strings.Repeat("x", 40) + `"… 1`},
		{event.Args{strings.Repeat("é", 41), strings.Repeat("é", 41)}, ` "` + strings.Repeat("é", 40) + `"… "` +
			strings.Repeat("é", 15) + "…"},
		{event.Args{osc.Array{int32(1), "x", osc.Array{}}, "y"}, ` [1 "x" []] "y"`},
		{event.Args{math.Inf(1)}, " +Inf"},
	} {
		if got := MessageText("api", "/m", test.args); got != "m"+test.want {
			t.Errorf("%v is shown as %s, want %s", test.args, got, test.want)
		}
	}
}
