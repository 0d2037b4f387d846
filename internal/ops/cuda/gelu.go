//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// GELUForward implements ops.GELU.
func (b *Backend) GELUForward(h, g, u ops.Tensor, tanh bool) {
	b.enter()
	defer b.leave()
	a := C.ll_gelu_fwd_args{h: h.P, g: g.P, u: u.P, n: C.int64_t(h.Elems()), tanh: yes(tanh)}
	b.check("GELU", C.ll_gelu_fwd(b.ll, b.s(), &a), h)
}

// GELUBackward implements ops.GELU.
func (b *Backend) GELUBackward(dg, du, dh, g, u ops.Tensor, tanh bool) {
	b.enter()
	defer b.leave()
	a := C.ll_gelu_bwd_args{dg: dg.P, du: du.P, dh: dh.P, g: g.P, u: u.P, n: C.int64_t(dh.Elems()), tanh: yes(tanh)}
	b.check("GELU's gradient", C.ll_gelu_bwd(b.ll, b.s(), &a), dh)
}
