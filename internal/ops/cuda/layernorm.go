//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// LayerNormForward implements ops.LayerNorm.
func (b *Backend) LayerNormForward(y, stat, x, w, bias ops.Tensor, eps float32) {
	b.enter()
	defer b.leave()
	a := C.ll_layernorm_fwd_args{y: y.P, stat: f32(stat), x: x.P, w: f32(w), bias: f32(bias), t: dim(x, 0), c: dim(x, 1),
		eps: C.float(eps)}
	b.check("LayerNorm", C.ll_layernorm_fwd(b.ll, b.s(), &a), x)
}

// LayerNormBackward implements ops.LayerNorm.
func (b *Backend) LayerNormBackward(dx, dw, dbias, dy, x, stat, w ops.Tensor) {
	const what = "LayerNorm's gradient"
	b.enter()
	defer b.leave()
	a := C.ll_layernorm_bwd_args{dx: dx.P, dw: f32(dw), dbias: f32(dbias), dy: dy.P, x: x.P, stat: f32(stat), w: f32(w),
		t: dim(x, 0), c: dim(x, 1)}
	if !dw.None() || !dbias.None() {
		if a.work = b.room(what, C.ll_layernorm_bwd_work(a.t, a.c), x); a.work == nil {
			return
		}
	}
	b.check(what, C.ll_layernorm_bwd(b.ll, b.s(), &a), x)
}
