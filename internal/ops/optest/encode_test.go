package optest

import (
	"math"
	"testing"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Every value of a 16-bit float is rounded to itself, what lies between two to the nearer one, their middle to the even one.
func TestRound(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		h := halfOf(d)
		infinite := h.pattern(math.Inf(1))
		for u := range infinite {
			lo, hi := h.value(u), h.value(u+1)
			if u+1 == infinite { // where the next one would be
				hi = math.Ldexp(1, h.bias+1)
			}
			middle := lo + (hi-lo)/2
			even, up := lo, h.value(u+1)
			if u%2 == 1 {
				even = up
			}
			for _, sign := range []float64{1, -1} {
				for _, c := range []struct{ x, want float64 }{
					{lo, lo}, {math.Nextafter(middle, lo), lo}, {middle, even}, {math.Nextafter(middle, hi), up}, {math.Nextafter(hi, lo), up},
				} {
					if got := h.round(sign * c.x); got != sign*c.want || math.Signbit(got) != (sign < 0) {
						t.Fatalf("%s: %b becomes %b, want %b", d, sign*c.x, got, sign*c.want)
					}
				}
			}
		}
		for _, x := range []float64{math.Inf(1), math.MaxFloat64, math.Ldexp(1, h.bias+1), math.Ldexp(1, h.bias+2)} {
			if h.round(x) != math.Inf(1) || h.round(-x) != math.Inf(-1) {
				t.Errorf("%s: %g becomes %g and %g", d, x, h.round(x), h.round(-x))
			}
		}
		if x := h.round(math.NaN()); x == x {
			t.Errorf("%s: no number becomes %g", d, x)
		}
	}
}

// Temporaries are rounded as stored rounds them.
func TestRounded(t *testing.T) {
	for upper := range uint32(1 << 16) {
		var v, want []float32
		for _, lower := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			x := math.Float32frombits(upper<<16 | lower)
			v, want = append(v, x), append(want, float32(stored(tensor.BF16, float64(x))))
		}
		for i, got := range rounded(ops.Tensor{P: unsafe.Pointer(&v[0]), DType: tensor.F32, Shape: tensor.Shape{len(v)}}) {
			if math.Float32bits(got) != math.Float32bits(want[i]) && (got == got || want[i] == want[i]) {
				t.Fatalf("%b of %#x becomes %b, want %b", v[i], upper, got, want[i])
			}
		}
	}
}
