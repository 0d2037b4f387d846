package cpu

import (
	"math"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// HeadLoss implements ops.Losses.
func (b *Backend) HeadLoss(h *ops.HeadLoss) {
	n, step := h.X.Dim(0), h.Logits.Dim(0)
	for lo := 0; lo < n; lo += step {
		b.headRows(h, lo, min(lo+step, n))
	}
}

// headRows does one chunk of rows: logits, loss, gradients.
func (b *Backend) headRows(h *ops.HeadLoss, lo, hi int) {
	c, v, rows := h.W.Dim(1), h.W.Dim(0), hi-lo
	targets, nll := h.Targets.I32()[lo:hi], h.NLL.F32()[lo:hi]
	x, grad := h.X.Rows(lo, hi), !h.DX.None()
	if h.Best.None() && noneScored(targets) {
		clear(nll)
		if grad {
			b.Zero(h.DX.Rows(lo, hi))
		}
		return
	}
	b.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: h.W}, Y: h.Logits.Rows(0, rows)}})
	b.pool.blocks(rows, 4, func(r0, r1, _ int) {
		for r := r0; r < r1; r++ {
			var best *int32
			if !h.Best.None() {
				best = &h.Best.I32()[lo+r]
			}
			x := kernels.Softmax{Row: at(h.Logits, r*v), N: v, Target: targets[r], Scale: h.Scale, Cap: h.Cap, Grad: grad}
			outside := int(x.Target) >= v
			if outside {
				x.Target = 0
			}
			if nll[r] = b.set.Softmax(&x, best); outside {
				nll[r] = float32(math.NaN())
			}
			if grad && targets[r] < 0 {
				clear(h.Logits.F32()[r*v : (r+1)*v])
			}
		}
	})
	if grad {
		b.gemm(rows, c, kernels.Gemm{C: h.DX.Rows(lo, hi).P},
			kernels.Term{A: h.Logits.P, ARS: v, ACS: 1, Alpha: 1, B: matrix(h.W), BRS: c, BCS: 1, K: v})
	}
	if !h.DW.None() {
		b.gemm(v, c, kernels.Gemm{C: h.DW.P, CIn: h.DW.P},
			kernels.Term{A: h.Logits.P, ARS: 1, ACS: v, Alpha: 1, B: floats(x.P), BRS: c, BCS: 1, K: rows})
	}
}

func noneScored(targets []int32) bool {
	for _, t := range targets {
		if t >= 0 {
			return false
		}
	}
	return true
}

// ArgMax implements ops.Losses.
func (b *Backend) ArgMax(idx, logits ops.Tensor) {
	v, out := logits.Dim(1), idx.I32()
	b.pool.run(logits.Dim(0), func(t, _ int) {
		b.set.Softmax(&kernels.Softmax{Row: at(logits, t*v), N: v, Target: -1}, &out[t])
	})
}

// sumBlock is how many elements are added up before the partial sums are.
const sumBlock = 1 << 15

// SumF32 implements ops.Losses.
func (b *Backend) SumF32(out, x ops.Tensor) {
	b.sum(out, x, func(v float64) float64 { return v })
}

// SumSquares implements ops.Losses.
func (b *Backend) SumSquares(out, x ops.Tensor) {
	b.sum(out, x, func(v float64) float64 { return v * v })
}

func (b *Backend) sum(out, x ops.Tensor, f func(float64) float64) {
	xs := x.F32()
	part := make([]float64, (len(xs)+sumBlock-1)/sumBlock)
	b.pool.blocks(len(xs), sumBlock, func(lo, hi, _ int) {
		s := 0.0
		for _, v := range xs[lo:hi] {
			s += f(float64(v))
		}
		part[lo/sumBlock] = s
	})
	for _, s := range part {
		out.F64()[0] += s
	}
}
