//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// Scale implements ops.Scale.
func (b *Backend) Scale(y, res, x ops.Tensor, f float32) {
	b.enter()
	defer b.leave()
	a := C.ll_scale_args{y: y.P, x: x.P, f: C.float(f), n: C.int64_t(y.Elems())}
	if !res.None() {
		a.res = res.P
	}
	b.check("sum with a factor", C.ll_scale(b.ll, b.s(), &a), y)
}
