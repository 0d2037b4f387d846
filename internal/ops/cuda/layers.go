//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"unsafe"

	"longlora/internal/ops"
)

func f32(t ops.Tensor) *C.float         { return (*C.float)(t.P) }
func i32(t ops.Tensor) *C.int32_t       { return (*C.int32_t)(t.P) }
func dim(t ops.Tensor, i int) C.int64_t { return C.int64_t(t.Dim(i)) }

// EmbedForward implements ops.Layers.
func (b *Backend) EmbedForward(y, table, ids ops.Tensor) {
	b.enter()
	defer b.leave()
	b.check("embedding", C.ll_embed_fwd(y.P, table.P, i32(ids), dim(y, 0), dim(y, 1), b.s()), y, table)
}

// EmbedBackward implements ops.Layers.
func (b *Backend) EmbedBackward(dTable, dy, ids ops.Tensor) {
	b.enter()
	defer b.leave()
	t := dim(dy, 0)
	if work := b.room("embedding's gradient", C.ll_embed_bwd_work(t), dy); work != nil {
		b.check("embedding's gradient", C.ll_embed_bwd(f32(dTable), dy.P, i32(ids), t, dim(dy, 1), dim(dTable, 0), work, b.s()), dTable, dy)
	}
}

// RMSNormForward implements ops.Layers.
func (b *Backend) RMSNormForward(y, rstd, x, w ops.Tensor, eps float32) {
	b.enter()
	defer b.leave()
	b.check("norm", C.ll_rms_fwd(y.P, f32(rstd), x.P, f32(w), dim(x, 0), dim(x, 1), C.float(eps), b.s()), x)
}

// RMSNormBackward implements ops.Layers.
func (b *Backend) RMSNormBackward(dx, dw, dy, x, rstd, w ops.Tensor) {
	b.enter()
	defer b.leave()
	work := unsafe.Pointer(nil)
	if !dw.None() {
		if work = b.room("norm's gradient", C.ll_rms_bwd_work(dim(x, 0), dim(x, 1)), x); work == nil {
			return
		}
	}
	b.check("norm's gradient", C.ll_rms_bwd(dx.P, f32(dw), dy.P, x.P, f32(rstd), f32(w), dim(x, 0), dim(x, 1), work, b.s()), x)
}

// RopeTable implements ops.Layers.
func (b *Backend) RopeTable(cs, pos, inv ops.Tensor, scale float32) {
	b.enter()
	defer b.leave()
	b.check("table of rotations", C.ll_rope_table(f32(cs), i32(pos), f32(inv), dim(cs, 0), dim(cs, 1), C.float(scale), b.s()), cs)
}

// Rope implements ops.Layers.
func (b *Backend) Rope(dst, src, cs ops.Tensor, inverse bool) {
	b.enter()
	defer b.leave()
	back := C.int(0)
	if inverse {
		back = 1
	}
	b.check("rotation", C.ll_rope(dst.P, dtype(dst.DType), src.P, dtype(src.DType), f32(cs), dim(src, 0), dim(src, 1), dim(src, 2), back, b.s()), dst, src)
}

// SwiGLUForward implements ops.Layers.
func (b *Backend) SwiGLUForward(h, g, u ops.Tensor) {
	b.enter()
	defer b.leave()
	b.check("SwiGLU", C.ll_swiglu_fwd(h.P, g.P, u.P, C.int64_t(h.Elems()), b.s()), h)
}

// SwiGLUBackward implements ops.Layers.
func (b *Backend) SwiGLUBackward(dg, du, dh, g, u ops.Tensor) {
	b.enter()
	defer b.leave()
	b.check("SwiGLU's gradient", C.ll_swiglu_bwd(dg.P, du.P, dh.P, g.P, u.P, C.int64_t(dh.Elems()), b.s()), dh)
}
