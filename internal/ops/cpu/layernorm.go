package cpu

import (
	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// LayerNormForward implements ops.LayerNorm.
func (b *Backend) LayerNormForward(y, stat, x, w, bias ops.Tensor, eps float32) {
	c := x.Dim(1)
	b.pool.blocks(x.Dim(0), tokenBlock, func(lo, hi, _ int) {
		b.set.LayerNormForward(&kernels.LayerNorm{Y: at(y, lo*c), Stat: at(stat, 2*lo), X: at(x, lo*c), W: w.P, Bias: bias.P,
			N: hi - lo, C: c, Eps: eps})
	})
}

// LayerNormBackward implements ops.LayerNorm.
func (b *Backend) LayerNormBackward(dx, dw, dbias, dy, x, stat, w ops.Tensor) {
	n, c := x.Dim(0), x.Dim(1)
	if !dw.None() || !dbias.None() {
		b.pool.blocks(c, channelBlock, func(lo, hi, _ int) {
			a := kernels.LayerNorm{Stat: stat.P, DY: at(dy, lo), X: at(x, lo), N: n, C: c}
			if !dw.None() {
				a.DW = at(dw, lo)
			}
			if !dbias.None() {
				a.DBias = at(dbias, lo)
			}
			b.set.LayerNormWeight(&a, hi-lo)
		})
	}
	b.pool.blocks(n, tokenBlock, func(lo, hi, _ int) {
		b.set.LayerNormBackward(&kernels.LayerNorm{DX: at(dx, lo*c), DY: at(dy, lo*c), X: at(x, lo*c), Stat: at(stat, 2*lo),
			W: w.P,
			N: hi - lo, C: c})
	})
}
