package tensor

import (
	"math"
	"testing"
)

// What a matrix takes follows from its format, and parts of another length are refused.
func TestFormat(t *testing.T) {
	nf4 := func(block, nested int) Format { return Format{Type: BF16, Code: NF4, Block: block, Nested: nested} }
	for _, c := range []struct {
		f    Format
		s    Shape
		want Parts
	}{
		{Dense(F32), Shape{3, 5}, Parts{Data: 60}}, {Dense(BF16), Shape{3, 5}, Parts{Data: 30}}, {Dense(F16), Shape{7}, Parts{Data: 14}},
		{Dense(BF16), Shape{0, 5}, Parts{}},
		{Format{Type: F32, Code: FP8}, Shape{3, 43}, Parts{Data: 129, Absmax: 12}},
		{Format{Type: F32, Code: FP8}, Shape{0, 43}, Parts{}},
		{nf4(64, 0), Shape{4, 64}, Parts{Data: 128, Map: 64, Absmax: 16}},
		{nf4(64, 0), Shape{3, 43}, Parts{Data: 65, Map: 64, Absmax: 12}}, // 129 codes, three blocks
		{nf4(64, 256), Shape{300, 64}, Parts{Data: 9600, Map: 64, Absmax: 300, NestedMap: 1024, NestedAbsmax: 8}},
	} {
		p, ok := c.f.Parts(c.s)
		n, _ := c.f.Bytes(c.s)
		if sum := p.Data + p.Map + p.Absmax + p.NestedMap + p.NestedAbsmax; !ok || p != c.want || n != sum || c.f.Dense() != (c.f.Code == Plain) {
			t.Errorf("%s of %v: %+v, %d bytes; want %+v", c.f, c.s, p, n, c.want)
		}
		s := Stored{c.f, c.s, make([]byte, p.Data), Scales{Map: make([]byte, p.Map), Absmax: make([]byte, p.Absmax),
			NestedMap: make([]byte, p.NestedMap), NestedAbsmax: make([]byte, p.NestedAbsmax)}}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		longer := s
		longer.Data = make([]byte, p.Data+1)
		if longer.Check() == nil {
			t.Errorf("%s of %v with a byte more is taken", c.f, c.s)
		}
		s.Scales.Absmax = make([]byte, p.Absmax+1)
		if s.Check() == nil {
			t.Errorf("%s of %v with a byte of factors more is taken", c.f, c.s)
		}
	}
	if _, ok := Dense(F32).Bytes(Shape{math.MaxInt32, math.MaxInt32, 2}); ok {
		t.Error("2^63 bytes are no overflow")
	}
}
