//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// HeadLoss implements ops.Losses.
func (b *Backend) HeadLoss(h *ops.HeadLoss) {
	b.enter()
	defer b.leave()
	n, step := h.X.Dim(0), h.Logits.Dim(0)
	for lo := 0; lo < n; lo += step {
		b.headRows(h, lo, min(lo+step, n))
	}
}

// headRows does one chunk of rows: logits, loss, gradients. The gradient of the logits takes the first half of
// each row of logits, as bfloat16.
func (b *Backend) headRows(h *ops.HeadLoss, lo, hi int) {
	c, v, n := h.W.Dim(1), h.W.Dim(0), hi-lo
	x, logits := h.X.Rows(lo, hi), h.Logits.Rows(0, n)
	b.product("logits", logits, rows(x), turned(h.W.Dense()), c, 1, nil)
	a := C.ll_softmax_args{logits: f32(logits), target: i32(h.Targets.Rows(lo, hi)), nll: f32(h.NLL.Rows(lo, hi)),
		rows: C.int64_t(n), v: C.int64_t(v), scale: C.float(h.Scale), cap: C.float(h.Cap),
		grad: yes(!h.DX.None() || !h.DW.None())}
	if !h.Best.None() {
		a.best = i32(h.Best.Rows(lo, hi))
	}
	b.check("loss", C.ll_softmax(b.ll, b.s(), &a), logits)
	g := matrix{p: logits.P, ld: 2 * v}
	if !h.DX.None() {
		b.product("gradient of the head's input", h.DX.Rows(lo, hi), g, rows(h.W.Dense()), v, 1, nil)
	}
	if !h.DW.None() {
		g.t = true
		b.product("gradient of the head", h.DW, g, rows(x), n, 1, h.DW.P)
	}
}

// ArgMax implements ops.Losses.
func (b *Backend) ArgMax(idx, logits ops.Tensor) {
	b.enter()
	defer b.leave()
	a := C.ll_argmax_args{idx: i32(idx), logits: logits.P, dt: dtype(logits.DType), rows: dim(logits, 0), v: dim(logits,
		1)}
	b.check("argmax", C.ll_argmax(b.ll, b.s(), &a), logits)
}

// SumF32 implements ops.Losses.
func (b *Backend) SumF32(out, x ops.Tensor) { b.sum(out, x, false) }

// SumSquares implements ops.Losses.
func (b *Backend) SumSquares(out, x ops.Tensor) { b.sum(out, x, true) }

func (b *Backend) sum(out, x ops.Tensor, squares bool) {
	if out.DType != tensor.F64 {
		panic("cuda: a sum into " + out.DType.String())
	}
	b.enter()
	defer b.leave()
	a := C.ll_sum_args{out: (*C.double)(out.P), x: f32(x), n: C.int64_t(x.Elems()), squares: yes(squares)}
	if a.work = b.room("sum", C.ll_sum_work(a.n), x); a.work != nil {
		b.check("sum", C.ll_sum(b.ll, b.s(), &a), x)
	}
}
