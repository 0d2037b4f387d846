//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"math"

	"longlora/internal/ops"
)

// AdamW implements ops.Optimizer. All factors are computed in float64 and rounded once, as PyTorch does.
func (b *Backend) AdamW(w, m, v, grad, copy ops.Tensor, h ops.AdamW) {
	b.enter()
	defer b.leave()
	s := float64(h.Step)
	a := C.ll_adamw_args{w: f32(w), m: f32(m), v: f32(v), grad: f32(grad), copy: copy.P, n: C.int64_t(w.Elems()),
		grad_scale: C.float(h.GradScale), keep: C.float(1 - h.LR*h.Decay),
		r1: C.float(1 - h.Beta1), b2: C.float(h.Beta2), r2: C.float(1 - h.Beta2),
		step_size: C.float(h.LR / (1 - math.Pow(h.Beta1, s))), root: C.float(math.Sqrt(1 - math.Pow(h.Beta2, s))),
		eps: C.float(h.Eps)}
	b.check("AdamW", C.ll_adamw(b.ll, b.s(), &a), w)
}
