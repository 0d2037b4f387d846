package lora

import (
	"math"
	"math/rand/v2"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// What factors do to a matrix of several chunks is W + Scale·B·A, and with DoRA its rows, of an embedding its columns, have
// the lengths given (arXiv 2402.09353, eq. 5): whole, and in pieces of any rows.
func TestChangeIsTheFormula(t *testing.T) {
	const rows, cols, rank, scale = 700, 601, 3, 0.5 // more than one chunk
	r := rand.New(rand.NewPCG(1, 2))
	normal := func(name string, shape ...int) ckpt.Tensor {
		v := make([]float32, tensor.Shape(shape).Elems())
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return ckpt.FromFloats(name, shape, v)
	}
	w, a, b := normal("w", rows, cols), normal("a", rank, cols), normal("b", rows, rank)
	sum, av, bv := make([]float64, rows*cols), a.Floats(), b.Floats()
	for i, x := range w.Floats() {
		sum[i] = float64(x)
		for k := range rank {
			sum[i] += scale * float64(bv[i/cols*rank+k]) * float64(av[k*cols+i%cols])
		}
	}
	for what, c := range map[string]struct {
		f    ckpt.Factors
		line func(i int) int // the row or column that an element's length is of
	}{
		"factors":   {ckpt.Factors{A: a, B: b, Scale: scale}, nil},
		"rows":      {ckpt.Factors{A: a, B: b, Scale: scale, Magnitude: normal("m", rows)}, func(i int) int { return i / cols }},
		"embedding": {ckpt.Factors{A: transposed(b), B: transposed(a), Scale: scale, Embedding: true, Magnitude: normal("m", cols)}, func(i int) int { return i % cols }},
	} {
		want, m := make([]float32, rows*cols), []float32(nil)
		if c.line != nil {
			m = c.f.Magnitude.Floats()
		}
		length := map[int]float64{}
		for i, x := range sum {
			if c.line != nil {
				length[c.line(i)] += x * x
			}
		}
		for i, x := range sum {
			if c.line != nil {
				x *= float64(m[c.line(i)]) / math.Sqrt(length[c.line(i)])
			}
			want[i] = float32(x)
		}
		change := NewChange(c.f, w)
		if e := testkit.Relative(change.Changed(w).Floats(), want); !(e < 1e-6) {
			t.Errorf("%s: off by %g", what, e)
		}
		pieces := w.Floats()
		for lo := 0; lo < rows; lo += 97 {
			change.Rows(pieces[lo*cols:min(lo+97, rows)*cols], lo, cols)
		}
		if e := testkit.Relative(pieces, want); !(e < 1e-6) {
			t.Errorf("%s, in pieces: off by %g", what, e)
		}
	}
}

// transposed is a matrix (n,k) as (k,n).
func transposed(t ckpt.Tensor) ckpt.Tensor {
	return ckpt.FromFloats(t.Name, tensor.Shape{t.Shape[1], t.Shape[0]}, transpose(t))
}
