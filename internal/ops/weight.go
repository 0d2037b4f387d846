package ops

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"longlora/internal/par"
	"longlora/internal/tensor"
)

// Weight is the matrix of a linear layer, the head or the embedding, as operations read it. A frozen one has the format
// of the checkpoint, or what the backend made of it; one that is trained is a view of the parameters, which Dense gives
// back. The zero Weight stands for "none".
type Weight struct {
	Shape  tensor.Shape // (out,in), or (V,C)
	Format tensor.Format
	P      unsafe.Pointer // its elements or codes, row-major; nil while only counting
	Scales Scales         // what codes are made values with
	Where  Space          // the memory that P and Scales are of
}

// Scales are where the parts of tensor.Scales lie.
type Scales struct {
	Map, Absmax, NestedMap, NestedAbsmax unsafe.Pointer
	Offset                               float32
}

// WeightOf is a tensor as a weight.
func WeightOf(t Tensor) Weight {
	return Weight{Shape: t.Shape, Format: tensor.Dense(t.DType), P: t.P, Where: t.Where}
}

// Addressed is a stored matrix that the CPU can address as a weight, in place.
func Addressed(s tensor.Stored) Weight {
	at := func(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
	x := s.Scales
	return Weight{Shape: s.Shape, Format: s.Format, P: at(s.Data),
		Scales: Scales{Map: at(x.Map), Absmax: at(x.Absmax), NestedMap: at(x.NestedMap), NestedAbsmax: at(x.NestedAbsmax),
			Offset: x.Offset}}
}

// Stored is the way back: the weight's memory as bytes, for memory that the CPU can address.
func (w Weight) Stored() tensor.Stored {
	p, _ := w.Format.Parts(w.Shape) // which Room or Check has seen
	bytes := func(at unsafe.Pointer, n int64) []byte { return unsafe.Slice((*byte)(at), n) }
	x := w.Scales
	return tensor.Stored{Format: w.Format, Shape: w.Shape, Data: bytes(w.P, p.Data), Scales: tensor.Scales{
		Map: bytes(x.Map, p.Map), Absmax: bytes(x.Absmax, p.Absmax), NestedMap: bytes(x.NestedMap, p.NestedMap),
		NestedAbsmax: bytes(x.NestedAbsmax, p.NestedAbsmax), Offset: x.Offset}}
}

// None reports whether w is the zero Weight.
func (w Weight) None() bool { return w.Shape == nil }

// Dim is the extent of axis i.
func (w Weight) Dim(i int) int { return w.Shape[i] }

// Dense is the weight as a tensor in device memory. Its elements must be stored as they are: which formats a backend
// reads in what way is its own business, and it asks before.
func (w Weight) Dense() Tensor {
	if w.Where != Device {
		panic("ops: a weight that waits in host memory read by an operation")
	}
	return w.Table()
}

// Table is Dense of a table of rows, which may lie in host memory.
func (w Weight) Table() Tensor {
	if !w.Format.Dense() {
		panic(fmt.Sprintf("ops: a weight of format %s read as a tensor", w.Format))
	}
	return Tensor{P: w.P, DType: w.Format.Type, Shape: w.Shape, Where: w.Where}
}

// Held is the format in which a device of this activation type holds a weight that is stored in format f.
func Held(f tensor.Format, act tensor.DType) tensor.Format {
	if act == tensor.F32 || !f.Dense() { // the CPU reads what is mapped
		return f
	}
	return tensor.Dense(act)
}

// Room is the memory that a weight takes, in bytes, each of its parts rounded up to Align.
func Room(f tensor.Format, s tensor.Shape) int64 {
	p, ok := f.Parts(s)
	if !ok {
		panic(fmt.Sprintf("ops: a weight of shape %v", s))
	}
	sum := int64(0)
	for _, n := range p.All() {
		sum += (n + Align - 1) / Align * Align
	}
	return sum
}

// Weight hands out room for a weight: its parts one after the other, Room in all. What it holds is to be filled in.
func (a *Arena) Weight(f tensor.Format, s tensor.Shape) Weight {
	p, ok := f.Parts(s)
	if !ok {
		panic(fmt.Sprintf("ops: a weight of shape %v", s))
	}
	w := Weight{Shape: s, Format: f, Where: a.Space}
	for i, n := range p.All() {
		if at := w.parts()[i]; n > 0 {
			*at = a.take(n)
		}
	}
	return w
}

// parts are the weight's pointers, in the order of tensor.Parts.
func (w *Weight) parts() [5]*unsafe.Pointer {
	x := &w.Scales
	return [...]*unsafe.Pointer{&w.P, &x.Map, &x.Absmax, &x.NestedMap, &x.NestedAbsmax}
}

// In is the weight as it lies where all of the memory from the address from on has been copied to device memory at to.
func (w Weight) In(to, from unsafe.Pointer) Weight {
	for _, at := range w.parts() {
		if *at != nil {
			*at = unsafe.Add(to, uintptr(*at)-uintptr(from))
		}
	}
	w.Where = Device
	return w
}

// takes refuses a stored matrix that the weight can not be filled with, and takes what of it lies nowhere.
func (w *Weight) takes(s tensor.Stored) error {
	if err := s.Check(); err != nil {
		return err
	}
	if !s.Shape.Equal(w.Shape) {
		return fmt.Errorf("a matrix of shape %v for a weight of %v", s.Shape, w.Shape)
	}
	if s.Format != w.Format && w.Format != Held(s.Format, w.Format.Type) {
		return fmt.Errorf("a matrix stored as %s for a weight of %s", s.Format, w.Format)
	}
	w.Scales.Offset = s.Scales.Offset
	return nil
}

// Fill writes a stored matrix into a weight that the CPU can address, of the format in which the matrix is stored, or
// of bfloat16 where it is stored in another float type. All cores work at it.
func (w *Weight) Fill(s tensor.Stored) error {
	if err := w.takes(s); err != nil {
		return err
	}
	to := w.Stored()
	for _, part := range [][2][]byte{{to.Scales.Map, s.Scales.Map}, {to.Scales.Absmax, s.Scales.Absmax},
		{to.Scales.NestedMap, s.Scales.NestedMap}, {to.Scales.NestedAbsmax, s.Scales.NestedAbsmax}} {
		copy(part[0], part[1])
	}
	if s.Format == w.Format {
		byPieces(len(to.Data), func(lo, hi int) { copy(to.Data[lo:hi], s.Data[lo:hi]) })
		return nil
	}
	ratio := s.Format.Type.Size() / w.Format.Type.Size()
	byPieces(len(to.Data), func(lo, hi int) {
		tensor.Narrow(to.Data[lo:hi], s.Data[lo*ratio:hi*ratio], s.Format.Type)
	})
	return nil
}

// fillPiece is how many bytes a core fills at a time.
const fillPiece = 4 << 20

// byPieces calls f for pieces of n bytes, on all cores where there are several.
func byPieces(n int, f func(lo, hi int)) {
	if n <= fillPiece {
		f(0, n)
		return
	}
	var group par.Group
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for lo := int(next.Add(fillPiece)) - fillPiece; lo < n; lo = int(next.Add(fillPiece)) - fillPiece {
				f(lo, min(lo+fillPiece, n))
			}
		})
	}
	group.Wait()
}
