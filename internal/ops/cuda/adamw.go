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
	b.check("AdamW", C.ll_adamw(f32(w), f32(m), f32(v), f32(grad), copy.P, C.int64_t(w.Elems()), C.float(h.GradScale), C.float(1-h.LR*h.Decay),
		C.float(1-h.Beta1), C.float(h.Beta2), C.float(1-h.Beta2), C.float(h.LR/(1-math.Pow(h.Beta1, s))), C.float(math.Sqrt(1-math.Pow(h.Beta2, s))), C.float(h.Eps), b.s()), w)
}
