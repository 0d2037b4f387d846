// Package quant encodes and decodes matrices that are stored in fewer bits.
//
// NF4 is bitsandbytes' (0.50.2; QLoRA, arXiv 2305.14314): element e of the matrix, counted row-major, has a code of 4
// bits, and its value is Map[code]·factor in float32, rounded to the matrix's type. The factor is its block's Absmax;
// with double quantisation that is a code too, and the factor NestedMap[code]·NestedAbsmax + Offset, product and sum
// each rounded to float32.
//
// FP8 is e4m3fn with a factor a row: element e has a code of 8 bits, and its value is that float times its row's
// Absmax, rounded once. The factor is the row's largest magnitude over 448, which is the largest that e4m3fn has.
//
// A way of storing is an entry of codecs; one that a user may choose by name is an entry of Kinds besides.
package quant

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"longlora/internal/par"
	"longlora/internal/tensor"
)

// Values are those of a matrix: it fills dst with them from element lo on, counted row-major. Several goroutines may
// call it at a time.
type Values func(dst []float32, lo int)

// codec is how values become what is stored, and back.
type codec struct {
	decode func(dst []float32, s tensor.Stored, lo int)
	encode func(s *tensor.Stored, v Values) bool
}

var codecs = map[tensor.Code]codec{
	tensor.Plain: {decodePlain, encodePlain},
	tensor.NF4:   {decodeNF4, encodeNF4},
	tensor.FP8:   {decodeFP8, encodeFP8},
}

// Kind is a way of storing frozen weights that has a name.
type Kind struct {
	Name   string
	Format func(values tensor.DType) tensor.Format // of a matrix whose values are of this type
	Fewer  bool                                    // in fewer bits than 16, beside which a matrix is not trained
}

// Kinds are all of them.
var Kinds = []Kind{
	{Name: "bf16", Format: func(tensor.DType) tensor.Format { return tensor.Dense(tensor.BF16) }},
	{Name: "fp8", Fewer: true, Format: func(tensor.DType) tensor.Format {
		return tensor.Format{Type: tensor.F32, Code: tensor.FP8}
	}},
	{Name: "nf4", Fewer: true, Format: func(d tensor.DType) tensor.Format {
		return tensor.Format{Type: d, Code: tensor.NF4, Block: 64, Nested: 256}
	}},
}

// Named is the kind of a name; ok is false where there is none.
func Named(name string) (k Kind, ok bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return k, false
	}
	return Kinds[i], true
}

// Decode fills dst with the values of a matrix from element lo on.
func Decode(dst []float32, s tensor.Stored, lo int) { codecOf(s.Format).decode(dst, s, lo) }

// Encode fills a stored matrix, which has its format, its shape and the memory of its parts, with what stands for these
// values. It reports false where one of them is NaN or infinite and has no code.
func Encode(s *tensor.Stored, v Values) bool {
	if err := s.Check(); err != nil {
		panic("quant: " + err.Error())
	}
	return codecOf(s.Format).encode(s, v)
}

func codecOf(f tensor.Format) codec {
	c, ok := codecs[f.Code]
	if !ok {
		panic("quant: " + f.String())
	}
	return c
}

func decodePlain(dst []float32, s tensor.Stored, lo int) {
	tensor.Widen(dst, s.Data[s.Format.Type.Size()*lo:], s.Format.Type)
}

// encodePlain rounds to the type.
func encodePlain(s *tensor.Stored, v Values) bool {
	n := s.Format.Type.Size()
	inParts(s.Shape.Elems(), 1, v, func(part []float32, lo int) {
		tensor.Store(s.Data[n*lo:], part, s.Format.Type)
	})
	return true
}

// chunk is about how many elements a worker takes at a time.
const chunk = 1 << 18

// inParts calls f for parts of n values, each a multiple of `step` elements but for the last, on all cores.
func inParts(n, step int, v Values, f func(part []float32, lo int)) {
	size := max(1, chunk/step) * step
	workers := min(runtime.GOMAXPROCS(0), (n+size-1)/size)
	var group par.Group
	for w := range workers {
		group.Go(func() {
			var room []float32
			for lo := w * size; lo < n; lo += workers * size {
				room = slices.Grow(room[:0], size)[:min(size, n-lo)]
				v(room, lo)
				f(room, lo)
			}
		})
	}
	group.Wait()
}

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

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }
