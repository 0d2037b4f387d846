//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// A product of one row, as generating has them, is as fast as memory gives its matrix: csrc/cuda/row.cu reads it, and
// those of the layers of one input by one launch. cuBLASLt has what does not suit.

// rowLayer is y (1,out) = x·Wᵀ + res + bias as the kernel takes it. It is not ok where the kernel does not suit.
func rowLayer(y ops.Tensor, x, w matrix, in int, res, bias unsafe.Pointer) (l C.ll_row_layer, ok bool) {
	ok = y.Dim(0) == 1 && y.DType == tensor.BF16 && !x.t && w.t && w.ld == in && in%8 == 0 &&
		(uintptr(x.p)|uintptr(w.p))%16 == 0
	return C.ll_row_layer{w: w.p, c: res, bias: bias, y: y.P, out: dim(y, 1)}, ok
}

// row multiplies x by matrices that suit; frozen ones are written by nothing that is enqueued.
func (b *Backend) row(op string, x unsafe.Pointer, in int, scale float32, frozen bool, layers ...C.ll_row_layer) {
	for ; len(layers) > 0; layers = layers[min(len(layers), C.LL_ROW):] {
		a := C.ll_row_args{x: x, in: C.int64_t(in), scale: C.float(scale), frozen: yes(frozen)}
		out := 0
		for _, l := range layers[:min(len(layers), C.LL_ROW)] {
			a.layer[a.n] = l
			a.n++
			out += int(l.out)
		}
		status := C.ll_row(b.ll, b.s(), &a)
		b.check(op, status, ops.Tensor{DType: tensor.BF16, Shape: tensor.Shape{out, in}})
	}
}

// oneRow computes Y = x·Wᵀ + Res + Bias of one row for the layers that suit, and returns the others.
func (b *Backend) oneRow(x ops.Tensor, p []ops.Proj) (rest []ops.Proj) {
	if x.Dim(0) != 1 {
		return p
	}
	var layers []C.ll_row_layer
	frozen := true
	for _, q := range p {
		frozen = frozen && q.L.DW.None()
		if w := q.L.W; w.Format.Dense() {
			if l, ok := rowLayer(q.Y, rows(x), turned(w.Dense()), x.Dim(1), q.Res.P, q.L.Bias.P); ok {
				layers = append(layers, l)
				continue
			}
		}
		rest = append(rest, q)
	}
	b.row("linear layer", x.P, x.Dim(1), 1, frozen, layers...)
	return rest
}
