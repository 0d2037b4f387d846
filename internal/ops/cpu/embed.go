package cpu

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// EmbedForward implements ops.Embedding.
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

// EmbedBackward implements ops.Embedding. Workers own channels, so that rows are added in the order of tokens.
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
