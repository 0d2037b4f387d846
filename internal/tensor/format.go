package tensor

import "fmt"

// Code is what stands for an element in a Format.
type Code uint8

const (
	// Plain elements are stored as they are.
	Plain Code = iota
	// NF4 are codes of 4 bits into a table of 16 values, which a factor of the block scales (QLoRA, arXiv 2305.14314, sec.
	// 3), as bitsandbytes stores them: package quant.
	NF4
	// FP8 are floats of 8 bits, e4m3fn (FP8 Formats for Deep Learning, arXiv 2209.05433), which a factor of the row
	// scales.
	FP8
)

// Format is how the elements of a matrix are stored: one after the other as they are, or as codes of fewer bits beside
// factors that blocks of them share. Formats are compared with ==.
type Format struct {
	Type  DType // of the values: plain elements are stored in it, others are rounded to it
	Code  Code
	Block int // of NF4: elements, row-major, that share a factor
	// of NF4: factors that share a factor of their own, being codes of 8 bits themselves; 0 where they are float32
	Nested int
}

// Dense is the format of elements that are stored as they are.
func Dense(d DType) Format { return Format{Type: d} }

// Dense reports whether the elements are stored as they are.
func (f Format) Dense() bool { return f.Code == Plain }

// Parts are the bytes of what a matrix consists of: its elements or codes and, of NF4, what Scales has.
type Parts struct{ Data, Map, Absmax, NestedMap, NestedAbsmax int64 }

// All lists them.
func (p Parts) All() [5]int64 { return [5]int64{p.Data, p.Map, p.Absmax, p.NestedMap, p.NestedAbsmax} }

// Parts are what a matrix of this shape takes; ok is false on a negative extent or an overflow.
func (f Format) Parts(s Shape) (p Parts, ok bool) {
	if p.Data, ok = s.Bytes(f.Type); !ok || f.Code == Plain {
		return p, ok
	}
	n := p.Data / int64(f.Type.Size())
	if f.Code == FP8 {
		p.Data, p.Absmax = n, 4*int64(Shape(s[:max(len(s)-1, 0)]).Elems())
		return p, true
	}
	p.Data, p.Map = (n+1)/2, 4*16
	p.Absmax = (n + int64(f.Block) - 1) / int64(f.Block)
	if f.Nested == 0 {
		p.Absmax *= 4
		return p, true
	}
	p.NestedMap, p.NestedAbsmax = 4*256, 4*((p.Absmax+int64(f.Nested)-1)/int64(f.Nested))
	return p, true
}

// Bytes is what a matrix of this shape takes in all.
func (f Format) Bytes(s Shape) (n int64, ok bool) {
	p, ok := f.Parts(s)
	for _, part := range p.All() {
		n += part
	}
	return n, ok
}

// Make is a matrix of this format and shape, of which alloc gives the memory of each part that it has.
func (f Format) Make(s Shape, alloc func(n int64) []byte) Stored {
	p, ok := f.Parts(s)
	if !ok {
		panic(fmt.Sprintf("tensor: a matrix of shape %v", s))
	}
	part := func(n int64) []byte {
		if n == 0 {
			return nil
		}
		return alloc(n)
	}
	return Stored{Format: f, Shape: s, Data: part(p.Data), Scales: Scales{Map: part(p.Map), Absmax: part(p.Absmax),
		NestedMap: part(p.NestedMap), NestedAbsmax: part(p.NestedAbsmax)}}
}

func (f Format) String() string {
	switch {
	case f.Code == Plain:
		return f.Type.String()
	case f.Code == FP8:
		return "FP8 (a factor a row)"
	case f.Nested > 0:
		return fmt.Sprintf("NF4 (blocks of %d, double quantisation)", f.Block)
	}
	return fmt.Sprintf("NF4 (blocks of %d)", f.Block)
}

// Stored is a tensor as it lies in a file or in memory, little endian and row-major. Data is nil where it is only
// counted.
type Stored struct {
	Format Format
	Shape  Shape
	Data   []byte // its elements or codes; of NF4 element 2j is the high half of byte j
	Scales Scales
}

// Scales are what codes are made values with; nothing of plain elements.
type Scales struct {
	Map          []byte  // (16) float32, the values that codes stand for
	Absmax       []byte  // by block, or row of FP8, its factor: float32, or a code where factors are nested
	NestedMap    []byte  // (256) float32, the values that those codes stand for
	NestedAbsmax []byte  // (blocks of factors) float32
	Offset       float32 // added to a nested factor
}

// Check refuses parts of other lengths than the format and the shape ask for.
func (s Stored) Check() error {
	p, ok := s.Format.Parts(s.Shape)
	is := Parts{int64(len(s.Data)), int64(len(s.Scales.Map)), int64(len(s.Scales.Absmax)), int64(len(s.Scales.NestedMap)),
		int64(len(s.Scales.NestedAbsmax))}
	if !ok || p != is {
		return fmt.Errorf("a tensor of shape %v %s with parts of %v bytes, want %v", s.Shape, s.Format, is.All(), p.All())
	}
	return nil
}

// Rows are rows [lo, hi) of a matrix. Those of NF4 can be taken where a block, and a block of factors, begins.
func (s Stored) Rows(lo, hi int) (Stored, error) {
	f, cols := s.Format, s.Shape[1]
	out := Stored{Format: f, Shape: Shape{hi - lo, cols}, Scales: s.Scales}
	if f.Dense() {
		if n := cols * f.Type.Size(); s.Data != nil {
			out.Data = s.Data[lo*n : hi*n]
		}
		return out, nil
	}
	from, to := lo*cols, hi*cols
	if f.Code == FP8 {
		if s.Data != nil {
			out.Data, out.Scales.Absmax = s.Data[from:to], s.Scales.Absmax[4*lo:4*hi]
		}
		return out, nil
	}
	if from%f.Block != 0 || from%2 != 0 || f.Nested > 0 && from/f.Block%f.Nested != 0 {
		return out, fmt.Errorf("row %d of a matrix of shape %v %s does not begin a block", lo, s.Shape, f)
	}
	if s.Data == nil {
		return out, nil
	}
	b0, b1 := from/f.Block, (to+f.Block-1)/f.Block
	out.Data = s.Data[from/2 : (to+1)/2]
	if f.Nested == 0 {
		out.Scales.Absmax = s.Scales.Absmax[4*b0 : 4*b1]
		return out, nil
	}
	out.Scales.Absmax = s.Scales.Absmax[b0:b1]
	out.Scales.NestedAbsmax = s.Scales.NestedAbsmax[4*(b0/f.Nested) : 4*((b1+f.Nested-1)/f.Nested)]
	return out, nil
}
