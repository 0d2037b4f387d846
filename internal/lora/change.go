package lora

import (
	"math"
	"runtime"
	"slices"

	"longlora/internal/ckpt"
	"longlora/internal/par"
	"longlora/internal/tensor"
)

// Change is what an adapter's factors do to one matrix W (out,in): W + Scale·B·A, and with DoRA (arXiv 2402.09353,
// eq. 5) each row of the sum, of an embedding each column, is brought to the length that the adapter has for it.
type Change struct {
	rank    int
	a, b    []float32 // (R,in), (out,R)
	scale   float32
	lengths []float32 // (out) DoRA's of the rows; nil without
	columns []float32 // (in) what an embedding's columns are multiplied by; nil without
}

// NewChange is the change that the factors make to base, a matrix of the model.
func NewChange(f ckpt.Factors, base ckpt.Tensor) *Change {
	c := &Change{rank: f.Rank(), scale: float32(f.Scale)}
	if f.Embedding {
		c.a, c.b = transpose(f.B), transpose(f.A)
	} else {
		c.a, c.b = f.A.Floats(), f.B.Floats()
	}
	switch {
	case f.Magnitude.Name == "":
	case f.Embedding:
		if f.Full.Name != "" {
			base = f.Full // rows beyond the vocabulary count for the columns' lengths
		}
		c.columns = c.stretch(base, f.Magnitude.Floats())
	default:
		c.lengths = f.Magnitude.Floats()
	}
	return c
}

// transpose are the values of a matrix (n,k) as one (k,n).
func transpose(t ckpt.Tensor) []float32 {
	n, k := t.Shape[0], t.Shape[1]
	v, out := t.Floats(), make([]float32, n*k)
	for i := range n {
		for j := range k {
			out[j*n+i] = v[i*k+j]
		}
	}
	return out
}

// Rows turns rows of W from row r0 on, float32, into the changed ones.
func (c *Change) Rows(v []float32, r0, cols int) {
	c.add(v, r0, cols)
	for i := 0; i < len(v); i += cols {
		row := v[i : i+cols]
		switch {
		case c.lengths != nil:
			f := c.lengths[r0+i/cols] / norm(row)
			for j := range row {
				row[j] *= f
			}
		case c.columns != nil:
			for j, f := range c.columns {
				row[j] *= f
			}
		}
	}
}

// add adds Scale·B·A: the sum over the ranks in float32, in their order.
func (c *Change) add(v []float32, r0, cols int) {
	sum := make([]float32, cols)
	for r := range len(v) / cols {
		clear(sum)
		for k, f := range c.b[(r0+r)*c.rank : (r0+r+1)*c.rank] {
			for j, a := range c.a[k*cols : (k+1)*cols] {
				sum[j] += float32(f * a) // the conversion keeps every platform from fusing the two
			}
		}
		row := v[r*cols : (r+1)*cols]
		for j, x := range sum {
			row[j] += float32(c.scale * x)
		}
	}
}

// norm is the length of a row, added up in float64.
func norm(row []float32) float32 {
	s := 0.0
	for _, x := range row {
		s += float64(x) * float64(x)
	}
	return float32(math.Sqrt(s))
}

// stretch is what each column of base + Scale·B·A is multiplied by to have the lengths given.
func (c *Change) stretch(base ckpt.Tensor, lengths []float32) []float32 {
	rows, cols := base.Shape[0], base.Shape[1]
	step := max(1, chunk/cols)
	parts := make([][]float64, (rows+step-1)/step) // added up in their order, whatever the number of cores
	each(len(parts), 0, func(i int) {
		lo, hi := i*step, min((i+1)*step, rows)
		v, squares := make([]float32, (hi-lo)*cols), make([]float64, cols)
		base.Range(v, lo*cols)
		c.add(v, lo, cols)
		for j, x := range v {
			squares[j%cols] += float64(x) * float64(x)
		}
		parts[i] = squares
	})
	out := make([]float32, cols)
	for j := range out {
		s := 0.0
		for _, p := range parts {
			s += p[j]
		}
		out[j] = lengths[j] / float32(math.Sqrt(s))
	}
	return out
}

// Changed is the changed matrix in float32.
func (c *Change) Changed(base ckpt.Tensor) ckpt.Tensor {
	rows, cols := base.Shape[0], base.Shape[1]
	v, step := make([]float32, rows*cols), max(1, chunk/cols)
	each((rows+step-1)/step, 0, func(i int) {
		lo, hi := i*step, min((i+1)*step, rows)
		base.Range(v[lo*cols:hi*cols], lo*cols)
		c.Rows(v[lo*cols:hi*cols], lo, cols)
	})
	return ckpt.FromFloats(base.Name, slices.Clone(tensor.Shape{rows, cols}), v)
}

// each calls f for 0 to n-1 on so many threads, 0 for all cores.
func each(n, threads int, f func(i int)) {
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	var group par.Group
	for w := range min(n, threads) {
		group.Go(func() {
			for i := w; i < n; i += threads {
				f(i)
			}
		})
	}
	group.Wait()
}
