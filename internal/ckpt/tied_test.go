package ckpt

import (
	"path/filepath"
	"testing"

	"longlora/internal/tensor"
)

// What ties embedding and head is config.json and the weights together.
func TestTied(t *testing.T) {
	both := func(d tensor.DType, shift float32) []Out {
		v := []float32{1, 2, 3, 4}
		e := Bytes(embedName, tensor.F32, tensor.Shape{2, 2}, AppendFloats(nil, v, tensor.F32))
		v[3] += shift
		return []Out{e, Bytes(headName, d, tensor.Shape{2, 2}, AppendFloats(nil, v, d))}
	}
	for name, c := range map[string]struct {
		config, tied bool
		ts           []Out
	}{
		"embedding alone":          {true, true, both(tensor.F32, 0)[:1]},
		"head alone":               {true, true, both(tensor.F32, 0)[1:]},
		"both, equal":              {true, true, both(tensor.F32, 0)},
		"both, equal in two types": {true, true, both(tensor.BF16, 0)},
		"both, different":          {true, false, both(tensor.F32, 1)},
		"different in two types":   {true, false, both(tensor.F16, 1)},
		"not tied, equal":          {false, false, both(tensor.F32, 0)},
		"not tied, one":            {false, false, both(tensor.F32, 0)[:1]},
	} {
		dir := configWith(t, change{"tie_word_embeddings": c.config})
		if err := WriteSafetensors(filepath.Join(dir, "model.safetensors"), c.ts); err != nil {
			t.Fatal(err)
		}
		m, err := OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.Tied != c.tied {
			t.Errorf("%s: tied %v, want %v", name, m.Tied, c.tied)
		}
		e, err := m.Get(embedName, tensor.Shape{2, 2})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		h, err := m.Get(headName, tensor.Shape{2, 2})
		if shared := err == nil && &e.Data()[0] == &h.Data()[0]; shared != c.tied {
			t.Errorf("%s: one tensor under both names: %v, want %v", name, shared, c.tied)
		}
		raw := map[string]any{}
		if m.Config.SetTied(raw, m.Tied); (raw["tie_word_embeddings"] == false) != (c.config && !c.tied) {
			t.Errorf("%s: config.json is to have %v", name, raw)
		}
	}
}
