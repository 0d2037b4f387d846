//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"longlora/internal/ops"
)

// EmbedForward implements ops.Embedding.
func (b *Backend) EmbedForward(y, table, ids ops.Tensor) {
	b.enter()
	defer b.leave()
	b.check("embedding", C.ll_embed_fwd(y.P, table.P, i32(ids), dim(y, 0), dim(y, 1), b.s()), y, table)
}

// EmbedBackward implements ops.Embedding.
func (b *Backend) EmbedBackward(dTable, dy, ids ops.Tensor) {
	b.enter()
	defer b.leave()
	t := dim(dy, 0)
	if work := b.room("embedding's gradient", C.ll_embed_bwd_work(t), dy); work != nil {
		b.check("embedding's gradient", C.ll_embed_bwd(f32(dTable), dy.P, i32(ids), t, dim(dy, 1), dim(dTable, 0), work, b.s()), dTable, dy)
	}
}
