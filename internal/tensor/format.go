package tensor

import "fmt"

// Format is how the elements of a matrix are stored: one after the other as they are, or as codes of fewer bits beside
// factors that blocks of them share.
type Format struct {
	Type DType // of the values; dense elements are stored in it
}

// Dense is the format of elements that are stored as they are.
func Dense(d DType) Format { return Format{Type: d} }

// Dense reports whether the elements are stored as they are.
func (f Format) Dense() bool { return f == Dense(f.Type) }

// Bits is what an element takes, without its part of the factors.
func (f Format) Bits() int { return 8 * f.Type.Size() }

// Bytes is what the elements of a matrix of this shape take; ok is false on a negative extent or an overflow.
func (f Format) Bytes(s Shape) (n int64, ok bool) { return s.Bytes(f.Type) }

func (f Format) String() string { return f.Type.String() }

// Stored is a tensor as it lies in a file or in memory, little endian and row-major. Data is nil where it is only counted.
type Stored struct {
	Format Format
	Shape  Shape
	Data   []byte // of the elements
}

// Check refuses data of another length than the format and the shape ask for.
func (s Stored) Check() error {
	if n, ok := s.Format.Bytes(s.Shape); !ok || n != int64(len(s.Data)) {
		return fmt.Errorf("a tensor of shape %v %s with %d bytes", s.Shape, s.Format, len(s.Data))
	}
	return nil
}

// Rows are rows [lo, hi) of a matrix.
func (s Stored) Rows(lo, hi int) Stored {
	row := Shape{1, s.Shape[1]}
	n, _ := s.Format.Bytes(row)
	out := Stored{Format: s.Format, Shape: Shape{hi - lo, s.Shape[1]}}
	if s.Data != nil {
		out.Data = s.Data[int64(lo)*n : int64(hi)*n]
	}
	return out
}
