// Package quant decodes matrices that are stored in fewer bits.
//
// NF4 is bitsandbytes' (0.50; QLoRA, arXiv 2305.14314): element e of the matrix, counted row-major, has a code of 4
// bits, and its value is Map[code]·factor in float32, rounded to the matrix's type. The factor is its block's Absmax;
// with double quantisation that is a code too, and the factor NestedMap[code]·NestedAbsmax + Offset, product and sum
// each rounded to float32.
package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"longlora/internal/tensor"
)

// Decode fills dst with the values of a matrix from element lo on.
func Decode(dst []float32, s tensor.Stored, lo int) {
	if s.Format.Code != tensor.NF4 {
		panic("quant: decoding " + s.Format.String())
	}
	var values [16]float32
	block := -1
	for i := range dst {
		e := lo + i
		if b := e / s.Format.Block; b != block {
			block = b
			blockValues(&values, s, b)
		}
		c := s.Data[e/2]
		if e%2 == 0 {
			c >>= 4
		}
		dst[i] = values[c&15]
	}
}

// blockValues are the 16 values that elements of block b may have.
func blockValues(values *[16]float32, s tensor.Stored, b int) {
	f := factor(s, b)
	for c := range values {
		values[c] = round(float32(float(s.Scales.Map, c)*f), s.Format.Type)
	}
}

// factor is that of block b.
func factor(s tensor.Stored, b int) float32 {
	if s.Format.Nested == 0 {
		return float(s.Scales.Absmax, b)
	}
	// the conversion keeps product and sum from being fused
	return float32(float(s.Scales.NestedMap, int(s.Scales.Absmax[b]))*float(s.Scales.NestedAbsmax, b/s.Format.Nested)) +
		s.Scales.Offset
}

func float(b []byte, i int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])) }

// round is x rounded to a type.
func round(x float32, d tensor.DType) float32 {
	switch d {
	case tensor.F32:
		return x
	case tensor.BF16:
		return tensor.BF16ToF32(tensor.F32ToBF16(x))
	case tensor.F16:
		return tensor.F16ToF32(tensor.F32ToF16(x))
	}
	panic(fmt.Sprintf("quant: values of type %s", d))
}
