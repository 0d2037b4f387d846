package cpu

import (
	"math"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

const (
	tokenBlock   = 32 // tokens of an elementwise work item
	channelBlock = 16 // channels of a work item that runs over all tokens: a cache line
)

// EmbedForward implements ops.Layers.
func (b *Backend) EmbedForward(y, table, ids ops.Tensor) {
	c, id := y.Dim(1), ids.I32()
	b.pool.blocks(len(id), tokenBlock, func(lo, hi, _ int) {
		for t := lo; t < hi; t++ {
			dst, i := y.F32()[t*c:(t+1)*c], int(id[t])
			if table.DType == tensor.F32 {
				copy(dst, table.F32()[i*c:(i+1)*c])
			} else {
				widen(dst, table.Half()[i*c:(i+1)*c], table.DType)
			}
		}
	})
}

// EmbedBackward implements ops.Layers. Workers own channels, so that rows are added in the order of tokens.
func (b *Backend) EmbedBackward(dTable, dy, ids ops.Tensor) {
	c, id := dy.Dim(1), ids.I32()
	d, g := dTable.F32(), dy.F32()
	b.pool.blocks(c, channelBlock, func(lo, hi, _ int) {
		for t, i := range id {
			row := d[int(i)*c+lo : int(i)*c+hi]
			for k, v := range g[t*c+lo : t*c+hi] {
				row[k] += v
			}
		}
	})
}

// RMSNormForward implements ops.Layers.
func (b *Backend) RMSNormForward(y, rstd, x, w ops.Tensor, eps float32) {
	c := x.Dim(1)
	b.pool.blocks(x.Dim(0), tokenBlock, func(lo, hi, _ int) {
		b.set.RMSForward(at(y, lo*c), at(rstd, lo), at(x, lo*c), w.P, hi-lo, c, eps)
	})
}

// RMSNormBackward implements ops.Layers.
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

// RopeTable implements ops.Layers. The angle is rounded to float32 as transformers does, its sine and cosine
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

// Rope implements ops.Layers.
func (b *Backend) Rope(dst, src, cs ops.Tensor, inverse bool) {
	heads, d := src.Dim(1), src.Dim(2)
	sign := float32(1)
	if inverse {
		sign = -1
	}
	b.pool.blocks(src.Dim(0), tokenBlock, func(lo, hi, _ int) {
		b.set.Rope(at(dst, lo*heads*d), at(src, lo*heads*d), at(cs, lo*d), hi-lo, heads, d, sign)
	})
}

// SwiGLUForward implements ops.Layers.
func (b *Backend) SwiGLUForward(h, g, u ops.Tensor) {
	b.pool.blocks(h.Elems(), copyBlock, func(lo, hi, _ int) {
		b.set.SwiGLUForward(at(h, lo), at(g, lo), at(u, lo), hi-lo)
	})
}

// SwiGLUBackward implements ops.Layers.
func (b *Backend) SwiGLUBackward(dg, du, dh, g, u ops.Tensor) {
	b.pool.blocks(dh.Elems(), copyBlock, func(lo, hi, _ int) {
		b.set.SwiGLUBackward(at(dg, lo), at(du, lo), at(dh, lo), at(g, lo), at(u, lo), hi-lo)
	})
}

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
