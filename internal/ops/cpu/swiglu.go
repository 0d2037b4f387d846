package cpu

import (
	"longlora/internal/ops"
)

// SwiGLUForward implements ops.SwiGLU.
func (b *Backend) SwiGLUForward(h, g, u ops.Tensor) {
	b.pool.blocks(h.Elems(), copyBlock, func(lo, hi, _ int) {
		b.set.SwiGLUForward(at(h, lo), at(g, lo), at(u, lo), hi-lo)
	})
}

// SwiGLUBackward implements ops.SwiGLU.
func (b *Backend) SwiGLUBackward(dg, du, dh, g, u ops.Tensor) {
	b.pool.blocks(dh.Elems(), copyBlock, func(lo, hi, _ int) {
		b.set.SwiGLUBackward(at(dg, lo), at(du, lo), at(dh, lo), at(g, lo), at(u, lo), hi-lo)
	})
}
