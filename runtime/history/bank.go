package history

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// BankOptions are what is promised of a bank.
type BankOptions struct {
	Total         Value // what all balances sum to; None means that of the first read of a key
	AllowNegative bool  // a balance may be below zero
}

// Bank looks at what was read of banks, one for each key, of which transfers move the
// money: every read sums to the total, and no balance is below zero. Operations called
// "read" return an object, account to balance, or a list of balances; of others it is
// looked at only whether one was acknowledged, and when. Balances are numbers, or texts
// that are; they are summed up exactly.
//
// A read of no accounts sums to zero. It is "empty", a note, where that is the total, and
// where no total is given and it had begun before a read that has accounts was complete:
// the bank may not have been opened yet.
//
// The groups are "wrong total", "negative" and "no balance". It is Unknown where no
// read was compared with a total, as one that gives it is not; where there are transfers,
// and no such read was complete after one that is OK had begun; and where Total is no
// number.
func Bank(ops Ops, o BankOptions) *Result {
	r := &Result{Checker: "check_bank"}
	c := banks{BankOptions: o, of: map[Value]*bank{}}
	for _, name := range []string{"wrong total", "negative", "no balance"} {
		c.groups = append(c.groups, Group{Name: name, Bad: true})
	}
	c.groups = append(c.groups, Group{Name: "empty"})
	if !o.Total.IsNone() && !c.total.add(o.Total) {
		r.Summary = fmt.Sprintf("the total is %s, which is no number", quote(o.Total.Text()))
		return r.judge(false)
	}
	transfers, acked, moved := 0, false, time.Duration(0) // moved is when the first that is OK began
	for i := range ops {
		if op := &ops[i]; op.F != "read" {
			transfers++
			if op.Outcome == OK && (!acked || op.Invoked < moved) {
				acked, moved = true, op.Invoked
			}
		}
	}
	reads, bad, compared, shown := 0, 0, 0, false
	for i := range ops {
		op := &ops[i]
		if op.F != "read" || op.Outcome != OK || op.Returned().IsNone() {
			continue
		}
		reads++
		isBad, isCompared := c.read(op)
		if isBad {
			bad++
		}
		if isCompared {
			compared++
			shown = shown || transfers == 0 || acked && op.Completed >= moved
		}
	}
	for _, g := range c.groups {
		r.add(g)
	}
	r.Summary = fmt.Sprintf("%s of %s %s not of a sound bank", thousands(bad), counted(reads, "read"), plural(bad, "is", "are"))
	switch {
	case reads == 0:
		r.Summary = "no read is ok"
	case bad > 0:
	case transfers > 0 && !acked:
		r.Summary = fmt.Sprintf("of %s none is OK", counted(transfers, "transfer"))
	case len(c.groups[empty].Points) == reads:
		r.Summary = fmt.Sprintf("no account was read: %s %s empty", counted(reads, "read"), plural(reads, "is", "are"))
	case compared == 0:
		r.Summary = fmt.Sprintf("no total is given, and %s second read to compare with the first: give total=, or read more",
			plural(len(c.of), "there is no", "no key has a"))
	case !shown:
		r.Summary = "every read was complete before the first transfer that is OK began"
	case !o.Total.IsNone() || len(c.of) == 1:
		r.Summary = fmt.Sprintf("%s %s to %s", counted(reads, "read"), plural(reads, "sums", "sum"), c.last.String())
	default:
		r.Summary = fmt.Sprintf("%s of %s sum to the total of each", counted(reads, "read"), counted(len(c.of), "bank"))
	}
	return r.judge(shown)
}

// banks is a check of banks under way.
type banks struct {
	BankOptions
	total  sum // the given one
	of     map[Value]*bank
	last   *sum    // the total that was compared with last
	groups []Group // by their numbers
}

// The groups of a bank.
const (
	wrongTotal = iota
	negative
	noBalance
	empty
)

// bank is what is known of a bank.
type bank struct {
	total sum
	known bool
	since time.Duration // when a read that has accounts was complete, where known by a read
}

func (c *banks) at(key Value) *bank {
	if key.IsNone() {
		key = None
	}
	b := c.of[key]
	if b == nil {
		b = &bank{total: c.total, known: !c.Total.IsNone(), since: math.MinInt64}
		c.of[key] = b
	}
	return b
}

// add adds what is told of a read.
func (c *banks) add(group int, op *Op, element, detail string, args ...any) {
	g := &c.groups[group]
	if len(g.Points) == 0 {
		detail = fmt.Sprintf(detail, args...)
	} else {
		detail = "read"
	}
	g.Points = append(g.Points, Point{Element: element, Op: op, At: op.Completed, Detail: detail})
}

// read looks at a read that returned something.
func (c *banks) read(op *Op) (isBad, isCompared bool) {
	v := op.Returned()
	accounts, balances, ok := v.entries()
	if !ok {
		balances, ok = v.List()
	}
	if !ok {
		balances = []Value{v}
	}
	var s sum
	isWhole := ok
	for n, b := range balances {
		account := strconv.Itoa(n + 1)
		if accounts != nil {
			account = accounts[n]
		}
		switch {
		case !ok || b.IsNone() || !s.add(b):
			c.add(noBalance, op, b.Text(), "read of account %s", clipped(account))
			isBad, isWhole = true, false
		case !c.AllowNegative && isNegative(b.Text()):
			c.add(negative, op, b.Text(), "read of account %s", clipped(account))
			isBad = true
		}
	}
	if !isWhole {
		return isBad, false
	}
	b := c.at(op.Key)
	if len(balances) == 0 && (!b.known || op.Invoked <= b.since || s.equals(&b.total)) {
		c.add(empty, op, v.Text(), "read")
		return isBad, false
	}
	if !b.known {
		b.total, b.known, b.since = s, true, op.Completed
		return isBad, false
	}
	if b.since != math.MinInt64 && len(balances) > 0 {
		b.since = min(b.since, op.Completed)
	}
	c.last = &b.total
	if !s.equals(&b.total) {
		c.add(wrongTotal, op, s.String(), "read instead of %s", b.total.String())
		isBad = true
	}
	return isBad, true
}

// isNegative reports whether a number is below zero.
func isNegative(text string) bool {
	if !strings.HasPrefix(text, "-") {
		return false
	}
	x, ok := rational(text)
	return ok && x.Sign() < 0
}

// sum is an exact sum of numbers.
type sum struct {
	n    int64    // where all are whole, and it has not become too large
	more *big.Rat // else the sum; nil
}

// add adds a number; ok is false where it is none.
func (s *sum) add(v Value) (ok bool) {
	text := v.Text()
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && s.more == nil {
		if next := s.n + n; next > s.n == (n > 0) {
			s.n = next
			return true
		}
	}
	x, ok := rational(text)
	if !ok {
		return false
	}
	s.more = x.Add(x, s.rat())
	return true
}

// rational is a number of any kind; one with an exponent is as a float of 64 bits.
func rational(text string) (*big.Rat, bool) {
	if len(text) == 0 || len(text) > 64 || strings.Trim(text, "0123456789.-+eE") != "" {
		return nil, false
	}
	if strings.ContainsAny(text, "eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, false
		}
		return new(big.Rat).SetFloat64(f), true
	}
	return new(big.Rat).SetString(text)
}

func (s *sum) rat() *big.Rat {
	if s.more != nil {
		return s.more
	}
	return new(big.Rat).SetInt64(s.n)
}

func (s *sum) equals(t *sum) bool {
	if s.more == nil && t.more == nil {
		return s.n == t.n
	}
	return s.rat().Cmp(t.rat()) == 0
}

// String is the sum as a decimal, of at most twenty places.
func (s *sum) String() string {
	if s.more == nil {
		return strconv.FormatInt(s.n, 10)
	}
	places, _ := s.more.FloatPrec()
	return s.more.FloatString(min(places, 20))
}
