package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// tick is a labelled place on an axis.
type tick struct {
	at    float64
	label string
}

// labelled writes the labels of one axis in one way: plain numbers, or where one is too large or too small for that,
// all as powers of ten.
func labelled(at []float64) (out []tick) {
	powers := false
	for _, v := range at {
		a := math.Abs(v)
		powers = powers || a >= 1e7 || a > 0 && a < 1e-2
	}
	for _, v := range at {
		switch {
		case powers && v != 0:
			out = append(out, tick{v, power(v)})
		default:
			out = append(out, tick{v, number(v)})
		}
	}
	return out
}

// power writes 200 as 2·10² and 1000 as 10³.
func power(v float64) string {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', 2, 64), "e")
	n, _ := strconv.Atoi(exponent)
	ten := "10" + raised.Replace(strconv.Itoa(n))
	switch mantissa = trim(mantissa); mantissa {
	case "1":
		return ten
	case "-1":
		return "-" + ten
	}
	return mantissa + "·" + ten
}

var raised = strings.NewReplacer("0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷",
	"8", "⁸", "9", "⁹", "-", "⁻")

// linear places round values on an axis: multiples of 1, 2 or 5 times a power of ten, three to six of them.
func linear(lo, hi float64) []tick {
	least := (hi - lo) / 5
	step := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*step >= least {
			step *= m
			break
		}
	}
	first := math.Ceil(lo / step)
	var at []float64
	for i := range 7 {
		if v := (first + float64(i)) * step; v <= hi {
			at = append(at, v)
		}
	}
	return labelled(at)
}

// decades places powers of ten on a logarithmic axis, at most six of them, and twice and five times them where those
// are few.
func decades(lo, hi float64) []tick {
	first, last := math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	every := max(1, math.Ceil((last-first)/6))
	var at []float64
	for e := first; e <= last; e++ {
		for _, m := range []float64{1, 2, 5} {
			if m > 1 && hi > 500*lo || math.Mod(e, every) != 0 {
				break
			}
			if v := m * math.Pow(10, e); v >= lo && v <= hi {
				at = append(at, v)
			}
		}
	}
	if len(at) == 0 {
		return linear(lo, hi)
	}
	return labelled(at)
}

// given places the values given.
func given(at []float64, lo, hi float64) []tick {
	vs := slices.Clone(at)
	for len(vs) > 7 { // labels would touch; the longest stays
		for i := len(vs) - 2; i >= 0; i -= 2 {
			vs = slices.Delete(vs, i, i+1)
		}
	}
	return labelled(slices.DeleteFunc(vs, func(v float64) bool { return v < lo || v > hi }))
}

// number writes a value in a few digits, or whole with its thousands parted; what is too large or too small for that as
// a power of ten.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 1e7 || a > 0 && a < 1e-2:
		return power(v)
	case a >= 1000:
		return thousands(int64(math.Round(v)))
	}
	return trim(strconv.FormatFloat(v, 'f', decimals(a), 64))
}

// brief writes a value as number does, in four digits where it is not whole.
func brief(v float64) string {
	if a := math.Abs(v); a >= 1e-2 && a < 1000 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return number(v)
}

func decimals(a float64) int {
	switch {
	case a >= 100:
		return 1
	case a >= 10:
		return 2
	case a >= 1:
		return 3
	}
	return 5
}

func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// thousands writes 16384 as 16,384.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
