//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// dtype numbers a float type as the kernels do.
func dtype(d tensor.DType) C.int32_t {
	switch d {
	case tensor.F32:
		return C.LL_F32
	case tensor.BF16:
		return C.LL_BF16
	case tensor.F16:
		return C.LL_F16
	}
	panic("cuda: a tensor of " + d.String() + " where floats are wanted")
}

// Zero implements ops.Transfer.
func (b *Backend) Zero(dst ops.Tensor) {
	b.enter()
	defer b.leave()
	if n := dst.Bytes(); n > 0 {
		b.keep(fmt.Sprintf("clearing %v %s", dst.Shape, dst.DType), cu.MemsetD8Async(pointer(dst.P), 0, n, b.stream))
	}
}

// Convert implements ops.Transfer.
func (b *Backend) Convert(dst, src ops.Tensor) {
	if dst.Elems() != src.Elems() {
		panic(fmt.Sprintf("cuda: convert %v to %v", src.Shape, dst.Shape))
	}
	b.enter()
	defer b.leave()
	a := C.ll_convert_args{dst: dst.P, src: src.P, ddt: dtype(dst.DType), sdt: dtype(src.DType), n: C.int64_t(src.Elems())}
	b.check("convert", C.ll_convert(b.ll, b.s(), &a), dst, src)
}

// CopyRows implements ops.Transfer.
func (b *Backend) CopyRows(dst, src ops.Tensor, c ops.Block) {
	if dst.DType != src.DType {
		panic("cuda: copy of " + src.DType.String() + " to " + dst.DType.String())
	}
	b.enter()
	defer b.leave()
	b.copy("copy of rows", b.s(), dst, src, c)
}

// AddRows implements ops.Transfer.
func (b *Backend) AddRows(dst, src ops.Tensor, c ops.Block) {
	if dst.DType != tensor.F32 || src.DType != tensor.F32 {
		panic("cuda: adding rows of " + src.DType.String() + " to " + dst.DType.String())
	}
	b.enter()
	defer b.leave()
	a := C.ll_add_rows_args{dst: (*C.float)(unsafe.Add(dst.P, c.DstOff*4)), src: (*C.float)(unsafe.Add(src.P, c.SrcOff*4)),
		dpitch: C.int64_t(c.DstStride), spitch: C.int64_t(c.SrcStride), rows: C.int64_t(c.Rows), cols: C.int64_t(c.Cols)}
	b.check("sum of rows", C.ll_add_rows(b.ll, b.s(), &a), dst, src)
}

// copy enqueues a copy of a block on a stream.
func (b *Backend) copy(what string, s C.ll_stream, dst, src ops.Tensor, c ops.Block) {
	size := dst.DType.Size()
	a := C.ll_copy_args{dst: unsafe.Add(dst.P, c.DstOff*size), src: unsafe.Add(src.P, c.SrcOff*size),
		dpitch: C.size_t(c.DstStride * size), spitch: C.size_t(c.SrcStride * size),
		width: C.size_t(c.Cols * size), rows: C.size_t(c.Rows)}
	b.check(what, C.ll_copy(b.ll, s, &a), dst, src)
}
