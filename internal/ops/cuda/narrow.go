//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"slices"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Products with LoRA's factors read much and write little: all that one matrix takes part in is made by one pass over
// it (csrc/cuda/narrow.cu) where it has rows enough and the ranks suit; else by cuBLASLt, a pass each.
const (
	narrowRows  = 64      // rows from which on
	narrowRanks = 32      // that one pass takes
	sideBytes   = 8 << 20 // of dY·B, of as many rows as go in
)

// narrows reports whether passes over x and over a layer's dy suit its factors.
func narrows(l *ops.Linear, rows int) bool {
	a, b := l.LoRA.A, l.LoRA.B
	r := a.Dim(0)
	return rows >= narrowRows && r%8 == 0 && r <= narrowRanks && a.Dim(1)%8 == 0 && b.Dim(0)%8 == 0
}

// narrowBytes is the most workspace that passes over so many rows of x and of each dy want.
func (b *Backend) narrowBytes(rows int, p []ops.ProjGrad) int64 {
	most := int64(0)
	for _, q := range p {
		for _, c := range []int{q.L.LoRA.A.Dim(1), q.L.LoRA.B.Dim(0)} {
			most = max(most, int64(C.ll_narrow_work(b.ll, C.int64_t(rows), C.int64_t(c), narrowRanks)))
		}
	}
	return most
}

// past is the first aligned address behind n bytes at p.
func past(p unsafe.Pointer, n int64) unsafe.Pointer {
	return unsafe.Add(p, (n+ops.Align-1)/ops.Align*ops.Align)
}

// narrow is what is made by passes over x.
type narrow struct {
	b    *Backend
	op   string
	x    ops.Tensor
	work unsafe.Pointer
	args C.ll_narrow_args
	r    C.int64_t
}

// over begins passes over x (T,C). wide: factors lie as A does, (R,C), else as B, (C,R). work is the passes' alone.
func (b *Backend) over(op string, x ops.Tensor, wide bool, scale float32, work unsafe.Pointer) *narrow {
	return &narrow{b: b, op: op, x: x, args: C.ll_narrow_args{x: x.P, t: dim(x, 0), c: dim(x, 1), wide: yes(wide),
		scale: C.float(scale), work: work}}
}

// take adds a factor, which goes with the others of the next pass. Those that add to one gradient, as matrices with one
// A do, take passes of their own: within one, nothing says which adds first.
func (n *narrow) take(f C.ll_narrow_factor) {
	shared := slices.ContainsFunc(n.args.factor[:n.args.n], func(x C.ll_narrow_factor) bool {
		return f.g != nil && x.g == f.g
	})
	if n.args.n == C.LL_NARROW || n.r+f.r > narrowRanks || shared {
		n.pass()
	}
	n.args.factor[n.args.n] = f
	n.args.n, n.r = n.args.n+1, n.r+f.r
}

// pass makes what was taken.
func (n *narrow) pass() {
	if n.args.n > 0 {
		n.b.check(n.op, C.ll_narrow(n.b.ll, n.b.s(), &n.args), n.x)
	}
	n.args.n, n.r = 0, 0
}

// lowRanksForward computes XA of several layers that read the same x, nothing of it dropped.
func (b *Backend) lowRanksForward(x ops.Tensor, p []ops.Proj) {
	n := b.over("LoRA's first product", x, true, 1, b.scratch())
	for _, q := range p {
		a := q.L.LoRA.A
		n.take(C.ll_narrow_factor{p: a.P, y: q.XA.P, r: dim(a, 0), ldy: dim(a, 0)})
	}
	n.pass()
}

// dyb are rows [lo, hi) of Scale·dY·B of several layers side by side, in the workspace, and room behind them.
type dyb struct {
	p      unsafe.Pointer
	r      int // of all layers
	lo, hi int
	work   unsafe.Pointer
}

// of are the columns of the layer whose factors come after `at` others.
func (s dyb) of(at, rank int) ops.Tensor {
	return ops.Tensor{P: unsafe.Add(s.p, 2*at), DType: tensor.BF16, Shape: tensor.Shape{s.hi - s.lo, rank}}
}

// lowRanksGradients fills the side and adds to DB and DA.
func (b *Backend) lowRanksGradients(s dyb, x ops.Tensor, p []ops.ProjGrad) {
	xs := b.over("LoRA's gradient of A", x.Rows(s.lo, s.hi), true, 1, s.work)
	at := 0
	for _, q := range p {
		l := q.L.LoRA
		r := l.A.Dim(0)
		d := s.of(at, r)
		n := b.over("LoRA's dY·B and gradient of B", q.DY.Rows(s.lo, s.hi), false, l.Scale, s.work)
		f := C.ll_narrow_factor{p: l.B.P, y: d.P, r: C.int64_t(r), ldy: C.int64_t(s.r)}
		if !l.DB.None() {
			f.s, f.lds, f.g = q.XA.Rows(s.lo, s.hi).P, f.r, f32(l.DB)
		}
		n.take(f)
		n.pass()
		if !l.DA.None() {
			xs.take(C.ll_narrow_factor{s: d.P, lds: C.int64_t(s.r), g: f32(l.DA), r: C.int64_t(r)})
		}
		at += r
	}
	xs.pass()
}
