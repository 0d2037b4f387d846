package cpu

import (
	"longlora/internal/ops"
)

// Scale implements ops.Scale.
func (b *Backend) Scale(y, res, x ops.Tensor, f float32) {
	b.pool.blocks(y.Elems(), copyBlock, func(lo, hi, _ int) {
		if res.None() {
			b.set.Scale(at(y, lo), nil, at(x, lo), f, hi-lo)
			return
		}
		b.set.Scale(at(y, lo), at(res, lo), at(x, lo), f, hi-lo)
	})
}
