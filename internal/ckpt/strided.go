package ckpt

import "longlora/internal/tensor"

// strided is a tensor whose elements do not lie one after the other, a transposed one say. They are gathered when they
// are asked for and no earlier.
type strided struct {
	from   []byte // of the whole storage
	offset int    // of the first element, in elements, as strides are
	stride []int
}

// gather copies the elements lo to hi, each of es bytes, counted in the order of the shape.
func (s *strided) gather(shape tensor.Shape, lo, hi, es int) []byte {
	out := make([]byte, 0, (hi-lo)*es)
	if lo >= hi {
		return out
	}
	index, at := make([]int, len(shape)), s.offset
	for i, rest := len(shape)-1, lo; i >= 0; i-- {
		index[i], rest = rest%shape[i], rest/shape[i]
		at += index[i] * s.stride[i]
	}
	for {
		out = append(out, s.from[at*es:(at+1)*es]...)
		if lo++; lo == hi {
			return out
		}
		i := len(shape) - 1
		for ; index[i] == shape[i]-1; i-- { // lo < hi, so some axis can still go on
			at -= index[i] * s.stride[i]
			index[i] = 0
		}
		index[i]++
		at += s.stride[i]
	}
}
