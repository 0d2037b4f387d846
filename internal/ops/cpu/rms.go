package cpu

import (
	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// RMSNormForward implements ops.RMSNorm.
func (b *Backend) RMSNormForward(y, rstd, x, w ops.Tensor, plus, eps float32) {
	c := x.Dim(1)
	b.pool.blocks(x.Dim(0), tokenBlock, func(lo, hi, _ int) {
		b.set.RMSForward(&kernels.RMS{Y: at(y, lo*c), RStd: at(rstd, lo), X: at(x, lo*c), W: w.P,
			N: hi - lo, C: c, Plus: plus, Eps: eps})
	})
}

// RMSNormBackward implements ops.RMSNorm.
func (b *Backend) RMSNormBackward(dx, dw, dy, x, rstd, w ops.Tensor, plus float32) {
	n, c := x.Dim(0), x.Dim(1)
	if !dw.None() {
		b.pool.blocks(c, channelBlock, func(lo, hi, _ int) {
			b.set.RMSWeight(at(dw, lo), &kernels.RMS{RStd: rstd.P, DY: at(dy, lo), X: at(x, lo), N: n, C: c}, hi-lo)
		})
	}
	b.pool.blocks(n, tokenBlock, func(lo, hi, _ int) {
		b.set.RMSBackward(&kernels.RMS{DX: at(dx, lo*c), DY: at(dy, lo*c), X: at(x, lo*c), RStd: at(rstd, lo), W: w.P,
			N: hi - lo, C: c, Plus: plus})
	})
}
