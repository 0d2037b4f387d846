//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import "longlora/internal/ops"

// widenNF4 writes rows from lo on, columns from c0 on, of a matrix in NF4 as bfloat16. Products are then those of
// weights in FP8 that are made wide.
func (b *Backend) widenNF4(dst ops.Tensor, w ops.Weight, lo, c0 int) {
	x, f := w.Scales, w.Format
	a := C.ll_nf4_widen_args{dst: dst.P, codes: w.P, table: (*C.float)(x.Map), absmax: x.Absmax,
		nested_map: (*C.float)(x.NestedMap), nested_absmax: (*C.float)(x.NestedAbsmax), block: C.int64_t(f.Block),
		nested: C.int64_t(f.Nested), offset: C.float(x.Offset), _type: dtype(f.Type), row0: C.int64_t(lo), c0: C.int64_t(c0),
		ld: C.int64_t(w.Dim(1)), rows: dim(dst, 0), cols: dim(dst, 1)}
	b.check("weights in NF4 made wide", C.ll_nf4_widen(b.ll, b.s(), &a), dst)
}
