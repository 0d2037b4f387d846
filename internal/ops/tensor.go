package ops

import (
	"fmt"
	"unsafe"

	"longlora/internal/tensor"
)

// Tensor is a dense, row-major view of a backend's memory. The zero Tensor stands for "none".
// While a step is only counted (see Arena) P is nil and no operation touches memory.
type Tensor struct {
	P     unsafe.Pointer // first element, in the memory of the backend that made it
	DType tensor.DType
	Shape tensor.Shape
	Where Space // the memory that P is of
}

// None reports whether t is the zero Tensor, which optional arguments use for "not there".
func (t Tensor) None() bool { return t.Shape == nil }

// Elems is the number of elements.
func (t Tensor) Elems() int { return t.Shape.Elems() }

// Bytes is the size of the view.
func (t Tensor) Bytes() int64 { return int64(t.Elems()) * int64(t.DType.Size()) }

// Dim is the extent of axis i.
func (t Tensor) Dim(i int) int { return t.Shape[i] }

// Rows is the view of rows [lo, hi) of the first axis.
func (t Tensor) Rows(lo, hi int) Tensor {
	if lo < 0 || hi < lo || hi > t.Shape[0] {
		panic(fmt.Sprintf("ops: rows [%d, %d) of a tensor of shape %v", lo, hi, t.Shape))
	}
	s := make(tensor.Shape, len(t.Shape))
	copy(s, t.Shape)
	s[0] = hi - lo
	return Tensor{P: t.at(lo * t.Shape[1:].Elems()), DType: t.DType, Shape: s, Where: t.Where}
}

// Reshape is the same memory under another shape of as many elements.
func (t Tensor) Reshape(shape ...int) Tensor {
	s := tensor.Shape(shape)
	if s.Elems() != t.Elems() {
		panic(fmt.Sprintf("ops: reshape of %v to %v", t.Shape, s))
	}
	return Tensor{P: t.P, DType: t.DType, Shape: s, Where: t.Where}
}

// at is the address of element i; nil stays nil, so that counting needs no memory.
func (t Tensor) at(i int) unsafe.Pointer {
	if t.P == nil {
		return nil
	}
	return unsafe.Add(t.P, i*t.DType.Size())
}

// F32 is the tensor's memory as a slice. It is for backends whose memory the CPU can address.
func (t Tensor) F32() []float32 {
	t.must(tensor.F32)
	return unsafe.Slice((*float32)(t.P), t.Elems())
}

// F64 is the tensor's memory as a slice, for memory that the CPU can address.
func (t Tensor) F64() []float64 {
	t.must(tensor.F64)
	return unsafe.Slice((*float64)(t.P), t.Elems())
}

// I32 is the tensor's memory as a slice, for memory that the CPU can address.
func (t Tensor) I32() []int32 {
	t.must(tensor.I32)
	return unsafe.Slice((*int32)(t.P), t.Elems())
}

// U64 is the tensor's memory as a slice, for memory that the CPU can address.
func (t Tensor) U64() []uint64 {
	t.must(tensor.U64)
	return unsafe.Slice((*uint64)(t.P), t.Elems())
}

// Half is the memory of a BF16 or F16 tensor as its bit patterns, for memory that the CPU can address.
func (t Tensor) Half() []uint16 {
	if t.DType != tensor.BF16 && t.DType != tensor.F16 {
		panic("ops: a tensor of " + t.DType.String() + " read as 16-bit floats")
	}
	return unsafe.Slice((*uint16)(t.P), t.Elems())
}

// Raw is the tensor's memory as bytes, for memory that the CPU can address.
func (t Tensor) Raw() []byte { return unsafe.Slice((*byte)(t.P), t.Bytes()) }

func (t Tensor) must(d tensor.DType) {
	if t.DType != d {
		panic("ops: a tensor of " + t.DType.String() + " read as " + d.String())
	}
}

// Arena hands out memory from one region in the order of a stack. All memory of a step is taken from
// arenas. A counting arena has no region: it hands out tensors without an address and remembers the
// peak, so that running the step's own code against it says exactly what the step will need.
type Arena struct {
	Name  string
	Space Space
	base  unsafe.Pointer
	size  int64
	off   int64
	peak  int64
	kinds map[any]int64 // of a sizing arena: what each kind took, in bytes
}

// Align is the alignment of every tensor that an arena hands out, in bytes: a cache line on the CPU,
// a whole sector for vector loads and cuBLASLt on a GPU.
const Align = 256

// CountingArena makes an arena that only counts.
func CountingArena(name string, space Space) *Arena {
	return &Arena{Name: name, Space: space, size: -1}
}

// SizingArena makes a counting arena of which nothing but the peak is wanted: see Alike.
func SizingArena(name string, space Space) *Arena {
	return &Arena{Name: name, Space: space, size: -1, kinds: map[any]int64{}}
}

// Sizing reports whether nothing but the arena's peak is wanted.
func (a *Arena) Sizing() bool { return a.kinds != nil }

// Alike takes what take does, which is the same for every call with a kind. A sizing arena has it done once for each
// and counts it again from then on; what would have been taken then has no shape.
func (a *Arena) Alike(kind any, take func()) {
	n, known := a.kinds[kind]
	if known {
		a.off += n
		a.peak = max(a.peak, a.off)
		return
	}
	was := a.off
	take()
	if a.kinds != nil {
		a.kinds[kind] = a.off - was
	}
}

// NewArena reserves size bytes of the backend's memory.
func NewArena(b Backend, name string, space Space, size int64) (*Arena, error) {
	p, err := b.Reserve(space, size, name)
	if err != nil {
		return nil, err
	}
	return &Arena{Name: name, Space: space, base: p, size: size}, nil
}

// New hands out a tensor. Its contents are whatever the memory held before.
func (a *Arena) New(d tensor.DType, shape ...int) Tensor {
	t := Tensor{DType: d, Shape: append(tensor.Shape{}, shape...), Where: a.Space}
	t.P = a.take(t.Bytes())
	return t
}

// take hands out n bytes, nil where the arena only counts.
func (a *Arena) take(n int64) (p unsafe.Pointer) {
	n = (n + Align - 1) / Align * Align
	if a.size >= 0 {
		if a.off+n > a.size {
			panic(fmt.Sprintf("ops: arena %s was counted as %d bytes but the step asks for %d", a.Name, a.size, a.off+n))
		}
		p = unsafe.Add(a.base, a.off)
	}
	a.off += n
	a.peak = max(a.peak, a.off)
	return p
}

// Counting reports whether the arena only counts.
func (a *Arena) Counting() bool { return a.size < 0 }

// Mark is the present top of the stack, to be handed to Release.
func (a *Arena) Mark() int64 { return a.off }

// Release gives back everything handed out since the mark.
func (a *Arena) Release(mark int64) { a.off = mark }

// Peak is the most that was ever in use, in bytes.
func (a *Arena) Peak() int64 { return a.peak }

// Free gives the arena's region back to the backend; its tensors are dead.
func (a *Arena) Free(b Backend) { b.Free(a.Space, a.base, a.size) }
