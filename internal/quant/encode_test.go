package quant

import (
	"bytes"
	"fmt"
	"testing"

	"longlora/internal/tensor"
)

// values gives what a case was made from.
func (c nf4Case) weights() Values {
	d := c.stored().Format.Type
	return func(dst []float32, lo int) { tensor.Widen(dst, c.Weights[d.Size()*lo:], d) }
}

func alloc(n int64) []byte { return bytes.Repeat([]byte{0xa5}, int(n)) }

// Codes, factors and what stands for these are bitsandbytes' to the bit.
func TestEncode(t *testing.T) {
	for i, c := range nf4Cases(t) {
		want := c.stored()
		got := want.Format.Make(want.Shape, alloc)
		Encode(&got, c.weights())
		for _, p := range []struct {
			what      string
			got, want []byte
		}{
			{"codes", got.Data, want.Data}, {"table", got.Scales.Map, want.Scales.Map},
			{"factors", got.Scales.Absmax, want.Scales.Absmax}, {"nested table", got.Scales.NestedMap, want.Scales.NestedMap},
			{"nested factors", got.Scales.NestedAbsmax, want.Scales.NestedAbsmax},
		} {
			if !bytes.Equal(p.got, p.want) {
				t.Errorf("case %d, %s, %v %s: other %s than bitsandbytes': %s", i, c.What, c.Shape, want.Format, p.what, firstDifference(p.got, p.want))
			}
		}
		if got.Scales.Offset != want.Scales.Offset {
			t.Errorf("case %d, %s, %v %s: offset %v, want %v", i, c.What, c.Shape, want.Format, got.Scales.Offset, want.Scales.Offset)
		}
	}
}

func firstDifference(a, b []byte) string {
	n := 0
	first := -1
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			if n++; first < 0 {
				first = i
			}
		}
	}
	return fmt.Sprintf("%d of %d bytes, the first at %d", n, len(b), first)
}
