//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"unsafe"

	"longlora/internal/ops"
)

// RMSNormForward implements ops.RMSNorm.
func (b *Backend) RMSNormForward(y, rstd, x, w ops.Tensor, eps float32) {
	b.enter()
	defer b.leave()
	b.check("norm", C.ll_rms_fwd(y.P, f32(rstd), x.P, f32(w), dim(x, 0), dim(x, 1), C.float(eps), b.s()), x)
}

// RMSNormBackward implements ops.RMSNorm.
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
