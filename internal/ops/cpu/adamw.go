package cpu

import (
	"math"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// AdamW implements ops.Optimizer. All factors are computed in float64 and rounded once, as PyTorch does.
func (b *Backend) AdamW(w, m, v, grad, _ ops.Tensor, h ops.AdamW) {
	s := float64(h.Step)
	step := h.LR / (1 - math.Pow(h.Beta1, s))
	root := 1 / math.Sqrt(1-math.Pow(h.Beta2, s))
	b.pool.blocks(w.Elems(), copyBlock, func(lo, hi, _ int) {
		b.set.AdamW(&kernels.AdamW{W: at(w, lo), M: at(m, lo), V: at(v, lo), Grad: at(grad, lo), N: hi - lo,
			GradScale: float32(h.GradScale), Decay: float32(1 - h.LR*h.Decay),
			R1: float32(1 - h.Beta1), B2: float32(h.Beta2), R2: float32(1 - h.Beta2), Step: float32(step), Root: float32(root),
			Eps: float32(h.Eps)})
	})
}
