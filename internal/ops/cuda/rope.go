//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// RopeTable implements ops.Rotary.
func (b *Backend) RopeTable(cs, pos, inv ops.Tensor, scale float32) {
	b.enter()
	defer b.leave()
	a := C.ll_rope_table_args{cs: f32(cs), pos: i32(pos), inv: f32(inv), t: dim(cs, 0), d: dim(cs, 1),
		scale: C.float(scale)}
	b.check("table of rotations", C.ll_rope_table(b.ll, b.s(), &a), cs)
}

// Rope implements ops.Rotary.
func (b *Backend) Rope(dst, src, cs ops.Tensor, inverse bool) {
	b.enter()
	defer b.leave()
	a := C.ll_rope_args{dst: dst.P, src: src.P, cs: f32(cs), ddt: dtype(dst.DType), sdt: dtype(src.DType),
		t: dim(src, 0), heads: dim(src, 1), d: dim(src, 2), r: dim(cs, 1), inverse: yes(inverse)}
	b.check("rotation", C.ll_rope(b.ll, b.s(), &a), dst, src)
}
