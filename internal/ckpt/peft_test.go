package ckpt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/tensor"
)

// tiny are the shapes of a model of two layers, of which only the query layers are of interest.
func tiny(name string) (tensor.Shape, bool) {
	s, ok := map[string]tensor.Shape{
		embedName: {6, 4}, headName: {6, 4}, "model.norm.weight": {4},
		"model.layers.0.input_layernorm.weight": {4}, "model.layers.1.input_layernorm.weight": {4},
		"model.layers.0.self_attn.q_proj.weight": {4, 4}, "model.layers.1.self_attn.q_proj.weight": {4, 4},
	}[name]
	return s, ok
}

// factors are a whole set of LoRA tensors for tiny.
func factors() []Out {
	var out []Out
	for _, l := range []string{"0", "1"} {
		p := peftPrefix + "model.layers." + l + ".self_attn.q_proj."
		out = append(out, sample(p+"lora_A.weight", tensor.F32, 2, 4), sample(p+"lora_B.weight", tensor.F32, 4, 2))
	}
	return out
}

// adapterDir writes an adapter's folder: a plain adapter_config.json with some fields changed, and the tensors.
func adapterDir(t *testing.T, change change, ts []Out) string {
	t.Helper()
	dir := t.TempDir()
	cfg := map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": []string{"q_proj"}}
	for k, v := range change {
		cfg[k] = v
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteSafetensors(filepath.Join(dir, "adapter_model.safetensors"), ts); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAdapterRefuses(t *testing.T) {
	f := factors
	for _, c := range []struct {
		want   string
		change change
		ts     []Out
		tied   bool
	}{
		{"peft_type", change{"peft_type": "IA3"}, f(), false},
		{"bias", change{"bias": "all"}, f(), false},
		{"use_dora", change{"use_dora": true}, f(), false},
		{"use_rslora", change{"use_rslora": true}, f(), false},
		{"fan_in_fan_out", change{"fan_in_fan_out": true}, f(), false},
		{"layers_to_transform", change{"layers_to_transform": []int{0}}, f(), false},
		{"rank_pattern", change{"rank_pattern": change{"q_proj": 4}}, f(), false},
		{"alpha_pattern", change{"alpha_pattern": change{"q_proj": 4}}, f(), false},
		{"init_lora_weights", change{"init_lora_weights": "pissa_niter_4"}, f(), false},
		{"r: missing", change{"r": nil}, f(), false},
		{"lora_alpha", change{"lora_alpha": 0}, f(), false},
		{"do not have rank r = 3", change{"r": 3}, f(), false},
		{"modules_to_save", change{"modules_to_save": []string{"norm"}}, f(), false},
		{"only one of lora_A and lora_B", nil, f()[:3], false},
		{"layers.1.self_attn.q_proj.lora_A and lora_B are missing", nil, f()[:2], false},
		{"of type I64", nil, append(f(), Bytes("model.norm.weight", tensor.I64, tensor.Shape{4}, make([]byte, 32))), false},
		{"two names", nil, append(f(), sample("model.norm.weight", tensor.F32, 4), sample(peftPrefix+"model.norm.weight", tensor.F32, 4)), false},
		{"kind of LoRA", nil, append(f(), sample(peftPrefix+"model.embed_tokens.lora_embedding_A", tensor.F32, 2, 6)), false},
		{"model.layers.2.self_attn.q_proj is no linear layer", nil, append(f(), sample("model.layers.2.self_attn.q_proj.lora_A.weight", tensor.F32, 2, 4), sample("model.layers.2.self_attn.q_proj.lora_B.weight", tensor.F32, 4, 2)), false},
		{"[5]", nil, append(f(), sample("model.norm.weight", tensor.F32, 5)), false},
		{"[5 4]", nil, append(f(), sample(embedName, tensor.F32, 5, 4)), false},
		{"not one of the model's", nil, append(f(), sample("model.other.weight", tensor.F32, 4)), false},
		{"ties them", nil, append(f(), sample(embedName, tensor.F32, 6, 4), sample(headName, tensor.F32, 6, 4)), true},
	} {
		dir := adapterDir(t, c.change, c.ts)
		a, err := OpenAdapter(dir)
		if err == nil {
			_, err = a.Fit(tiny, c.tied)
			a.Close()
		}
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: want exit code 4, the folder and %q", err, c.want)
		}
	}
}

func TestAdapterFits(t *testing.T) {
	a, err := OpenAdapter(adapterDir(t, change{"modules_to_save": []string{"embed_tokens"}},
		append(factors(), sample(peftPrefix+"model.embed_tokens.modules_to_save.default.weight", tensor.BF16, 8, 4))))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	notes, err := a.Fit(tiny, true)
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "rows 6 to 7") {
		t.Errorf("notes %q, %v", notes, err)
	}
	if e := a.Saved[embedName]; !e.Shape.Equal([]int{6, 4}) || len(e.Data()) != 6*4*2 {
		t.Errorf("the embedding has shape %v and %d bytes", e.Shape, len(e.Data()))
	}
	if a.Rank != 2 || a.Alpha != 4 || len(a.LoRA) != 2 || len(a.Targets) != 1 || a.Targets[0] != "q_proj" {
		t.Errorf("%+v", a)
	}
}

// The released LongLoRA form holds the same tensors as the PEFT form of the same adapter.
func TestReleasedForm(t *testing.T) {
	for _, c := range []string{"mha-linear", "gqa-llama3"} {
		var got [2]*Adapter
		for i, form := range []string{"adapter-trained", "adapter-longlora"} {
			a, err := OpenAdapter(filepath.Join("../../testdata/golden", c, form))
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			got[i] = a
		}
		if len(got[0].LoRA) == 0 || len(got[0].LoRA) != len(got[1].LoRA) || len(got[0].Saved) != len(got[1].Saved) {
			t.Fatalf("%s: %d and %d pairs, %d and %d whole tensors", c, len(got[0].LoRA), len(got[1].LoRA), len(got[0].Saved), len(got[1].Saved))
		}
		for path, p := range got[0].LoRA {
			if q := got[1].LoRA[path]; string(p.A.Data()) != string(q.A.Data()) || string(p.B.Data()) != string(q.B.Data()) {
				t.Errorf("%s: the factors of %s differ", c, path)
			}
		}
		for name, x := range got[0].Saved {
			if string(x.Data()) != string(got[1].Saved[name].Data()) {
				t.Errorf("%s: %s differs", c, name)
			}
		}
	}
}

// What WriteAdapter writes is what PEFT wrote of the same adapter: the tensors and the fields that matter.
func TestWriteAdapterAsPEFT(t *testing.T) {
	for _, c := range []string{"mha-linear", "gqa-llama3"} {
		ref := filepath.Join("../../testdata/golden", c, "adapter-trained")
		tied := c == "gqa-llama3"
		want, err := OpenSafetensors(filepath.Join(ref, "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer want.Close()
		var ts []Out
		for name, x := range want.Tensors {
			o := x.Out()
			if o.Name = strings.TrimPrefix(name, peftPrefix); tied && o.Name == headName {
				continue
			}
			ts = append(ts, o)
		}
		dir := t.TempDir()
		if err := WriteAdapter(dir, NewAdapter{Base: "org/base", Rank: 4, Alpha: 8, Targets: []string{"k_proj", "o_proj", "q_proj", "v_proj"}, Tied: tied, Tensors: ts}); err != nil {
			t.Fatal(err)
		}
		got, err := OpenSafetensors(filepath.Join(dir, "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if len(got.Tensors) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, want %d", c, len(got.Tensors), len(want.Tensors))
		}
		for name, x := range want.Tensors {
			if string(got.Tensors[name].Data()) != string(x.Data()) {
				t.Errorf("%s: %s differs", c, name)
			}
		}
		var a, b map[string]any
		if err := ReadJSON(filepath.Join(dir, "adapter_config.json"), &a); err != nil {
			t.Fatal(err)
		}
		if err := ReadJSON(filepath.Join(ref, "adapter_config.json"), &b); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"peft_type", "task_type", "r", "lora_alpha", "bias", "fan_in_fan_out"} {
			if a[k] != b[k] {
				t.Errorf("%s: %s is %v, PEFT writes %v", c, k, a[k], b[k])
			}
		}
		if a["base_model_name_or_path"] != "org/base" {
			t.Errorf("%s: base_model_name_or_path is %v", c, a["base_model_name_or_path"])
		}
		// what PEFT 0.5's LoraConfig knows; later fields stop it and every release up to 0.13
		known := []string{"base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha", "lora_dropout",
			"modules_to_save", "peft_type", "r", "target_modules", "task_type"}
		for k, v := range a {
			if !slices.Contains(known, k) && !(tied && k == "ensure_weight_tying" && v == true) {
				t.Errorf("%s: %s: %v is a field that PEFT 0.5 does not know", c, k, v)
			}
		}
		x, y := (&fields{raw: a}).texts("modules_to_save"), (&fields{raw: b}).texts("modules_to_save")
		if strings.Join(x, " ") != strings.Join(y, " ") {
			t.Errorf("%s: modules_to_save %v, PEFT writes %v", c, x, y)
		}
	}
}
