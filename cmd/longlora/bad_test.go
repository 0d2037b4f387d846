package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"longlora/internal/files"
	"longlora/internal/testkit"
)

const golden = "../../testdata/golden/mha-linear"

// bad is a folder of the reference case with one fault in it.
type bad struct{ dir string }

// copied copies a folder of the reference case, writable.
func copied(t *testing.T, name string) bad {
	t.Helper()
	b := bad{filepath.Join(t.TempDir(), name)}
	if err := os.CopyFS(b.dir, os.DirFS(filepath.Join(golden, name))); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(b.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(p, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// json changes the fields of a JSON file; a nil value removes one.
func (b bad) json(t *testing.T, name string, change map[string]any) {
	t.Helper()
	path := filepath.Join(b.dir, name)
	var m map[string]any
	testkit.ReadJSON(t, path, &m)
	for k, v := range change {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, name, data)
}

func (b bad) write(t *testing.T, name string, data []byte) {
	t.Helper()
	testkit.Write(t, filepath.Join(b.dir, name), data)
}

// tensors changes a safetensors file: its header's entries by name, and its data.
func (b bad) tensors(t *testing.T, name string, change func(h map[string]map[string]any, data []byte) []byte) {
	t.Helper()
	file := testkit.Read(t, filepath.Join(b.dir, name))
	n := 8 + binary.LittleEndian.Uint64(file)
	var h map[string]map[string]any
	if err := json.Unmarshal(file[8:n], &h); err != nil {
		t.Fatal(err)
	}
	data := change(h, file[n:])
	head, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	b.write(t, name, append(append(out, head...), data...))
}

// fails runs a command line that must end with a code, a message with these texts, no stack, and no --out.
func fails(t *testing.T, code int, args []string, texts ...string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	var stdout, stderr bytes.Buffer
	got := run(t.Context(), append(args, "--out", out), &stdout, &stderr)
	if got != code {
		t.Errorf("%s: exit code %d, want %d: %s", args[0], got, code, &stderr)
	}
	for _, s := range append(texts, "longlora: ") {
		if !strings.Contains(stderr.String(), s) {
			t.Errorf("%s: %q is not in: %s", args[0], s, &stderr)
		}
	}
	if strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("%s: a stack: %s", args[0], &stderr)
	}
	if list, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(list) > 0 && code != 5 { // a run that began may be gone on with
		t.Errorf("%s: left %v", args[0], list)
	}
}

const (
	query = "model.layers.0.self_attn.q_proj.weight"
	lowA  = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
)

// nan makes the first element of a tensor NaN.
func nan(name string) func(map[string]map[string]any, []byte) []byte {
	return func(h map[string]map[string]any, data []byte) []byte {
		at := int(h[name]["data_offsets"].([]any)[0].(float64))
		binary.LittleEndian.PutUint32(data[at:], math.Float32bits(float32(math.NaN())))
		return data
	}
}

// without moves a tensor out of the way under another name.
func without(name string) func(map[string]map[string]any, []byte) []byte {
	return func(h map[string]map[string]any, data []byte) []byte {
		h["other"] = h[name]
		delete(h, name)
		return data
	}
}

// extra adds a tensor of one element.
func extra(name string) func(map[string]map[string]any, []byte) []byte {
	return func(h map[string]map[string]any, data []byte) []byte {
		h[name] = map[string]any{"dtype": "F32", "shape": []int{1}, "data_offsets": []int{len(data), len(data) + 4}}
		return append(data, 0, 0, 0, 0)
	}
}

func field(tensor, name string, v any) func(map[string]map[string]any, []byte) []byte {
	return func(h map[string]map[string]any, data []byte) []byte {
		h[tensor][name] = v
		return data
	}
}

// Every fault of a model is found before anything is written, by every command that opens it.
func TestBadModel(t *testing.T) {
	rope := func(d map[string]any) map[string]any { return map[string]any{"rope_scaling": d} }
	for _, c := range []struct {
		name    string
		code    int
		config  map[string]any
		tensors func(map[string]map[string]any, []byte) []byte
		want    []string
	}{
		{"a tensor is missing", 4, nil, without(query), []string{query, "missing"}},
		{"shape of another model", 4, nil, field(query, "shape", []int{32, 128}), []string{"model.safetensors", query, "[32 128]"}},
		{"negative shape", 4, nil, field(query, "shape", []int{-64, -64}), []string{"model.safetensors", "-64"}},
		{"overflowing shape", 4, nil, field(query, "shape", []int64{1 << 62, 4, 64}), []string{"model.safetensors", query}},
		{"unknown dtype", 4, nil, field(query, "dtype", "F33"), []string{"model.safetensors", query, "F33"}},
		{"no type of weights", 4, nil, func(h map[string]map[string]any, d []byte) []byte {
			h[query]["dtype"], h[query]["shape"] = "F8_E4M3", []int{64, 256}
			return d
		}, []string{"model.safetensors", query, "F8_E4M3"}},
		{"hole", 4, nil, field(query, "data_offsets", []int{4, 16388}), []string{"model.safetensors"}},
		{"truncated", 4, nil, func(_ map[string]map[string]any, d []byte) []byte { return d[:len(d)-100] }, []string{"model.safetensors", "truncated"}},
		{"NaN", 5, nil, nan(query), []string{"model.safetensors", query, "NaN"}},
		{"field missing", 4, map[string]any{"hidden_size": nil}, nil, []string{"config.json", "hidden_size"}},
		{"more layers than weights", 4, map[string]any{"num_hidden_layers": 3}, nil, []string{"model.layers.2."}},
		{"endless layers", 4, map[string]any{"num_hidden_layers": 1 << 24}, nil, []string{"config.json", "num_hidden_layers"}},
		{"heads", 4, map[string]any{"num_key_value_heads": 3}, nil, []string{"config.json", "num_key_value_heads"}},
		{"architecture", 4, map[string]any{"architectures": []string{"MixtralForCausalLM"}}, nil, []string{"config.json", "architectures", "MistralForCausalLM"}},
		{"biases that are not there", 4, map[string]any{"attention_bias": true}, nil, []string{"model.safetensors", "model.layers.0.self_attn.k_proj.bias"}},
		{"a bias that config.json leaves out", 4, nil, extra("model.layers.0.self_attn.o_proj.bias"), []string{"model.safetensors", "model.layers.0.self_attn.o_proj.bias", "attention_bias"}},
		{"biases of a Mistral", 4, map[string]any{"architectures": []string{"MistralForCausalLM"}, "model_type": "mistral", "mlp_bias": true}, nil, []string{"config.json", "mlp_bias"}},
		{"quantised", 4, map[string]any{"quantization_config": map[string]any{"bits": 4}}, nil, []string{"config.json", "quantization_config"}},
		{"window", 4, map[string]any{"architectures": []string{"MistralForCausalLM"}, "model_type": "mistral", "sliding_window": 0}, nil, []string{"config.json", "sliding_window"}},
		{"rope type", 4, rope(map[string]any{"type": "su", "factor": 4}), nil, []string{"config.json", "rope_scaling.type", "su"}},
		{"rope factor", 4, rope(map[string]any{"type": "linear"}), nil, []string{"config.json", "rope_scaling.factor"}},
		{"two rope types", 4, rope(map[string]any{"type": "linear", "rope_type": "yarn", "factor": 4}), nil, []string{"config.json", "rope_scaling.rope_type", "rope_scaling.type"}},
		{"two ropes", 4, map[string]any{"rope_parameters": map[string]any{"rope_type": "yarn", "factor": 4}}, nil, []string{"config.json", "rope_parameters", "rope_scaling"}},
		{"llama3's band", 4, rope(map[string]any{"rope_type": "llama3", "factor": 4, "low_freq_factor": 1, "high_freq_factor": 1, "original_max_position_embeddings": 32}), nil, []string{"config.json", "rope_scaling.high_freq_factor"}},
		{"yarn's text", 4, rope(map[string]any{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32, "beta_fast": "x"}), nil, []string{"config.json", "rope_scaling.beta_fast"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := copied(t, "model")
			if c.config != nil {
				b.json(t, "config.json", c.config)
			}
			if c.tensors != nil {
				b.tensors(t, "model.safetensors", c.tensors)
			}
			data := []string{"--data", golden + "/tokens.bin", "--ctx", "128"}
			model := []string{"--model", b.dir}
			fails(t, c.code, append(append([]string{"train", "--steps", "1", "--accum", "1"}, model...), data...), c.want...)
			fails(t, c.code, append(append([]string{"eval", "--task", "ppl", "--limit", "1"}, model...), data...), c.want...)
			fails(t, c.code, append([]string{"merge", "--adapter", golden + "/adapter-init", "--ctx", "128"}, model...), c.want...)
		})
	}
}

// Text of a model that computes no numbers is never taken for an answer.
func TestNaNIsNoText(t *testing.T) {
	b := copied(t, "model")
	b.tensors(t, "model.safetensors", nan(query))
	if err := files.CopyFile(filepath.Join(b.dir, "tokenizer.json"), "../../testdata/tokenizer/tokenizer.json"); err != nil {
		t.Fatal(err)
	}
	for _, with := range []string{"generate --prompt hi --max-tokens 2", "generate --prompt hi --max-tokens 2 --temperature 1",
		"eval --task passkey --trials 1 --ctx 900", "eval --task ruler --trials 1 --ctx 1300", "eval --task topics --trials 1 --ctx 1600"} {
		var stdout, stderr bytes.Buffer
		got := run(t.Context(), append(strings.Fields(with), "--model", b.dir), &stdout, &stderr)
		said := regexp.MustCompile("hold NaN .* The cause: .*model.safetensors: .* " + query)
		if got != 5 || stdout.Len() > 0 || !said.MatchString(stderr.String()) {
			t.Errorf("%s: exit code %d, %s%s", with, got, &stdout, &stderr)
		}
	}
}

// An adapter's faults are exit 4 and name its file, under every command that reads it.
func TestBadAdapter(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    int
		config  map[string]any
		tensors func(map[string]map[string]any, []byte) []byte
		want    []string
	}{
		{"rank", 4, map[string]any{"r": 8}, nil, []string{"rank r = 8"}},
		{"kind", 4, map[string]any{"peft_type": "LOHA"}, nil, []string{"adapter_config.json", "peft_type"}},
		{"DoRA", 4, map[string]any{"use_dora": true}, nil, []string{"adapter_config.json", "use_dora"}},
		{"half a pair", 4, nil, without(lowA), []string{"adapter_model.safetensors"}},
		{"a target it lacks", 4, map[string]any{"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "up_proj"}}, nil, []string{"up_proj"}},
		{"a module it lacks", 4, map[string]any{"modules_to_save": []string{"lm_head"}}, nil, []string{"lm_head"}},
		{"one norm it lacks", 4, nil, without("base_model.model.model.layers.1.input_layernorm.weight"), []string{"adapter_model.safetensors"}},
		{"NaN", 5, nil, nan(lowA), []string{"adapter_model.safetensors", "q_proj"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := copied(t, "adapter-init")
			if c.config != nil {
				b.json(t, "adapter_config.json", c.config)
			}
			if c.tensors != nil {
				b.tensors(t, "adapter_model.safetensors", c.tensors)
			}
			with := []string{"--model", golden + "/model", "--adapter", b.dir}
			data := []string{"--data", golden + "/tokens.bin", "--ctx", "128"}
			fails(t, c.code, append([]string{"merge"}, with...), c.want...)
			fails(t, c.code, append(append([]string{"train", "--steps", "1", "--accum", "1"}, with...), data...), c.want...)
			fails(t, c.code, append(append([]string{"eval", "--task", "ppl", "--limit", "1"}, with...), data...), c.want...)
		})
	}
}
