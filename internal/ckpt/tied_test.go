package ckpt

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
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

// A GPT-NeoX's head is read under the name that it has in memory too; of two names with different values both are said.
func TestHeadInMemory(t *testing.T) {
	const neox = `{"architectures":["GPTNeoXForCausalLM"],"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,
"num_attention_heads":1,"vocab_size":2}`
	ones := func(name string) Out {
		return Bytes(name, tensor.F32, tensor.Shape{2, 8}, bytes.Repeat([]byte{1}, 64))
	}
	for name, c := range map[string]struct {
		ts    []Out
		fault string
	}{
		"by the name in memory": {[]Out{ones("lm_head.weight")}, ""},
		"by both":               {[]Out{ones("embed_out.weight"), ones("lm_head.weight")}, ""},
		"two different": {[]Out{ones("lm_head.weight"), Bytes("embed_out.weight", tensor.F32, tensor.Shape{2, 8}, make([]byte, 64))},
			"lm_head.weight and embed_out.weight"},
	} {
		dir := configOf(t, []byte(neox))
		if err := WriteSafetensors(filepath.Join(dir, "model.safetensors"), c.ts); err != nil {
			t.Fatal(err)
		}
		m, err := OpenModel(dir)
		if c.fault != "" {
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want exit code 4 and %q", name, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := m.Get("embed_out.weight", tensor.Shape{2, 8}); err != nil || len(m.Tensors) != 1 {
			t.Errorf("%s: tensors %v, %v", name, m.Tensors, err)
		}
		m.Close()
	}
}
