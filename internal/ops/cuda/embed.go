//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// EmbedForward implements ops.Embedding.
func (b *Backend) EmbedForward(y ops.Tensor, w ops.Weight, ids ops.Tensor) {
	table := w.Table()
	b.enter()
	defer b.leave()
	a := C.ll_embed_fwd_args{y: y.P, table: table.P, ids: i32(ids), t: dim(y, 0), c: dim(y, 1), v: dim(table, 0)}
	b.check("embedding", C.ll_embed_fwd(b.ll, b.s(), &a), y, table)
}

// EmbedBackward implements ops.Embedding.
func (b *Backend) EmbedBackward(dTable, dy, ids ops.Tensor) {
	const what = "embedding's gradient"
	b.enter()
	defer b.leave()
	a := C.ll_embed_bwd_args{dtable: f32(dTable), dy: dy.P, ids: i32(ids), t: dim(dy, 0), c: dim(dy, 1), v: dim(dTable, 0)}
	if a.work = b.room(what, C.ll_embed_bwd_work(a.t), dy); a.work != nil {
		b.check(what, C.ll_embed_bwd(b.ll, b.s(), &a), dTable, dy)
	}
}

// CopySet implements ops.Embedding.
func (b *Backend) CopySet(dst, src ops.Tensor, s ops.RowSet) {
	b.enter()
	defer b.leave()
	a := C.ll_copy_set_args{dst: f32(dst), src: f32(src), set: (*C.uint64_t)(s.Bits.P), first: C.int64_t(s.First),
		rows: dim(dst, 0), c: dim(dst, 1)}
	b.check("copy of a set of rows", C.ll_copy_set(b.ll, b.s(), &a), dst, src)
}
