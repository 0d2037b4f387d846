package cpu

import (
	"longlora/internal/ops"
)

// RMSNormForward implements ops.RMSNorm.
func (b *Backend) RMSNormForward(y, rstd, x, w ops.Tensor, eps float32) {
	c := x.Dim(1)
	b.pool.blocks(x.Dim(0), tokenBlock, func(lo, hi, _ int) {
		b.set.RMSForward(at(y, lo*c), at(rstd, lo), at(x, lo*c), w.P, hi-lo, c, eps)
	})
}

// RMSNormBackward implements ops.RMSNorm.
func (b *Backend) RMSNormBackward(dx, dw, dy, x, rstd, w ops.Tensor) {
	n, c := x.Dim(0), x.Dim(1)
	if !dw.None() {
		b.pool.blocks(c, channelBlock, func(lo, hi, _ int) {
			b.set.RMSWeight(at(dw, lo), at(rstd, 0), at(dy, lo), at(x, lo), n, c, hi-lo)
		})
	}
	b.pool.blocks(n, tokenBlock, func(lo, hi, _ int) {
		b.set.RMSBackward(at(dx, lo*c), at(dy, lo*c), at(x, lo*c), at(rstd, lo), w.P, hi-lo, c)
	})
}
