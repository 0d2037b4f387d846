package cpu

import (
	"unsafe"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// decodeRows is the most rows that go through dot products instead of packed panels: below it, reading the
// weights is all that counts. A token's bits differ between the two ways.
const decodeRows = 4

// blockCols is the width of a work item of a product.
const blockCols = 256

// matrix is a weight as the kernels take it.
func matrix(w ops.Weight) kernels.Matrix {
	if !w.Format.Dense() {
		s := w.Stored()
		return kernels.Matrix{P: w.P, Codes: &s}
	}
	return kernels.Matrix{P: w.P, Type: w.Format.Type}
}

// floats is a float32 matrix as the kernels take it.
func floats(p unsafe.Pointer) kernels.Matrix { return kernels.Matrix{P: p} }

// at is the address of element i of a float32 tensor.
func at(t ops.Tensor, i int) unsafe.Pointer { return unsafe.Add(t.P, 4*i) }

// gemm computes the (m,n) matrix C = CIn + Σ terms + Bias; CIn nil is zero, and rows of both lie n apart. Every element
// is one chain of multiply-adds, so the division among workers does not show in the result.
func (b *Backend) gemm(m, n int, g kernels.Gemm, terms ...kernels.Term) {
	if m == 0 || n == 0 {
		return
	}
	rows, cols := b.items(m, n)
	mb, nb := (m+rows-1)/rows, (n+cols-1)/cols
	g.Terms, g.LDC, g.LDCIn = terms, n, n
	b.pool.run(nb*mb, func(i, w int) {
		x := g
		x.M0, x.N0 = i%mb*rows, i/mb*cols
		x.M1, x.N1, x.Stop, x.Work = min(x.M0+rows, m), min(x.N0+cols, n), b.pool.stop, b.scratch(w, 0)
		b.set.Gemm(&x)
	})
}

// items is how a product of m by n is cut into work items. Small ones divide better, but pack more: B again for every
// block of rows, A for every block of columns.
func (b *Backend) items(m, n int) (rows, cols int) {
	cols = blockCols
	if m <= 64 {
		cols = 64
	}
	nb := (n + cols - 1) / cols
	each := func(k int) int { return (k*b.pool.workers + nb - 1) / nb } // blocks of rows that give every worker k items
	mb := max((m+479)/480, min(each(8), m/96), min(each(1), m/24))
	if mb*nb < b.pool.workers {
		cols = 64
	}
	const whole = 12 // rows of a micro-tile, or of two
	return ((m+mb-1)/mb + whole - 1) / whole * whole, cols
}

// LinearForward implements ops.Linears.
func (b *Backend) LinearForward(x, keys ops.Tensor, p []ops.Proj) {
	t, in := x.Dim(0), x.Dim(1)
	for _, q := range p {
		if l := q.L.LoRA; l != nil {
			b.lowRank(q.XA, x, keys, l)
		}
	}
	if t <= decodeRows {
		b.decode(x, p)
		return
	}
	for _, q := range p {
		out := q.L.W.Dim(0)
		terms := []kernels.Term{{A: x.P, ARS: in, ACS: 1, Alpha: 1, B: matrix(q.L.W), BRS: 1, BCS: in, K: in}}
		if l := q.L.LoRA; l != nil {
			r := l.A.Dim(0)
			terms = append(terms, kernels.Term{A: q.XA.P, ARS: r, ACS: 1, Alpha: l.Scale, B: floats(l.B.P), BRS: 1, BCS: r,
				K: r})
		}
		b.gemm(t, out, kernels.Gemm{C: q.Y.P, CIn: q.Res.P, Bias: q.L.Bias.P}, terms...)
	}
}

// lowRank computes xa = drop(x)·Aᵀ.
func (b *Backend) lowRank(xa, x, keys ops.Tensor, l *ops.LoRA) {
	in, r := x.Dim(1), l.A.Dim(0)
	rows := max(1, min(16, b.workFloats(maxHead)/in)) // dropped at a time, in scratch memory
	skinny := func(c, a unsafe.Pointer, m int) *kernels.Skinny {
		return &kernels.Skinny{C: c, A: a, B: l.A.P, LDC: r, LDA: in, LDB: in, M: m, N: r, K: in}
	}
	b.pool.blocks(x.Dim(0), 64, func(lo, hi, w int) {
		if l.Drop.P == 0 || keys.None() {
			b.set.Skinny(skinny(at(xa, lo*r), at(x, lo*in), hi-lo))
			return
		}
		z := b.scratch(w, in)
		for t := lo; t < hi; t += rows {
			n := min(rows, hi-t)
			b.set.Drop(z, at(x, t*in), drop(keys, t, l), n, in)
			b.set.Skinny(skinny(at(xa, t*r), z, n))
		}
	})
}

// drop is a layer's dropout of the tokens from t on.
func drop(keys ops.Tensor, t int, l *ops.LoRA) kernels.Drop {
	return kernels.Drop{Keys: unsafe.Pointer(&keys.U64()[t]), Salt: l.Drop.Salt(), Bound: l.Drop.Bound(),
		Factor: 1 / (1 - l.Drop.P)}
}

// decodeCols is how many outputs of a projection are one work item of decode: few, for the workers to end together.
const decodeCols = 32

// decode computes projections of few rows by dot products, all in one loop over work items.
func (b *Backend) decode(x ops.Tensor, p []ops.Proj) {
	type item struct {
		q      *ops.Proj
		lo, hi int
	}
	var items []item
	for k := range p {
		for lo, out := 0, p[k].L.W.Dim(0); lo < out; lo += decodeCols {
			items = append(items, item{&p[k], lo, min(lo+decodeCols, out)})
		}
	}
	b.pool.run(len(items), func(i, w int) { b.decodeItem(x, items[i].q, items[i].lo, items[i].hi, w) })
}

// decodeItem computes outputs [lo, hi) of a projection.
func (b *Backend) decodeItem(x ops.Tensor, q *ops.Proj, lo, hi, w int) {
	in, out := x.Dim(1), q.L.W.Dim(0)
	y := unsafe.Slice((*float32)(b.scratch(w, decodeCols)), hi-lo)
	for i := range x.Dim(0) {
		b.set.Gemv(&kernels.Gemv{Y: unsafe.Pointer(&y[0]), X: at(x, i*in), W: matrix(q.L.W), First: lo, Out: hi - lo, In: in})
		if l := q.L.LoRA; l != nil {
			r := l.A.Dim(0)
			xa := q.XA.F32()[i*r : (i+1)*r]
			for o := range y {
				s := float32(0)
				for k, v := range l.B.F32()[(lo+o)*r : (lo+o+1)*r] {
					s += v * xa[k]
				}
				y[o] += l.Scale * s
			}
		}
		if !q.L.Bias.None() {
			for o, v := range q.L.Bias.F32()[lo:hi] {
				y[o] += v
			}
		}
		dst := q.Y.F32()[i*out+lo : i*out+hi]
		if q.Res.None() {
			copy(dst, y)
			continue
		}
		for o, r := range q.Res.F32()[i*out+lo : i*out+hi] {
			dst[o] = r + y[o]
		}
	}
}

// LinearBackward implements ops.Linears.
func (b *Backend) LinearBackward(dx, x, keys ops.Tensor, p []ops.ProjGrad) {
	cin := unsafe.Pointer(nil)
	for _, q := range p {
		t, in, out := q.DY.Dim(0), q.L.W.Dim(1), q.L.W.Dim(0)
		if q.L.LoRA != nil {
			b.lowRankBackward(x, keys, q)
		}
		if !q.L.DW.None() {
			b.gemm(out, in, kernels.Gemm{C: q.L.DW.P, CIn: q.L.DW.P},
				kernels.Term{A: q.DY.P, ARS: 1, ACS: out, Alpha: 1, B: floats(x.P), BRS: in, BCS: 1, K: t})
		}
		if !q.L.DBias.None() {
			b.sumRows(q.L.DBias, q.DY)
		}
		if dx.None() {
			continue
		}
		terms := []kernels.Term{{A: q.DY.P, ARS: out, ACS: 1, Alpha: 1, B: matrix(q.L.W), BRS: in, BCS: 1, K: out}}
		l := q.L.LoRA
		if l != nil && l.Drop.P == 0 {
			r := l.A.Dim(0)
			terms = append(terms, kernels.Term{A: q.DXA.P, ARS: r, ACS: 1, Alpha: l.Scale, B: floats(l.A.P), BRS: in, BCS: 1,
				K: r})
		}
		b.gemm(t, in, kernels.Gemm{C: dx.P, CIn: cin}, terms...)
		if l != nil && l.Drop.P > 0 {
			b.droppedGrad(dx, keys, q)
		}
		cin = dx.P
	}
}

// sumRows adds every row of x (T,out) to sum (out), in the order of the rows; workers own columns.
func (b *Backend) sumRows(sum, x ops.Tensor) {
	t, out := x.Dim(0), x.Dim(1)
	s, v := sum.F32(), x.F32()
	b.pool.blocks(out, channelBlock, func(lo, hi, _ int) {
		for i := range t {
			for k, y := range v[i*out+lo : i*out+hi] {
				s[lo+k] += y
			}
		}
	})
}

// lowRankBackward computes DXA = dY·B and, when the factors are trained, adds to DB and DA.
func (b *Backend) lowRankBackward(x, keys ops.Tensor, q ops.ProjGrad) {
	l := q.L.LoRA
	t, in, out, r := q.DY.Dim(0), q.L.W.Dim(1), q.L.W.Dim(0), l.A.Dim(0)
	b.gemm(t, r, kernels.Gemm{C: q.DXA.P}, kernels.Term{A: q.DY.P, ARS: out, ACS: 1, Alpha: 1, B: floats(l.B.P), BRS: r,
		BCS: 1, K: out})
	if l.DA.None() {
		return
	}
	b.gemm(out, r, kernels.Gemm{C: l.DB.P, CIn: l.DB.P},
		kernels.Term{A: q.DY.P, ARS: 1, ACS: out, Alpha: l.Scale, B: floats(q.XA.P), BRS: r, BCS: 1, K: t})
	if l.Drop.P == 0 {
		b.gemm(r, in, kernels.Gemm{C: l.DA.P, CIn: l.DA.P},
			kernels.Term{A: q.DXA.P, ARS: 1, ACS: r, Alpha: l.Scale, B: floats(x.P), BRS: in, BCS: 1, K: t})
		return
	}
	b.pool.blocks(in, kernels.DropWidth, func(lo, hi, _ int) {
		b.set.DropDA(&kernels.DropGrad{Drop: drop(keys, 0, l), DA: l.DA.P, DXA: q.DXA.P, X: x.P, Scale: l.Scale,
			N: t, C: in, R: r, I: lo, W: hi - lo})
	})
}

// droppedGrad adds Scale·drop'(DXA·A) to dx.
func (b *Backend) droppedGrad(dx, keys ops.Tensor, q ops.ProjGrad) {
	in, r := q.L.W.Dim(1), q.L.LoRA.A.Dim(0)
	b.pool.blocks(dx.Dim(0), 16, func(lo, hi, _ int) {
		b.set.DropDX(&kernels.DropGrad{Drop: drop(keys, lo, q.L.LoRA), DX: at(dx, lo*in), DXA: at(q.DXA, lo*r),
			A: q.L.LoRA.A.P, Scale: q.L.LoRA.Scale, N: hi - lo, C: in, R: r})
	})
}
