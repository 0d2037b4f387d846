package load_test

import (
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/tensor"
)

// A tensor that the described model has not is refused by name; the buffers of old checkpoints are passed over.
func TestUnknownTensors(t *testing.T) {
	const from = "../../testdata/golden/mha-linear/model"
	m, err := ckpt.OpenModel(from)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, ok := range map[string]bool{
		"model.layers.0.self_attn.rotary_emb.inv_freq": true, "model.layers.1.attention.masked_bias": true,
		"model.layers.0.self_attn.q_proj.bias": false, "model.layers.9.input_layernorm.weight": false, "inv_freq": false, "score.weight": false,
	} {
		dir := t.TempDir()
		outs := []ckpt.Out{ckpt.FromFloats(name, tensor.Shape{2}, []float32{1, 2}).Out()}
		for _, x := range m.Tensors {
			outs = append(outs, x.Out())
		}
		if err := ckpt.WriteSafetensors(filepath.Join(dir, "model.safetensors"), outs); err != nil {
			t.Fatal(err)
		}
		if err := files.CopyFile(filepath.Join(dir, "config.json"), filepath.Join(from, "config.json")); err != nil {
			t.Fatal(err)
		}
		b, err := load.Open(dir, "")
		if err == nil {
			b.Close()
		}
		if ok && err != nil || !ok && (errs.Code(err) != 4 || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), name)) {
			t.Errorf("with %s: %v", name, err)
		}
	}
}
