//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// matrix is a factor of a product: row-major with ld elements between rows as stored; t when it is stored transposed.
type matrix struct {
	p  unsafe.Pointer
	ld int
	t  bool
}

func rows(t ops.Tensor) matrix   { return matrix{t.P, t.Dim(1), false} }
func turned(t ops.Tensor) matrix { return matrix{t.P, t.Dim(1), true} }

// product computes d (m,n) = alpha·x (m,k)·y (k,n) + c; c is nil, d itself or another matrix of d's kind.
func (b *Backend) product(op string, d ops.Tensor, x, y matrix, k int, alpha float32, c unsafe.Pointer) {
	b.columns(op, d, d.Dim(1), x, y, k, alpha, c)
}

// columns is product where d's rows, and c's, are ld elements apart.
func (b *Backend) columns(op string, d ops.Tensor, ld int, x, y matrix, k int, alpha float32, c unsafe.Pointer) {
	b.biased(op, d, ld, x, y, k, alpha, c, nil)
}

// biased is columns that adds bias (n), of d's type or nil, to every row while it stores.
func (b *Backend) biased(op string, d ops.Tensor, ld int, x, y matrix, k int, alpha float32, c, bias unsafe.Pointer) {
	m, n := d.Dim(0), d.Dim(1)
	if l, ok := rowLayer(d, x, y, k, c, bias); ok {
		b.row(op, x.p, k, alpha, false, l)
		return
	}
	g := b.gemm(d, ld, x, y, k, alpha, c, bias)
	status := C.ll_gemm(b.ll, b.s(), &g)
	b.spent(2*float64(m)*float64(n)*float64(k), 0)
	b.check(op, status, d, ops.Tensor{DType: tensor.BF16, Shape: tensor.Shape{m, k}})
}

func (b *Backend) gemm(d ops.Tensor, ld int, x, y matrix, k int, alpha float32, c, bias unsafe.Pointer) C.ll_gemm_args {
	g := C.ll_gemm_args{a: x.p, b: y.p, c: c, bias: bias, d: d.P, m: dim(d, 0), n: dim(d, 1), k: C.int64_t(k),
		lda: C.int64_t(x.ld), ldb: C.int64_t(y.ld), ldc: C.int64_t(ld), ldd: C.int64_t(ld), ta: yes(x.t), tb: yes(y.t),
		ddt: dtype(d.DType), alpha: C.float(alpha), work: b.work, work_bytes: blasBytes}
	if c != nil {
		g.beta = 1
	}
	return g
}

// LinearForward implements ops.Linears. The low-rank term is written first: the large product adds to it while it
// stores, which costs less than a pass of its own.
func (b *Backend) LinearForward(x, keys ops.Tensor, p []ops.Proj) {
	b.enter()
	defer b.leave()
	in := x.Dim(1)
	var together []ops.Proj
	for _, q := range p {
		switch {
		case q.L.LoRA == nil:
		case !dropped(keys, q.L.LoRA) && narrows(q.L, x.Dim(0)):
			together = append(together, q)
		default:
			b.lowRank(q.XA, x, keys, q.L.LoRA)
		}
	}
	b.lowRanksForward(x, together)
	for i := range p {
		q := &p[i]
		if l := q.L.LoRA; l != nil {
			b.product("LoRA's second product", q.Y, rows(q.XA), turned(l.B), l.B.Dim(1), l.Scale, q.Res.P)
			q.Res = q.Y
		}
	}
	b.coded(x, p)
	for _, q := range b.oneRow(x, p) {
		if w := q.L.W; w.Format.Dense() {
			b.biased("linear layer", q.Y, q.Y.Dim(1), rows(x), turned(w.Dense()), in, 1, q.Res.P, q.L.Bias.P)
		}
	}
}

// dropped reports whether a layer's input is dropped.
func dropped(keys ops.Tensor, l *ops.LoRA) bool { return l.Drop.P > 0 && !keys.None() }

// lowRank computes xa = drop(x)·Aᵀ.
func (b *Backend) lowRank(xa, x, keys ops.Tensor, l *ops.LoRA) {
	if !dropped(keys, l) {
		b.product("LoRA's first product", xa, rows(x), turned(l.A), x.Dim(1), 1, nil)
		return
	}
	b.byRows(x, func(lo, hi int, room ops.Tensor) {
		b.drop(room, x.Rows(lo, hi), keys.Rows(lo, hi), l)
		b.product("LoRA's first product", xa.Rows(lo, hi), rows(room), turned(l.A), x.Dim(1), 1, nil)
	})
}

// byRows calls f for pieces of x's rows, with room for as many rows in the workspace.
func (b *Backend) byRows(x ops.Tensor, f func(lo, hi int, room ops.Tensor)) {
	n, width := x.Dim(0), x.Dim(1)
	step := max(1, scratchBytes/(2*width))
	for lo := 0; lo < n; lo += step {
		hi := min(lo+step, n)
		f(lo, hi, ops.Tensor{P: b.scratch(), DType: tensor.BF16, Shape: tensor.Shape{hi - lo, width}})
	}
}

func (b *Backend) drop(dst, src, keys ops.Tensor, l *ops.LoRA) {
	a := C.ll_drop_args{dst: dst.P, src: src.P, keys: (*C.uint64_t)(keys.P), stream: C.uint64_t(l.Drop.Stream),
		p: C.float(l.Drop.P), t: dim(src, 0), c: dim(src, 1)}
	b.check("dropout", C.ll_drop(b.ll, b.s(), &a), src)
}

// LinearBackward implements ops.Linears. Low-rank terms are written to dx first, as in LinearForward: those without
// dropout together.
func (b *Backend) LinearBackward(dx, x, keys ops.Tensor, p []ops.ProjGrad) {
	b.enter()
	defer b.leave()
	c := unsafe.Pointer(nil) // dx once it holds something
	var plain []ops.ProjGrad
	for _, q := range p {
		switch l := q.L.LoRA; {
		case l == nil:
		case !dropped(keys, l) && !dx.None():
			plain = append(plain, q)
		default:
			b.lowRankBackward(x, keys, q)
			if !dx.None() {
				b.lowRankInput(dx, keys, q, c)
				c = dx.P
			}
		}
	}
	if len(plain) > 0 {
		b.lowRanks(dx, x, plain, c)
		c = dx.P
	}
	for _, q := range p {
		if !q.L.DW.None() {
			b.product("weight's gradient", q.L.DW, turned(q.DY), rows(x), x.Dim(0), 1, q.L.DW.P)
		}
		if !q.L.DBias.None() {
			b.biasGrad(q.L.DBias, q.DY)
		}
		switch w := q.L.W; {
		case dx.None():
		case w.Format.Dense():
			b.product("input's gradient", dx, rows(q.DY), rows(w.Dense()), w.Dim(0), 1, c)
			c = dx.P
		default:
			b.codedBackward(dx, q.DY, w, c)
			c = dx.P
		}
	}
}

// biasGrad adds the rows of dy up.
func (b *Backend) biasGrad(db, dy ops.Tensor) {
	const what = "bias's gradient"
	a := C.ll_bias_grad_args{db: f32(db), dy: dy.P, t: dim(dy, 0), c: dim(dy, 1)}
	if a.work = b.room(what, C.ll_bias_grad_work(a.t, a.c), dy); a.work != nil {
		b.check(what, C.ll_bias_grad(b.ll, b.s(), &a), dy)
	}
}

// lowRanks does for layers without dropout what lowRankBackward and lowRankInput do for one, with a single pass over
// dx: their factors A lie one below the other in the workspace, their Scale·dY·B side by side.
func (b *Backend) lowRanks(dx, x ops.Tensor, p []ops.ProjGrad, c unsafe.Pointer) {
	r, in, suit := 0, dx.Dim(1), true
	for _, q := range p {
		r += q.L.LoRA.A.Dim(0)
		suit = suit && narrows(q.L, dx.Dim(0))
	}
	a := ops.Tensor{P: b.scratch(), DType: tensor.BF16, Shape: tensor.Shape{r, in}}
	at := 0
	for _, q := range p {
		l := q.L.LoRA
		b.CopyRows(a, l.A, ops.Block{DstOff: at * in, DstStride: in, SrcStride: in, Rows: l.A.Dim(0), Cols: in})
		at += l.A.Dim(0)
	}
	s := dyb{p: past(a.P, a.Bytes()), r: r}
	step := int((scratchBytes - a.Bytes() - ops.Align) / int64(2*r))
	if suit {
		step = sideBytes / (2 * r)
		s.work = past(s.p, sideBytes)
		suit = int64(uintptr(s.work)-uintptr(a.P))+b.narrowBytes(dx.Dim(0), p) <= scratchBytes
	}
	for lo := 0; lo < dx.Dim(0); lo += step {
		s.lo, s.hi = lo, min(lo+step, dx.Dim(0))
		if suit {
			b.lowRanksGradients(s, x, p)
		} else {
			b.lowRanksApart(s, x, p)
		}
		to := dx.Rows(lo, s.hi)
		if c != nil {
			c = to.P
		}
		b.product("LoRA's gradient of x", to, matrix{s.p, r, false}, rows(a), r, 1, c)
	}
}

// lowRanksApart is lowRanksGradients by products of their own.
func (b *Backend) lowRanksApart(s dyb, x ops.Tensor, p []ops.ProjGrad) {
	at, n := 0, s.hi-s.lo
	for _, q := range p {
		l, dy := q.L.LoRA, q.DY.Rows(s.lo, s.hi)
		d := s.of(at, l.A.Dim(0))
		b.columns("LoRA's dY·B", d, s.r, rows(dy), rows(l.B), dy.Dim(1), l.Scale, nil)
		if !l.DB.None() {
			b.product("LoRA's gradient of B", l.DB, turned(dy), rows(q.XA.Rows(s.lo, s.hi)), n, l.Scale, l.DB.P)
		}
		if !l.DA.None() {
			b.product("LoRA's gradient of A", l.DA, matrix{d.P, s.r, true}, rows(x.Rows(s.lo, s.hi)), n, 1, l.DA.P)
		}
		at += l.A.Dim(0)
	}
}

// lowRankBackward computes DXA = dY·B and, when the factors are trained, adds to DB and DA.
func (b *Backend) lowRankBackward(x, keys ops.Tensor, q ops.ProjGrad) {
	l, t := q.L.LoRA, q.DY.Dim(0)
	b.product("LoRA's dY·B", q.DXA, rows(q.DY), rows(l.B), q.DY.Dim(1), 1, nil)
	if l.DA.None() {
		return
	}
	b.product("LoRA's gradient of B", l.DB, turned(q.DY), rows(q.XA), t, l.Scale, l.DB.P)
	if !dropped(keys, l) {
		b.product("LoRA's gradient of A", l.DA, turned(q.DXA), rows(x), t, l.Scale, l.DA.P)
		return
	}
	b.byRows(x, func(lo, hi int, room ops.Tensor) {
		b.drop(room, x.Rows(lo, hi), keys.Rows(lo, hi), l)
		b.product("LoRA's gradient of A", l.DA, turned(q.DXA.Rows(lo, hi)), rows(room), hi-lo, l.Scale, l.DA.P)
	})
}

// lowRankInput computes dx = Scale·drop'(DXA·A) + c.
func (b *Backend) lowRankInput(dx, keys ops.Tensor, q ops.ProjGrad, c unsafe.Pointer) {
	l := q.L.LoRA
	r := l.A.Dim(0)
	if !dropped(keys, l) {
		b.product("LoRA's gradient of x", dx, rows(q.DXA), rows(l.A), r, l.Scale, c)
		return
	}
	b.byRows(dx, func(lo, hi int, room ops.Tensor) {
		b.product("LoRA's gradient of x", room, rows(q.DXA.Rows(lo, hi)), rows(l.A), r, l.Scale, nil)
		to := dx.Rows(lo, hi)
		if c == nil {
			b.drop(to, room, keys.Rows(lo, hi), l)
			return
		}
		b.drop(room, room, keys.Rows(lo, hi), l)
		a := C.ll_add_args{dst: to.P, src: room.P, n: C.int64_t(to.Elems())}
		b.check("sum of gradients", C.ll_add(b.ll, b.s(), &a), to)
	})
}
