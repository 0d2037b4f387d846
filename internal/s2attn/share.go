package s2attn

import (
	"fmt"
	"math/big"
	"regexp"
)

// Share is the part of a run's steps, its last ones, that attend fully: an exact number from 0 to 1. The zero value is
// 0.
type Share struct{ of big.Rat }

// decimal is how a share and a group are written: big.Rat alone would read 1/4 and 0x1p-2 too.
var decimal = regexp.MustCompile(`^\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// ParseShare reads a decimal number from 0 to 1 as it is written, not as the float next to it.
func ParseShare(s string) (f Share, err error) {
	ok := decimal.MatchString(s)
	if ok {
		_, ok = f.of.SetString(s)
	}
	if !ok || f.of.Cmp(big.NewRat(1, 1)) > 0 {
		return Share{}, fmt.Errorf("not a decimal number from 0 to 1, as 0.125")
	}
	return f, nil
}

// Last is how many of n steps attend fully: the last ⌈F·n⌉.
func (f *Share) Last(n int) int {
	x := new(big.Rat).Mul(&f.of, new(big.Rat).SetInt64(int64(n)))
	up := new(big.Int).Sub(x.Denom(), big.NewInt(1))
	return int(up.Add(up, x.Num()).Quo(up, x.Denom()).Int64())
}

// None reports whether every step attends as the first.
func (f *Share) None() bool { return f.of.Sign() == 0 }

// String is the share as a decimal number, the same for all ways of writing it.
func (f *Share) String() string {
	digits, _ := f.of.FloatPrec()
	return f.of.FloatString(digits)
}
