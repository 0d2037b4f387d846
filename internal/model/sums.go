package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// sums are the sums of gradients of an embedding, where they wait in host memory. They do where the head is another
// matrix: then all rows are zero but those of a step's tokens. The embedding's operation adds to them where they lie,
// and of what comes to the device, a piece at a time, only rows that occurred travel.
type sums struct {
	b     ops.Backend
	table ops.Tensor // (V,C) float32 in host memory; None where none wait
	piece ops.Tensor // (≤ size) float32 on the device
	bits  ops.Tensor // (⌈V/64⌉) uint64 on the device: rows that have occurred since all was zero
	rows  []uint64   // the same as it is to be
	stale bool       // bits are not yet as rows are
	n     int        // elements, with the padding behind them
	size  int        // elements of a piece, which is whole rows
}

// sumsPieces is how many pieces of the optimizer one of the sums is: a norm of more, smaller ones takes longer, and is
// summed up by them wherever gradients are.
const sumsPieces = 4

// newSums takes room for the gradient of a matrix (v,c), which takes n elements of the slabs; n is 0 where none waits.
func newSums(b ops.Backend, mem Memory, n, v, c, size int) (s sums) {
	if n == 0 {
		return s
	}
	words := (v + 63) / 64
	return sums{b: b, n: n, size: size, rows: make([]uint64, words), table: mem.State.New(tensor.F32, v, c),
		piece: mem.Params.New(tensor.F32, min(n, size)), bits: mem.Params.New(tensor.U64, words)}
}

// add notes the rows of tokens, to which an operation is about to add.
func (s *sums) add(ids []int32) {
	for _, id := range ids {
		if w := int(uint32(id) / 64); w < len(s.rows) {
			s.rows[w] |= 1 << (id % 64)
		}
	}
	s.stale = true
}

// part is where elements [lo, hi), which begin a row, lie in the table, and which rows of them have occurred.
func (s *sums) part(lo, hi int) (ops.Tensor, ops.RowSet) {
	if s.stale {
		s.b.Upload(s.bits, bytesOf(s.rows))
		s.stale = false
	}
	v, c := s.table.Dim(0), s.table.Dim(1)
	first, end, n := lo/c, min(hi/c, v), 0
	for r := first; r < end; r++ {
		n += int(s.rows[r/64] >> (r % 64) & 1)
	}
	return s.table.Rows(first, end), ops.RowSet{Bits: s.bits, First: first, N: n}
}

// take has the piece be elements [lo, hi).
func (s *sums) take(lo, hi int) ops.Tensor {
	x := s.piece.Rows(0, hi-lo)
	s.b.Zero(x)
	if from, set := s.part(lo, hi); set.N > 0 {
		s.b.CopySet(s.as(from), from, set)
	}
	return x
}

// as is the piece in the shape of a part of the table.
func (s *sums) as(part ops.Tensor) ops.Tensor {
	return s.piece.Rows(0, part.Elems()).Reshape(part.Shape...)
}

// each calls f for each piece, of elements [lo, hi), in which a row has occurred.
func (s *sums) each(f func(lo, hi int, part ops.Tensor, set ops.RowSet) error) error {
	for lo := 0; lo < s.n; lo += s.size {
		hi := min(lo+s.size, s.n)
		if part, set := s.part(lo, hi); set.N > 0 {
			if err := f(lo, hi, part, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// change has f change each piece.
func (s *sums) change(f func(x ops.Tensor) error) error {
	return s.each(func(lo, hi int, part ops.Tensor, set ops.RowSet) error {
		err := f(s.take(lo, hi))
		s.b.CopySet(part, s.as(part), set)
		return err
	})
}

// clear makes all zero.
func (s *sums) clear() {
	if s.n > 0 {
		s.b.Zero(s.piece)
	}
	_ = s.each(func(_, _ int, part ops.Tensor, set ops.RowSet) error {
		s.b.CopySet(part, s.as(part), set)
		return nil
	})
	clear(s.rows)
}
