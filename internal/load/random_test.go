package load

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"longlora/internal/model"
)

func floats(b []byte) []float64 {
	out := make([]float64, len(b)/4)
	for i := range out {
		out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
	return out
}

func TestRandom(t *testing.T) {
	d := model.Desc{C: 64, F: 100, L: 1, H: 4, Hkv: 4, D: 16, V: 500}
	d.Bias[model.K] = true
	get := func(seed uint64, name string) []byte {
		r, err := Random(d, 0.02, seed)(name)
		if err != nil {
			t.Fatal(err)
		}
		return r.Data
	}
	w := floats(get(1, d.EmbedName()))
	var s1, s2, s4 float64
	for _, v := range w {
		s1, s2, s4 = s1+v, s2+v*v, s4+v*v*v*v
	}
	n := float64(len(w)) // 32000: the mean's deviation is 1/179 of sd, the kurtosis' √(24/n) = 0.027
	if m := s1 / n; !(math.Abs(m) <= 0.02*5/math.Sqrt(n)) {
		t.Errorf("mean %g", m)
	}
	if sd := math.Sqrt(s2 / n); !(math.Abs(sd/0.02-1) <= 0.02) {
		t.Errorf("deviation %g, want 0.02", sd)
	}
	if k := s4 / n / (s2 / n * s2 / n); !(math.Abs(k-3) <= 0.14) {
		t.Errorf("kurtosis %g, want 3", k)
	}
	if !bytes.Equal(get(1, d.EmbedName()), get(1, d.EmbedName())) {
		t.Error("two calls differ")
	}
	if bytes.Equal(get(1, d.EmbedName()), get(2, d.EmbedName())) || bytes.Equal(get(1, d.EmbedName()), get(1, d.HeadName())) {
		t.Error("seed or name has no effect")
	}
	for _, v := range floats(get(1, "model.norm.weight")) {
		if v != 1 {
			t.Fatalf("a norm's weight is %g, want 1", v)
		}
	}
	bias := floats(get(1, "model.layers.0.self_attn.k_proj.bias"))
	if len(bias) != 64 {
		t.Errorf("a bias of %d elements, want 64", len(bias))
	}
	for _, v := range bias {
		if v != 0 {
			t.Fatalf("a bias begins at %g, want 0", v)
		}
	}
}
