package export_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/export"
	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
)

const (
	families   = "../../testdata/golden/families/"
	tokenizers = "../tokenizer/testdata/cases/"
)

// model copies a reference model, with a tokenizer of another vocabulary and its config.json changed.
func model(t *testing.T, name, tok string, change map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(families+name+"/model")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(tokenizers+tok)); err != nil {
		t.Fatal(err)
	}
	var cfg map[string]any
	testkit.ReadJSON(t, dir+"/config.json", &cfg)
	maps.Copy(cfg, change)
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, dir+"/config.json", b)
	return dir
}

// run exports a model into a new file.
func run(t *testing.T, dir, adapter string, window *s2attn.Choice, change func(*export.Options)) (string, export.Exported, error) {
	t.Helper()
	b, err := load.Open(dir, adapter)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.ChooseWindow(window, adapter); err != nil {
		t.Fatal(err)
	}
	o := export.Options{Base: b, Positions: b.Positions, Scale: 1, Type: "auto", Name: "m", Out: filepath.Join(t.TempDir(), "m.gguf")}
	if change != nil {
		change(&o)
	}
	res, err := export.Run(t.Context(), o)
	return o.Out, res, err
}

var off = s2attn.Off

// all are families that export as they are, with windows made full where llama.cpp has none.
var all = []string{"llama-bias", "mistral-window", "qwen2", "qwen3", "granite", "phi3", "olmo2", "gpt-neox", "gemma2"}

// What is exported with an adapter has the bits of what is merged first; and without, each tensor has the bits that its
// family's rule gives to the base's.
func TestFamilies(t *testing.T) {
	for _, name := range all {
		dir := model(t, name, "qwen2", nil)
		adapter := families + name + "/adapter-trained"
		path, res, err := run(t, dir, adapter, &off, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, err := load.Open(dir, adapter)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "merged")
		if _, err := lora.Merge(t.Context(), lora.MergeOptions{Base: b.Weights, Desc: b.Desc(), Adapter: b.Adapter, Scale: 1, Positions: b.Positions, Out: out, ShardSize: 1 << 30}); err != nil {
			t.Fatal(err)
		}
		b.Close()
		merged, _, err := run(t, out, "", &off, nil)
		if err != nil {
			t.Errorf("%s, merged: %v", name, err)
			continue
		}
		got, want := testkit.ReadGGUF(t, path), testkit.ReadGGUF(t, merged)
		same(t, name, got, want)
		if res.Changed == 0 || len(res.Same) > 0 || res.Tensors != len(got.Tensors) || fmt.Sprint(got.Values) != fmt.Sprint(want.Values) {
			t.Errorf("%s: %+v, values %v, merged %v", name, res, got.Values, want.Values)
		}
		base, res, err := run(t, dir, "", &off, nil)
		if err != nil || res.Changed != 0 {
			t.Errorf("%s: %v, %d tensors changed", name, err, res.Changed)
			continue
		}
		g := testkit.ReadGGUF(t, base)
		if equal := slices.ContainsFunc(slices.Collect(maps.Keys(g.Tensors)), func(n string) bool { return !bytes.Equal(g.Tensors[n].Data, got.Tensors[n].Data) }); !equal {
			t.Errorf("%s: the adapter changes nothing", name)
		}
		judgeBase(t, name, g, testkit.Floats(t, dir+"/model.safetensors"))
	}
}

// same compares tensors bit by bit.
func same(t *testing.T, name string, got, want testkit.GGUF) {
	t.Helper()
	if len(got.Tensors) != len(want.Tensors) {
		t.Errorf("%s: %d tensors, want %d", name, len(got.Tensors), len(want.Tensors))
	}
	for n, w := range want.Tensors {
		if x := got.Tensors[n]; x.Type != w.Type || !slices.Equal(x.Shape, w.Shape) || !bytes.Equal(x.Data, w.Data) {
			t.Errorf("%s: %s is another tensor", name, n)
		}
	}
}

// floats are a tensor's values.
func floats(t *testing.T, x testkit.GGUFTensor) []float32 {
	t.Helper()
	if x.Type != 0 {
		t.Fatalf("a tensor of type %d", x.Type)
	}
	out := make([]float32, len(x.Data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
	}
	return out
}

// rows are n rows of values.
func rows(v []float32, n int) [][]float32 {
	return slices.Collect(slices.Chunk(v, len(v)/n))
}

// judgeBase compares some tensors of each kind with the checkpoint's by the family's rule, written out anew here.
func judgeBase(t *testing.T, name string, g testkit.GGUF, base map[string][]float32) {
	t.Helper()
	equal := func(gguf, hf string, rule func(x []float32) []float32) {
		t.Helper()
		want, ok := base[hf]
		if !ok {
			t.Fatalf("%s: no tensor %s", name, hf)
		}
		if rule != nil {
			want = rule(want)
		}
		if !slices.Equal(floats(t, g.Tensors[gguf]), want) {
			t.Errorf("%s: %s is not %s", name, gguf, hf)
		}
	}
	pairs := func(heads int) func(x []float32) []float32 {
		return func(x []float32) []float32 {
			var out []float32
			for _, head := range rows(x, heads) {
				half := rows(head, 2)
				n := 16 / 2 // pairs of channels
				for c := range n {
					w := len(half[0]) / n
					out = append(append(out, half[0][c*w:(c+1)*w]...), half[1][c*w:(c+1)*w]...)
				}
			}
			return out
		}
	}
	first := func(x []float32) []float32 { // q of each head, then k, then v
		var out []float32
		for part := range 3 {
			for _, head := range rows(x, 4) {
				out = append(out, rows(head, 3)[part]...)
			}
		}
		return out
	}
	plus := func(x []float32) []float32 {
		out := slices.Clone(x)
		for i := range out {
			out[i]++
		}
		return out
	}
	switch name {
	case "llama-bias", "granite", "mistral-window":
		equal("blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight", pairs(4))
		equal("blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight", pairs(2))
		equal("blk.1.attn_v.weight", "model.layers.1.self_attn.v_proj.weight", nil)
		equal("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", nil)
		if name == "llama-bias" {
			equal("blk.1.attn_k.bias", "model.layers.1.self_attn.k_proj.bias", pairs(2))
		}
	case "qwen2", "qwen3":
		equal("blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight", nil)
	case "phi3":
		equal("blk.1.attn_qkv.weight", "model.layers.1.self_attn.qkv_proj.weight", nil)
		equal("blk.1.ffn_up.weight", "model.layers.1.mlp.gate_up_proj.weight", nil)
	case "olmo2":
		equal("blk.0.post_attention_norm.weight", "model.layers.0.post_attention_layernorm.weight", nil)
		equal("blk.0.post_ffw_norm.weight", "model.layers.0.post_feedforward_layernorm.weight", nil)
		equal("blk.0.attn_k_norm.weight", "model.layers.0.self_attn.k_norm.weight", nil)
	case "gpt-neox":
		equal("blk.1.attn_qkv.weight", "gpt_neox.layers.1.attention.query_key_value.weight", first)
		equal("blk.1.attn_qkv.bias", "gpt_neox.layers.1.attention.query_key_value.bias", first)
		equal("output_norm.bias", "gpt_neox.final_layer_norm.bias", nil)
	case "gemma2":
		equal("blk.2.ffn_norm.weight", "model.layers.2.pre_feedforward_layernorm.weight", plus)
		equal("output_norm.weight", "model.norm.weight", plus)
		equal("blk.2.attn_k.weight", "model.layers.2.self_attn.k_proj.weight", nil)
		// heads of 32 channels, where query_pre_attn_scalar is 24
		equal("blk.2.attn_q.weight", "model.layers.2.self_attn.q_proj.weight", func(x []float32) []float32 {
			out := slices.Clone(x)
			for i := range out {
				out[i] *= float32(float64(float32(1/math.Sqrt(24))) * math.Sqrt(32))
			}
			return out
		})
	}
}

// Matrices have the type asked for; norms, biases, and matrices whose rows are no whole blocks are float32.
func TestTypes(t *testing.T) {
	dir := model(t, "gpt-neox", "gpt2", nil) // F = 256
	for name, want := range map[string]uint32{"auto": 0, "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8} {
		path, res, err := run(t, dir, "", nil, func(o *export.Options) { o.Type = name })
		if err != nil {
			t.Fatal(err)
		}
		g := testkit.ReadGGUF(t, path)
		for n, x := range g.Tensors {
			if w := map[bool]uint32{true: want, false: 0}[len(x.Shape) == 2]; x.Type != w {
				t.Errorf("%s: %s is of type %d, want %d", name, n, x.Type, w)
			}
		}
		if file := map[uint32]uint32{0: 0, 1: 1, 8: 7, 30: 32}[want]; g.Values["general.file_type"] != file || name != "auto" && res.Type != name {
			t.Errorf("%s: file type %v, %s", name, g.Values["general.file_type"], res.Type)
		}
	}
	path, _, err := run(t, model(t, "mistral-window", "gpt2", nil), "", &off, func(o *export.Options) { o.Type = "q8_0" }) // F = 112
	if err != nil {
		t.Fatal(err)
	}
	g := testkit.ReadGGUF(t, path)
	if down, up := g.Tensors["blk.0.ffn_down.weight"], g.Tensors["blk.0.ffn_up.weight"]; down.Type != 0 || up.Type != 8 {
		t.Errorf("rows of 112 values have type %d, of 64 %d", down.Type, up.Type)
	}
	for _, nf4 := range []string{"nf4-double", "nf4-plain"} {
		path, _, err := run(t, model(t, nf4, "gpt2", nil), "", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if g := testkit.ReadGGUF(t, path); g.Tensors["blk.0.attn_v.weight"].Type != 30 || g.Tensors["blk.0.attn_norm.weight"].Type != 0 {
			t.Errorf("%s: matrices have type %d", nf4, g.Tensors["blk.0.attn_v.weight"].Type)
		}
	}
	_, _, err = run(t, model(t, "olmo2", "gpt2", nil), "", nil, func(o *export.Options) {
		o.Type = "f16"
		const name = "model.layers.0.self_attn.q_proj.weight"
		x := o.Base.Weights.Tensors[name]
		v := x.Floats()
		v[100] = 70000
		o.Base.Weights.Tensors[name] = ckpt.FromFloats(name, x.Shape, v)
	})
	if errs.Code(err) != 5 || !strings.Contains(err.Error(), "too large") || !strings.Contains(err.Error(), "--type") {
		t.Errorf("beyond half precision: %v", err)
	}
}

// What llama.cpp would pass over is refused by the field that asks for it, before anything is written.
func TestRefused(t *testing.T) {
	full := []string{"full_attention", "full_attention", "sliding_attention", "full_attention"}
	for _, c := range []struct {
		of, says string
		change   map[string]any
	}{
		{"mistral-window", "sliding_window", nil},
		{"qwen2", "sliding_window", map[string]any{"use_sliding_window": true, "sliding_window": 30, "max_window_layers": 1, "layer_types": nil}},
		{"gemma2", "layer_types", map[string]any{"layer_types": full}},
		{"gemma2", "final_logit_softcapping", map[string]any{"final_logit_softcapping": nil}},
		{"gemma2", "attn_logit_softcapping", map[string]any{"attn_logit_softcapping": nil}},
		{"smollm3", "no_rope_layers", map[string]any{"no_rope_layers": []int{1, 0, 1, 0}}},
		{"qwen2", "rope_type dynamic", map[string]any{"rope_parameters": map[string]any{"rope_type": "dynamic", "factor": 2, "rope_theta": 1e6}}},
		{"qwen2", "rope_type llama3", map[string]any{"rope_parameters": map[string]any{"rope_type": "llama3", "factor": 2, "rope_theta": 1e6, "original_max_position_embeddings": 64}}},
		{"olmo2", "beta_fast", map[string]any{"rope_parameters": map[string]any{"rope_type": "yarn", "factor": 2, "beta_fast": 20, "rope_theta": 1e6, "original_max_position_embeddings": 64}}},
	} {
		path, _, err := run(t, model(t, c.of, "gpt2", c.change), "", nil, nil)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s, %s: %v", c.of, c.says, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s, %s: a file was written", c.of, c.says)
		}
	}
}

// Positions are written as llama.cpp wants them: its own types, and frequencies' factors for all else.
func TestPositions(t *testing.T) {
	for _, c := range []struct {
		of   string
		rope map[string]any
		want map[string]any
	}{
		{"granite", map[string]any{"rope_type": "linear", "factor": 3.0}, map[string]any{"scaling.type": "linear", "scaling.factor": float32(3)}},
		{"qwen2", map[string]any{"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}, map[string]any{"scaling.type": "yarn", "scaling.factor": float32(2), "scaling.original_context_length": uint32(64), "scaling.attn_factor": nil}},
		{"qwen2", map[string]any{"rope_type": "yarn", "factor": 1.0, "attention_factor": 1.5, "original_max_position_embeddings": 64}, map[string]any{"scaling.attn_factor": float32(1.5)}},
		{"llama-bias", map[string]any{"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64}, map[string]any{"scaling.type": nil, "freq_base": float32(5e5)}},
	} {
		c.rope["rope_theta"] = 5e5
		path, _, err := run(t, model(t, c.of, "gpt2", map[string]any{"rope_parameters": c.rope, "max_position_embeddings": 128}), "", nil, nil)
		if err != nil {
			t.Errorf("%s: %v", c.of, err)
			continue
		}
		g := testkit.ReadGGUF(t, path)
		arch := g.Values["general.architecture"].(string)
		for k, want := range c.want {
			if got := g.Values[arch+".rope."+k]; got != want {
				t.Errorf("%s %v: %s is %v, want %v", c.of, c.rope, k, got, want)
			}
		}
		if g.Values[arch+".context_length"] != uint32(128) {
			t.Errorf("%s: context %v", c.of, g.Values[arch+".context_length"])
		}
		if c.rope["rope_type"] == "llama3" { // D = 16: wavelengths 2π·5e5^(i/8), whole below 64/4, by 8 beyond 64
			f := floats(t, g.Tensors["rope_freqs.weight"])
			if len(f) != 8 || f[0] != 1 || math.Abs(float64(f[7])-8) > 1e-5 || math.Abs(float64(f[3])-8) > 1e-5 || !(f[1] > 1 && f[1] < 8) {
				t.Errorf("factors %v", f)
			}
		}
	}
}

// The name decides in llama.cpp whether special tokens take the white space behind them.
func TestName(t *testing.T) {
	dir := model(t, "phi3", "gpt2", nil)
	path, _, err := run(t, dir, "", &off, func(o *export.Options) { o.Name = "My-Phi-3-phi3-x" })
	if err != nil {
		t.Fatal(err)
	}
	if got := testkit.ReadGGUF(t, path).Values["general.name"]; got != "My-Phi 3-phi 3-x" {
		t.Errorf("called %q", got)
	}
}
