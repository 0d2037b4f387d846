//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"unsafe"

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
	b.product("logits", logits, rows(x), turned(h.W), c, 1, nil)
	var best *C.int32_t
	if !h.Best.None() {
		best = i32(h.Best.Rows(lo, hi))
	}
	grad := C.int(0)
	if !h.DX.None() || !h.DW.None() {
		grad = 1
	}
	b.check("loss", C.ll_softmax(f32(logits), i32(h.Targets.Rows(lo, hi)), f32(h.NLL.Rows(lo, hi)), best, C.int64_t(n), C.int64_t(v), C.float(h.Scale), grad, b.s()), logits)
	g := matrix{p: logits.P, ld: 2 * v}
	if !h.DX.None() {
		b.product("gradient of the head's input", h.DX.Rows(lo, hi), g, rows(h.W), v, 1, nil)
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
	b.check("argmax", C.ll_argmax(i32(idx), logits.P, dtype(logits.DType), dim(logits, 0), dim(logits, 1), b.s()), logits)
}

// SumF32 implements ops.Losses.
func (b *Backend) SumF32(out, x ops.Tensor) { b.sum(out, x, 0) }

// SumSquares implements ops.Losses.
func (b *Backend) SumSquares(out, x ops.Tensor) { b.sum(out, x, 1) }

func (b *Backend) sum(out, x ops.Tensor, squares C.int) {
	if out.DType != tensor.F64 {
		panic("cuda: a sum into " + out.DType.String())
	}
	b.enter()
	defer b.leave()
	n := C.int64_t(x.Elems())
	if work := b.room("sum", C.ll_sum_work(n), x); work != nil {
		b.check("sum", C.ll_sum((*C.double)(unsafe.Pointer(out.P)), f32(x), n, squares, work, b.s()), x)
	}
}
