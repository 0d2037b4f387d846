package ckpt

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// tiny is the layout of a model of two layers, of which only the query layers are of interest.
func tiny(tied bool) Layout {
	return Layout{Tied: tied, Shapes: map[string]tensor.Shape{
		embedName: {6, 4}, headName: {6, 4}, "model.norm.weight": {4},
		"model.layers.0.input_layernorm.weight": {4}, "model.layers.1.input_layernorm.weight": {4},
		"model.layers.0.self_attn.q_proj.weight": {4, 4}, "model.layers.1.self_attn.q_proj.weight": {4, 4},
	}}
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
	testkit.Write(t, filepath.Join(dir, "adapter_config.json"), b)
	if err := WriteSafetensors(filepath.Join(dir, "adapter_model.safetensors"), ts); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fitted opens an adapter and fits it to tiny.
func fitted(t *testing.T, dir string, tied bool) (*Adapter, []string, error) {
	t.Helper()
	a, err := OpenAdapter(dir)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(a.Close)
	notes, err := a.Fit(tiny(tied))
	return a, notes, err
}

// of are tensors of PEFT's file by their names there.
func of(shape []int, names ...string) (out []Out) {
	for _, n := range names {
		out = append(out, sample(peftPrefix+n, tensor.F32, shape...))
	}
	return out
}

func TestAdapterRefuses(t *testing.T) {
	f := factors
	embed, head, delta := "model.embed_tokens.", "lm_head.", "token_adapter.trainable_tokens_delta"
	for _, c := range []struct {
		want   string
		change change
		ts     []Out
		tied   bool
	}{
		{"peft_type", change{"peft_type": "IA3"}, f(), false},
		{"bias", change{"bias": "some"}, f(), false},
		{"use_dora", change{"use_dora": true}, f(), false},
		{"use_dora", nil, append(f(), of([]int{4}, "model.layers.0.self_attn.q_proj.lora_magnitude_vector")...), false},
		{"lora_bias", change{"lora_bias": true}, f(), false},
		{"trainable_tokens_delta is missing", change{"trainable_token_indices": []int{1}}, f(), false},
		{"trainable_token_indices: \"some\"", change{"trainable_token_indices": "some"}, f(), false},
		{"trainable_token_indices: 1.5 is not", change{"trainable_token_indices": []any{1.5}}, f(), false},
		{"trainable_token_indices.lm_head: \"a\" is not", change{"trainable_token_indices": change{"lm_head": []any{"a"}}}, f(), false},
		{"-1 is no token", change{"trainable_token_indices": []int{-1}}, append(f(), of([]int{1, 4}, embed+delta)...), false},
		{"\"wte\" is neither the embedding", change{"trainable_token_indices": change{"wte": []int{1}}}, append(f(), of([]int{1, 4}, embed+delta)...), false},
		{"does not name model.embed_tokens", change{"trainable_token_indices": change{"embed_tokens": []int{}}}, append(f(), of([]int{0, 4}, embed+delta)...), false},
		{"without a module's name", change{"trainable_token_indices": change{"": []int{1}}}, append(f(), of([]int{1, 4}, embed+delta)...), false},
		{"has 2 ids", change{"trainable_token_indices": []int{1, 2}}, append(f(), of([]int{1, 4}, embed+delta)...), false},
		{"two names", change{"trainable_token_indices": []int{1}}, append(f(), of([]int{1, 4}, embed+delta, embed+delta+".default")...), false},
		{"there whole too", change{"trainable_token_indices": []int{1}, "modules_to_save": []string{"embed_tokens"}},
			append(f(), append(of([]int{1, 4}, embed+delta), of([]int{6, 4}, embed+"weight")...)...), false},
		{"does not name model.embed_tokens", nil, append(f(), of([]int{6, 4}, embed+delta)...), false},
		{"does not name lm_head", change{"trainable_token_indices": []int{1}}, append(f(), of([]int{1, 4}, embed+delta, head+delta)...), false},
		{"one module's and have different values", change{"trainable_token_indices": []int{1}}, append(f(), of([]int{1, 4}, embed+delta, head+delta)...), true},
		{"layer_replication", change{"layer_replication": [][]int{{0, 1}}}, f(), false},
		{"kasa_config", change{"kasa_config": change{"beta": 1}}, f(), false},
		{"layers_to_transform", change{"layers_to_transform": "all"}, f(), false},
		{"layers_to_transform leaves out model.layers.1.self_attn.q_proj, of which", change{"layers_to_transform": []int{0}}, f(), false},
		{"rank r = 4", change{"rank_pattern": change{"q_proj": 4}}, f(), false},
		{"rank_pattern", change{"rank_pattern": change{"q_proj": 0}}, f(), false},
		{"rank_pattern", change{"rank_pattern": change{"q_proj": 2.5}}, f(), false},
		{"alpha_pattern", change{"alpha_pattern": change{"q_proj": "4"}}, f(), false},
		{"alpha_pattern", change{"alpha_pattern": []int{1}}, f(), false},
		{"rank_pattern: not a regular expression", change{"rank_pattern": change{"(q_proj": 4}}, f(), false},
		{"target_modules: not a regular expression", change{"target_modules": "*q_proj"}, f(), false},
		{"target_modules: the regular expression takes too long", change{"target_modules": "(([a-z0-9_.]+)+)+!"}, f(), false},
		{"target_modules", change{"target_modules": change{"q_proj": 1}}, f(), false},
		{"target_modules", change{"target_modules": []any{1}}, f(), false},
		{"target_modules does not name", change{"target_modules": "q_proj"}, f(), false}, // an expression for the whole name
		{"target_modules does not name", change{"modules_to_save": []string{"norm"}, "target_modules": []string{"k_proj"}}, append(f(), of([]int{4}, "model.norm.weight", "model.layers.0.input_layernorm.weight", "model.layers.1.input_layernorm.weight")...), false},
		{"exclude_modules names model.layers.1", change{"exclude_modules": ".*1.*"}, f(), false},
		{"layers_pattern, leaves out model.layers.0", change{"layers_to_transform": []int{0, 1}, "layers_pattern": "h"}, f(), false},
		{"modules_to_save names model.layers.0", change{"modules_to_save": []string{"q_proj"}}, append(f(), of([]int{4, 4}, "model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight")...), false},
		{"init_lora_weights", change{"init_lora_weights": "pissa_niter_4"}, f(), false},
		{"r: missing", change{"r": nil}, f(), false},
		{"lora_alpha", change{"lora_alpha": json.Number("1e400")}, f(), false},
		{"alpha_pattern: 1e400", change{"alpha_pattern": change{"q_proj": json.Number("1e400")}}, f(), false},
		{"rank_pattern: -2", change{"rank_pattern": change{"q_proj": -2}}, f(), false},
		{"do not have rank r = 3", change{"r": 3}, f(), false},
		{"model.norm.weight is missing", change{"modules_to_save": []string{"model.norm"}}, f(), false},
		{"layers.0.input_layernorm.weight is missing", change{"modules_to_save": []string{"norm"}}, append(f(), of([]int{4}, "model.norm.weight")...), false},
		{"only one of lora_A and lora_B", nil, f()[:3], false},
		{"lora_A and lora_B of model.layers.1.self_attn.q_proj are missing", nil, f()[:2], false},
		{"of type I64", nil, append(f(), Bytes("model.norm.weight", tensor.I64, tensor.Shape{4}, make([]byte, 32))), false},
		{"two names", nil, append(f(), sample("model.norm.weight", tensor.F32, 4), sample(peftPrefix+"model.norm.weight", tensor.F32, 4)), false},
		{"two names", nil, append(f(), of([]int{6, 4}, embed+"weight", embed+"modules_to_save.weight")...), false},
		{"two names", nil, append(f(), sample("model.layers.0.self_attn.q_proj.lora_A.weight", tensor.F32, 2, 4)), false},
		{"saved whole too", nil, append(f(), of([]int{2, 4}, head+"modules_to_save.default.lora_A.weight")...), false},
		{"kind of LoRA", nil, append(f(), of([]int{4}, "model.layers.0.self_attn.q_proj.lora_B.bias")...), false},
		{"model.layers.2.self_attn.q_proj is no linear layer", nil, append(f(), sample("model.layers.2.self_attn.q_proj.lora_A.weight", tensor.F32, 2, 4), sample("model.layers.2.self_attn.q_proj.lora_B.weight", tensor.F32, 4, 2)), false},
		{"not how factors of that layer are named", change{"target_modules": []string{"q_proj", "embed_tokens"}}, append(f(), sample(embed+"lora_A.weight", tensor.F32, 2, 4), sample(embed+"lora_B.weight", tensor.F32, 6, 2)), false},
		{"do not fit", change{"target_modules": []string{"q_proj", "lm_head"}}, append(f(), sample(head+"lora_A.weight", tensor.F32, 2, 5), sample(head+"lora_B.weight", tensor.F32, 6, 2)), false},
		{"[5]", nil, append(f(), sample("model.norm.weight", tensor.F32, 5)), false},
		{"has 5 rows, the model's vocabulary 6", nil, append(f(), sample(embedName, tensor.F32, 5, 4)), false},
		{"not one of the model's", nil, append(f(), sample("model.other.weight", tensor.F32, 4)), false},
		{"ensure_weight_tying", change{"ensure_weight_tying": true, "modules_to_save": []string{"embed_tokens"}}, append(f(), sample(embedName, tensor.F32, 6, 4), sample(headName, tensor.F32, 6, 4)), true},
		{"holds no tensor", change{"target_modules": nil}, nil, false},
		{"base_layer, whose lengths", change{"use_dora": true, "target_modules": []string{"embed_tokens"}}, append(append(of([]int{2, 8}, embed+"lora_embedding_A"), of([]int{4, 2}, embed+"lora_embedding_B")...), of([]int{4}, embed+"lora_magnitude_vector")...), false},
	} {
		dir := adapterDir(t, c.change, c.ts)
		_, _, err := fitted(t, dir, c.tied)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: want exit code 4, the folder and %q", err, c.want)
		}
	}
}

// What wrappers of a model put before its names is taken away; weights under other names are said to be there.
func TestAdapterFiles(t *testing.T) {
	for _, prefix := range []string{"_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."} {
		ts := factors()
		for i := range ts {
			ts[i].Name = prefix + ts[i].Name
		}
		if a, _, err := fitted(t, adapterDir(t, nil, ts), false); err != nil || len(a.LoRA) != 2 {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	for name, want := range map[string]string{
		"adapter_model.safetensors.index.json": "does not read an adapter in shards",
		"adapter_model.fp16.safetensors":       "if adapter_model.fp16.safetensors is the adapter",
		"pytorch_model.bin":                    "if pytorch_model.bin is the adapter",
		"README.md":                            "is there; fetch it again",
	} {
		dir := adapterDir(t, nil, factors())
		if err := os.Rename(filepath.Join(dir, rundir.AdapterFile), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenAdapter(dir); errs.Code(err) != 4 || !strings.HasPrefix(err.Error(), dir+": neither") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// A folder whose folders hold adapters, as PEFT saves several and trainers their checkpoints, says which to give.
func TestAdaptersInside(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		testkit.Write(t, filepath.Join(dir, name, "adapter_config.json"), "{}")
	}
	_, err := OpenAdapter(dir)
	if want := "two); give one of them: --adapter " + filepath.Join(dir, "one"); errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want exit code 4 and %q", err, want)
	}
}

// Notes say what is cut and what is passed over; empty fields mean nothing.
func TestAdapterFits(t *testing.T) {
	a, notes, err := fitted(t, adapterDir(t, change{"modules_to_save": []string{"embed_tokens", "score"}, "layers_to_transform": []int{}, "layers_pattern": "",
		"exclude_modules": []string{}, "target_parameters": []string{}, "trainable_token_indices": change{}, "future_field": 3, "other_field": nil, "peft_version": "0.21.2"},
		append(factors(), sample(peftPrefix+"model.embed_tokens.modules_to_save.default.weight", tensor.BF16, 8, 4))), true)
	if err != nil || len(notes) != 2 || !strings.Contains(notes[0], "future_field") || !strings.Contains(notes[1], "rows 6 to 7") {
		t.Fatalf("notes %q, %v", notes, err)
	}
	if e := a.Saved[embedName]; !e.Shape.Equal([]int{6, 4}) || len(e.Data()) != 6*4*2 {
		t.Errorf("the embedding has shape %v and %d bytes", e.Shape, len(e.Data()))
	}
	testkit.Each(t, a, map[string]bool{"r": a.Config.Rank == 2, "lora_alpha": a.Config.Alpha == 4, "factors": len(a.LoRA) == 2,
		"targets": slices.Equal(a.Targets(), []string{"q_proj"})})
	a, _, err = fitted(t, adapterDir(t, change{"lora_alpha": -4, "alpha_pattern": change{"layers.1.self_attn.q_proj": 0}}, factors()), false)
	if err != nil {
		t.Fatal(err)
	}
	if s0, s1 := a.LoRA["model.layers.0.self_attn.q_proj"].Scale, a.LoRA["model.layers.1.self_attn.q_proj"].Scale; s0 != -2 || s1 != 0 {
		t.Errorf("an alpha below 0 and one of 0 give the scales %v and %v, want -2 and 0", s0, s1)
	}
}

// Where the base has one tensor for both, what is saved, shared or has factors decides how many the adapter makes.
func TestTie(t *testing.T) {
	e, h := sample(embedName, tensor.F32, 6, 4), sample(headName, tensor.F32, 6, 4)
	same := e
	same.Name = headName
	base := func(name string) Out {
		o := e
		o.Name = name
		return o
	}
	lowHead := append(of([]int{2, 4}, "lm_head.lora_A.weight"), of([]int{6, 2}, "lm_head.lora_B.weight")...)
	lowEmbed := append(of([]int{2, 6}, "model.embed_tokens.lora_embedding_A"), of([]int{4, 2}, "model.embed_tokens.lora_embedding_B")...)
	turned := func(o Out, name string, n, k int) Out { // as PEFT ties the head's factors to the embedding's
		v := make([]float32, n*k)
		for i := range v {
			v[i] = float32(i%k*n+i/k)*0.37 - float32(len(o.Name))
		}
		return FromFloats(peftPrefix+name, tensor.Shape{n, k}, v).Out()
	}
	tiedFactors := append(slices.Clone(lowEmbed), turned(lowEmbed[1], "lm_head.lora_A.weight", 2, 4), turned(lowEmbed[0], "lm_head.lora_B.weight", 6, 2))
	for name, c := range map[string]struct {
		change change
		ts     []Out
		untied bool
		saved  []string
	}{
		"no end":                        {nil, nil, false, nil},
		"embedding saved":               {change{"modules_to_save": []string{"embed_tokens"}}, []Out{e}, true, []string{embedName}},
		"head saved":                    {change{"modules_to_save": []string{"lm_head"}}, []Out{h}, true, []string{headName}},
		"both saved, different":         {change{"modules_to_save": []string{"lm_head", "embed_tokens"}}, []Out{e, h}, true, []string{headName, embedName}},
		"both saved, equal":             {change{"modules_to_save": []string{"lm_head", "embed_tokens"}}, []Out{e, same}, false, []string{embedName}},
		"embedding saved, tied":         {change{"modules_to_save": []string{"embed_tokens"}, "ensure_weight_tying": true}, []Out{e}, false, []string{embedName}},
		"embedding loaded":              {nil, []Out{e}, false, []string{embedName}}, // as the released form has it
		"head loaded":                   {nil, []Out{h}, false, []string{embedName}},
		"head saved, the base's beside": {change{"modules_to_save": []string{"lm_head"}}, []Out{h, base("lm_head.original_module.weight")}, true, []string{headName, embedName}},
		"factors of the head":           {change{"target_modules": []string{"q_proj", "lm_head"}}, lowHead, true, nil},
		"factors of the embedding":      {change{"target_modules": []string{"q_proj", "embed_tokens"}}, lowEmbed, true, nil},
		"factors of both, tied":         {change{"target_modules": []string{"q_proj", "model.embed_tokens"}, "ensure_weight_tying": true}, tiedFactors, false, nil},
		"tied, of another rank": {change{"target_modules": []string{"q_proj", "model.embed_tokens"}, "ensure_weight_tying": true,
			"rank_pattern": change{"q_proj": 2, "embed_tokens": 2}, "r": 5}, tiedFactors, true, nil}, // and so of another scale
		"tied, of different scales": {change{"target_modules": []string{"q_proj", "model.embed_tokens"}, "ensure_weight_tying": true, "alpha_pattern": change{"lm_head": 1}},
			tiedFactors, true, nil},
	} {
		a, _, err := fitted(t, adapterDir(t, c.change, append(factors(), c.ts...)), true)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a.Untied != c.untied || len(a.Saved) != len(c.saved) {
			t.Errorf("%s: two tensors: %v, want %v; saved %v, want %v", name, a.Untied, c.untied, slices.Collect(maps.Keys(a.Saved)), c.saved)
		}
		for _, n := range c.saved {
			if _, ok := a.Saved[n]; !ok {
				t.Errorf("%s: %s is not there", name, n)
			}
		}
	}
}

// What PEFT says of modules' names: which have factors, of which rank and scale, and which are saved whole.
func TestAdapterNames(t *testing.T) {
	var ref struct {
		Modules []string
		Cases   []struct {
			Config json.RawMessage // the order of its keys counts
			Rank   map[string]int
			Scale  map[string]float64
			Saved  []string
		}
	}
	b, err := os.ReadFile("../../testdata/peft/names.json")
	if err == nil {
		err = json.Unmarshal(b, &ref)
	}
	if err != nil || len(ref.Cases) < 20 {
		t.Fatalf("%d cases, %v", len(ref.Cases), err)
	}
	for _, c := range ref.Cases {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, rundir.AdapterConfigFile), c.Config)
		a, err := readAdapterConfig(dir)
		if err != nil {
			t.Errorf("%s: %v", c.Config, err)
			continue
		}
		for _, m := range ref.Modules {
			rank, targeted := c.Rank[m]
			if norm := strings.HasSuffix(m, "norm"); !norm && a.targeted(m) != targeted {
				t.Errorf("%s: %s has factors: %v, PEFT says %v", c.Config, m, !targeted, targeted)
			}
			if targeted && (a.rank(m) != rank || math.Abs(a.scale(m)-c.Scale[m]) > 1e-12) {
				t.Errorf("%s: %s has rank %d and scale %v, PEFT says %d and %v", c.Config, m, a.rank(m), a.scale(m), rank, c.Scale[m])
			}
			if saved := slices.Contains(c.Saved, m); a.Saves(m) != saved {
				t.Errorf("%s: %s is saved whole: %v, PEFT says %v", c.Config, m, !saved, saved)
			}
		}
		if err := a.match.f.err; err != nil {
			t.Errorf("%s: %v", c.Config, err)
		}
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
		if _, released := got[1].Saved[headName]; !released { // PEFT's form has a tied embedding under both names
			delete(got[0].Saved, headName)
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
		var names []string
		for name, x := range want.Tensors {
			if n := strings.TrimPrefix(name, peftPrefix); !strings.Contains(n, ".lora_") && !(tied && n == headName) {
				names = append(names, n)
			}
			o := x.Out()
			if o.Name = strings.TrimPrefix(name, peftPrefix); tied && o.Name == headName {
				continue
			}
			ts = append(ts, o)
		}
		sort.Strings(names)
		dir := t.TempDir()
		if err := WriteAdapter(dir, NewAdapter{Base: "org/base", Config: NewAdapterConfig(4, 8, false, []string{"k_proj", "o_proj", "q_proj", "v_proj"}), Tied: tied, Model: names, Tensors: ts}); err != nil {
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
		if err := files.ReadJSON(filepath.Join(dir, "adapter_config.json"), &a); err != nil {
			t.Fatal(err)
		}
		if err := files.ReadJSON(filepath.Join(ref, "adapter_config.json"), &b); err != nil {
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
