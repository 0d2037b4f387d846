package ckpt

import (
	"longlora/internal/tensor"
)

// Coding is how values are written. A row of a matrix is a whole number of blocks.
type Coding interface {
	// Append appends the values' bytes to b, each rounded to the nearest.
	Append(b []byte, v []float32) []byte
	// NotFinite is the index of the first value that the bytes hold as NaN or infinity, or of the first of its block; -1
	// where there is none.
	NotFinite(b []byte) int
	// Is reports whether the bytes are those of elements of the type.
	Is(d tensor.DType) bool
}

// Dense is the coding of elements of a type that weights have: F32, BF16 or F16.
func Dense(d tensor.DType) Coding { return dense(d) }

type dense tensor.DType

func (d dense) Append(b []byte, v []float32) []byte { return AppendFloats(b, v, tensor.DType(d)) }

func (d dense) NotFinite(b []byte) int { return NotFinite(b, tensor.DType(d)) }

func (d dense) Is(t tensor.DType) bool { return tensor.DType(d) == t }
