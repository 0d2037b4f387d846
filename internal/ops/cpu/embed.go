package cpu

import (
	"math"

	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// EmbedForward implements ops.Embedding.
func (b *Backend) EmbedForward(y ops.Tensor, table ops.Weight, ids ops.Tensor) {
	c, id := y.Dim(1), ids.I32()
	dense, stored := ops.Tensor{}, tensor.Stored{}
	if table.Format.Dense() {
		dense = table.Table()
	} else {
		stored = table.Stored()
	}
	b.pool.blocks(len(id), tokenBlock, func(lo, hi, _ int) {
		for t := lo; t < hi; t++ {
			dst, i := y.F32()[t*c:(t+1)*c], int(id[t])
			switch {
			case uint(i) >= uint(table.Dim(0)):
				for k := range dst {
					dst[k] = float32(math.NaN())
				}
			case dense.None():
				quant.Decode(dst, stored, i*c)
			case dense.DType == tensor.F32:
				copy(dst, dense.F32()[i*c:(i+1)*c])
			default:
				widen(dst, dense.Half()[i*c:(i+1)*c], dense.DType)
			}
		}
	})
}

// EmbedBackward implements ops.Embedding. Workers own channels, so that rows are added in the order of tokens.
func (b *Backend) EmbedBackward(dTable, dy, ids ops.Tensor) {
	c, id, v := dy.Dim(1), ids.I32(), dTable.Dim(0)
	d, g := dTable.F32(), dy.F32()
	b.pool.blocks(c, channelBlock, func(lo, hi, _ int) {
		for t, i := range id {
			if uint(i) >= uint(v) {
				continue
			}
			row := d[int(i)*c+lo : int(i)*c+hi]
			for k, v := range g[t*c+lo : t*c+hi] {
				row[k] += v
			}
		}
	})
}

// CopySet implements ops.Embedding.
func (b *Backend) CopySet(dst, src ops.Tensor, s ops.RowSet) {
	c, set := dst.Dim(1), s.Bits.U64()
	to, from := dst.F32(), src.F32()
	b.pool.blocks(dst.Dim(0), max(1, copyBlock/c), func(lo, hi, _ int) {
		for r := lo; r < hi; r++ {
			if i := s.First + r; set[i/64]>>(i%64)&1 == 1 {
				copy(to[r*c:(r+1)*c], from[r*c:(r+1)*c])
			}
		}
	})
}
