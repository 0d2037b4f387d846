package cpu

import (
	"math"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
)

// RopeTable implements ops.Rotary. The angle is rounded to float32 as transformers does, its sine and cosine
// are taken in float64.
func (b *Backend) RopeTable(cs, pos, inv ops.Tensor, scale float32) {
	d, f, p := cs.Dim(1), inv.F32(), pos.I32()
	b.pool.blocks(len(p), tokenBlock, func(lo, hi, _ int) {
		for t := lo; t < hi; t++ {
			row := cs.F32()[t*d : (t+1)*d]
			for i, v := range f {
				s, c := math.Sincos(float64(float32(p[t]) * v))
				row[i], row[i+d/2] = float32(c)*scale, float32(s)*scale
			}
		}
	})
}

// Rope implements ops.Rotary.
func (b *Backend) Rope(dst, src, cs ops.Tensor, inverse bool) {
	heads, d, r := src.Dim(1), src.Dim(2), cs.Dim(1)
	sign := float32(1)
	if inverse {
		sign = -1
	}
	b.pool.blocks(src.Dim(0), tokenBlock, func(lo, hi, _ int) {
		b.set.Rope(&kernels.Rope{Dst: at(dst, lo*heads*d), Src: at(src, lo*heads*d), CS: at(cs, lo*r),
			N: hi - lo, Heads: heads, D: d, R: r, Sign: sign})
	})
}
