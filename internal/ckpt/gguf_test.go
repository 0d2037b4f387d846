package ckpt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// What is written is read back by the format's definition, whatever the lengths.
func TestGGUFReadsBack(t *testing.T) {
	values := map[string]any{"general.architecture": "llama", "u": uint32(7), "f": float32(0.5), "yes": true, "no": false,
		"empty": "", "texts": []string{"", "a", "▁é"}, "ints": []int32{-1, 1 << 30}, "reals": []float32{1, float32(math.Inf(-1))}}
	g := &ckpt.GGUF{}
	for k, v := range values {
		g.Add(k, v)
	}
	want := map[string]testkit.GGUFTensor{}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, x := range []struct {
		name  string
		kind  ckpt.GGUFType
		shape tensor.Shape
		bytes int
	}{{"a", ckpt.GGUFF32, tensor.Shape{3}, 12}, {"b", ckpt.GGUFQ8, tensor.Shape{3, 64}, 204}, {"c", ckpt.GGUFBF16, tensor.Shape{5, 7}, 70},
		{"d", ckpt.GGUFF16, tensor.Shape{16, 2}, 64}, {"e", ckpt.GGUFF32, tensor.Shape{1}, 4}} {
		if n := x.kind.Bytes(x.shape.Elems()); n != x.bytes {
			t.Errorf("%s: %d bytes, want %d", x.kind, n, x.bytes)
		}
		data := make([]byte, x.bytes)
		for i := range data {
			data[i] = byte(rng.Uint32()) | 1
		}
		want[x.name] = testkit.GGUFTensor{Type: uint32(x.kind), Shape: x.shape, Data: data}
		g.Tensors = append(g.Tensors, ckpt.GGUFTensor{Name: x.name, Type: x.kind, Shape: x.shape,
			Write: func(w io.Writer) error { _, err := w.Write(data); return err }})
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := ckpt.WriteGGUF(path, g); err != nil {
		t.Fatal(err)
	}
	got := testkit.ReadGGUF(t, path)
	if !reflect.DeepEqual(got.Values, values) {
		t.Errorf("values %v, want %v", got.Values, values)
	}
	for name, w := range want {
		if x := got.Tensors[name]; x.Type != w.Type || !reflect.DeepEqual(tensor.Shape(x.Shape), tensor.Shape(w.Shape)) || !bytes.Equal(x.Data, w.Data) {
			t.Errorf("tensor %s: type %d, shape %v, %d bytes", name, x.Type, x.Shape, len(x.Data))
		}
	}
}

// A failure leaves the old file, and a tensor of another length than its header says is one.
func TestGGUFAppearsWhole(t *testing.T) {
	path := testkit.Temp(t, "m.gguf", "GGUF, an old one")
	stop := errors.New("stop")
	for name, write := range map[string]func(io.Writer) error{
		"a fault":   func(io.Writer) error { return stop },
		"too short": func(w io.Writer) error { _, err := w.Write([]byte{1}); return err },
	} {
		g := &ckpt.GGUF{Tensors: []ckpt.GGUFTensor{{Name: "a", Shape: tensor.Shape{2}, Write: write}}}
		if err := ckpt.WriteGGUF(path, g); err == nil || string(testkit.Read(t, path)) != "GGUF, an old one" {
			t.Errorf("%s: %v, and the old file is %q", name, err, testkit.Read(t, path))
		}
	}
	if err := ckpt.CheckGGUF(path, "out"); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"", "GGU", "GGML and more"} {
		if err := ckpt.CheckGGUF(testkit.Temp(t, "x", other), "out"); errs.Code(err) != 2 {
			t.Errorf("%q: %v", other, err)
		}
	}
	if err := ckpt.CheckGGUF(t.TempDir(), "out"); errs.Code(err) != 2 && errs.Code(err) != 4 {
		t.Errorf("a folder: %v", err)
	}
	if err := ckpt.CheckGGUF(path+".new", "out"); err != nil {
		t.Error(err)
	}
}

// Q8_0 has the bytes of the gguf package (0.19, quants.quantize), and each value comes back to half a step of its block.
func TestQ8(t *testing.T) {
	q8 := ckpt.GGUFQ8.Coding()
	v := make([]float32, 64)
	for i := range v {
		v[i] = float32(i*i%37-18) / 8
	}
	clear(v[32:]) // a block of zeros
	v[63] = -1e-30
	if got := hex.EncodeToString(q8.Append(nil, v)); got != ggufQ8 {
		t.Errorf("got  %s\nwant %s", got, ggufQ8)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		x := make([]float32, 32)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * math.Exp2(float64(rng.IntN(20)-10)))
		}
		b := q8.Append(nil, x)
		d := float64(tensor.F16ToF32(uint16(b[0]) | uint16(b[1])<<8))
		most := 0.0
		for _, a := range x {
			most = max(most, math.Abs(float64(a)))
		}
		// half a step of the scale before it was rounded to 11 bits, which moves 127 steps by 2^-11 of the largest
		limit := most/127/2*1.0001 + most*math.Exp2(-11) + 127*math.Exp2(-25)
		for i, a := range x {
			if e := math.Abs(d*float64(int8(b[2+i])) - float64(a)); !(e <= limit) {
				t.Fatalf("%g comes back as %g, further than %g", a, d*float64(int8(b[2+i])), limit)
			}
		}
	}
	for name, bad := range map[string]float32{"NaN": float32(math.NaN()), "infinity": float32(math.Inf(-1)), "a scale beyond half precision": 127 * 70000} {
		x := make([]float32, 96)
		x[40] = bad
		if i := q8.NotFinite(q8.Append(nil, x)); i != 32 {
			t.Errorf("%s is found in the block at %d", name, i)
		}
	}
	if i := q8.NotFinite(q8.Append(nil, v)); i >= 0 {
		t.Errorf("element %d is not finite", i)
	}
}

const ggufQ8 = "892481889dc0f2317fd640b238c86a15cf9671554747557196cf156ac838b240d67f00" +
	"000000000000000000000000000000000000000000000000000000000000000081"
