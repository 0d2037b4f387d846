package ckpt

import (
	"path/filepath"
	"sort"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/tensor"
)

// peftPrefix stands before every module path in a PEFT file.
const peftPrefix = "base_model.model."

// Pair are one linear layer's LoRA factors: A (R,in), B (out,R).
type Pair struct{ A, B Tensor }

// Adapter is a PEFT adapter, or the released LongLoRA form of one.
type Adapter struct {
	Dir     string
	Rank    int
	Alpha   float64
	Dropout float64
	Targets []string          // names of linear layers, sorted
	LoRA    map[string]Pair   // by module path, "model.layers.0.self_attn.q_proj"
	Saved   map[string]Tensor // whole tensors by name, "model.embed_tokens.weight"
	Files   []string
}

// refusedPEFT are fields that change what an adapter means; each value is the one that means nothing.
var refusedPEFT = map[string]any{"bias": "none", "use_dora": false, "use_rslora": false, "fan_in_fan_out": false,
	"lora_bias": false, "use_qalora": false, "layer_replication": nil, "layers_to_transform": nil, "target_parameters": nil,
	"trainable_token_indices": nil, "alora_invocation_tokens": nil, "use_bdlora": nil}

// OpenAdapter reads an adapter's folder.
func OpenAdapter(dir string) (*Adapter, error) {
	path := filepath.Join(dir, "adapter_config.json")
	f := &fields{path: path}
	if err := ReadJSON(path, &f.raw); err != nil {
		return nil, err
	}
	a := &Adapter{Dir: dir, LoRA: map[string]Pair{}, Saved: map[string]Tensor{}}
	if t := f.raw["peft_type"]; t != "LORA" {
		f.fail("peft_type", "%v is not LORA", t)
	}
	for name, none := range refusedPEFT {
		if v, ok := f.raw[name]; ok && v != nil && v != none {
			f.fail(name, "%v is not supported", v)
		}
	}
	for _, name := range []string{"rank_pattern", "alpha_pattern"} {
		if m, ok := f.raw[name].(map[string]any); ok && len(m) > 0 {
			f.fail(name, "a rank or alpha of its own for some layers is not supported")
		}
	}
	a.Rank, a.Alpha, a.Dropout = f.count("r", -1), f.num("lora_alpha", 8), f.num("lora_dropout", 0)
	list, _ := f.raw["target_modules"].([]any)
	for _, t := range list {
		if s, ok := t.(string); ok {
			a.Targets = append(a.Targets, s[strings.LastIndex(s, ".")+1:])
		}
	}
	sort.Strings(a.Targets)
	if f.err == nil {
		f.err = a.read()
	}
	return a, f.err
}

// read finds the tensors in whichever form they are.
func (a *Adapter) read() error {
	st := filepath.Join(a.Dir, "adapter_model.safetensors")
	if exists(st) {
		f, err := OpenSafetensors(st)
		if err != nil {
			return err
		}
		a.Files = append(a.Files, st)
		return a.sort(f.Tensors)
	}
	bin := filepath.Join(a.Dir, "adapter_model.bin")
	if !exists(bin) {
		return errs.Dataf("%s: neither adapter_model.safetensors nor adapter_model.bin is there", a.Dir)
	}
	ts, err := ReadTorch(bin)
	if err != nil {
		return err
	}
	a.Files = append(a.Files, bin)
	if err := a.sort(ts); err != nil {
		return err
	}
	side := filepath.Join(a.Dir, "trainable_params.bin")
	if !exists(side) {
		return nil
	}
	if ts, err = ReadTorch(side); err != nil {
		return err
	}
	a.Files = append(a.Files, side)
	return a.sort(ts)
}

// sort tells factors from whole tensors. Names are with or without PEFT's prefix and "modules_to_save" parts.
func (a *Adapter) sort(ts map[string]Tensor) error {
	for key, t := range ts {
		name := strings.TrimPrefix(key, peftPrefix)
		name = strings.Replace(name, ".default", "", 1)
		name = strings.Replace(name, ".modules_to_save", "", 1)
		if path, ok := strings.CutSuffix(name, ".lora_A.weight"); ok {
			p := a.LoRA[path]
			p.A = t
			a.LoRA[path] = p
			continue
		}
		if path, ok := strings.CutSuffix(name, ".lora_B.weight"); ok {
			p := a.LoRA[path]
			p.B = t
			a.LoRA[path] = p
			continue
		}
		if strings.Contains(name, "lora_") {
			return errs.Dataf("%s: tensor %s is of a kind of LoRA that is not supported", t.File, key)
		}
		a.Saved[name] = t
	}
	for path, p := range a.LoRA {
		if p.A.Data == nil || p.B.Data == nil {
			return errs.Dataf("%s: %s has only one of lora_A and lora_B", a.Dir, path)
		}
		if len(p.A.Shape) != 2 || len(p.B.Shape) != 2 || p.A.Shape[0] != a.Rank || p.B.Shape[1] != a.Rank {
			return errs.Dataf("%s: %s: lora_A %v and lora_B %v do not have rank r = %d of adapter_config.json", p.A.File, path, p.A.Shape, p.B.Shape, a.Rank)
		}
	}
	return nil
}

// Fit checks that every tensor of the adapter has its place in a model with these tensors, and cuts rows of the
// embedding and the head beyond the vocabulary. It returns notes on what was cut.
func (a *Adapter) Fit(shape func(name string) (tensor.Shape, bool), tied bool) ([]string, error) {
	var notes []string
	for path, p := range a.LoRA {
		s, ok := shape(path + ".weight")
		if !ok || len(s) != 2 {
			return nil, errs.Dataf("%s: %s is no linear layer of the model: the adapter is of another one", p.A.File, path)
		}
		if p.B.Shape[0] != s[0] || p.A.Shape[1] != s[1] {
			return nil, errs.Dataf("%s: %s: lora_A %v and lora_B %v do not fit the model's weight %v: the adapter is of another model", p.A.File, path, p.A.Shape, p.B.Shape, s)
		}
	}
	for key, t := range a.Saved {
		name := key
		if tied && name == "lm_head.weight" {
			name = "model.embed_tokens.weight"
		}
		s, ok := shape(name)
		if !ok {
			return nil, errs.Dataf("%s: tensor %s is not one of the model's: the adapter is of another one", t.File, t.Name)
		}
		if len(t.Shape) == 2 && len(s) == 2 && t.Shape[1] == s[1] && t.Shape[0] > s[0] {
			notes = append(notes, strings.TrimPrefix(t.Name, peftPrefix)+": rows beyond the base's vocabulary are dropped")
			t.Data = t.Data[:len(t.Data)/t.Shape[0]*s[0]]
			t.Shape = s
		}
		if !t.Shape.Equal(s) {
			return nil, errs.Dataf("%s: tensor %s has shape %v, the model's is %v", t.File, t.Name, t.Shape, s)
		}
		a.Saved[key] = t
	}
	if tied {
		if h, ok := a.Saved["lm_head.weight"]; ok {
			if e, both := a.Saved["model.embed_tokens.weight"]; both && string(e.Data) != string(h.Data) {
				return nil, errs.Dataf("%s: lm_head and embed_tokens differ, but the model ties them", h.File)
			}
			a.Saved["model.embed_tokens.weight"] = h
			delete(a.Saved, "lm_head.weight")
		}
	}
	sort.Strings(notes)
	return notes, nil
}

// NewAdapter says what is to be written as an adapter.
type NewAdapter struct {
	Rank           int
	Alpha, Dropout float64
	Targets        []string
	Tied           bool
	Tensors        []Out // names as the model has them, factors as PATH.lora_A.weight
}

// WriteAdapter writes a PEFT folder's two files. A tied embedding is written under both of its names, as PEFT does.
func WriteAdapter(dir string, a NewAdapter) error {
	var outs []Out
	modules := map[string]bool{}
	for _, t := range a.Tensors {
		o := t
		o.Name = peftPrefix + t.Name
		outs = append(outs, o)
		if strings.Contains(t.Name, ".lora_") {
			continue
		}
		path := strings.TrimSuffix(t.Name, ".weight")
		modules[path[strings.LastIndex(path, ".")+1:]] = true
		if a.Tied && t.Name == "model.embed_tokens.weight" {
			o.Name = peftPrefix + "lm_head.weight"
			outs = append(outs, o)
		}
	}
	if err := WriteSafetensors(filepath.Join(dir, "adapter_model.safetensors"), outs); err != nil {
		return err
	}
	tie := a.Tied && modules["embed_tokens"]
	var saved []string
	for _, m := range []string{"embed_tokens", "input_layernorm", "post_attention_layernorm", "norm", "lm_head"} {
		if modules[m] {
			saved = append(saved, m)
		}
	}
	if tie {
		saved = append(saved, "model.embed_tokens")
	}
	cfg := map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": nil, "inference_mode": true,
		"r": a.Rank, "lora_alpha": number(a.Alpha), "lora_dropout": a.Dropout, "bias": "none", "fan_in_fan_out": false,
		"init_lora_weights": true, "use_rslora": false, "use_dora": false, "rank_pattern": map[string]any{}, "alpha_pattern": map[string]any{},
		"target_modules": a.Targets, "modules_to_save": saved, "ensure_weight_tying": tie}
	return WriteJSON(filepath.Join(dir, "adapter_config.json"), cfg)
}

// number writes a whole alpha without a fraction, as PEFT has it.
func number(x float64) any {
	if x == float64(int64(x)) {
		return int64(x)
	}
	return x
}
