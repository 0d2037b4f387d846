//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// RMSNormForward implements ops.RMSNorm.
func (b *Backend) RMSNormForward(y, rstd, x, w ops.Tensor, plus, eps float32) {
	b.enter()
	defer b.leave()
	a := C.ll_rms_fwd_args{y: y.P, rstd: f32(rstd), x: x.P, w: f32(w), t: dim(x, 0), c: dim(x, 1),
		plus: C.float(plus), eps: C.float(eps)}
	b.check("norm", C.ll_rms_fwd(b.ll, b.s(), &a), x)
}

// RMSNormBackward implements ops.RMSNorm.
func (b *Backend) RMSNormBackward(dx, dw, dy, x, rstd, w ops.Tensor, plus float32) {
	const what = "norm's gradient"
	b.enter()
	defer b.leave()
	a := C.ll_rms_bwd_args{dx: dx.P, dw: f32(dw), dy: dy.P, x: x.P, rstd: f32(rstd), w: f32(w), t: dim(x, 0), c: dim(x, 1),
		plus: C.float(plus)}
	if !dw.None() {
		if a.work = b.room(what, C.ll_rms_bwd_work(a.t, a.c), x); a.work == nil {
			return
		}
	}
	b.check(what, C.ll_rms_bwd(b.ll, b.s(), &a), x)
}
