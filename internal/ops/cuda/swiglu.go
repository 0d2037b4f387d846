//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// SwiGLUForward implements ops.SwiGLU.
func (b *Backend) SwiGLUForward(h, g, u ops.Tensor) {
	b.enter()
	defer b.leave()
	a := C.ll_swiglu_fwd_args{h: h.P, g: g.P, u: u.P, n: C.int64_t(h.Elems())}
	b.check("SwiGLU", C.ll_swiglu_fwd(b.ll, b.s(), &a), h)
}

// SwiGLUBackward implements ops.SwiGLU.
func (b *Backend) SwiGLUBackward(dg, du, dh, g, u ops.Tensor) {
	b.enter()
	defer b.leave()
	a := C.ll_swiglu_bwd_args{dg: dg.P, du: du.P, dh: dh.P, g: g.P, u: u.P, n: C.int64_t(dh.Elems())}
	b.check("SwiGLU's gradient", C.ll_swiglu_bwd(b.ll, b.s(), &a), dh)
}
