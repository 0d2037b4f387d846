package optest

import (
	"encoding/binary"
	"math"

	"longlora/internal/tensor"
)

// Elements are converted here by arithmetic on their values, not by package tensor: backends that convert with it are
// judged by something else than themselves.

// half is a 16-bit float: bits of its fraction, the bias of its exponent.
type half struct{ fraction, bias int }

// halfOf describes BF16 and F16.
func halfOf(d tensor.DType) half {
	switch d {
	case tensor.BF16:
		return half{7, 127}
	case tensor.F16:
		return half{10, 15}
	}
	panic("optest: values of type " + d.String())
}

// round is the nearest value, ties to even; beyond half a step above the largest an infinity.
func (h half) round(x float64) float64 {
	u := math.Float64bits(x)
	e := int(u>>52&0x7ff) - 1023 // |x| in [2^e, 2^(e+1))
	if x == 0 || x != x {
		return x
	}
	if e < 1-h.bias { // a multiple of the least step
		step := math.Ldexp(1, 1-h.bias-h.fraction)
		return math.RoundToEven(x/step) * step
	}
	rest := 52 - h.fraction
	u += 1<<(rest-1) - 1 + u>>rest&1 // what is carried out of the fraction makes the next power of two
	if y := math.Float64frombits(u >> rest << rest); e <= h.bias && int(u>>52&0x7ff)-1023 <= h.bias {
		return y
	}
	return math.Inf(int(math.Copysign(1, x)))
}

// pattern is the bits of a value that the type has.
func (h half) pattern(x float64) uint16 {
	sign, top := uint16(0), 2*h.bias+1
	if math.Signbit(x) {
		sign = 1 << 15
	}
	switch x = math.Abs(x); {
	case x != x:
		return uint16(top<<h.fraction | 1<<(h.fraction-1))
	case math.IsInf(x, 1):
		return sign | uint16(top<<h.fraction)
	case x < math.Ldexp(1, 1-h.bias): // zero or subnormal
		return sign | uint16(math.Ldexp(x, h.fraction+h.bias-1))
	}
	_, e := math.Frexp(x)
	return sign | uint16((e-2+h.bias)<<h.fraction+int(math.Ldexp(x, h.fraction+1-e)))
}

// value is what a pattern stands for.
func (h half) value(u uint16) float64 {
	e, f, top := int(u&0x7fff)>>h.fraction, int(u)&(1<<h.fraction-1), 2*h.bias+1
	x := math.Ldexp(float64(f+1<<h.fraction), e-h.bias-h.fraction)
	switch {
	case e == top && f > 0:
		return math.NaN()
	case e == top:
		x = math.Inf(1)
	case e == 0:
		x = math.Ldexp(float64(f), 1-h.bias-h.fraction)
	}
	if u>>15 == 1 {
		return -x
	}
	return x
}

// float8 is what a pattern of e4m3fn stands for.
func float8(c byte) float64 {
	e, f := int(c>>3&15), int(c&7)
	x := math.Ldexp(float64(8+f), e-10)
	switch {
	case c&0x7f == 0x7f:
		return math.NaN()
	case e == 0:
		x = math.Ldexp(float64(f), -9)
	}
	if c>>7 == 1 {
		return -x
	}
	return x
}

// stored is a value as an element of type d holds it.
func stored(d tensor.DType, x float64) float64 {
	switch d {
	case tensor.F32:
		return float64(float32(x))
	case tensor.BF16, tensor.F16:
		return halfOf(d).round(x)
	}
	return x
}

// encode gives values as the bytes of elements of type d, rounded where it does not have them.
func encode(d tensor.DType, v []float64) []byte {
	b := make([]byte, 0, len(v)*d.Size())
	for _, x := range v {
		switch d {
		case tensor.F32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
		case tensor.F64:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		case tensor.I32:
			b = binary.LittleEndian.AppendUint32(b, uint32(int32(x)))
		default:
			h := halfOf(d)
			b = binary.LittleEndian.AppendUint16(b, h.pattern(h.round(x)))
		}
	}
	return b
}

// decode is the inverse of encode.
func decode(d tensor.DType, b []byte) []float64 {
	v := make([]float64, len(b)/d.Size())
	for i := range v {
		switch d {
		case tensor.F32:
			v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		case tensor.F64:
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		case tensor.I32:
			v[i] = float64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		default:
			v[i] = halfOf(d).value(binary.LittleEndian.Uint16(b[2*i:]))
		}
	}
	return v
}
