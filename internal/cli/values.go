package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/s2attn"
)

// powers are what a letter behind a number multiplies it by, for tokens and bytes alike.
var powers = map[byte]int{'k': 10, 'm': 20, 'g': 30, 't': 40}

// scaled splits 32k into 32 and 2^10. The letter may be small or large.
func scaled(s string) (number string, scale float64) {
	if n := len(s); n > 0 {
		if p, ok := powers[s[n-1]|0x20]; ok {
			return strings.TrimSpace(s[:n-1]), float64(int64(1) << p)
		}
	}
	return s, 1
}

// parseBytes reads a size: a number of bytes, or of the powers of 1024 as 24G, 24GB or 24GiB, which are the same.
func parseBytes(s string) (n int64, ok bool) {
	num := strings.TrimSpace(s)
	if n := len(num); n > 0 && num[n-1]|0x20 == 'b' {
		num = strings.TrimSpace(num[:n-1])
		if n := len(num); n > 1 && num[n-1]|0x20 == 'i' { // the i of GiB, which must have its letter before it
			if _, ok := powers[num[n-2]|0x20]; ok {
				num = num[:n-1]
			}
		}
	}
	num, unit := scaled(num)
	x, err := parseReal(num)
	if err != nil || !(x > 0) || x*unit > 1<<60 || x*unit < 1 {
		return 0, false
	}
	return int64(x * unit), true
}

// parseTokens reads a count of tokens: 32768, 32k, or 0.5M where that is whole.
func parseTokens(s string) (int, error) {
	if n, err := parseWhole(s); err == nil {
		return n, nil
	}
	num, unit := scaled(strings.TrimSpace(s))
	x, err := parseReal(num)
	if x *= unit; err != nil || unit == 1 || x != float64(int64(x)) || x > 1<<53 || x < -1<<53 {
		return 0, errTokens
	}
	return int(x), nil
}

var errTokens = errors.New("not a count of tokens such as 32768 or 32k")

// decimal is a number without the zeros before it, which would be read as the sign of another base: 010 is ten,
// whatever C and YAML 1.1 say, and 0x10 no number.
func decimal(s string) string {
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	if d := strings.TrimLeft(s, "0"); d != "" || s == "" {
		return sign + d
	}
	return sign + "0"
}

func parseWhole(s string) (int, error) {
	n, err := strconv.ParseInt(decimal(s), 0, 64)
	return int(n), err
}

// errTiny is of a number nearer to 0 than any float64 but 0 itself, which would stand in its place without a word.
var errTiny = errors.New("too small a number: it would be read as 0")

// parseReal reads a number that a float64 can hold.
func parseReal(s string) (float64, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err == nil && x == 0 && strings.ContainsAny(digits(s), "123456789abcdef") {
		return 0, errTiny
	}
	return x, err
}

// digits are those of a number, in small letters, without its exponent.
func digits(number string) string {
	number = strings.ToLower(number)
	mark := "e"
	if strings.Contains(number, "0x") {
		mark = "p" // there e is a digit
	}
	d, _, _ := strings.Cut(number, mark)
	return d
}

func parseSeed(s string) (uint64, error) { return strconv.ParseUint(decimal(s), 0, 64) }

// numeral is an option that is a whole number, in the spelling that parse reads.
type numeral[T int | uint64] struct {
	n     T
	kind  string
	parse func(string) (T, error)
}

func (x *numeral[T]) String() string { return fmt.Sprint(x.n) }

func (x *numeral[T]) Type() string { return x.kind }

func (x *numeral[T]) Set(s string) error {
	n, err := x.parse(s)
	if err == nil {
		x.n = n
	}
	return err
}

// float is an option that is a number.
type float float64

func (x *float) String() string { return strconv.FormatFloat(float64(*x), 'g', -1, 64) }

func (x *float) Type() string { return "float64" }

func (x *float) Set(s string) error {
	n, err := parseReal(s)
	if err == nil {
		*x = float(n)
	}
	return err
}

// tokensList is an option of several counts of tokens.
type tokensList struct {
	list  *[]int
	given bool // the first value takes the place of the default, later ones are added
}

func (t *tokensList) String() string { return "[" + strings.Join(t.GetSlice(), ",") + "]" }

func (t *tokensList) Type() string { return "tokensList" }

func (t *tokensList) Set(s string) error {
	old := t.GetSlice()
	if !t.given {
		old, t.given = nil, true
	}
	return t.Replace(append(old, splitList(s)...))
}

// Append adds a value.
func (t *tokensList) Append(s string) error { return t.Replace(append(t.GetSlice(), s)) }

// Replace sets all values.
func (t *tokensList) Replace(parts []string) error {
	var out []int
	for _, s := range parts {
		n, err := parseTokens(s)
		if err != nil {
			return err
		}
		out = append(out, n)
	}
	*t.list = out
	return nil
}

// GetSlice returns the values as they are written.
func (t *tokensList) GetSlice() []string {
	var out []string
	for _, n := range *t.list {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// Unfit says why an option does not take a value, in the words of what it wants instead of the parser's.
func Unfit(f *pflag.Flag, err error) string {
	if errors.Is(err, strconv.ErrRange) {
		return "too large a number"
	}
	if errors.Is(err, errTiny) {
		return err.Error()
	}
	switch f.Value.Type() {
	case "int":
		return "not a whole number"
	case "uint64":
		return "not a whole number from 0 on"
	case "float64", "rate":
		return "not a number"
	case "bool":
		return "neither true nor false"
	}
	return fmt.Sprint(err)
}

// choice is an option of what becomes of sliding windows.
type choice s2attn.Choice

func (c *choice) String() string { return s2attn.Choice(*c).String() }

func (c *choice) Type() string { return "window" }

func (c *choice) Set(s string) error {
	switch s {
	case "keep":
		*c = choice(s2attn.Keep)
		return nil
	case "off":
		*c = choice(s2attn.Off)
		return nil
	}
	n, err := parseTokens(s)
	if err != nil || n < 1 || n > s2attn.MostWindow {
		return errors.New("not keep, off or a count of tokens from 1 to 2^31, such as 4096 or 4k")
	}
	*c = choice(n)
	return nil
}

// rate is an option of a learning rate; nil is auto.
type rate struct{ x *float64 }

func (r *rate) String() string {
	if r.x == nil {
		return "auto"
	}
	return strconv.FormatFloat(*r.x, 'g', -1, 64)
}

func (r *rate) Type() string { return "rate" }

func (r *rate) Set(s string) error {
	if s == "auto" {
		r.x = nil
		return nil
	}
	x, err := parseReal(s)
	if err == nil {
		r.x = &x
	}
	return err
}
