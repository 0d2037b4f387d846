package cpu

import (
	"math"

	"longlora/internal/ops"
)

// AdamW implements ops.Optimizer. All factors are computed in float64 and rounded once, as PyTorch does.
func (b *Backend) AdamW(w, m, v, grad, _ ops.Tensor, h ops.AdamW) {
	s := float64(h.Step)
	step := h.LR / (1 - math.Pow(h.Beta1, s))
	root := 1 / math.Sqrt(1-math.Pow(h.Beta2, s))
	b.pool.blocks(w.Elems(), copyBlock, func(lo, hi, _ int) {
		b.set.AdamW(at(w, lo), at(m, lo), at(v, lo), at(grad, lo), hi-lo, float32(h.GradScale), float32(1-h.LR*h.Decay),
			float32(1-h.Beta1), float32(h.Beta2), float32(1-h.Beta2), float32(step), float32(root), float32(h.Eps))
	})
}
