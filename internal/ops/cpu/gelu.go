package cpu

import (
	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// GELUForward implements ops.GELU.
func (b *Backend) GELUForward(h, g, u ops.Tensor, tanh bool) {
	b.pool.blocks(h.Elems(), copyBlock, func(lo, hi, _ int) {
		a := kernels.GELU{H: at(h, lo), G: at(g, lo), N: hi - lo, Tanh: tanh}
		if !u.None() {
			a.U = at(u, lo)
		}
		b.set.GELUForward(&a)
	})
}

// GELUBackward implements ops.GELU.
func (b *Backend) GELUBackward(dg, du, dh, g, u ops.Tensor, tanh bool) {
	b.pool.blocks(dh.Elems(), copyBlock, func(lo, hi, _ int) {
		a := kernels.GELU{H: at(dh, lo), G: at(g, lo), DG: at(dg, lo), N: hi - lo, Tanh: tanh}
		if !u.None() {
			a.U, a.DU = at(u, lo), at(du, lo)
		}
		b.set.GELUBackward(&a)
	})
}
