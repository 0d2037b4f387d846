package ckpt

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
)

// family is a change that makes another family of a config.json of 3 layers, with more fields.
func family(a *model.Arch, more change) change {
	c := change{"architectures": []string{a.Class}, "model_type": a.Type, "num_hidden_layers": 3, "num_key_value_heads": 4, "head_dim": 16}
	for k, v := range more {
		c[k] = v
	}
	return c
}

// What config.json's fields mean in each family, as transformers 5.17 reads them.
func TestFamiliesRead(t *testing.T) {
	for what, c := range map[string]struct {
		change change
		holds  func(c *Config) bool
	}{
		"qwen2":               {family(&model.Qwen2, nil), func(c *Config) bool { return c.Bias[model.Q] && !c.Bias[model.O] && c.Windows == nil }},
		"qwen2, late windows": {family(&model.Qwen2, change{"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 2}), func(c *Config) bool { return slices.Equal(c.Windows, []int{0, 0, 9}) }},
		"qwen2, by type": {family(&model.Qwen2, change{"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 2,
			"layer_types": []string{slide, full, full}}), func(c *Config) bool { return slices.Equal(c.Windows, []int{9, 0, 0}) }},
		"qwen2, not used":   {family(&model.Qwen2, change{"use_sliding_window": false, "sliding_window": 9}), func(c *Config) bool { return c.Windows == nil }},
		"qwen3":             {family(&model.Qwen3, change{"head_dim": nil}), func(c *Config) bool { return c.D == 128 && !c.Bias[model.Q] }},
		"phi3":              {family(&model.Phi3, change{"partial_rotary_factor": 0.75}), func(c *Config) bool { return c.Rotary == 12 && c.Windows == nil && c.Eps == 1e-5 }},
		"phi3, window":      {family(&model.Phi3, change{"sliding_window": 9}), func(c *Config) bool { return slices.Equal(c.Windows, []int{9, 9, 9}) }},
		"granite":           {family(&model.Granite, change{"logits_scaling": 8, "residual_multiplier": 0.5}), func(c *Config) bool { return c.LogitsBy == 0.125 && c.BranchBy == 0.5 && c.EmbedBy == 1 }},
		"smollm3":           {family(&model.SmolLM3, change{"no_rope_layers": []int{1, 0, 1}}), func(c *Config) bool { return slices.Equal(c.NoRope, []bool{false, true, false}) && c.Tied }},
		"smollm3, interval": {family(&model.SmolLM3, change{"no_rope_layer_interval": 2}), func(c *Config) bool { return slices.Equal(c.NoRope, []bool{false, true, false}) }},
		"neox":              {family(&model.GPTNeoX, nil), func(c *Config) bool { return c.Parallel && c.Bias[model.QKV] && c.Rotary == 4 && c.Act == model.GELU }},
		"neox, in sequence": {family(&model.GPTNeoX, change{"use_parallel_residual": false, "rotary_pct": 1.0, "hidden_act": "gelu_fast"}), func(c *Config) bool { return !c.Parallel && c.Rotary == 0 && c.Act == model.GELUTanh }},
		"gemma2": {family(&model.Gemma2, change{"sliding_window": 9}), func(c *Config) bool {
			return slices.Equal(c.Windows, []int{9, 0, 9}) && c.ScoresCap == 50 && c.ScoresBy == 1.0/16 && c.Tied
		}},
		"gemma2, without the cap": {family(&model.Gemma2, change{"attn_logit_softcapping": null}), func(c *Config) bool { return c.ScoresCap == 0 && c.LogitsCap == 30 }},
	} {
		got, err := ReadConfig(configWith(t, c.change))
		if err != nil || !c.holds(got) {
			t.Errorf("%s: %+v, %v", what, got, err)
			continue
		}
		for _, choice := range []s2attn.Choice{s2attn.Keep, s2attn.Off, 5} { // what is written is what is in force
			raw := got.Derived()
			got.SetWindows(raw, choice)
			again, err := ReadConfig(configWith(t, raw))
			if err != nil || !slices.Equal(again.Windows, choice.Apply(got.Windows)) {
				t.Errorf("%s, %s: read again as %+v, %v", what, choice, again, err)
			}
		}
	}
}

func TestFamiliesRefused(t *testing.T) {
	for field, c := range map[string]change{
		"hidden_act":                  family(&model.Qwen2, change{"hidden_act": "gelu"}),
		"hidden_activation":           family(&model.Gemma2, change{"hidden_activation": "relu"}),
		"use_bidirectional_attention": family(&model.Gemma2, change{"use_bidirectional_attention": true}),
		"num_key_value_heads":         family(&model.GPTNeoX, change{"num_key_value_heads": 2}),
		"partial_rotary_factor":       family(&model.Phi3, change{"partial_rotary_factor": 0.7}),
		"no_rope_layers":              family(&model.SmolLM3, change{"no_rope_layers": []int{1, 0}}),
		"logits_scaling":              family(&model.Granite, change{"logits_scaling": 0}),
		"layer_types":                 family(&model.Qwen3, change{"layer_types": []string{slide, full, full}}),
		"sliding_window":              family(&model.Gemma2, change{"sliding_window": null}),
	} {
		dir := configWith(t, c)
		_, err := ReadConfig(dir)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": "+field+": ") {
			t.Errorf("%v: %v, want exit code 4 naming the file and %s", c, err, field)
		}
	}
	testkit.Each(t, model.Classes(), map[string]bool{"the list names the last family": strings.HasSuffix(model.Classes(), " and Gemma2ForCausalLM")})
}
