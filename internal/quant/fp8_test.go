package quant

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"longlora/internal/tensor"
)

// fp8Cases are e4m3fn as PyTorch has it: scripts/gen-fp8-cases.py.
type fp8Cases struct {
	Floats      []byte // of every code
	Near, Codes []byte // values beside and between floats, and what they round to
	Rows        []struct {
		What                          string
		Shape                         tensor.Shape
		Weights, Data, Absmax, Values []byte
	}
}

func readFP8Cases(t *testing.T) (c fp8Cases) {
	t.Helper()
	b, err := os.ReadFile("testdata/fp8.json")
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var fp8 = tensor.Format{Type: tensor.F32, Code: tensor.FP8}

// A float of 8 bits is PyTorch's, and so is the one that a value rounds to.
func TestFP8Floats(t *testing.T) {
	c := readFP8Cases(t)
	if len(c.Floats) != 4*256 || len(c.Near) != 4*len(c.Codes) {
		t.Fatal(len(c.Floats), len(c.Near), len(c.Codes))
	}
	for i, got := range fp8Values {
		if want := float(c.Floats, i); math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
			t.Errorf("code %#x is %v, want %v", i, got, want)
		}
	}
	for i, want := range c.Codes {
		if x := float(c.Near, i); fp8Code(x) != want {
			t.Errorf("%v becomes %#x, want %#x", x, fp8Code(x), want)
		}
	}
}

// Codes, factors and values of matrices are those of the same definition in PyTorch, to the bit.
func TestFP8Rows(t *testing.T) {
	for _, c := range readFP8Cases(t).Rows {
		weights := func(dst []float32, lo int) { tensor.Widen(dst, c.Weights[4*lo:], tensor.F32) }
		s := fp8.Make(c.Shape, alloc)
		if !Encode(&s, weights) {
			t.Errorf("%s: not encoded", c.What)
		}
		if !bytes.Equal(s.Data, c.Data) {
			t.Errorf("%s: other codes: %s", c.What, firstDifference(s.Data, c.Data))
		}
		if !bytes.Equal(s.Scales.Absmax, c.Absmax) {
			t.Errorf("%s: other factors: %s", c.What, firstDifference(s.Scales.Absmax, c.Absmax))
		}
		n, cols := c.Shape.Elems(), c.Shape[1]
		want := make([]float32, n)
		tensor.Widen(want, c.Values, tensor.F32)
		for _, lo := range []int{0, 1, cols - 1, cols, n / 2, n - 1} {
			got := make([]float32, n-lo)
			if Decode(got, s, lo); !slices.Equal(got, want[lo:]) {
				t.Errorf("%s: other values from element %d on", c.What, lo)
			}
		}
		for lo := range c.Shape[0] {
			part, err := s.Rows(lo, c.Shape[0])
			got := make([]float32, part.Shape.Elems())
			if Decode(got, part, 0); err != nil || part.Check() != nil || !slices.Equal(got, want[lo*cols:]) {
				t.Errorf("%s: other values in the rows from %d on; %v, %v", c.What, lo, err, part.Check())
			}
		}
	}
}

// No value comes out further from what it was than half a step of e4m3fn, whatever its row's size; what has no code is
// told.
func TestFP8Bounds(t *testing.T) {
	for _, most := range []float32{math.MaxFloat32, 1e30, 448, 1, 1e-30, 0x1p-126, 1e-40, math.SmallestNonzeroFloat32} {
		row := []float32{most, -most, most / 3, -most / 500, most / 1e5, 0}
		s := fp8.Make(tensor.Shape{2, 3}, alloc)
		if !Encode(&s, func(dst []float32, lo int) { copy(dst, row[lo:]) }) {
			t.Fatalf("%v has no code", most)
		}
		got := make([]float32, len(row))
		Decode(got, s, 0)
		for i, x := range row {
			f := float64(float(s.Scales.Absmax, i/3))
			if d := math.Abs(float64(got[i]) - float64(x)); !(d <= max(math.Abs(float64(x))/16, f*0x1p-10)*(1+1e-6)) {
				t.Errorf("%v became %v, the factor being %v", x, got[i], f)
			}
		}
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		s := fp8.Make(tensor.Shape{3, 5}, alloc)
		if Encode(&s, func(dst []float32, lo int) {
			for i := range dst {
				if dst[i] = 1; lo+i == 7 {
					dst[i] = float32(x)
				}
			}
		}) {
			t.Errorf("%v has a code", x)
		}
	}
	none := fp8.Make(tensor.Shape{0, 5}, alloc)
	if !Encode(&none, nil) {
		t.Error("a matrix of no rows has no code")
	}
}
