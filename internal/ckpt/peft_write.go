package ckpt

import (
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/rundir"
)

// NewAdapter says what is to be written as an adapter.
type NewAdapter struct {
	Base    string         // the model that it belongs to, as the user named it
	Config  *AdapterConfig // which modules have factors, of which ranks and scales
	Dropout float64
	Tied    bool        // the head is the embedding
	Family  *model.Arch // LLaMA where nil
	Model   []string    // the names of all tensors of the model
	Tensors []Out       // names as the model has them, factors as PATH.lora_A.weight
}

// carriedFields say which modules have factors, of which ranks and scales.
var carriedFields = []string{"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "use_rslora"}

// WriteAdapter writes a PEFT folder's two files. A tied embedding is written under both of its names, as PEFT does, and
// a head that transformers calls otherwise in memory under that name too, since PEFT knows no other.
func WriteAdapter(dir string, a NewAdapter) error {
	names := model.Desc{Arch: a.Family}
	embedName, headName := names.EmbedName(), names.HeadName()
	var outs []Out
	var whole, modules []string
	other := "" // what else the head is called, where it is written
	for _, t := range a.Tensors {
		o := t
		o.Name = peftPrefix + t.Name
		outs = append(outs, o)
		if module, _, ok := strings.Cut(t.Name, ".lora_A."); ok {
			modules = append(modules, module)
		} else if !strings.Contains(t.Name, ".lora_B.") {
			whole = append(whole, t.Name)
		}
		if a.Tied && t.Name == embedName {
			o.Name = peftPrefix + headName
			outs = append(outs, o)
		}
		if isHead := t.Name == headName || a.Tied && t.Name == embedName; isHead && names.HeadModule() != "" {
			other = names.HeadModule()
			o.Name = peftPrefix + other + ".weight"
			outs = append(outs, o)
		}
	}
	if err := WriteSafetensors(filepath.Join(dir, rundir.AdapterFile), outs); err != nil {
		return err
	}
	c := a.Config
	// Fields that PEFT 0.5 does not know stand here only where they say something: releases before 0.14 refuse them.
	cfg := map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": a.Base,
		"inference_mode": true, "r": c.Rank, "lora_alpha": number(c.Alpha), "lora_dropout": a.Dropout, "bias": "none",
		"fan_in_fan_out":    false,
		"init_lora_weights": true, "target_modules": modules}
	for _, name := range carriedFields {
		if v := c.raw[name]; means(v) {
			cfg[name] = v
		}
	}
	for name, p := range map[string]ordered{"rank_pattern": c.rankPattern, "alpha_pattern": c.alphaPattern} {
		if len(p) > 0 {
			cfg[name] = p
		}
	}
	saved := c.saves(whole, a.Model)
	if a.Tied && slices.Contains(whole, embedName) {
		cfg["ensure_weight_tying"] = true
		if m := moduleOf(embedName); !slices.Contains(saved, m) {
			saved = append(saved, m)
		}
	}
	if other != "" && !slices.Contains(saved, other) {
		saved = append(saved, other)
	}
	cfg["modules_to_save"] = saved
	return files.WriteJSON(filepath.Join(dir, rundir.AdapterConfigFile), cfg)
}

// saves is a modules_to_save by which PEFT finds these tensors of a model and no others: the configuration's own where
// it does, else the last parts of the modules' names where all modules with that ending are among them, and whole
// names.
func (c *AdapterConfig) saves(whole, model []string) []string {
	covers := func(c *AdapterConfig) bool {
		return !slices.ContainsFunc(model, func(name string) bool {
			return c.Saves(moduleOf(name)) && !slices.Contains(whole, name)
		})
	}
	if covers(c) && !slices.ContainsFunc(whole, func(name string) bool { return !c.Saves(moduleOf(name)) }) {
		return c.saved.names
	}
	var out []string
	for _, name := range model {
		if !slices.Contains(whole, name) {
			continue
		}
		module := moduleOf(name)
		last := module[strings.LastIndexByte(module, '.')+1:]
		if covers(&AdapterConfig{saved: selection{names: []string{last}}}) {
			module = last
		}
		if !slices.Contains(out, module) {
			out = append(out, module)
		}
	}
	return out
}

// number writes a whole alpha without a fraction, as PEFT has it.
func number(x float64) any {
	if x == float64(int64(x)) {
		return int64(x)
	}
	return x
}
