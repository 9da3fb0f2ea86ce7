package output

import (
	"math/rand/v2"
	"regexp"
	"testing"
)

// TestStandingExactly: no line stands of which a group would match more with something of
// a few letters that may follow; and one in fifty of those that might at most does not,
// for a pattern that contradicts itself, or needs more letters.
func TestStandingExactly(t *testing.T) {
	const letters = "ab "
	tails := []string{""}
	for i := 0; len(tails[i]) < 4; i++ {
		for _, c := range letters {
			tails = append(tails, tails[i]+string(c))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	var pattern func(depth int) string
	pattern = func(depth int) string {
		if depth == 0 {
			return []string{"a", "b", " ", "[ab]", ".", ""}[random.IntN(6)]
		}
		x, y := pattern(depth-1), pattern(random.IntN(depth))
		switch random.IntN(8) {
		case 0:
			return "(" + x + "|" + y + ")"
		case 1:
			return "(?:" + x + "|" + y + ")"
		case 2:
			return "(" + x + ")" + y
		case 3:
			return "(?:" + x + ")?" + y
		case 4:
			return "(?:" + x + ")*?" + y
		case 5:
			return "(?:" + x + ")+" + y
		case 6:
			return x + []string{"$", `\b`, "^"}[random.IntN(3)] + y
		}
		return x + y
	}
	stood, waits := map[bool]int{}, 0
	for range 20_000 {
		p := regexp.MustCompile(pattern(3))
		text := ""
		for range random.IntN(5) {
			text += string(letters[random.IntN(len(letters))])
		}
		at := p.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		var by string
		grows := false
		for _, tail := range tails[1:] {
			longer := p.FindStringSubmatchIndex(text + tail)
			for g := 2; g < len(at) && longer != nil && !grows; g += 2 {
				grows = at[g] >= 0 && longer[g] == at[g] && longer[g+1] > at[g+1] || at[g] < 0 && longer[g] >= 0 && longer[0] == at[0]
				by = tail
			}
			if grows {
				break
			}
		}
		got := standing(p, []byte(text))
		stood[got]++
		if got && grows {
			t.Errorf("%q in %q stands, and matches more with %q", p, text, by)
		}
		if !got && !grows {
			waits++
		}
	}
	if stood[true] < 1000 || stood[false] < 500 || waits > stood[true]/50 {
		t.Errorf("it stood %d times, and did not %d times, of which %d in vain", stood[true], stood[false], waits)
	}
}
