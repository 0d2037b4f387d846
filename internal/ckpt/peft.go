package ckpt

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
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
	Targets []string          // last parts of the names of the linear layers with factors, sorted
	LoRA    map[string]Pair   // by module path, "model.layers.0.self_attn.q_proj"
	Saved   map[string]Tensor // whole tensors by name, "model.embed_tokens.weight"
	Files   []string
	modules []string // that adapter_config.json says are saved whole
	named   []string // that its target_modules names, by their last part
	open    []*File
}

// refusedPEFT are fields that change what an adapter means, with the values that mean nothing; null always does.
var refusedPEFT = []struct {
	name  string
	plain any
}{{"bias", "none"}, {"use_dora", false}, {"use_rslora", false}, {"fan_in_fan_out", false}, {"lora_bias", false}, {"use_qalora", false},
	{"layer_replication", nil}, {"layers_to_transform", nil}, {"target_parameters", nil}, {"trainable_token_indices", nil},
	{"alora_invocation_tokens", nil}, {"use_bdlora", nil}, {"arrow_config", nil}, {"kasa_config", nil}, {"monteclora_config", nil}}

// baseChanging begins the kinds of initialisation after which the base's own weights are others.
var baseChanging = []string{"pissa", "olora", "corda", "loftq", "lora_ga"}

// refuse names the fields of adapter_config.json that the program does not follow.
func (f *fields) refuseAdapter() {
	if t := f.raw["peft_type"]; t != "LORA" {
		f.fail("peft_type", "%v is not LORA", t)
	}
	for _, r := range refusedPEFT {
		if v := f.raw[r.name]; v != nil && v != r.plain {
			f.fail(r.name, "%v is not supported", v)
		}
	}
	for _, name := range []string{"rank_pattern", "alpha_pattern"} {
		if m, ok := f.raw[name].(map[string]any); ok && len(m) > 0 {
			f.fail(name, "a rank or alpha of its own for some layers is not supported")
		}
	}
	init, _ := f.raw["init_lora_weights"].(string)
	for _, k := range baseChanging {
		if strings.HasPrefix(strings.ToLower(init), k) {
			f.fail("init_lora_weights", "%q changes the base's weights and is not supported; convert the adapter to plain LoRA with PEFT (path_initial_model_for_weight_conversion)", init)
		}
	}
}

// texts are the texts of a list; a single text is a list of one, and anything else of none.
func (f *fields) texts(name string) []string {
	var out []string
	switch v := f.raw[name].(type) {
	case string:
		out = []string{v}
	case []any:
		for _, x := range v {
			if s, ok := x.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// OpenAdapter reads an adapter's folder.
func OpenAdapter(dir string) (*Adapter, error) {
	path := filepath.Join(dir, "adapter_config.json")
	f := &fields{path: path}
	if err := ReadJSON(path, &f.raw); err != nil {
		return nil, err
	}
	a := &Adapter{Dir: dir, LoRA: map[string]Pair{}, Saved: map[string]Tensor{}}
	f.refuseAdapter()
	a.Rank, a.Alpha, a.Dropout = f.count("r", -1), f.num("lora_alpha", 8), f.num("lora_dropout", 0)
	if !(a.Alpha > 0) {
		f.fail("lora_alpha", "%v is not above 0", a.Alpha)
	}
	a.modules = f.texts("modules_to_save")
	for _, s := range f.texts("target_modules") {
		a.named = append(a.named, s[strings.LastIndex(s, ".")+1:])
	}
	if f.err != nil {
		return nil, f.err
	}
	if err := a.read(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// read finds the tensors in whichever form they are.
func (a *Adapter) read() error {
	files := []string{"adapter_model.safetensors"}
	if !exists(filepath.Join(a.Dir, files[0])) {
		if files = []string{"adapter_model.bin"}; !exists(filepath.Join(a.Dir, files[0])) {
			return errs.Dataf("%s: neither adapter_model.safetensors nor adapter_model.bin is there", a.Dir)
		}
	}
	if side := "trainable_params.bin"; exists(filepath.Join(a.Dir, side)) {
		files = append(files, side)
	}
	for _, name := range files {
		f, err := openTensors(filepath.Join(a.Dir, name))
		if err != nil {
			return err
		}
		a.open, a.Files = append(a.open, f), append(a.Files, f.Path)
		if err := a.sort(f.Tensors); err != nil {
			return err
		}
	}
	return a.check()
}

// Close unmaps the tensors.
func (a *Adapter) Close() {
	for _, f := range a.open {
		f.Close()
	}
}

// Tensors are all of the adapter's, by name.
func (a *Adapter) Tensors() []Tensor {
	var ts []Tensor
	for _, path := range slices.Sorted(maps.Keys(a.LoRA)) {
		ts = append(ts, a.LoRA[path].A, a.LoRA[path].B)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Saved)) {
		ts = append(ts, a.Saved[name])
	}
	return ts
}

// sort tells factors from whole tensors. Names are with or without PEFT's prefix and "modules_to_save" parts.
func (a *Adapter) sort(ts map[string]Tensor) error {
	for key, t := range ts {
		name := strings.TrimPrefix(key, peftPrefix)
		name = strings.Replace(name, ".default", "", 1)
		name = strings.Replace(name, ".modules_to_save", "", 1)
		if !t.Weight() {
			return errs.Dataf("%s: tensor %s is of type %s; F32, BF16 and F16 are supported", t.File, key, t.TypeName())
		}
		twice := false
		if path, ok := strings.CutSuffix(name, ".lora_A.weight"); ok {
			p := a.LoRA[path]
			twice, p.A = p.A.Name != "", t
			a.LoRA[path] = p
		} else if path, ok := strings.CutSuffix(name, ".lora_B.weight"); ok {
			p := a.LoRA[path]
			twice, p.B = p.B.Name != "", t
			a.LoRA[path] = p
		} else if strings.Contains(name, "lora_") {
			return errs.Dataf("%s: tensor %s is of a kind of LoRA that is not supported", t.File, key)
		} else {
			_, twice = a.Saved[name]
			a.Saved[name] = t
		}
		if twice {
			return errs.Dataf("%s: tensor %s is there under two names", t.File, key)
		}
	}
	return nil
}

// check looks for what adapter_config.json promises.
func (a *Adapter) check() error {
	for _, path := range slices.Sorted(maps.Keys(a.LoRA)) {
		p := a.LoRA[path]
		if p.A.Name == "" || p.B.Name == "" {
			return errs.Dataf("%s: %s has only one of lora_A and lora_B", a.Files[0], path)
		}
		if len(p.A.Shape) != 2 || len(p.B.Shape) != 2 || p.A.Shape[0] != a.Rank || p.B.Shape[1] != a.Rank {
			return errs.Dataf("%s: %s: lora_A %v and lora_B %v do not have rank r = %d of adapter_config.json", p.A.File, path, p.A.Shape, p.B.Shape, a.Rank)
		}
		a.Targets = append(a.Targets, path[strings.LastIndex(path, ".")+1:])
	}
	sort.Strings(a.Targets)
	a.Targets = slices.Compact(a.Targets)
	for _, m := range a.modules {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(a.Saved)), func(name string) bool {
			return strings.HasSuffix("."+strings.TrimSuffix(name, ".weight"), "."+m)
		}) {
			return errs.Dataf("%s: no tensor of %s, which modules_to_save of adapter_config.json names", a.Files[0], m)
		}
	}
	return nil
}

// Fit checks that the adapter is of the model that has tensors of these shapes: each of its tensors has its place, and where one
// layer has factors of a target, all have. It cuts rows of the embedding and the head beyond the vocabulary and
// returns notes on what was cut.
func (a *Adapter) Fit(shape func(name string) (tensor.Shape, bool), tied bool) ([]string, error) {
	for _, path := range slices.Sorted(maps.Keys(a.LoRA)) {
		p := a.LoRA[path]
		s, ok := shape(path + ".weight")
		if !ok || len(s) != 2 {
			return nil, errs.Dataf("%s: %s is no linear layer of the model: the adapter is of another one", p.A.File, path)
		}
		if p.B.Shape[0] != s[0] || p.A.Shape[1] != s[1] {
			return nil, errs.Dataf("%s: %s: lora_A %v and lora_B %v do not fit the model's weight %v: the adapter is of another model", p.A.File, path, p.A.Shape, p.B.Shape, s)
		}
	}
	if err := a.complete(shape); err != nil {
		return nil, err
	}
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(a.Saved)) {
		t := a.Saved[name]
		role := name
		if tied && name == headName {
			role = embedName
		}
		s, ok := shape(role)
		if !ok {
			return nil, errs.Dataf("%s: tensor %s is not one of the model's: the adapter is of another one", t.File, t.Name)
		}
		if (role == embedName || role == headName) && len(t.Shape) == 2 && t.Shape[1] == s[1] && t.Shape[0] > s[0] {
			notes = append(notes, fmt.Sprintf("%s: rows %d to %d of %s are beyond the base's vocabulary and are dropped", t.File, s[0], t.Shape[0]-1, name))
			t = t.Rows(s[0])
		}
		if !t.Shape.Equal(s) {
			return nil, errs.Dataf("%s: tensor %s has shape %v, the model's is %v: the adapter is of another model", t.File, t.Name, t.Shape, s)
		}
		a.Saved[name] = t
	}
	if h, ok := a.Saved[headName]; ok && tied {
		if e, both := a.Saved[embedName]; both && (e.DType != h.DType || !bytes.Equal(e.Data(), h.Data())) {
			return nil, errs.Dataf("%s: %s and %s differ, but tie_word_embeddings of the model's config.json ties them", h.File, h.Name, e.Name)
		}
		a.Saved[embedName] = h
		delete(a.Saved, headName)
	}
	return notes, nil
}

// complete checks that every layer has factors of each target that adapter_config.json or another layer has.
func (a *Adapter) complete(shape func(name string) (tensor.Shape, bool)) error {
	for l := 0; ; l++ {
		layer := fmt.Sprintf("model.layers.%d.", l)
		if _, ok := shape(layer + "input_layernorm.weight"); !ok {
			return nil
		}
		for _, m := range a.modules {
			name := layer + m + ".weight"
			if _, there := shape(name); !there {
				continue
			}
			if _, ok := a.Saved[name]; !ok {
				return errs.Dataf("%s: tensor %s is missing, though modules_to_save of adapter_config.json names %s: the adapter is of another model, or not whole", a.Files[0], name, m)
			}
		}
		for _, t := range slices.Concat(a.Targets, a.named) {
			for _, path := range []string{layer + "self_attn." + t, layer + "mlp." + t} {
				_, there := shape(path + ".weight")
				if _, ok := a.LoRA[path]; there && !ok {
					return errs.Dataf("%s: the factors %s.lora_A and lora_B are missing: the adapter is of another model, or not whole", a.Files[0], path)
				}
			}
		}
	}
}

// NewAdapter says what is to be written as an adapter.
type NewAdapter struct {
	Base           string // the model that it belongs to, as the user named it
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
		if a.Tied && t.Name == embedName {
			o.Name = peftPrefix + headName
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
	// Fields that PEFT 0.5 does not know stand here only where they say something: releases before 0.14 refuse them.
	cfg := map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": a.Base, "inference_mode": true,
		"r": a.Rank, "lora_alpha": number(a.Alpha), "lora_dropout": a.Dropout, "bias": "none", "fan_in_fan_out": false,
		"init_lora_weights": true, "target_modules": a.Targets, "modules_to_save": saved}
	if tie {
		cfg["ensure_weight_tying"] = true
	}
	return WriteJSON(filepath.Join(dir, "adapter_config.json"), cfg)
}

// number writes a whole alpha without a fraction, as PEFT has it.
func number(x float64) any {
	if x == float64(int64(x)) {
		return int64(x)
	}
	return x
}
