package quant

import (
	"math"
	"sync/atomic"

	"longlora/internal/tensor"
)

// fp8Most is the largest magnitude that e4m3fn has.
const fp8Most = 448

// fp8Values are the floats of e4m3fn: a sign, 4 bits of an exponent with a bias of 7, 3 bits of a fraction. It has no
// infinities; all exponent and fraction bits set are NaN.
var fp8Values = func() (v [256]float32) {
	for c := range v {
		exp, frac := c>>3&15, c&7
		x := math.Ldexp(float64(8+frac), exp-10)
		switch {
		case c&0x7f == 0x7f:
			x = math.NaN()
		case exp == 0:
			x = math.Ldexp(float64(frac), -9)
		}
		v[c] = float32(math.Copysign(x, float64(1-c>>7*2)))
	}
	return v
}()

func decodeFP8(dst []float32, s tensor.Stored, lo int) {
	cols := s.Shape[1]
	for i := 0; i < len(dst); {
		e := lo + i
		n, f := min(len(dst)-i, cols-e%cols), float(s.Scales.Absmax, e/cols)
		for k, c := range s.Data[e : e+n] {
			dst[i+k] = round(fp8Values[c]*f, s.Format.Type)
		}
		i += n
	}
}

// encodeFP8 takes of each element, divided by its row's factor in float32, the nearest float, ties to even. A row of
// zeros has the factor 1, and no factor is below the least normal float32.
func encodeFP8(s *tensor.Stored, v Values) bool {
	if s.Shape.Elems() == 0 {
		return true
	}
	cols := s.Shape[1]
	var broken atomic.Bool
	inParts(s.Shape.Elems(), cols, v, func(part []float32, lo int) {
		for i := 0; i < len(part); i += cols {
			row := part[i : i+cols]
			most := largest(row)
			if !(most <= math.MaxFloat32) {
				broken.Store(true)
				return
			}
			f := fp8Factor(most)
			putFloat(s.Scales.Absmax, (lo+i)/cols, f)
			for k, x := range row {
				s.Data[lo+i+k] = fp8Code(x / f)
			}
		}
	})
	return !broken.Load()
}

// fp8Factor is what a row whose largest magnitude is `most` is divided by.
func fp8Factor(most float32) float32 {
	if most == 0 {
		return 1
	}
	return max(most/fp8Most, 0x1p-126)
}

// fp8Code is the nearest float of e4m3fn, ties to even, of a finite value that is at most half a step beyond the
// largest.
func fp8Code(x float32) uint8 {
	u := math.Float32bits(x)
	sign, u := uint8(u>>24&0x80), u&0x7fffffff
	if u < 121<<23 { // below 2^-6 floats are multiples of 2^-9, the last bit of a float32 from 2^14 to 2^15
		return sign | uint8(math.Float32bits(math.Float32frombits(u)+0x1p14)-math.Float32bits(0x1p14))
	}
	u += 1<<19 - 1 + u>>20&1
	return sign | uint8(u>>20-120<<3)
}
