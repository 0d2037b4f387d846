package quant

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"longlora/internal/tensor"
)

// nf4Case is a matrix as bitsandbytes encodes and decodes it: scripts/gen-nf4-cases.py.
type nf4Case struct {
	What                  string
	Shape                 tensor.Shape
	DType                 string
	Block, Nested         int
	Weights, Data, Values []byte
	Map, Absmax           []byte
	NestedMap             []byte `json:"nested_map"`
	NestedAbsmax          []byte `json:"nested_absmax"`
	Offset                float32
}

func nf4Cases(t *testing.T) (cases []nf4Case) {
	t.Helper()
	b, err := os.ReadFile("testdata/nf4.json")
	if err == nil {
		err = json.Unmarshal(b, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func (c nf4Case) stored() tensor.Stored {
	d := map[string]tensor.DType{"bfloat16": tensor.BF16, "float16": tensor.F16, "float32": tensor.F32}[c.DType]
	return tensor.Stored{Format: tensor.Format{Type: d, Code: tensor.NF4, Block: c.Block, Nested: c.Nested}, Shape: c.Shape, Data: c.Data,
		Scales: tensor.Scales{Map: c.Map, Absmax: c.Absmax, NestedMap: c.NestedMap, NestedAbsmax: c.NestedAbsmax, Offset: c.Offset}}
}

// Values are bitsandbytes' to the bit, decoded whole or from anywhere.
func TestDecode(t *testing.T) {
	for _, c := range nf4Cases(t) {
		s := c.stored()
		if err := s.Check(); err != nil {
			t.Errorf("%s: %v", c.What, err)
			continue
		}
		n, d := s.Shape.Elems(), s.Format.Type
		want := make([]float32, n)
		if d == tensor.F32 {
			for i := range want {
				want[i] = float(c.Values, i)
			}
		} else {
			tensor.Widen(want, c.Values, d)
		}
		got := make([]float32, n)
		Decode(got, s, 0)
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s: other values than bitsandbytes'", c.What, s.Format)
		}
		for lo := range s.Shape[0] {
			rows, err := s.Rows(lo, s.Shape[0])
			if err != nil { // a block begins before
				if lo*s.Shape[1]%s.Format.Block == 0 && s.Format.Nested == 0 {
					t.Errorf("%s, %s: %v", c.What, s.Format, err)
				}
				continue
			}
			part := make([]float32, rows.Shape.Elems())
			if Decode(part, rows, 0); rows.Check() != nil || !slices.Equal(part, want[lo*s.Shape[1]:]) {
				t.Errorf("%s, %s: other values in the rows from %d on; %v", c.What, s.Format, lo, rows.Check())
			}
		}
		for _, lo := range []int{1, 63, 64, 65, n - 1} {
			part := make([]float32, min(70, n-lo))
			Decode(part, s, lo)
			if !slices.Equal(part, want[lo:lo+len(part)]) {
				t.Errorf("%s, %s: other values from element %d on", c.What, s.Format, lo)
			}
		}
	}
}
