package history

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// BankOptions are what is promised of a bank.
type BankOptions struct {
	Total         Value // what all balances sum to; None means that of the first read
	AllowNegative bool  // a balance may be below zero
}

// Bank looks at what was read of a bank, of which transfers move the money: every read
// sums to the total, and no balance is below zero. Operations called "read" return an
// object, account to balance, or a list of balances; of others it is looked at only
// whether one was acknowledged. Balances are numbers, or texts that are; they are summed
// up exactly.
//
// The groups are "wrong total", "negative" and "no balance". It is Unknown where
// nothing was read, where there are transfers and none was acknowledged, and where Total
// is no number.
func Bank(ops Ops, o BankOptions) *Result {
	r := &Result{Checker: "check_bank"}
	var total sum
	isKnown := !o.Total.IsNone()
	if isKnown && !total.add(o.Total) {
		r.Summary = fmt.Sprintf("the total is %s, which is no number", quote(o.Total.Text()))
		return r.judge(false)
	}
	wrong, negative, none := Group{Name: "wrong total", Bad: true}, Group{Name: "negative", Bad: true}, Group{Name: "no balance", Bad: true}
	add := func(to *Group, op *Op, element, detail string, args ...any) {
		if len(to.Points) == 0 {
			detail = fmt.Sprintf(detail, args...)
		} else {
			detail = "read"
		}
		to.Points = append(to.Points, Point{Element: element, Op: op, At: op.Completed, Detail: detail})
	}
	reads, bad := 0, 0
	transfers, acked := 0, false
	for i := range ops {
		op := &ops[i]
		v := op.Returned()
		if op.F != "read" {
			transfers++
			acked = acked || op.Outcome == OK
			continue
		}
		if op.Outcome != OK || v.IsNone() {
			continue
		}
		reads++
		accounts, balances, ok := v.entries()
		if !ok {
			balances, ok = v.List()
		}
		if !ok {
			balances = []Value{v}
		}
		var s sum
		isBad, isWhole := false, ok
		for n, b := range balances {
			account := strconv.Itoa(n + 1)
			if accounts != nil {
				account = accounts[n]
			}
			switch {
			case !ok || b.IsNone() || !s.add(b):
				add(&none, op, b.Text(), "read of account %s", clipped(account))
				isBad, isWhole = true, false
			case !o.AllowNegative && strings.HasPrefix(b.Text(), "-") && strings.ContainsAny(b.Text(), "123456789"):
				add(&negative, op, b.Text(), "read of account %s", clipped(account))
				isBad = true
			}
		}
		if !isKnown && isWhole {
			total, isKnown = s, true
		}
		if isWhole && !s.equals(&total) {
			add(&wrong, op, s.String(), "read instead of %s", total.String())
			isBad = true
		}
		if isBad {
			bad++
		}
	}
	r.add(wrong)
	r.add(negative)
	r.add(none)
	r.Summary = fmt.Sprintf("%s of %s %s not of a sound bank", thousands(bad), counted(reads, "read"), plural(bad, "is", "are"))
	switch {
	case reads == 0:
		r.Summary = "no read is OK"
	case bad == 0 && transfers > 0 && !acked:
		r.Summary = fmt.Sprintf("of %s none is OK", counted(transfers, "transfer"))
	case bad == 0:
		r.Summary = fmt.Sprintf("%s %s to %s", counted(reads, "read"), plural(reads, "sums", "sum"), total.String())
	}
	return r.judge(reads > 0 && (transfers == 0 || acked))
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
