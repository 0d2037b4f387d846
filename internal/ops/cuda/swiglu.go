//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"longlora/internal/ops"
)

// SwiGLUForward implements ops.SwiGLU.
func (b *Backend) SwiGLUForward(h, g, u ops.Tensor) {
	b.enter()
	defer b.leave()
	b.check("SwiGLU", C.ll_swiglu_fwd(h.P, g.P, u.P, C.int64_t(h.Elems()), b.s()), h)
}

// SwiGLUBackward implements ops.SwiGLU.
func (b *Backend) SwiGLUBackward(dg, du, dh, g, u ops.Tensor) {
	b.enter()
	defer b.leave()
	b.check("SwiGLU's gradient", C.ll_swiglu_bwd(dg.P, du.P, dh.P, g.P, u.P, C.int64_t(dh.Elems()), b.s()), dh)
}
