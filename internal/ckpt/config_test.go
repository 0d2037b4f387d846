package ckpt

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

const llama = `{"architectures":["LlamaForCausalLM"],"hidden_size":64,"intermediate_size":172,"num_hidden_layers":2,
"num_attention_heads":4,"vocab_size":320,"max_position_embeddings":128}`

// configWith writes the config above with some fields changed; a nil value removes the field.
func configWith(t *testing.T, change map[string]any) string {
	t.Helper()
	raw := map[string]any{}
	if err := json.Unmarshal([]byte(llama), &raw); err != nil {
		t.Fatal(err)
	}
	for k, v := range change {
		if raw[k] = v; v == nil {
			delete(raw, k)
		}
	}
	b, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return configOf(t, b)
}

// configOf is a folder with this config.json.
func configOf(t *testing.T, b []byte) string {
	t.Helper()
	dir := t.TempDir()
	testkit.Write(t, filepath.Join(dir, "config.json"), b)
	return dir
}

type change = map[string]any

func TestConfigReads(t *testing.T) {
	c, err := ReadConfig(configWith(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Each(t, c, map[string]bool{"default of num_key_value_heads": c.Hkv == 4, "of head_dim": c.D == 16, "of rms_norm_eps": c.Eps == 1e-6,
		"of initializer_range": c.InitRange == 0.02, "of tie_word_embeddings": !c.Tied, "of dtype": c.DType == tensor.F32, "notes": len(c.Notes) == 0})
	c, err = ReadConfig(configWith(t, change{"num_key_value_heads": 2, "head_dim": 24, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
		"torch_dtype": "bfloat16", "eos_token_id": []int{7, 9}, "attention_dropout": 0.1, "pretraining_tp": 2}))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Each(t, c, map[string]bool{"num_key_value_heads": c.Hkv == 2, "head_dim": c.D == 24, "rms_norm_eps": c.Eps == 1e-5, "tie_word_embeddings": c.Tied,
		"torch_dtype": c.DType == tensor.BF16, "eos_token_id": slices.Equal(c.EOS, []int{7, 9}), "notes": len(c.Notes) == 2})
	if c, err = ReadConfig(configWith(t, change{"attention_bias": true, "mlp_bias": nil})); err != nil || !c.Bias[model.Q] || c.Bias[model.Up] {
		t.Errorf("biases of the attention alone: %+v, %v", c, err)
	}
	c, err = ReadConfig(configWith(t, change{"attention_dropout": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.1, "use_dropout": true, "mlp_dropout": nil, "pretraining_tp": 1}))
	if err != nil || len(c.Notes) != 2 || !strings.HasSuffix(c.Notes[0], "embd_pdrop 0.1 is ignored") || !strings.HasSuffix(c.Notes[1], "use_dropout true is ignored") {
		t.Errorf("dropouts: %q, %v", c.Notes, err)
	}
	for name, extra := range map[string]change{
		"by model_type":     {"architectures": nil, "model_type": "llama"},
		"none named":        {"architectures": []string{}, "model_type": "llama"},
		"mistral":           {"architectures": []string{"MistralForCausalLM"}, "model_type": "mistral", "sliding_window": 4096, "num_key_value_heads": 2},
		"the first LLaMA":   {"architectures": []string{"LLaMAForCausalLM"}, "max_position_embeddings": nil, "max_sequence_length": 2048, "torch_dtype": "float16"},
		"dtype auto":        {"torch_dtype": "auto"},
		"swish":             {"hidden_act": "swish"},
		"code of its own":   {"auto_map": change{"AutoModelForCausalLM": "modeling_llama_yarn.LlamaForCausalLM"}},
		"null where it may": {"num_key_value_heads": nil, "head_dim": nil, "eos_token_id": nil, "tie_word_embeddings": nil, "quantization_config": nil},
		"plain values":      {"is_causal": true, "attention_bias": false, "mlp_bias": false, "hidden_act": "silu", "partial_rotary_factor": 1.0},
		"new dtype":         {"dtype": "float16"},
		"quantises nothing": {"quantization_config": change{"quant_method": "bitsandbytes", "load_in_4bit": false, "load_in_8bit": false}},
		"both embeddings":   {"tie_word_embeddings": true},
		"one eos":           {"eos_token_id": 2},
		"positions, no dim": {"rope_parameters": change{"rope_type": "default", "partial_rotary_factor": 1.0}},
	} {
		if _, err := ReadConfig(configWith(t, extra)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		field  string
		change change
	}{
		{"hidden_size", change{"hidden_size": nil}},
		{"hidden_size", change{"hidden_size": "64"}},
		{"hidden_size", change{"hidden_size": 64.5}},
		{"hidden_size", change{"hidden_size": -64}},
		{"intermediate_size", change{"intermediate_size": nil}},
		{"num_hidden_layers", change{"num_hidden_layers": 0}},
		{"num_hidden_layers", change{"num_hidden_layers": 1 << 30}},
		{"vocab_size", change{"vocab_size": nil}},
		{"num_attention_heads", change{"num_attention_heads": nil}},
		{"num_attention_heads", change{"num_attention_heads": 0}},
		{"num_attention_heads", change{"num_attention_heads": 5}},
		{"num_key_value_heads", change{"num_key_value_heads": 3}},
		{"head_dim", change{"head_dim": 15}},
		{"rms_norm_eps", change{"rms_norm_eps": -1}},
		{"initializer_range", change{"initializer_range": -1}},
		{"tie_word_embeddings", change{"tie_word_embeddings": "yes"}},
		{"attention_bias", change{"attention_bias": "yes"}},
		{"attention_bias", change{"architectures": []string{"MistralForCausalLM"}, "num_key_value_heads": 2, "attention_bias": true}},
		{"mlp_bias", change{"architectures": []string{"MistralForCausalLM"}, "num_key_value_heads": 2, "mlp_bias": true}},
		{"partial_rotary_factor", change{"partial_rotary_factor": 0.5}},
		{"rope_parameters.partial_rotary_factor", change{"rope_parameters": change{"partial_rotary_factor": 0.5}}},
		{"hidden_act", change{"hidden_act": "gelu"}},
		{"is_causal", change{"is_causal": false}},
		{"is_causal", change{"is_causal": "no"}},
		{"quantization_config", change{"quantization_config": change{"bits": 4}}},
		{"hidden_size", change{"hidden_size": 1 << 21, "num_attention_heads": 1 << 14}},
		{"intermediate_size", change{"intermediate_size": 1 << 23}},
		{"head_dim", change{"num_attention_heads": 1 << 24, "head_dim": 1 << 24, "num_key_value_heads": 1}},
		{"num_attention_heads", change{"num_attention_heads": 1 << 20, "head_dim": 2}},
		{"num_hidden_layers", change{"num_hidden_layers": 1024, "hidden_size": 1 << 16, "intermediate_size": 1 << 18}},
		{"hidden_size", change{"hidden_size": "\u001b[2J" + strings.Repeat("x", 500)}},
		{"torch_dtype", change{"torch_dtype": "float8"}},
		{"eos_token_id", change{"eos_token_id": "2"}},
		{"architectures", change{"architectures": []string{"MixtralForCausalLM"}}},
		{"architectures", change{"architectures": nil}},
		{"architectures", change{"architectures": []string{}}},
		{"architectures", change{"architectures": []string{"LlamaForCausalLM", "LlamaModel"}}},
		{"architectures", change{"architectures": "LlamaForCausalLM"}},
		{"model_type", change{"model_type": "qwen2"}},
	} {
		dir := configWith(t, c.change)
		_, err := ReadConfig(dir)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": "+c.field+": ") || len(err.Error()) > 400 {
			t.Errorf("%v: %v, want exit code 4 naming the file and %s in 400 letters", c.change, err, c.field)
		}
	}
	for _, text := range []string{"", "null", "[]", "{", llama + "x", `{"hidden_size":1e999}`} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, "config.json"), text)
		if _, err := ReadConfig(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(llama))
	f.Add([]byte(`{"architectures":["LLaMAForCausalLM"],"hidden_size":1048576,"intermediate_size":1,"num_hidden_layers":64,"num_attention_heads":1024,"head_dim":1024,
"num_key_value_heads":1,"vocab_size":16777216,"max_sequence_length":64,"torch_dtype":"auto","attn_pdrop":0.1,"quantization_config":null}`))
	f.Add([]byte(`{"architectures":null,"model_type":"mistral","head_dim":2e0,"eos_token_id":[1,null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &fields{path: "config.json"}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if dec.Decode(&x.raw) != nil {
			return
		}
		c, err := x.config()
		if err != nil {
			if errs.Code(err) != 4 {
				t.Errorf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		if w := c.H * c.D; w > 1<<20 || c.C > 1<<20 || c.F > 1<<20 || c.L*(2*c.C+3*c.F+4*w) > 1<<28 || c.V > 1<<24 {
			t.Errorf("sizes whose products overflow: %+v", c)
		}
		if c.H%c.Hkv != 0 || c.D%2 != 0 || c.C < 1 || c.L < 1 {
			t.Errorf("accepted %+v", c)
		}
	})
}
