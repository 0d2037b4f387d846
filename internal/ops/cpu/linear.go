package cpu

import (
	"unsafe"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// decodeRows is the most rows that go through dot products instead of packed panels: below it, reading the
// weights is all that counts. A token's bits differ between the two ways.
const decodeRows = 4

// blockCols is the width of a work item of a product.
const blockCols = 256

// btype is a weight's element type as the kernels number it.
func btype(t ops.Tensor) int {
	switch t.DType {
	case tensor.F32:
		return 0
	case tensor.BF16:
		return 1
	case tensor.F16:
		return 2
	}
	panic("cpu: a weight of type " + t.DType.String())
}

// at is the address of element i of a float32 tensor.
func at(t ops.Tensor, i int) unsafe.Pointer { return unsafe.Add(t.P, 4*i) }

// gemm computes the (m,n) matrix c = cin + Σ terms; cin nil is zero. Every element is one chain of
// multiply-adds, so the division among workers does not show in the result.
func (b *Backend) gemm(m, n int, terms []kernels.Term, c unsafe.Pointer, ldc int, cin unsafe.Pointer, ldcin int) {
	b.gemmBias(m, n, terms, c, ldc, cin, ldcin, nil)
}

// gemmBias is gemm that adds bias, (n) or nil, to every row at the end.
func (b *Backend) gemmBias(m, n int, terms []kernels.Term, c unsafe.Pointer, ldc int, cin unsafe.Pointer, ldcin int, bias unsafe.Pointer) {
	if m == 0 || n == 0 {
		return
	}
	rows, cols := b.items(m, n)
	mb, nb := (m+rows-1)/rows, (n+cols-1)/cols
	b.pool.run(nb*mb, func(i, w int) {
		m0, n0 := i%mb*rows, i/mb*cols
		b.set.Gemm(terms, c, ldc, cin, ldcin, bias, m0, min(m0+rows, m), n0, min(n0+cols, n), b.scratch(w, 0))
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
		terms := []kernels.Term{{A: x.P, ARS: in, ACS: 1, Alpha: 1, B: q.L.W.P, BRS: 1, BCS: in, BType: btype(q.L.W), K: in}}
		if l := q.L.LoRA; l != nil {
			r := l.A.Dim(0)
			terms = append(terms, kernels.Term{A: q.XA.P, ARS: r, ACS: 1, Alpha: l.Scale, B: l.B.P, BRS: 1, BCS: r, K: r})
		}
		b.gemmBias(t, out, terms, q.Y.P, out, q.Res.P, out, q.L.Bias.P)
	}
}

// lowRank computes xa = drop(x)·Aᵀ.
func (b *Backend) lowRank(xa, x, keys ops.Tensor, l *ops.LoRA) {
	in, r := x.Dim(1), l.A.Dim(0)
	rows := max(1, min(16, b.workFloats(maxHead)/in)) // dropped at a time, in scratch memory
	b.pool.blocks(x.Dim(0), 64, func(lo, hi, w int) {
		if l.Drop.P == 0 || keys.None() {
			b.set.Skinny(at(xa, lo*r), r, at(x, lo*in), in, hi-lo, l.A.P, in, r, in)
			return
		}
		z := unsafe.Add(b.scratch(w, in), termBytes)
		for t := lo; t < hi; t += rows {
			n := min(rows, hi-t)
			b.set.Drop(z, at(x, t*in), drop(keys, t, l), n, in)
			b.set.Skinny(at(xa, t*r), r, z, in, n, l.A.P, in, r, in)
		}
	})
}

// drop is a layer's dropout of the tokens from t on.
func drop(keys ops.Tensor, t int, l *ops.LoRA) kernels.Drop {
	return kernels.Drop{Keys: unsafe.Pointer(&keys.U64()[t]), Salt: l.Drop.Salt(), Bound: l.Drop.Bound(), Factor: 1 / (1 - l.Drop.P)}
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
	y := unsafe.Slice((*float32)(unsafe.Add(b.scratch(w, decodeCols), termBytes)), hi-lo)
	for i := range x.Dim(0) {
		b.set.Gemv(unsafe.Pointer(&y[0]), at(x, i*in), unsafe.Add(q.L.W.P, lo*in*q.L.W.DType.Size()), btype(q.L.W), hi-lo, in)
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
			b.gemm(out, in, []kernels.Term{{A: q.DY.P, ARS: 1, ACS: out, Alpha: 1, B: x.P, BRS: in, BCS: 1, K: t}}, q.L.DW.P, in, q.L.DW.P, in)
		}
		if !q.L.DBias.None() {
			b.sumRows(q.L.DBias, q.DY)
		}
		if dx.None() {
			continue
		}
		terms := []kernels.Term{{A: q.DY.P, ARS: out, ACS: 1, Alpha: 1, B: q.L.W.P, BRS: in, BCS: 1, BType: btype(q.L.W), K: out}}
		l := q.L.LoRA
		if l != nil && l.Drop.P == 0 {
			r := l.A.Dim(0)
			terms = append(terms, kernels.Term{A: q.DXA.P, ARS: r, ACS: 1, Alpha: l.Scale, B: l.A.P, BRS: in, BCS: 1, K: r})
		}
		b.gemm(t, in, terms, dx.P, in, cin, in)
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
	b.gemm(t, r, []kernels.Term{{A: q.DY.P, ARS: out, ACS: 1, Alpha: 1, B: l.B.P, BRS: r, BCS: 1, K: out}}, q.DXA.P, r, nil, 0)
	if l.DA.None() {
		return
	}
	b.gemm(out, r, []kernels.Term{{A: q.DY.P, ARS: 1, ACS: out, Alpha: l.Scale, B: q.XA.P, BRS: r, BCS: 1, K: t}}, l.DB.P, r, l.DB.P, r)
	if l.Drop.P == 0 {
		b.gemm(r, in, []kernels.Term{{A: q.DXA.P, ARS: 1, ACS: r, Alpha: l.Scale, B: x.P, BRS: in, BCS: 1, K: t}}, l.DA.P, in, l.DA.P, in)
		return
	}
	b.pool.blocks(in, kernels.DropWidth, func(lo, hi, _ int) {
		b.set.DropDA(l.DA.P, q.DXA.P, x.P, drop(keys, 0, l), l.Scale, t, in, r, lo, hi-lo)
	})
}

// droppedGrad adds Scale·drop'(DXA·A) to dx.
func (b *Backend) droppedGrad(dx, keys ops.Tensor, q ops.ProjGrad) {
	in, r := q.L.W.Dim(1), q.L.LoRA.A.Dim(0)
	b.pool.blocks(dx.Dim(0), 16, func(lo, hi, _ int) {
		b.set.DropDX(at(dx, lo*in), at(q.DXA, lo*r), q.L.LoRA.A.P, drop(keys, lo, q.L.LoRA), q.L.LoRA.Scale, hi-lo, in, r)
	})
}
