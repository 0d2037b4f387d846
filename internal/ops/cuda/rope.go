//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"longlora/internal/ops"
)

// RopeTable implements ops.Rotary.
func (b *Backend) RopeTable(cs, pos, inv ops.Tensor, scale float32) {
	b.enter()
	defer b.leave()
	b.check("table of rotations", C.ll_rope_table(f32(cs), i32(pos), f32(inv), dim(cs, 0), dim(cs, 1), C.float(scale), b.s()), cs)
}

// Rope implements ops.Rotary.
func (b *Backend) Rope(dst, src, cs ops.Tensor, inverse bool) {
	b.enter()
	defer b.leave()
	back := C.int(0)
	if inverse {
		back = 1
	}
	b.check("rotation", C.ll_rope(dst.P, dtype(dst.DType), src.P, dtype(src.DType), f32(cs), dim(src, 0), dim(src, 1), dim(src, 2), back, b.s()), dst, src)
}
