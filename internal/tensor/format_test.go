package tensor

import (
	"math"
	"testing"
)

// What a matrix takes follows from its format, and data of another length is refused.
func TestFormat(t *testing.T) {
	for _, c := range []struct {
		f    Format
		s    Shape
		n    int64
		bits int
	}{{Dense(F32), Shape{3, 5}, 60, 32}, {Dense(BF16), Shape{3, 5}, 30, 16}, {Dense(F16), Shape{7}, 14, 16}, {Dense(BF16), Shape{0, 5}, 0, 16}} {
		n, ok := c.f.Bytes(c.s)
		if !ok || n != c.n || c.f.Bits() != c.bits || !c.f.Dense() {
			t.Errorf("%s of %v: %d bytes, %d bits, dense %v; want %d and %d", c.f, c.s, n, c.f.Bits(), c.f.Dense(), c.n, c.bits)
		}
		if err := (Stored{c.f, c.s, make([]byte, c.n)}).Check(); err != nil {
			t.Error(err)
		}
		if (Stored{c.f, c.s, make([]byte, c.n+1)}).Check() == nil {
			t.Errorf("%s of %v with a byte more is taken", c.f, c.s)
		}
	}
	if _, ok := Dense(F32).Bytes(Shape{math.MaxInt32, math.MaxInt32, 2}); ok {
		t.Error("2^63 bytes are no overflow")
	}
}
