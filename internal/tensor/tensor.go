// Package tensor has element types, shapes and the conversions between 16-bit floats and float32.
// It holds no arithmetic and no cgo.
package tensor

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is an element type. Names follow the safetensors format.
type DType uint8

// The element types that the program computes with or stores.
const (
	F32 DType = iota
	BF16
	F16
	F64
	I32
	I64
	U64
)

var dtypes = [...]struct {
	name string
	size int
}{F32: {"F32", 4}, BF16: {"BF16", 2}, F16: {"F16", 2}, F64: {"F64", 8}, I32: {"I32", 4}, I64: {"I64", 8}, U64: {"U64",
	8}}

// Size is the number of bytes of one element.
func (d DType) Size() int { return dtypes[d].size }

func (d DType) String() string { return dtypes[d].name }

// ParseDType reads a safetensors type name; ok is false for one that is not known.
func ParseDType(s string) (d DType, ok bool) {
	for i, t := range dtypes {
		if t.name == s {
			return DType(i), true
		}
	}
	return 0, false
}

// Shape is the extent of each axis, outermost first.
type Shape []int

// Elems is the product of the extents; 1 for a scalar.
func (s Shape) Elems() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Bytes is the size of a dense tensor of this shape; ok is false on a negative extent or an overflow.
func (s Shape) Bytes(d DType) (n int64, ok bool) {
	p := uint64(d.Size())
	for _, e := range s {
		if e < 0 {
			return 0, false
		}
		hi, lo := bits.Mul64(p, uint64(e))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		p = lo
	}
	return int64(p), true
}

// Equal reports whether two shapes have the same axes.
func (s Shape) Equal(t Shape) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

func (s Shape) String() string { return fmt.Sprint([]int(s)) }
