package ckpt

import (
	"encoding/binary"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// Tensor is a named tensor. Its elements are mapped file memory or memory of the reader's.
type Tensor struct {
	Name    string
	DType   tensor.DType
	Shape   tensor.Shape
	File    string
	data    []byte
	codes   *tensor.Stored // where the elements are made of codes; data has these
	view    *strided       // where the elements lie otherwise than one after the other
	patched *patched       // where some rows are another tensor's
	foreign string         // the file's name for an element type that the program has not
	mapped  bool           // data lies in a mapping
}

// TypeName is the element type as the file says it.
func (t Tensor) TypeName() string {
	if t.foreign != "" {
		return t.foreign
	}
	return t.DType.String()
}

// Weight reports whether the elements are of a type that weights may have: F32, BF16 or F16.
func (t Tensor) Weight() bool {
	return t.foreign == "" && (t.DType == tensor.F32 || t.DType == tensor.BF16 || t.DType == tensor.F16)
}

// FromFloats makes a float32 tensor over v's memory.
func FromFloats(name string, shape tensor.Shape, v []float32) Tensor {
	return Tensor{Name: name, DType: tensor.F32, Shape: shape,
		data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))}
}

// FromStored is a matrix as it lies in memory, in any format.
func FromStored(name string, s tensor.Stored) Tensor {
	t := Tensor{Name: name, DType: s.Format.Type, Shape: s.Shape, data: s.Data}
	if !s.Format.Dense() {
		t.codes = &s
	}
	return t
}

// Floats are a weight's values as float32, a copy.
func (t Tensor) Floats() []float32 {
	out := make([]float32, t.Shape.Elems())
	t.Range(out, 0)
	return out
}

// Range fills out with a weight's values from element lo on, as float32.
func (t Tensor) Range(out []float32, lo int) {
	if t.codes != nil {
		quant.Decode(out, *t.codes, lo)
		return
	}
	if t.patched != nil {
		t.patched.read(out, lo)
		return
	}
	tensor.Widen(out, t.Bytes(lo, lo+len(out)), t.DType)
}

// Bytes are the elements lo to hi in their type, little endian: the file's memory where they lie there one after the
// other, a copy elsewhere.
func (t Tensor) Bytes(lo, hi int) []byte {
	n := t.DType.Size()
	if t.codes != nil || t.patched != nil {
		v := make([]float32, hi-lo)
		t.Range(v, lo)
		return AppendFloats(make([]byte, 0, n*len(v)), v, t.DType)
	}
	if t.view != nil {
		return t.view.gather(t.Shape, lo, hi, n)
	}
	return t.data[lo*n : hi*n]
}

// Data are all elements, as Bytes gives them; nil for a type that the program has not.
func (t Tensor) Data() []byte {
	if t.foreign != "" {
		return nil
	}
	return t.Bytes(0, t.Shape.Elems())
}

// Stored is the tensor as it lies in the file.
func (t Tensor) Stored() tensor.Stored {
	if t.codes != nil {
		return *t.codes
	}
	return tensor.Stored{Format: t.Format(), Shape: t.Shape, Data: t.Data()}
}

// Format is how a weight is stored.
func (t Tensor) Format() tensor.Format {
	if t.codes != nil {
		return t.codes.Format
	}
	return tensor.Dense(t.DType)
}

// Rows are the first n rows of a tensor of several axes.
func (t Tensor) Rows(n int) Tensor {
	t.Shape = append(tensor.Shape{n}, t.Shape[1:]...)
	if t.view == nil && t.patched == nil {
		t.data, t.codes = t.Bytes(0, t.Shape.Elems()), nil
	}
	return t
}

// AppendFloats appends v to b as elements of type d (F32, BF16 or F16), each rounded to the nearest.
func AppendFloats(b []byte, v []float32, d tensor.DType) []byte {
	at := len(b)
	b = slices.Grow(b, len(v)*d.Size())[:at+len(v)*d.Size()]
	tensor.Store(b[at:], v, d)
	return b
}

// NotFinite is the index of the first NaN or infinity among elements of type d, -1 when there is none.
func NotFinite(b []byte, d tensor.DType) int {
	if d == tensor.F32 {
		for i := 0; i+4 <= len(b); i += 4 {
			if binary.LittleEndian.Uint32(b[i:])&0x7f800000 == 0x7f800000 {
				return i / 4
			}
		}
		return -1
	}
	mask := uint16(0x7f80)
	if d == tensor.F16 {
		mask = 0x7c00
	}
	for i := 0; i+2 <= len(b); i += 2 {
		if binary.LittleEndian.Uint16(b[i:])&mask == mask {
			return i / 2
		}
	}
	return -1
}

// Out makes the tensor ready to be written as it is.
func (t Tensor) Out() Out { return Bytes(t.Name, t.DType, t.Shape, t.Data()) }

// Release tells the kernel that the pages under elements lo to hi are done with: a checkpoint that is read once,
// from its beginning to its end, then takes no more memory than the part in hand. They stay readable.
func (t Tensor) Release(lo, hi int) {
	if t.patched != nil {
		t.patched.under.Release(lo, hi)
	}
	if !t.mapped || lo >= hi {
		return
	}
	var b []byte
	if t.codes != nil {
		b = t.data[(lo+1)/2 : hi/2]
	} else {
		b = t.Bytes(lo, hi)
	}
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := (page - start%page) % page // the first and last pages may hold other elements
	if skip >= uintptr(len(b)) {
		return
	}
	b = b[skip:]
	if whole := len(b) / int(page) * int(page); whole > 0 {
		_ = unix.Madvise(b[:whole], unix.MADV_DONTNEED) // advice: refused, it costs memory and nothing else
	}
}
