package ops

import (
	"fmt"
	"unsafe"

	"longlora/internal/tensor"
)

// Weight is the matrix of a linear layer, the head or the embedding, as operations read it. A frozen one has the format
// of the checkpoint, or what the backend made of it; one that is trained is a view of the parameters, which Dense gives back.
// The zero Weight stands for "none".
type Weight struct {
	Shape  tensor.Shape // (out,in), or (V,C)
	Format tensor.Format
	P      unsafe.Pointer // its elements, row-major; nil while only counting
	Where  Space          // the memory that P is of
}

// WeightOf is a tensor in device memory as a weight.
func WeightOf(t Tensor) Weight {
	return Weight{Shape: t.Shape, Format: tensor.Dense(t.DType), P: t.P}
}

// None reports whether w is the zero Weight.
func (w Weight) None() bool { return w.Shape == nil }

// Dim is the extent of axis i.
func (w Weight) Dim(i int) int { return w.Shape[i] }

// Dense is the weight as a tensor. Its elements must be stored as they are: which formats a backend reads in what way is
// its own business, and it asks before.
func (w Weight) Dense() Tensor {
	if !w.Format.Dense() || w.Where != Device {
		panic(fmt.Sprintf("ops: a weight of format %s read as a tensor", w.Format))
	}
	return Tensor{P: w.P, DType: w.Format.Type, Shape: w.Shape}
}

// Held is the format in which a device of this activation type holds a weight that is stored in format f.
func Held(f tensor.Format, act tensor.DType) tensor.Format {
	if act == tensor.F32 { // the CPU reads what is mapped
		return f
	}
	return tensor.Dense(act)
}

// Room is the memory that a weight takes, in bytes, each of its parts rounded up to Align.
func Room(f tensor.Format, s tensor.Shape) int64 {
	n, ok := f.Bytes(s)
	if !ok {
		panic(fmt.Sprintf("ops: a weight of shape %v", s))
	}
	return (n + Align - 1) / Align * Align
}
